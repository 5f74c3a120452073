"""A training's files: each appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import InputError
from ..texts import first_line
from ..unfinished import unfinished


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` write a file beside its place, and give it its name when all of it is on the disk.

    Raises:
        InputError: the disk is full, or may not be written; what was there before is still there.
    """
    try:
        with unfinished(path) as part:
            part.touch()
            mode = part.stat().st_mode  # as this person's files have it: safetensors makes files for their owner alone
            write(part)
            part.chmod(mode)
            with part.open("rb+") as stream:
                os.fsync(stream.fileno())
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path}: it cannot be written ({first_line(error)}); free some space, or choose another folder. What was "
            "there before is as it was."
        ) from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file; raises as `write_whole`."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_whole(path, lambda part: save_file(plain, part, {"format": "pt", **(metadata or {})}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """The tensors and the metadata of a safetensors file; None where there is no whole one."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
