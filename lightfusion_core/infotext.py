"""A drawing's settings as the text that picture viewers and other tools read: the prompt, what is led away from, and
one line of names and values (AUTOMATIC1111's form, in a PNG's text chunk `parameters`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_NAMES = {
    "steps": "Steps", "solver": "Sampler", "guidance": "CFG scale", "seed": "Seed", "size": "Size",
    "model_name": "Model", "strength": "Denoising strength", "shift": "Shift", "version": "Version",
}  # fmt: skip
"""By our names, those of the form, in its order."""


def infotext(settings: Mapping[str, Any]) -> str | None:
    """The text; None for settings without a prompt, which the form cannot go without."""
    if not isinstance(settings.get("prompt"), str):
        return None
    values = dict(settings)
    if {"width", "height"} <= values.keys():
        values["size"] = f"{values['width']}x{values['height']}"
    if values.get("denoise", 1.0) != 1.0:
        values["strength"] = values["denoise"]
    if "version" in values:
        values["version"] = f"LightFusion {values['version']}"
    lines = [values["prompt"]]
    if values.get("negative_prompt"):
        lines.append(f"Negative prompt: {values['negative_prompt']}")
    lines.append(", ".join(f"{name}: {_value(values[ours])}" for ours, name in _NAMES.items() if ours in values))
    # Lone surrogates (a file name that is not UTF-8) cannot be stored, and a zero would end the chunk
    return "\n".join(filter(None, lines)).replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def _value(value: Any) -> str:
    """In quotes where it would be taken for more than one."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",:\n") else text
