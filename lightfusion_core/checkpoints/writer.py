"""safetensors files written number by number, within the memory of one piece.

The header goes first, from what is planned; the numbers follow in any order and in pieces.
"""

from __future__ import annotations

import json
import os
import struct
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO

import torch
from torch import Tensor

from .header import ELEMENT_SIZES


@dataclass(frozen=True, slots=True)
class Planned:
    """One tensor of a file to be: its name there, safetensors dtype name, and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return prod(self.shape) * ELEMENT_SIZES[self.dtype]


class Writer:
    """One file while it is written; see `Staging.open`."""

    def __init__(self, stream: BinaryIO, plan: Sequence[Planned], metadata: Mapping[str, str]) -> None:
        self._stream, self._plan = stream, {planned.name: planned for planned in plan}
        self._turn = threading.Lock()
        # The widest first: every tensor then starts at a multiple of its elements, and is mapped, not copied
        order = sorted(plan, key=lambda planned: -ELEMENT_SIZES[planned.dtype])
        header: dict[str, Any] = {"__metadata__": dict(metadata)}
        starts, end = {}, 0
        for planned in order:
            starts[planned.name], end = end, end + planned.size
            offsets = [starts[planned.name], end]
            header[planned.name] = {"dtype": planned.dtype, "shape": list(planned.shape), "data_offsets": offsets}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._starts = {name: 8 + len(text) + start for name, start in starts.items()}
        self.size = 8 + len(text) + end
        self._left = sum(planned.size for planned in plan)
        stream.write(struct.pack("<Q", len(text)) + text)

    def write(self, name: str, numbers: Tensor, start: int = 0) -> None:
        """Numbers of a tensor in its planned dtype, from the number `start` on; several threads may write."""
        planned = self._plan[name]
        data = numbers.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data
        with self._turn:
            self._stream.seek(self._starts[name] + start * ELEMENT_SIZES[planned.dtype])
            self._stream.write(data)
            self._left -= len(data)

    def finish(self) -> None:
        """Put everything on the disk."""
        if self._left:
            raise RuntimeError(f"{self._left} planned bytes were not written.")
        self._stream.flush()
        os.fsync(self._stream.fileno())
