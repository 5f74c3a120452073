"""Small pictures for tests, and what their pixels are."""

from __future__ import annotations

import numpy as np
from PIL import Image

WHITE = [255, 255, 255]


def pixels(image: Image.Image) -> list[list[int]]:
    assert image.mode == "RGB"
    return np.asarray(image).reshape(-1, 3).tolist()


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def grey16(*values: int, kind: str = "<u2") -> Image.Image:
    return Image.fromarray(np.array([values], dtype=kind))
