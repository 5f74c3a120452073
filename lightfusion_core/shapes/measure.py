"""Measures a picture by its pixels: which background, which things, of what shape, colour, size, and where."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .outlines import SHAPES, coverage, unit_area
from .world import BACKGROUNDS, COLORS, SIZES, Background, render_background

Array = NDArray[np.float32]

_SOFT = 0.7  # the deviation in pixels of the blur under which pictures are read
_FOREGROUND = 50.0  # least RGB distance (0..441) from the background
_OWN = 60.0  # largest RGB distance from the line between background and a thing's colour
_VIVID = 70.0  # chroma (0..255) above which a pixel surely belongs to a thing: no tint reaches it
_SPECK = 0.003  # least area, as a part of the shorter side squared; the smallest thing has 0.021
_SAME_SHAPE = 0.72  # least overlap with the best shape
_SAME_COLOR = 95.0  # largest RGB distance from the nearest named colour
_KNOWN_BACKGROUND = 22.0  # largest mean RGB distance from the nearest background of the world
_MESS = 0.15  # least part of the picture that must be background


@dataclass(frozen=True, slots=True)
class Found:
    """One thing in a picture. `shape` and `color` are None where they are like none of the world's.

    `x`, `y` are the centroid, 0..1; `radius` is comparable with `SIZES`; `overlap` is the soft intersection over
    union with the best shape; `confidence` (0..1) is small where another shape or colour would do nearly as well.
    `outline_error` (0..1) is what the thing lacks to a full overlap with its shape drawn as soft as pictures are read:
    0 for a perfect outline of any size, while `overlap` stays below 1 and is the smaller the smaller the thing.
    """

    shape: str | None
    color: str | None
    size: str
    x: float
    y: float
    radius: float
    overlap: float
    outline_error: float
    confidence: float
    mask: NDArray[np.bool_]

    @property
    def centre(self) -> tuple[float, float]:
        return self.x, self.y


@dataclass(frozen=True, slots=True)
class Reading:
    """What a picture shows. `background` is None where it is like none of the world's."""

    things: tuple[Found, ...]
    background: Background | None


def to_pixels(picture: NDArray[np.generic]) -> Array:
    """float32 (H, W, 3), 0..255, from uint8 or from floats in 0..1."""
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"A picture must have the shape (height, width, 3), found {picture.shape}.")
    if picture.dtype == np.uint8:
        return picture.astype(np.float32)
    return np.clip(picture.astype(np.float32), 0, 1) * np.float32(255)


def _length(colors: Array) -> Array:
    """The length of the vectors along the last axis."""
    return np.sqrt(np.einsum("...c,...c->...", colors, colors))


def read(picture: NDArray[np.generic]) -> Reading:
    """Measure a picture of any size: uint8 or float 0..1, (H, W, 3)."""
    pixels = ndimage.gaussian_filter(to_pixels(picture), (_SOFT, _SOFT, 0))
    red, green, blue = np.moveaxis(pixels, 2, 0)
    chroma = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    vivid = chroma > _VIVID
    free = ~ndimage.binary_dilation(vivid, iterations=3)
    if free.mean() < _MESS:
        return Reading((), None)
    ground = _ground(pixels, free)
    side = min(pixels.shape[:2])
    speck = _SPECK * side * side
    labels, _ = ndimage.label(_length(pixels - ground) > _FOREGROUND)
    things: list[Found] = []
    for index, box in enumerate(ndimage.find_objects(labels), start=1):
        part = labels[box] == index
        if part.sum() >= speck:
            things += _separate(pixels, ground, box, part, speck)
    return Reading(tuple(things), _nearest_background(pixels, free & (labels == 0)))


def _ground(pixels: Array, free: NDArray[np.bool_]) -> Array:
    """The background's colour at every pixel. All of the world's change along one axis only, so it is the
    median of each column or of each row, whichever explains the free pixels better."""
    hidden = np.where(free[:, :, None], pixels, np.float32(np.inf))
    best: tuple[float, Array] | None = None
    for axis in (0, 1):
        count = free.sum(axis=axis)
        at, shown = np.arange(len(count)), np.flatnonzero(count)
        # Sorting puts the hidden pixels, infinite, behind the free ones, whose middle is the median.
        ordered = np.moveaxis(np.sort(hidden, axis=axis), axis, 0)
        line = ordered[count[shown] // 2, shown]
        line = np.stack([np.interp(at, shown, line[:, channel]) for channel in range(3)], axis=1).astype(np.float32)
        ground = np.broadcast_to(np.expand_dims(line, axis), pixels.shape)
        residual = float(np.abs((pixels - ground)[free]).mean())
        if best is None or residual < best[0]:
            best = residual, ground
    assert best is not None
    return best[1]


@lru_cache(maxsize=8)
def _small_backgrounds(width: int, height: int) -> Array:
    """Every background, (N, h, w, 3), at a quarter of the size."""
    return np.stack([render_background(item, width, height)[2::4, 2::4] for item in BACKGROUNDS])


def _nearest_background(pixels: Array, free: NDArray[np.bool_]) -> Background | None:
    height, width = pixels.shape[:2]
    shown = free[2::4, 2::4]
    if not shown.any():
        return None
    away = _length(_small_backgrounds(width, height)[:, shown] - pixels[2::4, 2::4][shown]).mean(axis=1)
    best = int(away.argmin())
    return BACKGROUNDS[best] if away[best] <= _KNOWN_BACKGROUND else None


def _separate(
    pixels: Array, ground: Array, box: tuple[slice, slice], part: NDArray[np.bool_], speck: float
) -> list[Found]:
    """The things in one connected part of the foreground: one for each colour in it."""
    rows = slice(max(0, box[0].start - 2), box[0].stop + 2)
    columns = slice(max(0, box[1].start - 2), box[1].stop + 2)
    grown = np.zeros(pixels[rows, columns].shape[:2], bool)
    top, left = box[0].start - rows.start, box[1].start - columns.start
    grown[top : top + part.shape[0], left : left + part.shape[1]] = part
    local, behind = pixels[rows, columns], ground[rows, columns]
    things: list[Found] = []
    rest = grown
    while rest.sum() >= speck:
        color = _core_color(local, rest)
        ray = color - behind
        alpha = ((local - behind) * ray).sum(axis=2) / np.maximum((ray * ray).sum(axis=2), 1)
        own = rest & (_length(local - behind - alpha[:, :, None] * ray) < _OWN)
        pieces, _ = ndimage.label(own)
        for index in range(1, pieces.max() + 1):
            piece = pieces == index
            if piece.sum() >= speck:
                soft = np.clip(alpha, 0, 1) * ndimage.binary_dilation(piece, iterations=2)
                if soft.sum() >= speck:
                    things.append(_describe(soft, color, rows.start, columns.start, pixels.shape[:2]))
        left_over = ndimage.binary_opening(rest & ~own)
        if left_over.sum() >= rest.sum():
            break
        rest = left_over
    return things


def _core_color(local: Array, part: NDArray[np.bool_]) -> Array:
    """The colour of a part's inside: the mean of the commonest named colour, at the part's depth."""
    core = part
    for depth in (2, 1):
        eroded = ndimage.binary_erosion(part, iterations=depth)
        if eroded.sum() >= 12:
            core = eroded
            break
    inside = local[core]
    names = _length(inside[:, None] - np.array(list(COLORS.values()), np.float32)).argmin(axis=1)
    commonest = np.bincount(names).argmax()
    return np.median(inside[names == commonest], axis=0)


def _describe(alpha: Array, color: Array, top: int, left: int, shape: tuple[int, ...]) -> Found:
    height, width = shape
    side = min(height, width)
    area = float(alpha.sum())
    rows = np.arange(alpha.shape[0], dtype=np.float32)[:, None]
    columns = np.arange(alpha.shape[1], dtype=np.float32)[None, :]
    y, x = float((alpha * rows).sum()) / area, float((alpha * columns).sum()) / area
    models = {
        name: coverage(name, columns - np.float32(x), rows - np.float32(y), (area / unit_area(name)) ** 0.5)
        for name in SHAPES
    }
    overlaps = {name: _overlap(alpha, model) for name, model in models.items()}
    best, second = sorted(SHAPES, key=overlaps.__getitem__, reverse=True)[:2]
    away = {name: float(np.linalg.norm(color - np.array(rgb))) for name, rgb in COLORS.items()}
    near, far = sorted(away, key=away.__getitem__)[:2]
    radius = (area / unit_area(best)) ** 0.5 / side
    mask = np.zeros(shape, bool)
    mask[top : top + alpha.shape[0], left : left + alpha.shape[1]] = alpha > 0.5
    return Found(
        shape=best if overlaps[best] >= _SAME_SHAPE else None,
        color=near if away[near] <= _SAME_COLOR else None,
        size=min(SIZES, key=lambda name: abs(SIZES[name] - radius)),
        x=(left + x + 0.5) / width,
        y=(top + y + 0.5) / height,
        radius=radius,
        overlap=overlaps[best],
        outline_error=1 - _overlap(alpha, ndimage.gaussian_filter(models[best], _SOFT, mode="constant")),
        confidence=max(0.0, min(1.0, 5 * (overlaps[best] - overlaps[second]), 1 - away[near] / max(away[far], 1.0))),
        mask=mask,
    )


def _overlap(alpha: Array, model: Array) -> float:
    """The soft intersection over union."""
    return float(np.minimum(alpha, model).sum() / np.maximum(alpha, model).sum())
