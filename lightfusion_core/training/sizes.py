"""At which size each picture is learned: one of a few for each aspect ratio, so that batches have one size."""

from __future__ import annotations

from PIL import Image, ImageOps

from ..config import ModelConfig
from ..images import MAX_ASPECT, resize, resized_size, to_rgb
from ..picture_files import picture_size
from .data import Example

_FINE = 16
"""Tokens a side up to which sides go by one token; larger pictures go by two, which halves the number of sizes."""


def bucket(width: int, height: int, side: int, config: ModelConfig) -> tuple[int, int]:
    """The size of about the aspect ratio of (width, height) that has about the area of a square of `side` pixels, or
    less where the model draws no side that is so long."""
    token = config.token_size
    step = token if side < _FINE * token else 2 * token
    ratio = (width / height) ** 0.5
    scale = min(1.0, config.extent / (side * max(ratio, 1 / ratio)))
    wide, high = (max(step, round(scale * length / step) * step) for length in (side * ratio, side / ratio))
    return min(wide, MAX_ASPECT * high), min(high, MAX_ASPECT * wide)


def target_size(example: Example, side: int, config: ModelConfig) -> tuple[int, int]:
    """The (width, height) in pixels that an example's picture is drawn at: with references by the model's own rule
    (rule B24), from a text alone a bucket's."""
    size = picture_size(example.target)
    return resized_size(*size, config.vae_image) if example.references else bucket(*size, side, config)


def target_picture(example: Example, size: tuple[int, int]) -> Image.Image:
    """An example's picture at that size in RGB: resized as its references are, so that all lie alike; where there are
    none its middle, so that nothing is stretched."""
    picture = example.picture(example.target)
    if example.references:
        return resize(picture, size)
    return ImageOps.fit(to_rgb(picture), size, Image.Resampling.BICUBIC)
