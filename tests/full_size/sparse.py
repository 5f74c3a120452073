"""Safetensors files of any size that take no room: headers, and holes in the place of weights.

Weights of zero draw grey, and nothing here looks at pictures: what is measured is what opening, loading and running
them costs. A hole reads as fast as memory, so times are those of a file that the system has in its cache.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lightfusion_core.checkpoints.header import ELEMENT_SIZES

_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float8_e4m3fn: "F8_E4M3"}
_SHARD = 5_000_000_000


@dataclass(frozen=True)
class Blank:
    """A tensor without numbers."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        numbers = ELEMENT_SIZES[self.dtype]
        for side in self.shape:
            numbers *= side
        return numbers


Blanks = dict[str, Blank]


def blank(shapes: Mapping[str, Tensor], dtype: torch.dtype) -> Blanks:
    """What a module's tensors are in a file."""
    return {name: Blank(tuple(tensor.shape), _NAMES[dtype]) for name, tensor in shapes.items()}


def write(file: Path, tensors: Mapping[str, Blank], filled: Mapping[str, Tensor] | None = None) -> Path:
    """One file of holes; `filled` tensors are written with their numbers."""
    header, end = {}, 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": (end, end + tensor.size)}
        end += tensor.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        stream.truncate(8 + len(text) + end)
        for name, tensor in (filled or {}).items():
            stream.seek(8 + len(text) + header[name]["data_offsets"][0])
            stream.write(tensor.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return file


def write_shards(folder: Path, tensors: Mapping[str, Blank]) -> Path:
    """Files of five gigabytes with an index, as hubs cut them; returns the index."""
    parts: list[Blanks] = [{}]
    for name, tensor in tensors.items():
        if parts[-1] and tensor.size + sum(held.size for held in parts[-1].values()) > _SHARD:
            parts.append({})
        parts[-1][name] = tensor
    where = {}
    for number, part in enumerate(parts, start=1):
        name = f"model-{number:05}-of-{len(parts):05}.safetensors"
        write(folder / name, part)
        where.update(dict.fromkeys(part, name))
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": where}), encoding="utf-8")
    return index


def size_of(tensors: Iterable[Blank]) -> int:
    """Bytes of all."""
    return sum(tensor.size for tensor in tensors)
