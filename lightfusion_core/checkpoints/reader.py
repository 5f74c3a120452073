"""Checkpoints, read lazily by memory map: one file, shards with an index, a folder of parts.

Opening reads headers alone. Tensors are found by their canonical name (see `keys.py`) whatever the
file calls them, and scaled fp8 weights come out multiplied by their scale (see `fp8.py`) unless they are
asked for as they are stored.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from torch import Size, Tensor, uint8

from ..errors import CheckpointError
from ..texts import reason
from .files import UNMAPPED, TensorFile
from .fp8 import FP8, is_beside, scale_of
from .header import Entry, read_header
from .keys import DOCUMENTS, PARTS, TOKENIZER, canonical, document
from .places import files_of, snapshot_of, superseded


@dataclass(slots=True)
class Checkpoint:
    """The tensors of a model's files.

    entries: by (part, canonical name). strangers: tensors whose names no layout knows.
    folder: where the configuration and the tokenizer are looked for, if they are not inside of the files.
    documents: tensors that hold the bytes of small files, by their names out of `DOCUMENTS`.
    faults, doubles: what a tolerant opening passed over, a line each: files that are not whole, and tensors
        that are there twice.
    mapped: whether tensors are mapped from the files, or read.
    backing: files that what was loaded is mapped to; see `require_unchanged`.
    averages: files whose tensors a trainer's average of them (`ema.safetensors`) stands in for, with that.
    """

    path: Path
    folder: Path
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    strangers: list[Entry] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    doubles: list[str] = field(default_factory=list)
    files: dict[Path, TensorFile] = field(default_factory=dict)
    documents: dict[str, Entry] = field(default_factory=dict)
    averages: dict[Path, Path] = field(default_factory=dict)
    mapped: bool = True
    backing: dict[Path, TensorFile] = field(default_factory=dict)
    _sources: dict[str, Path] = field(default_factory=dict)

    @classmethod
    def open(cls, path: str | Path, *, tolerant: bool = False, mapped: bool = True) -> Checkpoint:
        """Open a safetensors file, an index of shards, or a folder of either (one level deep; files in it
        that hold no tensor of a known name are passed over), or a hub's cache of one model.

        Args:
            tolerant: note what is wrong with files in `faults` and go on, for a report.
            mapped: map tensors from the files; else read them.

        Raises:
            CheckpointError: nothing there, not safetensors, cut off, a missing shard, a tensor twice;
                when tolerant, only where no file can be told.
        """
        path = _expanded(path)
        checkpoint = cls(path, path if path.is_dir() else path.parent, mapped=mapped)
        files = files_of(path, checkpoint.faults if tolerant else None)
        checkpoint.averages = superseded(files)
        for file in sorted(files, key=checkpoint.averages.__contains__):  # averages come first, and win
            try:
                checkpoint._add(file, tolerant)
            except CheckpointError as error:
                if not tolerant:
                    raise
                checkpoint.faults.append(str(error))
        if path.is_dir():
            checkpoint._pass_over_foreign_files()
        return checkpoint

    def merge(self, other: Checkpoint, part: str) -> None:
        """Take `part` from another checkpoint in place of this one's; with the understanding its tokenizer, if that
        is inside.

        Raises:
            CheckpointError: the other one does not have it.
        """
        if not other.names(part):
            raise CheckpointError(f"{other.path} was named for the {part} part and has none, {other.describe()}.")
        self.entries = {key: entry for key, entry in self.entries.items() if key[0] != part}
        self.entries.update({key: entry for key, entry in other.entries.items() if key[0] == part})
        self.files.update(other.files)
        self._sources[part] = other.path
        if part == "understanding":
            (name,) = DOCUMENTS[TOKENIZER]
            self.documents.update({key: entry for key, entry in other.documents.items() if key == name})

    def source(self, part: str) -> Path:
        """The path that a part was taken from."""
        return self._sources.get(part, self.path)

    def names(self, part: str) -> dict[str, tuple[int, ...]]:
        """Canonical names and shapes of a part (shapes as the engine takes them)."""
        return {name: _fitted_shape(name, entry.shape) for (of, name), entry in self.entries.items() if of == part}

    def part(self, part: str) -> list[Entry]:
        """A part's tensors as the files have them."""
        return [entry for (of, _), entry in self.entries.items() if of == part]

    def used_files(self) -> list[Path]:
        """The files that hold the model: those with a tensor of a known name, or all where none has one."""
        used = {entry.file for entry in self.entries.values()}
        return [file for file in self.files if not used or file in used]

    def describe(self) -> str:
        """What is in it, in a few words."""
        held = [f"{part} ({len(self.part(part))} tensors)" for part in PARTS if self.part(part)]
        if self.strangers:
            held.append(f"{len(self.strangers)} tensors of unknown names (first: {self.strangers[0].name})")
        return "it holds " + ", ".join(held) if held else "it holds no tensor"

    def require_unchanged(self) -> None:
        """Raises CheckpointError where a file is another than it was when its header was read."""
        require_unchanged([self.files[file] for file in self.used_files()])

    def document(self, name: str) -> bytes | None:
        """A small file (`CONFIG`, `TOKENIZER`) that the files carry inside, None where they do not.

        Raises:
            CheckpointError: the tensor that should hold it does not hold bytes.
        """
        entry = next((self.documents[tensor] for tensor in DOCUMENTS[name] if tensor in self.documents), None)
        if entry is None:
            return None
        try:
            return self.files[entry.file].document(entry.name)
        except ValueError:
            raise CheckpointError(
                f"{entry.file}: {entry.name} must hold the bytes of a {name}, found {entry.size:,} bytes "
                f"of {entry.dtype}."
            ) from None

    def check_storage(self, part: str) -> None:
        """Refuse weights whose form of storage is not known, from headers alone.

        Raises:
            CheckpointError: not a float, or fp8 without one scale of a known layout that is a number above 0.
        """
        for entry in self.part(part):
            self.scale(entry)

    def tensor(self, part: str, name: str) -> Tensor:
        """One tensor, mapped from the file; a scaled weight becomes float32, multiplied by its scale.

        Raises:
            CheckpointError: stored in a form that is not known.
        """
        tensor, scale = self.stored(part, name)
        return tensor if scale is None else tensor.float() * scale

    def stored(self, part: str, name: str) -> tuple[Tensor, Tensor | None]:
        """One tensor as the file stores it, mapped, and the float32 number that it is multiplied by, if any.

        Raises:
            CheckpointError: stored in a form that is not known.
        """
        entry = self.entries[part, name]
        file = self.files[entry.file]
        scale = self.scale(entry)
        tensor = file.tensor(entry.name)
        if _is_convolution(name, entry.shape):
            # Wan's Conv3d as the Linear of rule B14: channel last
            tensor = tensor.permute(0, 2, 3, 4, 1).flatten(1)
        return tensor, scale

    def is_zero(self, part: str, name: str) -> bool:
        """Whether a tensor holds nothing but zeros; reads as far as the first other number.

        Raises:
            CheckpointError: the file ends before.
        """
        entry = self.entries[part, name]
        file, start, numbers = self.files[entry.file], 0, 1 << 10
        while start < entry.numbers:
            if bool(file.read(entry.name, start, numbers).view(uint8).any()):
                return False
            start, numbers = start + numbers, min(numbers << 4, 1 << 24)
        return True

    def pieces(self, part: str, name: str, numbers: int = 1 << 20, *, scaled: bool = True) -> Iterator[Tensor]:
        """One tensor in flat pieces of so many numbers, read and not mapped, so that a pass through a large file
        holds one piece, which in the default size stays in the processor's cache; `scaled` as for `tensor`, else
        as stored.

        Raises:
            CheckpointError: stored in a form that is not known, or the file ends before.
        """
        entry = self.entries[part, name]
        file = self.files[entry.file]
        scale = self.scale(entry) if scaled else None
        if _is_convolution(name, entry.shape):
            whole = file.read(entry.name).view(entry.shape).permute(0, 2, 3, 4, 1).flatten()
            yield whole if scale is None else whole.float() * scale
            return
        for start in range(0, entry.numbers, numbers):
            piece = file.read(entry.name, start, numbers)
            yield piece if scale is None else piece.float() * scale

    def storage(self, part: str, name: str) -> tuple[str, Tensor | None]:
        """The safetensors dtype that a tensor is stored in, and its scale as of `stored`."""
        entry = self.entries[part, name]
        return entry.dtype, self.scale(entry)

    def is_scaled(self, part: str) -> bool:
        """Whether any weight of a part is stored in fp8 with a scale."""
        stored = (entry for entry in self.part(part) if entry.dtype in FP8)
        return any(scale_of(self.files[entry.file], entry) is not None for entry in stored)

    def scale(self, entry: Entry) -> Tensor | None:
        """The float32 number that a tensor is multiplied by, if any.

        Raises:
            CheckpointError: stored in a form that is not known, or a scale that is no number above 0.
        """
        file = self.files[entry.file]
        name = scale_of(file, entry)
        if name is None:
            return None
        scale = file.tensor(name).float().reshape(()).clone()
        if not 0 < float(scale) < float("inf"):
            raise CheckpointError(
                f"{file.path}: {name} is {float(scale)}, and a scale is a number above 0: the file is damaged; get it "
                "again."
            )
        return scale

    def _add(self, file: Path, tolerant: bool) -> None:
        opened = TensorFile(read_header(file), self.mapped) if tolerant else TensorFile.open(file, self.mapped)
        if tolerant and (fault := opened.fault):
            self.faults.append(fault)
        self.files[file] = opened
        for name, entry in opened.header.entries.items():
            if is_beside(name):
                continue
            key = canonical(name)
            if (small := document(name)) is not None:
                self.documents.setdefault(small, entry)
            elif key is None:
                self.strangers.append(entry)
            elif key[0] != "derived":
                self._claim(key, entry, tolerant)

    def _claim(self, key: tuple[str, str], entry: Entry, tolerant: bool) -> None:
        first = self.entries.setdefault(key, entry)
        if first is entry or self.averages.get(entry.file) == first.file:
            return
        where = " and ".join(f"as {one.name} in {os.path.relpath(one.file, self.folder)}" for one in (first, entry))
        if not tolerant:
            raise CheckpointError(f"{self.path}: {key[1]} is there twice, {where}: keep one of them.")
        self.doubles.append(f"{key[1]}, {where}")

    def _pass_over_foreign_files(self) -> None:
        """Forget the strangers of a folder's files that hold nothing else: they are no part of the model."""
        used = self.used_files()
        self.strangers = [entry for entry in self.strangers if entry.file in used]


def _fitted_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], Size(shape[1:]).numel()) if _is_convolution(name, shape) else shape


def require_unchanged(files: Iterable[TensorFile]) -> None:
    """Raises CheckpointError where a file is another than it was when its header was read."""
    for file in files:
        if (how := file.changed()) is not None:
            raise CheckpointError(
                f"{file.path} {how} since it was opened: open it again; if files change under a running program, "
                f"{UNMAPPED}."
            )


def _expanded(path: str | Path) -> Path:
    """A path with its home folder and its hub's snapshot found. Raises CheckpointError."""
    try:
        return snapshot_of(Path(path).expanduser())
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: no home folder of that name
        raise CheckpointError(f"{path} cannot be read: {reason(error)}.") from None


def _is_convolution(name: str, shape: tuple[int, ...]) -> bool:
    """Whether it is the patch embedding as Wan's Conv3d."""
    return name == "patch_embedding.weight" and len(shape) == 5
