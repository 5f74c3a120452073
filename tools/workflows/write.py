"""A described workflow in ComfyUI's two formats: what its frontend opens, and what its server runs.

The frontend's format is litegraph's, version 0.4, as the frontend itself saves it: sockets stand before the inputs
of widgets, and a seed is followed by what becomes of it after a run.
"""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightfusion_core import __version__

from .graph import Graph, Node, Output
from .layout import Box, Layout, arrange
from .schema import Input

FOLDER = Path(__file__).parents[2] / "workflows"
PACK = "comfyui-lightfusion"
OPTIONAL = 7  # litegraph's shape of a socket that may stay empty
_NOTE_COLORS = {"color": "#432", "bgcolor": "#653"}

Json = dict[str, Any]


def write(graph: Graph, folder: Path = FOLDER) -> None:
    """Save both formats of a workflow."""
    (folder / "api").mkdir(parents=True, exist_ok=True)
    for file, content in ((f"{graph.name}.json", to_ui(graph)), (f"api/{graph.name}.json", to_api(graph))):
        (folder / file).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def to_api(graph: Graph) -> Json:
    """What the server runs: inputs by name, a link as [node id, output]. A blueprint's with nothing wired into it."""
    return {
        str(node.id): {
            "inputs": {
                given.name: [str(link.node.id), link.slot] if link else node.values[given.name]
                for given in node.kind.inputs
                if (link := node.links_inside.get(given.name)) or given.widget
            },
            "class_type": node.kind.name,
            "_meta": {"title": node.title},
        }
        for node in graph.nodes
    }


def to_ui(graph: Graph) -> Json:
    """What the frontend opens."""
    layout, wires = arrange(graph), wires_of(graph)
    note = len(graph.nodes) + 1
    return {
        "id": unique(f"workflows/{graph.name}"),
        "revision": 0,
        "last_node_id": note,
        "last_link_id": len(wires),
        "nodes": [*nodes_of(graph, layout, wires), _note(graph, layout)],
        "links": [
            [wire.id, wire.origin.node.id, wire.origin.slot, wire.target.id, wire.slot, wire.type] for wire in wires
        ],
        "groups": groups_of(graph, layout),
        "config": {},
        "extra": {"ds": {"scale": 0.7, "offset": [60, 80]}, **_app(graph)},
        "version": 0.4,
    }


def _app(graph: Graph) -> Json:
    """Its form in newer editors; others leave it alone."""
    if graph.app is None:
        return {}
    shown = {
        "inputs": [[node.id, name] for node, name in graph.app.inputs],
        "outputs": [node.id for node in graph.app.outputs],
    }
    return {"linearMode": graph.opens_as_app, "linearData": shown}


def nodes_of(graph: Graph, layout: Layout, wires: Sequence[Wire], *, whole: bool = False) -> list[Json]:
    """The nodes without the note. `whole` as `wires_of` has it."""
    into = {(wire.target.id, wire.slot): wire.id for wire in wires}
    out_of = defaultdict(list)
    for wire in wires:
        out_of[wire.origin.node.id, wire.origin.slot].append(wire.id)
    return [_node(node, layout.nodes[node.id], _slots(node, whole), into, out_of) for node in graph.nodes]


def groups_of(graph: Graph, layout: Layout) -> list[Json]:
    """The frames."""
    return [
        {
            "id": number,
            "title": group.title,
            "bounding": [box.x, box.y, box.width, box.height],
            "color": group.color,
            "font_size": 24,
            "flags": {},
        }
        for number, (group, box) in enumerate(zip(graph.groups, layout.groups, strict=True), start=1)
    ]


def unique(name: str) -> str:
    """An id that stays the same when the file is made anew."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{PACK}/{name}"))


@dataclass(frozen=True, slots=True)
class Wire:
    """A link into a slot of a node."""

    id: int
    origin: Output
    target: Node
    slot: int
    name: str
    type: str


def wires_of(graph: Graph, *, whole: bool = False) -> list[Wire]:
    """Every link, numbered from 1. `whole`: nodes have a slot for every widget, wired or not, as newer frontends
    write them."""
    ends = [
        (node, slot, given)
        for node in graph.nodes
        for slot, given in enumerate(_slots(node, whole))
        if given.name in node.links
    ]
    return [
        Wire(number, node.links[given.name], node, slot, given.name, given.type)
        for number, (node, slot, given) in enumerate(ends, start=1)
    ]


def _slots(node: Node, whole: bool) -> list[Input]:
    """The inputs in the order of the frontend's slots."""
    return [*node.kind.sockets, *(given for given in node.kind.widgets if whole or given.name in node.links)]


def _node(
    node: Node, box: Box, slots: Sequence[Input], into: dict[tuple[int, int], int],
    out_of: dict[tuple[int, int], list[int]],
) -> Json:  # fmt: skip
    pack, version = (PACK, __version__) if node.kind.ours else ("comfy-core", node.kind.comfyui)
    values = []
    for given in node.kind.widgets:
        values.append(node.values[given.name])
        values += [node.control] if given.control else []
        values += ["image"] if given.upload else []
    written: Json = {
        "id": node.id,
        "type": node.kind.name,
        "pos": [box.x, box.y],
        "size": [box.width, box.height],
        "flags": {},
        "order": node.id - 1,
        "mode": 0,
        "inputs": [_input(given, into.get((node.id, slot))) for slot, given in enumerate(slots)],
        "outputs": [
            {"name": name, "type": kind, "links": out_of.get((node.id, slot))}
            for slot, (name, kind) in enumerate(node.kind.outputs)
        ],
        "properties": {"cnr_id": pack, "ver": version, "Node name for S&R": node.kind.name},
        "widgets_values": values,
    }
    if node.title != node.kind.title:
        written["title"] = node.title
    return written


def _input(given: Input, link: int | None) -> Json:
    written: Json = {"name": given.name, "type": given.type, "link": link}
    if given.optional:
        written["shape"] = OPTIONAL
    if given.widget:
        written["widget"] = {"name": given.name}
    return written


def _note(graph: Graph, layout: Layout) -> Json:
    box = layout.note
    return {
        "id": len(graph.nodes) + 1,
        "type": "MarkdownNote",
        "pos": [box.x, box.y],
        "size": [box.width, box.height],
        "flags": {},
        "order": len(graph.nodes),
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": graph.title,
        "properties": {},
        "widgets_values": [graph.note],
        **_NOTE_COLORS,
    }
