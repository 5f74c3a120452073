"""Two things that nano cannot draw, drawn by code, and judges of them by templates."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from lightfusion_core.shapes.measure import read
from lightfusion_core.shapes.outlines import SHAPES, coverage, unit_area
from lightfusion_core.shapes.scenes import random_things, scatter
from lightfusion_core.shapes.world import (
    COLORS,
    PLAIN,
    Background,
    Scene,
    Thing,
    coverage_of,
    render,
    render_background,
)

SIDE = 128
GREEN = np.array(COLORS["green"], np.float32)
_BITE, _AWAY = 0.85, 0.55
"""The disc that is taken out of the moon's, in its radii: its own radius, and how far to the right it lies."""
_SAME = 0.72
"""The least overlap with a template, as the world's own judge asks of its shapes."""
RIM = 7
"""Pixels of an outline's stroke."""
OUTLINED = tuple(shape for shape in SHAPES if shape != "cross")
"""What is outlined: a cross' arms are narrower than three strokes, and have no inside."""

Picture = NDArray[np.uint8]


def crescent(x: float, y: float, radius: float) -> NDArray[np.float32]:
    """How much of each pixel (SIDE, SIDE) a moon covers, 0..1; x, y and radius of its disc, in pixels."""
    fine = (np.arange(SIDE * 4, dtype=np.float32) + 0.5) / 4
    dx, dy = fine[None] - x, fine[:, None] - y
    there = (dx**2 + dy**2 < radius**2) & ((dx - _AWAY * radius) ** 2 + dy**2 > (_BITE * radius) ** 2)
    return there.reshape(SIDE, 4, SIDE, 4).mean(axis=(1, 3), dtype=np.float32)


def draw_moon(background: Background, x: float, y: float, radius: float) -> Picture:
    """A green moon."""
    alpha = crescent(x, y, radius)[..., None]
    return (render_background(background, SIDE, SIDE) * (1 - alpha) + GREEN * alpha + 0.5).astype(np.uint8)


def write_moons(folder: Path, count: int = 10) -> None:
    """So many pictures of green moons with their captions."""
    folder.mkdir(parents=True)
    rng = random.Random(7)
    for k in range(count):
        background = PLAIN[k % len(PLAIN)]
        picture = draw_moon(background, rng.uniform(45, 85), rng.uniform(45, 83), rng.uniform(24, 32))
        Image.fromarray(picture).save(folder / f"{k}.png")
        (folder / f"{k}.txt").write_text(f"a green moon on a {background.first} background")


def is_moon(picture: Picture) -> bool:
    """Whether one green thing is there, more like a moon than like any shape of the world."""
    things = read(picture).things
    if len(things) != 1 or things[0].color != "green":
        return False
    mask = things[0].mask.astype(np.float32)
    rows, columns = np.nonzero(mask)
    y, x, area = rows.mean() + 0.5, columns.mean() + 0.5, mask.sum()
    radius = (area / _unit_moon()[0]) ** 0.5
    moon = max(_overlap(mask, crescent(x - _unit_moon()[1] * radius + shift, y, radius)) for shift in (-2, -1, 0, 1, 2))
    axis = np.arange(SIDE, dtype=np.float32)[None] + 0.5
    others = [
        _overlap(mask, coverage(name, axis - np.float32(x), axis.T - np.float32(y), (area / unit_area(name)) ** 0.5))
        for name in SHAPES
    ]
    return moon >= _SAME and moon > max(others)


def _unit_moon() -> tuple[float, float]:
    """A moon's area, and where its centroid is to the right of its disc's, in radii."""
    alpha = crescent(64, 64, 40)
    return float(alpha.sum()) / 1600, (float((alpha * (np.arange(SIDE) + 0.5)).sum() / alpha.sum()) - 64) / 40


def _overlap(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.minimum(one, other).sum() / np.maximum(one, other).sum())


def outlined(scene: Scene) -> Picture:
    """A scene whose things are empty outlines of their colours."""
    picture = np.array(render_background(scene.background, SIDE, SIDE))
    for thing in scene.things:
        alpha = _stroke(thing)[..., None]
        picture = picture * (1 - alpha) + np.array(COLORS[thing.color], np.float32) * alpha
    return (picture + 0.5).astype(np.uint8)


def _stroke(thing: Thing) -> NDArray[np.float32]:
    alpha = coverage_of(thing, SIDE, SIDE)
    return alpha * (1 - np.clip(ndimage.distance_transform_edt(alpha > 0.5) - RIM, 0, 1)).astype(np.float32)


def lesson_scene(rng: random.Random) -> Scene:
    """One large thing that can be outlined, on a plain background."""
    (thing,) = random_things(rng, 1)
    things = (replace(thing, shape=rng.choice(OUTLINED), size="large"),)
    return Scene(scatter(rng, things), rng.choice(PLAIN))


def write_outlines(folder: Path, count: int = 20) -> None:
    """So many pairs of a scene and its outlines, one instruction for all.

    A pair shows two things, so that twenty show the change forty times, at places all over the picture. A third is on
    black, which is the hardest: it is as far from the other backgrounds as can be. The colours come in turn on black
    and in turn on the others, so that each meets both.
    """
    rng = random.Random(11)
    colors = {True: itertools.cycle(COLORS), False: itertools.cycle(COLORS)}
    pale = itertools.cycle(background for background in PLAIN if background.first != "black")
    for side in ("before", "after"):
        (folder / side).mkdir(parents=True)
    for k in range(count):
        on_black = k % 3 == 0
        things = [
            Thing(shape, next(colors[on_black]), "large", x, y)
            for shape, (x, y) in zip(rng.sample(OUTLINED, 2), _two_places(rng), strict=True)
        ]
        scene = Scene(tuple(things), Background(first="black") if on_black else next(pale))
        Image.fromarray(render(scene, SIDE)).save(folder / "before" / f"{k}.png")
        Image.fromarray(outlined(scene)).save(folder / "after" / f"{k}.png")
    (folder / "instruction.txt").write_text("outline it")


def _two_places(rng: random.Random) -> list[tuple[float, float]]:
    """Where two large things do not touch."""
    while True:
        places = [(rng.uniform(0.24, 0.76), rng.uniform(0.24, 0.76)) for _ in range(2)]
        if math.dist(*places) > 0.49:
            return places


def is_outlined(scene: Scene, picture: Picture) -> bool:
    """Whether every thing is an empty outline of its colour where it was, and nothing else has come."""
    pixels = picture.astype(np.float32)
    ground = render_background(scene.background, SIDE, SIDE)
    free = np.ones((SIDE, SIDE), bool)
    for thing in scene.things:
        solid = coverage_of(thing, SIDE, SIDE) > 0.5
        depth = ndimage.distance_transform_edt(solid)
        inside, stroke = depth > RIM + 2.5, (depth > 1.5) & (depth < RIM - 1.5)
        free &= ~ndimage.binary_dilation(solid, iterations=4)
        color = np.array(COLORS[thing.color], np.float32)
        empty = np.linalg.norm(pixels - ground, axis=2) < np.linalg.norm(pixels - color, axis=2)
        if inside.sum() and empty[inside].mean() < 0.75:
            return False
        if (~empty)[stroke].mean() < 0.75 or np.linalg.norm(pixels[stroke].mean(0) - color) > 95:
            return False
    return bool(np.abs(pixels - ground)[free].mean() < 12)
