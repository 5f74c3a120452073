"""Where nodes stand: frames from left to right, columns in a frame, nodes in a column; the note comes first."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from .graph import Graph
from .schema import Kind

_TITLE, _SLOT, _WIDGET, _TEXT = 30, 20, 24, 90
_WIDTH, _WIDE = 290, 360
_GAP, _MARGIN, _HEAD = 30, 20, 50
_NOTE_WIDTH, _NOTE_LINE, _NOTE_LETTERS = 400, 18, 54
_SHOWN = {
    "SaveImage": 270, "PreviewImage": 270, "LightFusionEdit": 240, "LightFusionAsk": 110, "LightFusionThink": 110,
}  # fmt: skip
"""Room for what a node shows once it has run."""


@dataclass(frozen=True, slots=True)
class Box:
    """A place on the canvas, in its units; y grows downwards."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The boxes of nodes by their ids (without the title bar, which stands above), of frames, and of the note."""

    nodes: dict[int, Box]
    groups: list[Box]
    note: Box


def arrange(graph: Graph) -> Layout:
    """Places for everything. Raises ValueError for a node that stands in no frame, or in two."""
    note = Box(0, _TITLE, _NOTE_WIDTH, note_height(graph.note))
    nodes: dict[int, Box] = {}
    groups: list[Box] = []
    left = _NOTE_WIDTH + _GAP
    for group in graph.groups:
        x, bottom = left + _MARGIN, 0
        for column in group.columns:
            y, width = _HEAD, max(size(node.kind)[0] for node in column)
            for node in column:
                if node.id in nodes:
                    raise ValueError(f"{graph.name}: {node.title} stands in two places")
                height = size(node.kind)[1]
                nodes[node.id] = Box(x, y + _TITLE, width, height)
                y += _TITLE + height + _GAP
            bottom = max(bottom, y - _GAP)
            x += width + _GAP
        groups.append(Box(left, 0, x - _GAP + _MARGIN - left, bottom + _MARGIN))
        left = groups[-1].x + groups[-1].width + _GAP
    lost = [node.title for node in graph.nodes if node.id not in nodes]
    if lost:
        raise ValueError(f"{graph.name}: these nodes stand in no frame: {', '.join(lost)}")
    return Layout(nodes, groups, note)


def size(kind: Kind) -> tuple[int, int]:
    """A node's width and height: enough for its slots, its widgets and what it shows."""
    texts = sum(given.multiline for given in kind.widgets)
    lines = len(kind.widgets) - texts + sum(given.control for given in kind.widgets)
    slots = max(len(kind.sockets), len(kind.outputs))
    height = 16 + _SLOT * slots + _WIDGET * lines + _TEXT * texts + _SHOWN.get(kind.name, 0)
    return (_WIDE if texts else _WIDTH), height


def note_height(text: str) -> int:
    """Room for a note's lines, as the browser breaks them."""
    lines = sum(max(1, len(textwrap.wrap(line, _NOTE_LETTERS))) for line in text.splitlines())
    return 60 + _NOTE_LINE * lines
