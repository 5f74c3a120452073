"""Checkpoint files, read lazily by memory map: one file, shards with an index, a folder of parts.

Opening reads headers alone. Tensors are found by their canonical name (see `keys.py`) whatever the
file calls them, and scaled fp8 weights come out multiplied by their scale.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from .keys import canonical

FP8 = ("F8_E4M3", "F8_E5M2")
_FP8_FORMATS = ("float8_e4m3fn", "float8_e5m2")
_SCALES = (".scale_weight", ".weight_scale")
_SCALE_KEYS = (*_SCALES, ".scale_input", ".input_scale", ".comfy_quant")
_INDEX = ".safetensors.index.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a file: its name there, shape, and safetensors dtype name."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(slots=True)
class Checkpoint:
    """The tensors of a model's files.

    entries: by (part, canonical name). strangers: tensors whose names no layout knows.
    folder: where the configuration and the tokenizer are looked for.
    """

    path: Path
    folder: Path
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    strangers: list[Entry] = field(default_factory=list)
    _files: dict[Path, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: str | Path) -> Checkpoint:
        """Open a safetensors file, an index of shards, or a folder of either (one level deep; files in it
        that hold no tensor of a known name are passed over).

        Raises:
            CheckpointError: nothing there, not safetensors, cut off, a missing shard, a tensor twice.
        """
        path = Path(path).expanduser()
        if not path.exists():
            raise CheckpointError(f"{path} does not exist: give a .safetensors file or a model folder.")
        checkpoint = cls(path, path if path.is_dir() else path.parent)
        for file in files_of(path):
            checkpoint._add(file)
        if path.is_dir():
            checkpoint._pass_over_foreign_files()
        return checkpoint

    def merge(self, other: Checkpoint, part: str) -> None:
        """Take `part` from another checkpoint in place of this one's."""
        self.entries = {key: entry for key, entry in self.entries.items() if key[0] != part}
        self.entries.update({key: entry for key, entry in other.entries.items() if key[0] == part})
        self._files.update(other._files)

    def names(self, part: str) -> dict[str, tuple[int, ...]]:
        """Canonical names and shapes of a part (shapes as the engine takes them)."""
        return {name: _fitted_shape(name, entry.shape) for (of, name), entry in self.entries.items() if of == part}

    def dtypes(self, part: str) -> dict[str, int]:
        """How many tensors of a part have each safetensors dtype."""
        found: dict[str, int] = {}
        for (of, _), entry in self.entries.items():
            if of == part:
                found[entry.dtype] = found.get(entry.dtype, 0) + 1
        return found

    def tensor(self, part: str, name: str) -> Tensor:
        """One tensor, mapped from the file; an fp8 weight becomes float32, multiplied by its scale.

        Raises:
            CheckpointError: an fp8 weight whose scale has no layout that is known.
        """
        entry = self.entries[part, name]
        tensor = self._files[entry.file].get_tensor(entry.name)
        if entry.dtype in FP8:
            tensor = tensor.float() * self._scale(entry)
        if name == "patch_embedding.weight" and tensor.ndim == 5:
            # Wan's Conv3d as the Linear of rule B14: channel last
            tensor = tensor.permute(0, 2, 3, 4, 1).flatten(1)
        return tensor

    def _add(self, file: Path) -> None:
        handle = _open(file)
        self._files[file] = handle
        for name in handle.keys():  # noqa: SIM118  (a handle is no mapping)
            if name.endswith(_SCALE_KEYS) or name.rsplit(".", 1)[-1] == "scaled_fp8":
                continue
            part = handle.get_slice(name)
            entry = Entry(file, name, tuple(part.get_shape()), part.get_dtype())
            key = canonical(name)
            if key is None:
                self.strangers.append(entry)
            elif key[0] != "derived":
                if key in self.entries:
                    first = self.entries[key]
                    raise CheckpointError(
                        f"{key[1]} is there twice, as {first.name} in {first.file.name} and as {name} in {file.name}: "
                        "keep one of the two files in the folder."
                    )
                self.entries[key] = entry

    def _pass_over_foreign_files(self) -> None:
        """Forget the strangers of a folder's files that hold nothing else: they are no part of the model."""
        used = {entry.file for entry in self.entries.values()}
        self.strangers = [entry for entry in self.strangers if entry.file in used]

    def _scale(self, entry: Entry) -> Tensor:
        handle, stem = self._files[entry.file], entry.name.removesuffix(".weight")
        names = set(handle.keys())
        quantisation = json.loads((handle.metadata() or {}).get("_quantization_metadata", "{}"))
        described = quantisation.get("layers", {}).get(stem)
        if f"{stem}.comfy_quant" in names:
            described = json.loads(bytes(handle.get_tensor(f"{stem}.comfy_quant").tolist()))
        found = [stem + suffix for suffix in _SCALES if stem + suffix in names]
        if described is not None and described.get("format") not in _FP8_FORMATS:
            raise CheckpointError(
                f"{entry.file}: {entry.name} is quantised as {described.get('format')!r}, and this release reads "
                f"{' and '.join(_FP8_FORMATS)}: use a bf16 or a scaled fp8 file."
            )
        if len(found) != 1 or handle.get_tensor(found[0]).numel() != 1:
            raise CheckpointError(
                f"{entry.file}: {entry.name} is fp8, and beside it there is no single scale of a known layout "
                f"({' or '.join(stem + suffix for suffix in _SCALES)}, one number): use a bf16 or a scaled fp8 file."
            )
        return handle.get_tensor(found[0]).float().reshape(())


def files_of(path: Path) -> list[Path]:
    """The safetensors files that a path stands for."""
    if path.is_dir():
        indices = sorted(path.glob(f"*{_INDEX}")) + sorted(path.glob(f"*/*{_INDEX}"))
        files = sorted(path.glob("*.safetensors")) + sorted(path.glob("*/*.safetensors"))
        for index in indices:
            files.extend(file for file in _shards(index) if file not in files)
        if not files:
            raise CheckpointError(f"{path} holds no .safetensors file: give the folder that the weights lie in.")
        return files
    if path.name.endswith(_INDEX):
        return list(_shards(path))
    return [path]


def _shards(index: Path) -> Iterator[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{index} is not an index of shards: it has no weight_map.") from None
    for name in names:
        shard = index.parent / name
        if not shard.is_file():
            raise CheckpointError(f"{index.name} names the shard {name}, which is not in {index.parent}: add it.")
        yield shard


def _open(file: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(str(file), framework="pt")
    except SafetensorError as error:
        raise CheckpointError(
            f"{file} is not a whole safetensors file ({error}): it is cut off or of another format; get it again, or "
            "convert it to safetensors."
        ) from None
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror or error}.") from None


def _fitted_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if name == "patch_embedding.weight" and len(shape) == 5:
        return shape[0], torch.Size(shape[1:]).numel()
    return shape
