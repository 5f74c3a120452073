"""What is worth to be known of a model's files in which nothing is wrong."""

from __future__ import annotations

from .fp8 import FP8
from .keys import UNUSED_IN_FROZEN
from .quantise import takes_fp8
from .reader import Checkpoint


def notes(checkpoint: Checkpoint) -> list[str]:
    """Of a trainer's folder, that the average of the weights is taken, and what converting makes of it."""
    averages = checkpoint.averages
    if not averages:
        return []
    others = " and ".join(sorted(file.name for file in averages))
    said = [f"{next(iter(averages.values()))} is taken, the average of the weights in {others} beside it."]
    now = sum(entry.size for entry in checkpoint.entries.values())
    bf16, fp8 = (_converted(checkpoint, width) for width in (2, 1))
    if bf16 < 0.75 * now:
        said.append(
            f"These are {now / 1e9:.1f} GB: `lightfusion convert {checkpoint.path} FOLDER` writes {bf16 / 1e9:.1f} GB "
            f"in bf16, and {fp8 / 1e9:.1f} GB with --dtype fp8."
        )
    return said


def _converted(checkpoint: Checkpoint, width: int) -> int:
    """Bytes of what converting writes of a frozen model, with `width` for a number of the large matrices."""
    return sum(
        entry.numbers * (width if takes_fp8(part, name) or entry.dtype in FP8 else 2)
        for (part, name), entry in checkpoint.entries.items()
        if not (part == "generation" and name.endswith(UNUSED_IN_FROZEN))
    )
