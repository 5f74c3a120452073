"""The shapes of the nano world as signed distances, and their antialiased coverage."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_STAR_OUTER, _STAR_INNER = 1.28, 0.56
_HEART_SCALE = 1.80
# The height of the heart's centroid above its tip, in units of the formula: every shape's centroid is its (x, y).
_HEART_CENTRE = 0.6565


def _circle(x: Array, y: Array) -> Array:
    return np.sqrt(x * x + y * y) - np.float32(1.0)


def _box(x: Array, y: Array, half_width: float, half_height: float) -> Array:
    return np.maximum(np.abs(x) - np.float32(half_width), np.abs(y) - np.float32(half_height))


def _square(x: Array, y: Array) -> Array:
    return _box(x, y, 0.88, 0.88)


def _cross(x: Array, y: Array) -> Array:
    return np.minimum(_box(x, y, 1.02, 0.36), _box(x, y, 0.36, 1.02))


def _triangle(x: Array, y: Array) -> Array:
    """Equilateral, point up: three half planes at 0.66 from the centroid."""
    side = np.abs(x) * np.float32(0.8660254) - y * np.float32(0.5)
    return np.maximum(side, y) - np.float32(0.66)


def _star(x: Array, y: Array) -> Array:
    """Five points, one up: the plane folded into one tenth of it, then one edge."""
    step = 2 * math.pi / 5
    angle = np.arctan2(x, -y)
    angle = np.abs(angle - np.float32(step) * np.round(angle / np.float32(step)))
    radius = np.sqrt(x * x + y * y)
    u, v = radius * np.cos(angle), radius * np.sin(angle)
    inner_u, inner_v = _STAR_INNER * math.cos(step / 2), _STAR_INNER * math.sin(step / 2)
    edge_u, edge_v = inner_u - _STAR_OUTER, inner_v
    length = math.hypot(edge_u, edge_v)
    return ((u - np.float32(_STAR_OUTER)) * np.float32(edge_v) - v * np.float32(edge_u)) / np.float32(length)


def _heart(x: Array, y: Array) -> Array:
    """Inigo Quilez's exact heart, https://iquilezles.org/articles/distfunctions2d/, turned so that y points down."""
    scale = np.float32(1 / _HEART_SCALE)
    x = np.abs(x) * scale
    y = np.float32(_HEART_CENTRE) - y * scale
    lobe = np.hypot(x - np.float32(0.25), y - np.float32(0.75)) - np.float32(0.35355339)
    foot = np.maximum(x + y, 0) * np.float32(0.5)
    near = np.minimum(x * x + (y - 1) ** 2, (x - foot) ** 2 + (y - foot) ** 2)
    flank = np.sqrt(near) * np.sign(x - y)
    return np.where(x + y > 1, lobe, flank) * np.float32(_HEART_SCALE)


_DISTANCES: dict[str, Callable[[Array, Array], Array]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "cross": _cross,
}

SHAPES: tuple[str, ...] = tuple(_DISTANCES)

REACH = 1.36
"""How far any shape reaches from its centroid, in units of its radius."""


def coverage(shape: str, dx: Array, dy: Array, radius: float) -> Array:
    """How much of each pixel a shape covers, 0..1.

    Args:
        shape: one of `SHAPES`.
        dx, dy: pixel centres relative to the shape's centroid, in pixels, y down; they broadcast together,
            so that (1, W) and (H, 1) serve.
        radius: the shape's size in pixels (a circle's radius; the others are alike in area).
    """
    inverse = np.float32(1 / radius)
    distance = _DISTANCES[shape](dx * inverse, dy * inverse)
    return np.clip(np.float32(0.5) - distance * np.float32(radius), 0, 1)


@cache
def unit_area(shape: str) -> float:
    """The area of a shape of radius 1, by counting."""
    radius, half = 200.0, 300
    axis = np.arange(-half, half + 1, dtype=np.float32)
    return float(coverage(shape, axis[None, :], axis[:, None], radius).sum(dtype=np.float64)) / radius**2
