"""Small pictures for tests, what their pixels are, and how a picture file is refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightfusion_core.errors import InputError
from lightfusion_core.texts import printable

WHITE = [255, 255, 255]


def pixels(image: Image.Image) -> list[list[int]]:
    assert image.mode == "RGB"
    return np.asarray(image).reshape(-1, 3).tolist()


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def grey16(*values: int, kind: str = "<u2") -> Image.Image:
    return Image.fromarray(np.array([values], dtype=kind))


def refusal(path: Path, call: Callable[[], object]) -> str:
    """The message of the InputError that `call` raises: one sentence that starts with the path."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(f"{printable(str(path))}: ") and message.endswith(".")
    assert "\n" not in message and ". " not in message.removeprefix(str(path))
    return message


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may do everything: step down inside of the block."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
