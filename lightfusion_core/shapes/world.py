"""The nano world: scenes of a few coloured shapes on a simple background, drawn by code."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .outlines import REACH, SHAPES, coverage

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (220, 35, 40),
    "green": (35, 160, 60),
    "blue": (35, 80, 225),
    "yellow": (245, 215, 30),
    "purple": (135, 45, 175),
    "orange": (250, 130, 20),
    "cyan": (40, 200, 215),
    "pink": (245, 115, 185),
}
"""What a thing may be coloured, name to RGB."""

TINTS: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "light gray": (205, 205, 205),
    "black": (15, 15, 15),
    "light blue": (200, 222, 250),
    "light green": (208, 240, 205),
    "light pink": (252, 218, 226),
    "light yellow": (252, 246, 204),
}
"""What a background may be coloured: far from every thing's colour, and hardly saturated."""

SIZES: dict[str, float] = {"small": 0.10, "medium": 0.15, "large": 0.21}
"""A thing's radius as a part of the picture's shorter side."""

AXES = ("vertical", "horizontal")
_PALE = tuple(name for name in TINTS if name not in ("white", "black"))
_STRIPES = 8

__all__ = [
    "AXES",
    "BACKGROUNDS",
    "COLORS",
    "PLAIN",
    "SHAPES",
    "SIZES",
    "TINTS",
    "Background",
    "Scene",
    "Thing",
    "coverage_of",
    "render",
    "render_background",
]


@dataclass(frozen=True, slots=True)
class Background:
    """`plain` has one tint. `stripes` are eight bands of two tints, `vertical` ones standing side by side.
    A `gradient` goes from `first` to `second`, `vertical` from the top down, `horizontal` from the left."""

    kind: str = "plain"
    first: str = "white"
    second: str = ""
    axis: str = ""


@dataclass(frozen=True, slots=True)
class Thing:
    """One shape. `x` and `y` are its centroid's place, 0..1 from the left and from the top."""

    shape: str
    color: str
    size: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Scene:
    """One to four things that do not touch, on a background; none for a background alone."""

    things: tuple[Thing, ...]
    background: Background = Background()


PLAIN: tuple[Background, ...] = tuple(Background("plain", tint) for tint in TINTS)
BACKGROUNDS: tuple[Background, ...] = (
    *PLAIN,
    *(Background("stripes", tint, "white", axis) for tint in _PALE for axis in AXES),
    *(
        Background("gradient", a, b, axis)
        for tint in _PALE
        for a, b in ((tint, "white"), ("white", tint))
        for axis in AXES
    ),
)
"""Every background of the world."""


@lru_cache(maxsize=512)
def _background(background: Background, width: int, height: int) -> NDArray[np.float32]:
    first = np.array(TINTS[background.first], np.float32)
    if background.kind == "plain":
        return np.broadcast_to(first, (height, width, 3))
    second = np.array(TINTS[background.second], np.float32)
    # Vertical stripes change along x; a vertical gradient changes along y.
    along_x = (background.axis == "vertical") == (background.kind == "stripes")
    length = width if along_x else height
    centre = (np.arange(length, dtype=np.float32) + 0.5) / length
    if background.kind == "gradient":
        share = centre
    else:
        # A triangle wave whose zeros are the stripes' edges, as steep as one pixel.
        wave = np.abs((centre * _STRIPES / 2 - 0.25) % 1 - 0.5) * 2 - 0.5
        share = np.clip(0.5 - wave * length / _STRIPES, 0, 1)
    line = first + (second - first) * share[:, None]
    return np.broadcast_to((line[None, :] if along_x else line[:, None]).astype(np.float32), (height, width, 3))


def render_background(background: Background, width: int, height: int) -> NDArray[np.float32]:
    """A background alone, (H, W, 3), 0..255, read-only."""
    return _background(background, width, height)


def _box(thing: Thing, width: int, height: int) -> tuple[slice, slice, NDArray[np.float32]]:
    radius = SIZES[thing.size] * min(width, height)
    reach = radius * REACH + 1
    x, y = thing.x * width, thing.y * height
    left, right = max(0, int(x - reach)), min(width, int(x + reach) + 2)
    top, bottom = max(0, int(y - reach)), min(height, int(y + reach) + 2)
    dx = np.arange(left, right, dtype=np.float32) + np.float32(0.5 - x)
    dy = np.arange(top, bottom, dtype=np.float32) + np.float32(0.5 - y)
    return slice(top, bottom), slice(left, right), coverage(thing.shape, dx[None, :], dy[:, None], radius)


def coverage_of(thing: Thing, width: int = 128, height: int = 128) -> NDArray[np.float32]:
    """How much of each pixel a thing covers, (H, W), 0..1."""
    whole = np.zeros((height, width), np.float32)
    rows, columns, alpha = _box(thing, width, height)
    whole[rows, columns] = alpha
    return whole


def render(scene: Scene, size: int | tuple[int, int] = 128) -> NDArray[np.uint8]:
    """Draw a scene, antialiased.

    Args:
        scene: what to draw.
        size: the side of a square picture or (width, height), in pixels.

    Returns:
        uint8 (H, W, 3) RGB.
    """
    width, height = (size, size) if isinstance(size, int) else size
    picture = _background(scene.background, width, height).copy()
    for thing in scene.things:
        rows, columns, alpha = _box(thing, width, height)
        patch = picture[rows, columns]
        patch += alpha[:, :, None] * (np.array(COLORS[thing.color], np.float32) - patch)
    return (picture + np.float32(0.5)).astype(np.uint8)
