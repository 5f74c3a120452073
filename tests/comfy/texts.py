"""What the pack's nodes say, in the form of ComfyUI's translations (`locales/<language>/nodeDefs.json`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.comfyui import PACK

Texts = dict[str, dict[str, Any]]


def file_of(language: str) -> Path:
    """The translations of the nodes."""
    return PACK / "locales" / language / "nodeDefs.json"


def english(nodes: dict[str, dict[str, Any]]) -> Texts:
    """The texts of nodes out of a server's /object_info."""
    return {name: _node(info) for name, info in nodes.items()}


def _node(info: dict[str, Any]) -> dict[str, Any]:
    inputs = {}
    for group in ("required", "optional"):
        for name in info["input_order"].get(group, ()):
            options = (*info["input"][group][name], {})[1]
            inputs[name] = {"name": name, **({"tooltip": options["tooltip"]} if options.get("tooltip") else {})}
            if options.get("control_after_generate"):
                inputs["control_after_generate"] = {"name": "control after generate"}
    outputs = {str(index): {"name": name} for index, name in enumerate(info["output_name"])}
    return {
        "display_name": info["display_name"],
        "description": info["description"],
        "inputs": inputs,
        "outputs": outputs,
    }


def paths(texts: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where a text stands, for every text."""
    if isinstance(texts, str):
        yield path
        return
    for key, value in texts.items():
        yield from paths(value, (*path, key))
