"""Where nodes stand: frames from left to right, columns in a frame, nodes in a column; the note comes first."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from .graph import Blueprint, Graph, Node

_TITLE, _SLOT, _TEXT = 30, 20, 110
_WIDTH, _WIDE = 290, 360
_GAP, _MARGIN, _HEAD = 30, 20, 50
_NOTE_WIDTH, _NOTE_LINE, _NOTE_LETTERS = 400, 18, 54


@dataclass(frozen=True, slots=True)
class Renderer:
    """What nodes of one of the editor's renderers take: around all, for a row, below the rows of one with a badge, for
    the switch of folded rows, and for what a class shows once it has run."""

    around: int
    row: int
    below: int
    switch: int
    shown: dict[str, int]


_PICTURE = (
    "SaveImage", "PreviewImage", "LossGraphNode", "KSampler", "LightFusionSampler", "LightFusionEdit",
    "LightFusionRestore",
)  # fmt: skip
_WRITTEN = ("LightFusionAsk", "LightFusionThink", "PreviewAny")
RENDERERS = (
    Renderer(
        14, 24, 0, 24,
        dict.fromkeys(_PICTURE, 240) | dict.fromkeys(_WRITTEN, 94) | {"LightFusionLoad": 62, "LoadImage": 264},
    ),
    Renderer(
        24, 28, 24, 24,
        dict.fromkeys(_PICTURE, 290) | dict.fromkeys(_WRITTEN, 110) | {"LightFusionLoad": 62, "LoadImage": 318},
    ),
)  # fmt: skip
"""The canvas, and nodes that are made of elements."""


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
            y, width = _HEAD, max(size(node)[0] for node in column)
            for node in column:
                if node.id in nodes:
                    raise ValueError(f"{graph.name}: {node.title} stands in two places")
                height = size(node)[1]
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


def size(node: Node) -> tuple[int, int]:
    """A node's width and height: enough in both renderers for its slots, its widgets and what it shows."""
    open_widgets = [given for given in node.kind.widgets if not given.advanced or node.shows_advanced]
    texts = sum(given.multiline for given in open_widgets)
    slots = _SLOT * max(node.kind.rows, len(node.kind.outputs)) + _TEXT * texts
    folds = any(given.advanced for given in node.kind.widgets)
    # elements have what becomes of a seed in the seed's own row
    rows = (len(open_widgets) - texts + sum(given.control for given in open_widgets), len(open_widgets) - texts)
    height = max(
        renderer.around + slots + renderer.row * count + renderer.below * node.kind.badge + renderer.switch * folds
        + renderer.shown.get(node.kind.name, 0)
        for renderer, count in zip(RENDERERS, rows, strict=True)
    )  # fmt: skip
    return (_WIDE if texts else _WIDTH), height


def outer_size(blueprint: Blueprint) -> tuple[int, int]:
    """The size of the node that a blueprint becomes."""
    inside = {output: node.kind.input(name) for node in blueprint.nodes for name, output in node.links.items()}
    shown = [inside[blueprint.inputs[name]] for name, _ in blueprint.inputs.kind.outputs]
    texts = sum(given.multiline for given in shown)
    rows = sum(given.widget + given.control for given in shown) - texts
    slots = max(sum(not given.widget for given in shown), len(blueprint.outputs))
    return _WIDE, RENDERERS[1].around + _SLOT * slots + _TEXT * texts + RENDERERS[1].row * rows


def note_height(text: str) -> int:
    """Room for a note's lines, as the browser breaks them."""
    lines = sum(max(1, len(textwrap.wrap(line, _NOTE_LETTERS))) for line in text.splitlines())
    return 60 + _NOTE_LINE * lines
