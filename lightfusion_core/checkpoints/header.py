"""The header of a safetensors file: what its tensors are called, how large they are, where they lie.

It is read here, and not through the library, so that a damaged file can be told apart from a foreign
one, and so that `inspect` can still say what a file was that is cut off.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import CheckpointError
from ..mistaken import mistaken
from ..texts import reason

_LONGEST = 100_000_000  # the format's own limit
_MOST_TENSORS, _MOST_SIDES, _LONGEST_NAME = 100_000, 32, 500
_FOREIGN = (
    ((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04"), "is a PyTorch pickle file, which can run any code"),
    ((b"GGUF",), "is a GGUF file, which is not read"),
    ((b"\x89HDF",), "is an HDF5 file, which is not read"),
)
_CONVERT = "get the safetensors version of it, or convert it"

ELEMENT_SIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
"""Bytes of one element by safetensors' dtype names."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a file: its name there, shape, safetensors dtype name, bytes, and where they start."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str
    size: int
    offset: int

    @property
    def numbers(self) -> int:
        """How many numbers the tensor holds."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """entries: by name. expected, found: the file's size in bytes as the header says and as it is. state: the file's
    when it was read, see `state_of`."""

    file: Path
    entries: dict[str, Entry]
    metadata: dict[str, str]
    expected: int
    found: int
    state: tuple[int, ...]

    @property
    def fault(self) -> str | None:
        """What is wrong with the file's size, if anything is."""
        if self.found < self.expected:
            return f"{self.file} is cut off: it has {self.found:,} of its {self.expected:,} bytes; get it again."
        if self.found > self.expected:
            return f"{self.file} is damaged: {self.found - self.expected:,} bytes follow its last tensor; get it again."
        return None


def state_of(status: os.stat_result) -> tuple[int, ...]:
    """What changes of a file when it is written or replaced: size, time, and place on the disk."""
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev


def read_header(file: Path) -> Header:
    """The header of `file`; whether its data is whole is for `Header.fault` to say.

    Raises:
        CheckpointError: not to be read, not safetensors, or the header itself is cut off or damaged.
    """
    try:
        with file.open("rb") as stream:
            return _parse(file, stream)
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {reason(error)}.") from None


def _parse(file: Path, stream: BinaryIO) -> Header:
    found = stream.seek(0, 2)
    stream.seek(0)
    start = stream.read(512)
    length = struct.unpack("<Q", start[:8])[0] if found >= 8 else 0
    _check_start(file, start, found, length)
    stream.seek(8)
    try:
        said = json.loads(stream.read(length), object_pairs_hook=_without_doubles)
        metadata = {str(key): str(value) for key, value in said.pop("__metadata__", {}).items()}
        if len(said) > _MOST_TENSORS:
            raise CheckpointError(f"{file} names {len(said):,} tensors, and no model that is known has so many.")
        entries = {name: _entry(file, name, value, 8 + length) for name, value in said.items()}
        ends = [8 + length, *(entry.offset + entry.size for entry in entries.values())]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise CheckpointError(f"{file} is damaged: its safetensors header cannot be read; get it again.") from None
    return Header(file, entries, metadata, max(ends), found, state_of(os.fstat(stream.fileno())))


def _check_start(file: Path, start: bytes, found: int, length: int) -> None:
    if not found:
        raise CheckpointError(f"{file} is empty; get it again.")
    if (mistake := mistaken(start)) is not None:
        raise CheckpointError(f"{file} {mistake}.")
    for magics, what in _FOREIGN:
        if start.startswith(magics):
            raise CheckpointError(f"{file} {what}, not a safetensors file: {_CONVERT}.")
    if not 2 <= length <= _LONGEST or start[8:9] != b"{":
        raise CheckpointError(f"{file} is not a safetensors file: {_CONVERT}.")
    if 8 + length > found:
        raise CheckpointError(
            f"{file} is cut off inside of its header: it has {found:,} bytes, the header alone takes {8 + length:,}; "
            "get it again."
        )


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a name that is there twice is a ValueError: readers would differ in which they take."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _entry(file: Path, name: str, value: Mapping[str, Any], data: int) -> Entry:
    """One entry; `data` is where the tensors begin. What is wrong with it is a ValueError, TypeError or KeyError."""
    dtype, shape, (start, end) = value["dtype"], tuple(value["shape"]), value["data_offsets"]
    if not isinstance(dtype, str) or any(type(number) is not int or number < 0 for number in (*shape, start, end)):
        raise ValueError(name)
    if len(name) > _LONGEST_NAME or len(shape) > _MOST_SIDES or end < start:
        raise ValueError(name)
    if dtype in ELEMENT_SIZES and end - start != prod(shape) * ELEMENT_SIZES[dtype]:
        raise ValueError(name)
    return Entry(file, name, shape, dtype, end - start, data + start)
