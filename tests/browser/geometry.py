"""Whether a graph in the editor looks in order: nothing overlaps, nothing leaves its frame."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from editor import Editor

_SLACK = 1.5
"""Canvas units that rounding may take."""
_BOXES = """
const { ds, canvas } = app.canvas;
const { left, top } = canvas.getBoundingClientRect();
const place = (element) => {
  const box = element.getBoundingClientRect();
  const [x, y] = [(box.left - left) / ds.scale - ds.offset[0], (box.top - top) / ds.scale - ds.offset[1]];
  return [x, y, x + box.width / ds.scale, y + box.height / ds.scale];
};
const seen = (element) => element?.checkVisibility?.() && element.getBoundingClientRect().height > 0;
const contents = "textarea, input, button, select, img, [data-testid=node-widgets], [class*=lightfusion-]";
const onCanvas = (node) => {
  const [x, y, width, height] = node.getBounding();
  const rows = node.widgets?.filter((widget) => node.isWidgetVisible(widget)) ?? [];
  return {
    box: [x, y, x + width, y + height],
    inside: rows.map((widget) => {
      if (seen(widget.element)) return [widget.name, place(widget.element)];
      const [top, tall] = [node.pos[1] + widget.y, widget.computedHeight ?? 20];
      return [widget.name, [node.pos[0], top, node.pos[0] + node.size[0], top + tall]];
    }),
  };
};
const ofElements = (element) => ({
  box: place(element),
  inside: [...element.querySelectorAll(contents)]
    .filter((part) => seen(part) && !part.closest(".lightfusion-compare .stage, .absolute.opacity-0"))
    .map((part) => [part.dataset.testid ?? (part.className || part.tagName), place(part)]),
});
const box = (node) => {
  const element = document.querySelector(`[data-node-id="${node.id}"]`);
  const framed = node.type !== "MarkdownNote";
  const name = `${node.title} (${node.type})`;
  return { name, framed, ...(LiteGraph.vueNodesMode ? ofElements(element) : onCanvas(node)) };
};
const frames = app.canvas.graph.groups.map((group) => {
  const [x, y, width, height] = group._bounding;
  return { name: group.title, box: [x, y, x + width, y + height] };
});
return { nodes: app.canvas.graph.nodes.map(box), frames };
"""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom on the canvas."""


@dataclass(frozen=True)
class _Part:
    name: str
    box: Box

    def holds(self, other: _Part) -> bool:
        (left, top, right, bottom), (x, y, x_end, y_end) = self.box, other.box
        fits = left - _SLACK <= x and top - _SLACK <= y
        return fits and x_end <= right + _SLACK and y_end <= bottom + _SLACK

    def meets(self, other: _Part) -> bool:
        (left, top, right, bottom), (x, y, x_end, y_end) = self.box, other.box
        apart = right <= x + _SLACK or x_end <= left + _SLACK or bottom <= y + _SLACK or y_end <= top + _SLACK
        return not apart

    def __str__(self) -> str:
        return f"{self.name} {[round(value) for value in self.box]}"


def problems(editor: Editor) -> list[str]:
    """What stands where it should not, as sentences."""
    return _judge(editor.page.run(_BOXES))


def _judge(found: dict[str, Any]) -> list[str]:
    nodes = [(_part(node), node["framed"], [_Part(name, tuple(box)) for name, box in node["inside"]])
             for node in found["nodes"]]  # fmt: skip
    return list(_problems(nodes, [_part(frame) for frame in found["frames"]]))


def _part(found: dict[str, object]) -> _Part:
    return _Part(found["name"], tuple(found["box"]))


def _problems(nodes: list[tuple[_Part, bool, list[_Part]]], frames: list[_Part]) -> Iterator[str]:
    for (one, *_), (other, *_) in combinations(nodes, 2):
        if one.meets(other):
            yield f"{one} and {other} overlap"
    for one, other in combinations(frames, 2):
        if one.meets(other):
            yield f"the frames {one} and {other} overlap"
    for node, framed, inside in nodes:
        yield from (f"{part} leaves {node}" for part in inside if not node.holds(part))
        if framed and not any(frame.holds(node) for frame in frames):
            yield f"{node} leaves its frame"
        yield from (f"{node} lies over {frame}" for frame in frames if frame.meets(node) and not frame.holds(node))


def problems_at_rest(editor: Editor, seconds: float = 6) -> list[str]:
    """`problems`, once nothing moves any more, which takes a busy machine its time."""
    end, before, found = time.monotonic() + seconds, None, ["nothing comes to rest"]
    while time.monotonic() < end:
        editor.rest(0.2)
        boxes = editor.page.run(_BOXES)
        if boxes == before:
            found = _judge(boxes)
            if not found:
                break
        before = boxes
    return found
