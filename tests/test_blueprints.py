"""The blueprints' files: what newer editors take for one, and that old ones have nothing to stumble over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lightfusion_core import __version__
from tools.workflows.blueprints import BLUEPRINTS, IMAGES
from tools.workflows.schema import recording
from tools.workflows.subgraph import FOLDER, write

FILES = sorted(FOLDER.glob("*.json"))
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def read(file: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A file, its node, and the subgraph that it stands for."""
    content = json.loads(file.read_text(encoding="utf-8"))
    (node,), (subgraph,) = content["nodes"], content["definitions"]["subgraphs"]
    return content, node, subgraph


def test_files_are_what_the_builder_makes(tmp_path: Path) -> None:
    """A file that was changed by hand is lost when the next one is made: `python -m tools.workflows build`."""
    for make in BLUEPRINTS:
        write(make(), tmp_path)
    made = {file.name: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()}
    assert made == {file.name: file.read_text(encoding="utf-8") for file in FOLDER.iterdir()}


@each_file
def test_file_is_one_node_that_stands_for_a_subgraph(file: Path) -> None:
    content, node, subgraph = read(file)
    assert node["type"] == subgraph["id"]
    assert node["title"] == subgraph["name"] == file.stem
    assert content["links"] == []
    assert (node["properties"]["cnr_id"], node["properties"]["ver"]) == ("comfyui-lightfusion", __version__)


@each_file
def test_library_knows_where_it_belongs_and_what_it_does(file: Path) -> None:
    content, _, subgraph = read(file)
    assert subgraph["category"].startswith(f"{IMAGES}/")
    assert content["extra"]["BlueprintDescription"] == subgraph["description"]
    assert 60 < len(subgraph["description"]) < 300
    assert len(set(content["extra"]["BlueprintSearchAliases"])) >= 3


@each_file
def test_links_are_written_alike_at_both_ends(file: Path) -> None:
    """The frontend drops a link that only one end knows, in silence."""
    _, _, subgraph = read(file)
    nodes = {node["id"]: node for node in subgraph["nodes"]}
    for link in subgraph["links"]:
        if link["origin_id"] == subgraph["inputNode"]["id"]:
            assert link["id"] in subgraph["inputs"][link["origin_slot"]]["linkIds"]
        else:
            assert link["id"] in nodes[link["origin_id"]]["outputs"][link["origin_slot"]]["links"]
        if link["target_id"] == subgraph["outputNode"]["id"]:
            assert subgraph["outputs"][link["target_slot"]]["linkIds"] == [link["id"]]
        else:
            assert nodes[link["target_id"]]["inputs"][link["target_slot"]]["link"] == link["id"]
    assert [link["id"] for link in subgraph["links"]] == list(range(1, subgraph["state"]["lastLinkId"] + 1))
    assert all(given["linkIds"] for given in subgraph["inputs"]), "an input that ends nowhere"
    ids = [given["id"] for end in ("inputs", "outputs") for given in subgraph[end]]
    assert len(set(ids)) == len(ids)


@each_file
def test_every_row_is_a_widget_inside(file: Path) -> None:
    """Their names are what a person reads; a seed is new after each run, as elsewhere."""
    _, node, subgraph = read(file)
    inside, links = {str(inner["id"]): inner for inner in subgraph["nodes"]}, subgraph["links"]
    shown = [given for given in node["inputs"] if "widget" in given]
    *proxies, control = node["properties"]["proxyWidgets"]
    assert len(proxies) == len(shown)
    for given, (number, name) in zip(shown, proxies, strict=True):
        (ends,) = [one["linkIds"] for one in subgraph["inputs"] if one["name"] == given["name"]]
        target = next(link for link in links if link["id"] == ends[0])
        assert str(target["target_id"]) == number
        assert inside[number]["inputs"][target["target_slot"]]["name"] == name
        assert given["widget"] == {"name": given["name"]}
    names = [given.get("label", given["name"]) for given in node["inputs"]]
    assert {"seed", "steps", "model"} <= set(names)
    assert not any("_" in name for name in names)
    assert control[1] == "control_after_generate"
    assert "randomize" in inside[control[0]]["widgets_values"]


@each_file
def test_every_node_inside_has_all_of_its_slots(file: Path) -> None:
    """A frontend that finds some slots of widgets missing shows the value of another row."""
    _, _, subgraph = read(file)
    for node in subgraph["nodes"]:
        known = recording()[node["type"]]
        assert [given["name"] for given in node["inputs"]] == [given.name for given in (*known.sockets, *known.widgets)]
