"""How much memory of its own a checkpoint takes when it is loaded, and in which dtype there is room for it.

Weights that are held as their file stores them stay mapped: the system can drop and read them again, so they take
no memory of a process's own. What is held in another dtype is written anew, and has to fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import DeviceMemoryError, InputError
from .files import DTYPES
from .fp8 import FP8
from .keys import PARTS
from .loader import generation_dtype, understanding_dtype
from .quantise import takes_fp8
from .reader import Checkpoint

_SHARE = 0.75
"""Of the memory that is available; the rest is for what a request needs."""


def available_memory() -> int:
    """Bytes that this process may still take without swapping, within the limit of its control group."""
    import psutil

    available = int(psutil.virtual_memory().available)
    limit, used = (_number(Path("/sys/fs/cgroup", name)) for name in ("memory.max", "memory.current"))
    return available if limit is None else min(available, max(0, limit - (used or 0)))


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such group, or "max"
        return None


@dataclass(frozen=True, slots=True)
class Held:
    """How a whole model is held: what it computes in, whether scaled fp8 weights stay fp8, and whether large matrices
    stay as they are stored, mapped, to be cast at each use."""

    dtype: torch.dtype
    keeps_fp8: bool
    as_stored: bool


def held(checkpoint: Checkpoint, device: torch.device, home: torch.device, dtype: torch.dtype | None) -> Held:
    """How a model that computes on `device` is held on `home`: in bfloat16 on a GPU; on a CPU by its memory.

    Args:
        dtype: named by a person. float32 and float16 widen scaled fp8.

    Raises:
        InputError: a dtype that nothing is computed in, as fp8.
        DeviceMemoryError: see `fitting`.
    """
    if dtype not in (None, torch.float64, torch.float32, torch.bfloat16, torch.float16):
        raise InputError(
            f"Expected float32, bfloat16 or float16 to compute in, found {dtype}. For weights in fp8 write the model "
            "anew with `lightfusion convert MODEL FOLDER --dtype fp8`, and load it without a dtype."
        )
    keeps_fp8 = dtype in (None, torch.bfloat16)
    if home.type != "cpu":
        return Held(dtype or torch.bfloat16, keeps_fp8, False)
    named = torch.bfloat16 if dtype is None and device.type != "cpu" else dtype
    found, as_stored = fitting(checkpoint, dtype=named, keeps_fp8=keeps_fp8)
    return Held(found, keeps_fp8, as_stored)


def own_bytes(
    checkpoint: Checkpoint,
    parts: Sequence[str],
    dtype: torch.dtype,
    keeps_fp8: bool = True,
    as_stored: bool = False,
) -> int:
    """Bytes of the tensors that are held in another dtype than their file has, where a model computes in `dtype`, or of
    all where files are not mapped. (At most: of what the authors' files hold of und queries, a frozen model loads
    nothing.)

    Args:
        keeps_fp8: scaled fp8 weights stay as they are stored.
        as_stored: all large matrices do, and are cast at use.
    """
    total = 0
    for part in parts:
        for (of, name), entry in checkpoint.entries.items():
            stored = DTYPES.get(entry.dtype)
            if of != part or stored is None:
                continue
            stays = (keeps_fp8 or as_stored) and entry.dtype in FP8
            wanted = stored if stays else _held_in(part, name, dtype, stored, as_stored)
            total += 0 if wanted == stored and checkpoint.mapped else entry.numbers * wanted.itemsize
    return total


def _held_in(part: str, name: str, dtype: torch.dtype, stored: torch.dtype, as_stored: bool) -> torch.dtype:
    if part == "understanding":
        return understanding_dtype(name, stored, dtype, as_stored=as_stored)
    if part == "generation":
        return stored if as_stored and takes_fp8(part, name) else generation_dtype(name, dtype)
    return dtype


def fitting(
    checkpoint: Checkpoint, parts: Sequence[str] = PARTS, dtype: torch.dtype | None = None, keeps_fp8: bool = True
) -> tuple[torch.dtype, bool]:
    """What these parts compute in on a CPU, and whether their large matrices stay as they are stored, mapped, to be
    cast at each use: where there is no memory for another form of them.

    Args:
        dtype: named by a person. Else float32 where its own memory suffices, which a CPU computes fastest and most
            exactly, and then bfloat16, in which the large model is stored.

    Raises:
        DeviceMemoryError: nothing fits.
    """
    room = _SHARE * available_memory()
    dtypes = [torch.float32, torch.bfloat16] if dtype is None else [dtype]
    least = None
    for as_stored in (False, True):
        for wanted in dtypes:
            size = own_bytes(checkpoint, parts, wanted, keeps_fp8, as_stored)
            if size <= room:
                return wanted, as_stored
            least = size if least is None else min(least, size)
    needed, found = (f"{size / 1e9:.1f} GB" for size in (least or 0, room))
    raise DeviceMemoryError(
        f"{checkpoint.path} takes {needed} of memory of its own, and {found} are free for it: write it in bf16 or fp8 "
        "with `lightfusion convert`, or close other programs."
    )
