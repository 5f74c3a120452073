"""A blueprint as the frontend keeps it: one node at the root, and the subgraph that it stands for.

An input of the subgraph that ends in a widget is shown on the node as one. `proxyWidgets` names these widgets by the
nodes inside of which they are, for frontends that do not see it from the links.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lightfusion_core import __version__

from .graph import OUTSIDE, Blueprint, Node
from .layout import arrange, outer_size
from .schema import Input, Kind
from .write import OPTIONAL, PACK, Json, Wire, groups_of, nodes_of, unique, wires_of

FOLDER = Path(__file__).parents[2] / "subgraphs"
_RESULTS = -20
"""The id under which the nodes of a subgraph know what comes out of it."""

_SIDE, _ROW = 160, 20


def write(blueprint: Blueprint, folder: Path = FOLDER) -> None:
    """Save a blueprint under its name."""
    folder.mkdir(exist_ok=True)
    text = json.dumps(to_ui(blueprint), indent=1, ensure_ascii=False)
    (folder / f"{blueprint.name}.json").write_text(text + "\n", encoding="utf-8")


def to_ui(blueprint: Blueprint) -> Json:
    """The file's content."""
    subgraph = _subgraph(blueprint)
    return {
        "id": unique(f"subgraphs/{blueprint.name}"),
        "revision": 0,
        "last_node_id": 1,
        "last_link_id": 0,
        "nodes": [_outer_node(blueprint, subgraph["id"])],
        "links": [],
        "groups": [],
        "definitions": {"subgraphs": [subgraph]},
        "config": {},
        "extra": {"BlueprintDescription": blueprint.note, "BlueprintSearchAliases": list(blueprint.aliases)},
        "version": 0.4,
    }


def _ends(wires: Sequence[Wire], slot: int) -> list[tuple[Node, Input]]:
    """The inputs of nodes that an input of the subgraph is wired to."""
    inside = [wire for wire in wires if wire.origin.node.id == OUTSIDE and wire.origin.slot == slot]
    return [(wire.target, wire.target.kind.input(wire.name)) for wire in inside]


def _outer_node(blueprint: Blueprint, kind: str) -> Json:
    wires, inputs, shown, controls = wires_of(blueprint, whole=True), [], [], []
    for slot, (name, type_) in enumerate(blueprint.inputs.kind.outputs):
        node, given = _ends(wires, slot)[0]
        written = {**_named(name), "type": type_, "link": None}
        if given.optional:
            written["shape"] = OPTIONAL
        if given.widget:
            written["widget"] = {"name": name}
            shown.append([str(node.id), given.name])
        if given.control:
            controls.append([str(node.id), "control_after_generate"])
        inputs.append(written)
    return {
        "id": 1,
        "type": kind,
        "pos": [0, 0],
        "size": list(outer_size(blueprint)),
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": inputs,
        "outputs": [{"name": name, "type": output.type, "links": None} for name, output in blueprint.outputs.items()],
        "properties": {"proxyWidgets": [*shown, *controls], "cnr_id": PACK, "ver": __version__},
        "widgets_values": [],
        "title": blueprint.title,
    }


def _subgraph(blueprint: Blueprint) -> Json:
    layout, wires = arrange(blueprint), wires_of(blueprint, whole=True)
    last = Node(_RESULTS, Kind("", "", "", False, False, (), ()), "", {}, {}, "")
    wires += [
        Wire(len(wires) + 1 + slot, output, last, slot, name, output.type)
        for slot, (name, output) in enumerate(blueprint.outputs.items())
    ]
    right = max(box.x + box.width for box in layout.groups) + _SIDE
    return {
        "id": unique(f"subgraphs/{blueprint.name}/subgraph"),
        "version": 1,
        "state": {
            "lastGroupId": len(blueprint.groups),
            "lastNodeId": len(blueprint.nodes),
            "lastLinkId": len(wires),
            "lastRerouteId": 0,
        },
        "revision": 0,
        "config": {},
        "name": blueprint.title,
        "inputNode": {"id": OUTSIDE, "bounding": _edge(layout.note.x, len(blueprint.inputs.kind.outputs))},
        "outputNode": {"id": _RESULTS, "bounding": _edge(right, len(blueprint.outputs))},
        "inputs": [
            _slot(blueprint, "input", name, type_, [wire.id for wire in wires if wire.origin == blueprint.inputs[name]])
            for name, type_ in blueprint.inputs.kind.outputs
        ],
        "outputs": [
            _slot(blueprint, "output", wire.name, wire.type, [wire.id]) for wire in wires if wire.target.id == _RESULTS
        ],
        "widgets": [],
        "nodes": nodes_of(blueprint, layout, wires, whole=True),
        "groups": groups_of(blueprint, layout),
        "links": [
            {
                "id": wire.id,
                "origin_id": wire.origin.node.id,
                "origin_slot": wire.origin.slot,
                "target_id": wire.target.id,
                "target_slot": wire.slot,
                "type": wire.type,
            }
            for wire in wires
        ],
        "extra": {"workflowRendererVersion": "LG"},
        "category": blueprint.category,
        "description": blueprint.note,
    }


def _slot(blueprint: Blueprint, what: str, name: str, kind: str, links: list[int]) -> Json:
    return {"id": unique(f"subgraphs/{blueprint.name}/{what}/{name}"), **_named(name), "type": kind, "linkIds": links}


def _named(name: str) -> Json:
    return {"name": name, "label": name.replace("_", " ")} if "_" in name else {"name": name}


def _edge(x: int, slots: int) -> list[int]:
    return [x, 0, 120, 40 + _ROW * slots]
