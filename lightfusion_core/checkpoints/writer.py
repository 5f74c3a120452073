"""safetensors files written number by number, and seen under their names only when they are whole.

The header goes first, from what is planned; the numbers follow in any order and in pieces, so that a file of
any size needs the memory of one piece. Until `Staging.commit` everything lies under hidden names that nothing
reads, and whatever ends a run before leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import struct
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ..errors import InputError
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


class Staging:
    """A folder that gets files all at once: a context in which they are written, and `commit` at its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, Path] = {}
        self._made: list[Path] = []

    def __enter__(self) -> Staging:
        missing = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        with self._told():
            self.folder.mkdir(parents=True, exist_ok=True)
        self._made = missing
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty: it is in use by now
            for folder in self._made:
                folder.rmdir()

    def check_space(self, needed: int) -> None:
        """Refuse what cannot fit. Raises InputError."""
        with self._told():
            free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise InputError(
                f"{self.folder}: {needed:,} bytes are needed and {free:,} are free; make room, or choose another place."
            )

    @contextmanager
    def open(self, name: str, plan: Sequence[Planned], metadata: Mapping[str, str]) -> Iterator[Writer]:
        """Write a safetensors file. Raises InputError where the disk is full or may not be written."""
        with self._told(), self._hidden(name).open("r+b") as stream:
            writer = Writer(stream, plan, metadata)
            yield writer
            writer.finish()

    def write(self, name: str, content: bytes) -> None:
        """Write a small file. Raises InputError as `open`."""
        with self._told():
            self._hidden(name).write_bytes(content)

    def commit(self, obsolete: Sequence[str] = ()) -> None:
        """Give all files their names, in place of what had them, and remove the `obsolete` ones."""
        with self._told():
            for name in list(self._files):
                os.replace(self._files.pop(name), self.folder / name)
            for name in obsolete:
                (self.folder / name).unlink(missing_ok=True)
        self._made = []

    def _hidden(self, name: str) -> Path:
        handle, path = tempfile.mkstemp(prefix=f".{name}.", suffix=".partial", dir=self.folder)
        os.close(handle)
        self._files[name] = Path(path)
        os.chmod(path, 0o666 & ~_umask())  # as any new file; mkstemp's are private
        return Path(path)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            reason = "the disk is full" if full else str(error.strerror or error)
            raise InputError(
                f"{self.folder} cannot be written ({reason}): make room, or choose another place; nothing was left "
                "there."
            ) from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
