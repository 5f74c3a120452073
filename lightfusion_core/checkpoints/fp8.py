"""Scaled fp8 weights, as ComfyUI writes them in two generations; any other form is refused.

Older: `X.scale_weight` beside `X.weight`, and a marker `scaled_fp8`. Newer: `X.weight_scale`, and a
description of the layer in the header's metadata or in a small tensor `X.comfy_quant`. Both mean
weight = stored value * scale. An fp8 weight without a scale is refused too: the values alone may be off by
any factor, and a picture drawn with them would be noise that nobody can explain.
"""

from __future__ import annotations

from ..errors import CheckpointError
from ..texts import parse_json, shortened
from .files import TensorFile
from .header import Entry

FP8 = ("F8_E4M3", "F8_E5M2")
FLOATS = ("F64", "F32", "F16", "BF16")
_FORMATS = ("float8_e4m3fn", "float8_e5m2")
_SCALES = ("scale_weight", "weight_scale")
_BESIDE = (*_SCALES, "scale_input", "input_scale", "comfy_quant")
_SUSPECT = ("scale", "quant", "zero", "absmax")
_USE = "use a bf16 or a scaled fp8 file"


def is_beside(name: str) -> bool:
    """Whether a tensor only says how another one is stored."""
    last = name.rpartition(".")[2]
    return last in _BESIDE or last == "scaled_fp8"


def scale_of(file: TensorFile, entry: Entry) -> str | None:
    """The name of the one-number tensor that `entry` is multiplied by; None for a plain float weight.

    Raises:
        CheckpointError: stored in a form that is not known here.
    """
    if entry.dtype not in FLOATS + FP8:
        raise CheckpointError(f"{file.path}: {entry.name} is stored as {entry.dtype}, which is not read: {_USE}.")
    stem, _, last = entry.name.rpartition(".")
    siblings = file.siblings.get(stem, []) if last == "weight" else []
    scales = [f"{stem}.{sibling}" for sibling in siblings if sibling in _SCALES]
    if not scales and entry.dtype in FLOATS:
        return None
    _check_description(file, entry, stem)
    others = [s for s in siblings if s not in _BESIDE and any(word in s for word in _SUSPECT)]
    known = len(scales) == 1 and file.header.entries[scales[0]].dtype in FLOATS
    if not known or others or file.header.entries[scales[0]].numbers != 1:
        raise CheckpointError(
            f"{file.path}: {entry.name} is {entry.dtype} with {_found(file, stem, scales, others)} beside it, and a "
            f"layout that is known has one number, {stem}.{_SCALES[0]} or {stem}.{_SCALES[1]}: {_USE}."
        )
    return scales[0]


def _found(file: TensorFile, stem: str, scales: list[str], others: list[str]) -> str:
    names = [*scales, *(f"{stem}.{other}" for other in others)]
    return (
        " and ".join(
            f"{name} of shape {list(file.header.entries[name].shape)} and {file.header.entries[name].dtype}"
            for name in names
        )
        or "no scale"
    )


def _check_description(file: TensorFile, entry: Entry, stem: str) -> None:
    described = file.quantised_layers.get(stem)
    if f"{stem}.comfy_quant" in file.header.entries:
        try:
            described = parse_json(file.document(f"{stem}.comfy_quant"))
        except (ValueError, TypeError):
            described = {}
    if described is None:
        return
    form = described.get("format") if isinstance(described, dict) else None
    if form not in _FORMATS:
        raise CheckpointError(
            f"{file.path}: {entry.name} is quantised as {shortened(form)}, and what is read here is "
            f"{' and '.join(_FORMATS)}: {_USE}."
        )
