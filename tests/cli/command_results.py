"""What a command left behind, and whether it refused well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

Result = tuple[int, str, str]
"""Exit code, stdout, stderr."""


def pixels(path: str | Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def refusal(result: Result, *said: str, code: int = 1) -> None:
    """The command failed in one line, and that says all of `said`; nothing is on stdout."""
    assert result[0] == code
    assert result[1] == ""
    lines = [line for line in result[2].splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result[2]
    for text in said:
        assert text in lines[0], lines[0]
