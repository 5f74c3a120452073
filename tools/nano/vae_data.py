"""The pictures that the VAE learns from: scenes of all kinds, whole or cropped, at any size."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightfusion_core.shapes.scenes import random_background, random_scene
from lightfusion_core.shapes.world import Background, Scene, render

from .ahead import drawn_ahead

CROP = 64
_BLACK = Background("plain", "black")
_DARK = 0.25  # how many scenes stand on black besides those of chance: outlines are hardest to keep there
WHOLE_SIZES = ((128, 128),) * 7 + ((96, 96), (160, 160), (160, 96), (96, 128), (128, 192))


def picture_batch(seed: int, step: int, whole: bool, pixels: int) -> Tensor:
    """The batch of one step, the same whenever it is asked for.

    Args:
        seed: of the whole training.
        step: which batch.
        whole: whole pictures of one size per batch; else crops of 64 pixels around things, where the edges are.
        pixels: about how many pixels the batch has, divided by 1024.

    Returns:
        (B, 3, H, W) in -1..1.
    """
    rng = random.Random(f"{seed}/{step}/{whole}")
    width, height = rng.choice(WHOLE_SIZES) if whole else (CROP, CROP)
    count = max(1, round(pixels * 1024 / (width * height)))
    pictures = [render(_scene(rng), (width, height)) if whole else _crop(rng) for _ in range(count)]
    return to_tensor(pictures)


class Batches(Dataset[Tensor]):
    """The batch of every step: crops before the step `crops`, whole pictures after it; see `picture_batch`."""

    def __init__(self, seed: int, crops: float, pixels: int) -> None:
        self.seed, self.crops, self.pixels = seed, crops, pixels

    def __getitem__(self, step: int) -> Tensor:
        return picture_batch(self.seed, step, step >= self.crops, self.pixels)


def batches(seed: int, steps: range, crops: float, pixels: int) -> Iterator[Tensor]:
    """The batches of some steps, on a GPU's machine drawn ahead: there a step takes less time than its pictures."""
    every = Batches(seed, crops, pixels)
    return drawn_ahead(every, steps) if torch.cuda.is_available() else map(every.__getitem__, steps)


def to_tensor(pictures: list[np.ndarray]) -> Tensor:
    """uint8 (H, W, 3) pictures of one size to (B, 3, H, W) in -1..1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _scene(rng: random.Random) -> Scene:
    if rng.random() < 0.05:
        return Scene((), random_background(rng, plain=0.3))
    scene = random_scene(rng)
    return replace(scene, background=_BLACK) if rng.random() < _DARK else scene


def _crop(rng: random.Random) -> np.ndarray:
    side = rng.choice((96, 128, 128, 160))
    scene = _scene(rng)
    picture = render(scene, side)
    if scene.things and rng.random() < 0.9:
        thing = rng.choice(scene.things)
        left, top = (round(at * side) - CROP // 2 + rng.randint(-16, 16) for at in (thing.x, thing.y))
    else:
        left, top = rng.randint(0, side - CROP), rng.randint(0, side - CROP)
    left, top = (min(max(at, 0), side - CROP) for at in (left, top))
    return picture[top : top + CROP, left : left + CROP]
