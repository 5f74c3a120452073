"""One safetensors file with its tensors, mapped from it or read."""

from __future__ import annotations

import mmap
import sys
import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..documents import LARGEST
from ..errors import CheckpointError
from ..mistaken import unfinished
from ..texts import parse_json, reason
from .header import ELEMENT_SIZES, Entry, Header, read_header, state_of

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
"""torch's dtypes by safetensors' names, for what weights are stored in."""

_READ = {**DTYPES, "U8": torch.uint8}
"""The same for all that is read: some files say beside a weight, in bytes, how it is quantised."""

UNMAPPED = "load it unmapped, into memory of its own (mapped=False, --no-mmap; ComfyUI's --disable-mmap)"
"""What to do where mapping is the trouble."""

_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)  # Python names it from 3.13 on


class TensorFile:
    """One safetensors file: its header at once, its tensors mapped from it when they are asked for.

    Args:
        mapped: else they are read, into memory of this process's own.
    """

    def __init__(self, header: Header, mapped: bool = True) -> None:
        self.path, self.header, self.mapped = header.file, header, mapped
        self._mapped: mmap.mmap | None = None

    @classmethod
    def open(cls, path: Path, mapped: bool = True) -> TensorFile:
        """Read the header of a whole file.

        Raises:
            CheckpointError: not safetensors, damaged, cut off, or still being downloaded.
        """
        file = cls(read_header(path), mapped)
        if file.fault:
            raise CheckpointError(file.fault)
        return file

    def __deepcopy__(self, memo: dict[int, Any]) -> TensorFile:
        """Itself: a copied model's file is the same."""
        return self

    @cached_property
    def fault(self) -> str | None:
        """What is wrong with the file as a whole, if anything is, as far as its header says."""
        if self.header.fault:
            return self.header.fault
        if (note := unfinished(self.path)) is not None:
            return (
                f"{self.path} is a download that has not ended, as {note.name} beside it says: let it end, or delete "
                "that if you know that the file is whole."
            )
        return self._librarys_fault()

    def changed(self) -> str | None:
        """How the file is another than when its header was read; None where it is the same."""
        try:
            now = state_of(self.path.stat())
        except OSError:
            return "is gone"
        if now == self.header.state:
            return None
        return f"had {self.header.found:,} bytes and has {now[0]:,}" if now[0] != self.header.found else "has changed"

    @cached_property
    def siblings(self) -> dict[str, list[str]]:
        """The last parts of all names by what comes before: "a.b.weight" is one of the siblings of "a.b"."""
        found: dict[str, list[str]] = {}
        for name in self.header.entries:
            stem, _, last = name.rpartition(".")
            found.setdefault(stem, []).append(last)
        return found

    @cached_property
    def quantised_layers(self) -> dict[str, Any]:
        """What the header's metadata says of quantised layers, by their name.

        Raises:
            CheckpointError: it says something, and not in the form that is known.
        """
        said = self.header.metadata.get("_quantization_metadata")
        if said is None:
            return {}
        try:
            return dict(parse_json(said)["layers"])
        except (ValueError, TypeError, KeyError):
            raise CheckpointError(
                f"{self.path} says how it is quantised in a form that is not known: use a bf16 or a scaled fp8 file."
            ) from None

    def tensor(self, name: str) -> Tensor:
        """One tensor, sharing the file's mapped memory if it is mapped.

        Raises:
            CheckpointError: the file is not whole, or can be neither mapped nor read.
        """
        entry = self._entry(name)
        if not entry.numbers:
            return torch.empty(entry.shape, dtype=_READ[entry.dtype])
        # Headers of other writers leave the data on any byte, and kernels may want whole elements
        if not self.mapped or entry.offset % ELEMENT_SIZES[entry.dtype]:
            return self.read(name).view(entry.shape)
        if self._mapped is None:
            self._mapped = self._map()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given buffer is not writable")  # weights are only read
            flat = torch.frombuffer(
                self._mapped, dtype=_READ[entry.dtype], count=entry.numbers, offset=entry.offset
            )  # fmt: skip
        return flat.view(entry.shape)

    def document(self, name: str) -> bytes:
        """A tensor of bytes. Raises ValueError for any other, or one far larger than such a text is."""
        entry = self.header.entries[name]
        if entry.dtype != "U8" or entry.numbers > LARGEST:
            raise ValueError(name)
        return self.read(name).numpy().tobytes()

    def _entry(self, name: str) -> Entry:
        if self.fault:
            raise CheckpointError(self.fault)
        return self.header.entries[name]

    def _librarys_fault(self) -> str | None:
        """What the library finds wrong, which is stricter than we are: overlaps, holes, unknown dtypes."""
        from safetensors import SafetensorError, safe_open

        try:
            # for numpy it maps read-only; for torch so that the system must set as much memory aside as the file has
            with safe_open(self.path, framework="np"):
                return None
        except SafetensorError as error:
            return f"{self.path} is damaged ({error}): get it again."
        except OSError as error:
            return f"{self.path} cannot be read: {reason(error)}."

    def _map(self) -> mmap.mmap:
        """The whole file as memory that no page is set aside for, so that it may be larger than memory and swap.

        What is written there stays in this process, where the system can do that without a reservation.
        """
        try:
            with self.path.open("rb") as stream:
                if sys.platform != "win32":
                    try:
                        flags, rights = mmap.MAP_PRIVATE | _NO_RESERVE, mmap.PROT_READ | mmap.PROT_WRITE
                        return mmap.mmap(stream.fileno(), 0, flags=flags, prot=rights)
                    except OSError:
                        pass  # a system that sets memory aside always; read-only it never needs to
                return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            size = f"{self.header.found / 1e9:.1f} GB"
            raise CheckpointError(
                f"{self.path} ({size}) cannot be mapped into memory ({reason(error)}): write it as smaller "
                f"files with `lightfusion convert`, or {UNMAPPED}."
            ) from None

    def read(self, name: str, start: int = 0, numbers: int | None = None) -> Tensor:
        """Some of a tensor's numbers, flat: a copy that is read and not mapped, so that passing through a large
        file keeps none of it resident, and a file that shrinks meanwhile is an error and not a bus error.

        Raises:
            CheckpointError: the file ends before, or cannot be read.
        """
        entry = self._entry(name)
        width = ELEMENT_SIZES[entry.dtype]
        numbers = entry.numbers - start if numbers is None else min(numbers, entry.numbers - start)
        out = torch.empty(numbers, dtype=_READ[entry.dtype])
        if not numbers:
            return out
        try:
            with self.path.open("rb", buffering=0) as stream:
                stream.seek(entry.offset + start * width)
                view, done = out.view(torch.uint8).numpy().data, 0
                while done < len(view):
                    got = stream.readinto(view[done:])
                    if not got:
                        raise CheckpointError(f"{self.path} is cut off inside of {name}; get it again.")
                    done += got
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be read: {reason(error)}.") from None
        return out
