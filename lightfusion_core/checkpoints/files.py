"""Which safetensors files a path stands for, and one such file with its tensors."""

from __future__ import annotations

import json
import mmap
import sys
import warnings
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from .header import ELEMENT_SIZES, Header, read_header

_INDEX = ".safetensors.index.json"
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

_PICKLES = (".pt", ".pth", ".bin", ".ckpt")
_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)  # Python names it from 3.13 on


class TensorFile:
    """One safetensors file: its header at once, its tensors mapped from it when they are asked for."""

    def __init__(self, header: Header) -> None:
        self.path, self.header = header.file, header
        self._mapped: mmap.mmap | None = None

    @classmethod
    def open(cls, path: Path) -> TensorFile:
        """Read the header of a whole file.

        Raises:
            CheckpointError: not safetensors, damaged, or cut off.
        """
        header = read_header(path)
        if header.fault:
            raise CheckpointError(header.fault)
        return cls(header)

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
            return dict(json.loads(said)["layers"])
        except (ValueError, TypeError, KeyError):
            raise CheckpointError(
                f"{self.path} says how it is quantised in a form that is not known: use a bf16 or a scaled fp8 file."
            ) from None

    def tensor(self, name: str) -> Tensor:
        """One tensor, sharing the file's mapped memory.

        Raises:
            CheckpointError: the library finds the file damaged after all.
        """
        entry = self.header.entries[name]
        if not entry.numbers:
            return torch.empty(entry.shape, dtype=_READ[entry.dtype])
        if self._mapped is None:
            self._check_header()
            self._mapped = self._map()
        # Headers of other writers leave the data on any byte, and kernels may want whole elements
        if entry.offset % ELEMENT_SIZES[entry.dtype]:
            return self.read(name).view(entry.shape)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given buffer is not writable")  # weights are only read
            flat = torch.frombuffer(
                self._mapped, dtype=_READ[entry.dtype], count=entry.numbers, offset=entry.offset
            )  # fmt: skip
        return flat.view(entry.shape)

    def _check_header(self) -> None:
        """Let the library look at the header too: it is stricter than ours."""
        from safetensors import SafetensorError, safe_open

        try:
            # for numpy it maps read-only; for torch so that the system must set as much memory aside as the file has
            with safe_open(str(self.path), framework="np"):
                pass
        except SafetensorError as error:
            raise CheckpointError(f"{self.path} is damaged ({error}): get it again.") from None
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be read: {error.strerror or error}.") from None

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
                f"{self.path} ({size}) cannot be mapped into memory ({error.strerror or error}): write it as smaller "
                "files with `lightfusion convert`."
            ) from None

    def read(self, name: str, start: int = 0, numbers: int | None = None) -> Tensor:
        """Some of a tensor's numbers, flat: a copy that is read and not mapped, so that passing through a large
        file keeps none of it resident, and a file that shrinks meanwhile is an error and not a bus error.

        Raises:
            CheckpointError: the file ends before, or cannot be read.
        """
        entry = self.header.entries[name]
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
            raise CheckpointError(f"{self.path} cannot be read: {error.strerror or error}.") from None
        return out


def files_of(path: Path, faults: list[str] | None = None) -> list[Path]:
    """The safetensors files that a path stands for: itself, an index's shards, or a folder's files, its own
    and those one level deeper. Missing shards are noted in `faults` where it is given.

    Raises:
        CheckpointError: nothing there, no safetensors in the folder, an index that names a missing shard.
    """
    try:
        if not path.exists():
            raise CheckpointError(f"{path} does not exist: give a .safetensors file or a model folder.")
        if path.is_dir():
            return _files_in(path, faults)
        return list(_shards(path, faults)) if path.name.endswith(_INDEX) else [path]
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from None


def _files_in(folder: Path, faults: list[str] | None) -> list[Path]:
    files = _listed(folder, "*.safetensors")
    for index in _listed(folder, f"*{_INDEX}"):
        files.extend(file for file in _shards(index, faults) if file not in files)
    if files:
        return files
    pickles = [file.name for file in _listed(folder, "*") if file.suffix in _PICKLES]
    if pickles:
        raise CheckpointError(
            f"{folder} holds pickle files alone (first: {pickles[0]}), which can run any code and are never read: "
            "get the safetensors version, or convert them."
        )
    raise CheckpointError(f"{folder} holds no .safetensors file: give the folder that the weights lie in.")


def _listed(folder: Path, pattern: str) -> list[Path]:
    """The files of a folder, then those of its subfolders; hidden ones (macOS leaves such) are passed over."""
    found = sorted(folder.glob(pattern)) + sorted(folder.glob(f"*/{pattern}"))
    return [file for file in found if file.is_file() and not file.name.startswith(".")]


def _shards(index: Path, faults: list[str] | None) -> Iterator[Path]:
    try:
        names = sorted({str(name) for name in json.loads(index.read_text(encoding="utf-8-sig"))["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{index} is not an index of shards: it has no weight_map.") from None
    for name in names:
        shard = index.parent / name
        if shard.is_file():
            yield shard
            continue
        fault = f"{index} names the shard {name}, which is not in its folder: add it."
        if faults is None:
            raise CheckpointError(fault)
        faults.append(fault)
