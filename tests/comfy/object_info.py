"""What shared workflow files count on in the pack's nodes: the committed form, and how it may change."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from tools.comfyui import PACK_NAME
from tools.workflows.schema import GROWING

SNAPSHOT = Path(__file__).with_name("object_info.json")
RECORD = "python -m tests.comfy.record"
_MODULE = f"custom_nodes.{PACK_NAME}"
_OPTIONS = (
    "advanced", "default", "min", "max", "step", "options", "multiline", "dynamicPrompts", "control_after_generate",
    "forceInput", "template",
)  # fmt: skip
_FILES = {"LightFusionLoad": ("model", "understanding", "vae")}
"""Lists of what lies on a machine, whose options are not part of the node."""

Info = dict[str, dict[str, Any]]


def frozen(object_info: Info) -> Info:
    """The part of a server's /object_info that must stay, for the pack's nodes, the same for every ComfyUI."""
    return {name: _node(name, info) for name, info in own(object_info).items()}


def own(object_info: Info) -> Info:
    """The pack's nodes out of all."""
    return {name: info for name, info in object_info.items() if info["python_module"] == _MODULE}


def _node(name: str, info: dict[str, Any]) -> dict[str, Any]:
    inputs: dict[str, dict[str, Any]] = {"required": {}, "optional": {}}
    for group, given in inputs.items():
        for key in info["input_order"].get(group, ()):
            kind, options = (*info["input"][group][key], {})[:2]
            options = {option: options[option] for option in _OPTIONS if option in options}
            if key in _FILES.get(name, ()):
                options["options"] = [options["default"]]
            given[key] = [kind, options]
    return {
        "input": inputs,
        "output": info["output"],
        "output_name": info["output_name"],
        "output_is_list": info["output_is_list"],
        "output_node": info["output_node"],
    }


def lists_grow(object_info: Info) -> bool:
    """Whether a host has inputs that come one by one as they are wired."""
    kinds = (given[0] for info in object_info.values() for group in info["input"].values() for given in group.values())
    return GROWING in kinds


def without_growing(snapshot: Info) -> Info:
    """The snapshot as a host has it whose lists of inputs do not grow."""
    made = deepcopy(snapshot)
    for info in made.values():
        for group, given in info["input"].items():
            info["input"][group] = {key: of for key, of in given.items() if of[0] != GROWING}
    return made


def served(snapshot: Info) -> Info:
    """The snapshot as a server would give it, with what is not frozen filled in."""
    rest = {"category": "LightFusion", "description": "", "python_module": _MODULE}
    made = {}
    for name, info in snapshot.items():
        order = {group: list(given) for group, given in info["input"].items()}
        made[name] = {**info, **rest, "name": name, "display_name": name, "input_order": order}
    return made


def changes(recorded: Info, found: Info) -> tuple[list[str], list[str]]:
    """What differs, as sentences: (what would break shared files, what was only added)."""
    breaking, added = [], []
    for breaks, sentence in _changes(recorded, found):
        (breaking if breaks else added).append(sentence)
    return breaking, added


def _changes(recorded: Info, found: Info) -> Iterator[tuple[bool, str]]:
    for name in recorded.keys() - found.keys():
        yield True, f"{name} is gone."
    for name in found.keys() - recorded.keys():
        yield False, f"{name} is new."
    for name in recorded.keys() & found.keys():
        old, new = recorded[name], found[name]
        for group in ("required", "optional"):
            yield from _inputs(f"{name}, {group} inputs", old["input"][group], new["input"][group], group == "optional")
        for part in ("output", "output_name", "output_is_list"):
            yield from _listed(f"{name}, {part}", old[part], new[part])
        if old["output_node"] != new["output_node"]:
            yield True, f"{name}, output_node: {old['output_node']} became {new['output_node']}."


def _inputs(where: str, old: dict[str, Any], new: dict[str, Any], may_grow: bool) -> Iterator[tuple[bool, str]]:
    for breaks, sentence in _listed(where, list(old), list(new)):
        yield breaks or not may_grow, sentence
    for key in old.keys() & new.keys():
        (old_kind, old_options), (new_kind, new_options) = old[key], new[key]
        if old_kind != new_kind:
            yield True, f"{where}, {key}: the type {old_kind} became {new_kind}."
        for option in sorted(old_options.keys() | new_options.keys()):
            before, after = old_options.get(option), new_options.get(option)
            if isinstance(before, list) and isinstance(after, list):
                yield from _listed(f"{where}, {key}, {option}", before, after)
            elif before != after:
                yield option != "advanced", f"{where}, {key}: {option} {before!r} became {after!r}."


def _listed(where: str, old: list[Any], new: list[Any]) -> Iterator[tuple[bool, str]]:
    if new != old:
        yield new[: len(old)] != old, f"{where}: {old} became {new}."
