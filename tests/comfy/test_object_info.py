"""Ids, inputs and outputs of the nodes: shared workflow files hold them by name and by order."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest
from host import Client
from object_info import RECORD, SNAPSHOT, changes, frozen, lists_grow, without_growing

RECORDED = json.loads(SNAPSHOT.read_text(encoding="utf-8"))


@pytest.mark.comfy
def test_nodes_are_what_shared_files_count_on(client: Client) -> None:
    """A renamed input, or a widget in another place, opens in other people's files with wrong values."""
    known = client.object_info()
    breaking, added = changes(RECORDED if lists_grow(known) else without_growing(RECORDED), frozen(known))
    if breaking:
        pytest.fail(
            "Shared workflow files would break. Undo this, or give the node another id:\n" + "\n".join(breaking),
            pytrace=False,
        )
    if added:
        pytest.fail(
            f"The nodes have grown in a way that files survive. Record them anew with `{RECORD}`:\n" + "\n".join(added),
            pytrace=False,
        )


def _changed(change: str) -> tuple[list[str], list[str]]:
    found = deepcopy(RECORDED)
    node = found["LightFusionSampler"]
    required, optional = node["input"]["required"], node["input"]["optional"]
    if change == "renamed input":
        required["cfg"] = required.pop("text_guidance")
    elif change == "moved input":
        required["steps"] = required.pop("steps")
    elif change == "new required input":
        required["sharpness"] = ["FLOAT", {"default": 1.0}]
    elif change == "input before another optional one":
        node["input"]["optional"] = {"mask": ["MASK", {}], **optional}
    elif change == "other default":
        required["steps"][1]["default"] = 20
    elif change == "option taken away":
        required["solver"][1]["options"].pop()
    elif change == "output of another type":
        node["output"] = ["IMAGE"]
    elif change == "node taken away":
        del found["LightFusionAsk"]
    elif change == "new optional input":
        optional["mask"] = ["MASK", {}]
    elif change == "new option":
        required["solver"][1]["options"].append("rk4")
    elif change == "folded input":
        required["steps"][1]["advanced"] = True
    elif change == "new node":
        found["LightFusionOther"] = node
    return changes(RECORDED, found)


@pytest.mark.parametrize(
    "change",
    [
        "renamed input", "moved input", "new required input", "input before another optional one", "other default",
        "option taken away", "output of another type", "node taken away",
    ],
)  # fmt: skip
def test_what_breaks_files_is_told(change: str) -> None:
    breaking, _ = _changed(change)
    assert breaking


@pytest.mark.parametrize("change", ["new optional input", "new option", "folded input", "new node"])
def test_what_only_adds_is_told_apart(change: str) -> None:
    breaking, added = _changed(change)
    assert breaking == []
    assert len(added) == 1
