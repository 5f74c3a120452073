"""Pictures in and out of the engine: sizes, tensors, and putting an edit back in place.

A picture is a `PIL.Image` in RGB or a float tensor (H, W, 3) in 0..1, in sRGB. PIL's sizes are (width, height),
a tensor's are (height, width). Transparency is laid on white.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .config import ModelConfig, SizeRule
from .errors import InputError, LightFusionError
from .modes import to_rgb

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

__all__ = [
    "MAX_ASPECT",
    "Placement",
    "check_aspect",
    "fit",
    "fit_size",
    "grid",
    "check_extent",
    "padded_levels",
    "resize",
    "resized_size",
    "restore",
    "rgb",
    "split_alpha",
    "to_pil",
    "to_rgb",
    "to_tensor",
]

MAX_ASPECT = 16

# Sizing


def fit_size(width: int, height: int, config: ModelConfig) -> tuple[int, int]:
    """The size of a picture to draw rounded to the model's multiple, said in the log where it changes.

    Raises:
        InputError: below one token, longer than 16:1, or beyond the model's largest side.
    """
    if width < 1 or height < 1:
        raise InputError(f"A picture needs a width and a height of at least 1 pixel, found {width}x{height}.")
    check_aspect(width, height)
    fitted = _rounded_within(width, height, config.defaults.max_size, config)
    if fitted != (width, height):
        log.warning("%dx%d is not a multiple of %d pixels: drawing %dx%d.", width, height, config.token_size, *fitted)
    return fitted


def check_extent(width: int, height: int, config: ModelConfig) -> None:
    """Refuse a size, in pixels, that the model has no places for.

    Raises:
        InputError: a side is beyond them.
    """
    _rounded_within(width, height, config.extent, config)


def _rounded_within(width: int, height: int, largest: int, config: ModelConfig) -> tuple[int, int]:
    fitted = config.rounded(width), config.rounded(height)
    if max(fitted) > largest:
        raise InputError(
            f"This model draws up to {largest} pixels a side, found {width}x{height}: draw smaller, and upscale."
        )
    return fitted


def check_aspect(width: int, height: int) -> None:
    """Refuse pictures that are longer than `MAX_ASPECT` times their breadth.

    Raises:
        InputError: beyond 16:1 or 1:16, or a side below one pixel.
    """
    _check_sides(width, height)
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InputError(
            f"Expected a picture of at most {MAX_ASPECT}:1, found {width}x{height}, "
            f"{max(width, height) / min(width, height):.1f}:1; crop it."
        )


def _check_sides(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise InputError(f"Expected a picture of at least 1x1 pixel, found {width}x{height}; give another one.")


def resized_size(width: int, height: int, rule: SizeRule) -> tuple[int, int]:
    """The (width, height) in pixels that a picture is resized to under `rule` (rule B23).

    Both sides are multiples of the stride, so the aspect ratio may change a little.

    Raises:
        InputError: a side below one pixel.
    """
    _check_sides(width, height)
    scale = max(min(rule.max / max(width, height), 1.0), rule.min / min(width, height))
    width, height = _scaled(width, height, scale, rule.stride)
    if width * height > rule.max_area:
        # The ratio of the areas, not its square root: that is what the model was trained with.
        width, height = _scaled(width, height, rule.max_area / (width * height), rule.stride)
    if max(width, height) > rule.max:
        width, height = _scaled(width, height, rule.max / max(width, height), rule.stride)
    return width, height


def _scaled(width: int, height: int, scale: float, stride: int) -> tuple[int, int]:
    """Both sides times `scale`, rounded to pixels first and then to the nearest stride (half to even, twice)."""
    sides = (round(width * scale), round(height * scale))
    wide, high = (max(stride, round(side / stride) * stride) for side in sides)
    return wide, high


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """`image` as RGB in exactly `size` (width, height), PIL bicubic; call it on the original only."""
    return to_rgb(image).resize(size, Image.Resampling.BICUBIC)


# Several beside each other


def grid(pictures: Sequence[Image.Image], columns: int) -> Image.Image:
    """Pictures of one size, edge to edge in rows of so many."""
    width, height = pictures[0].size
    page = Image.new("RGB", (columns * width, -(-len(pictures) // columns) * height))
    for k, picture in enumerate(pictures):
        page.paste(picture, (k % columns * width, k // columns * height))
    return page


# Tensors


def to_tensor(image: Image.Image) -> torch.Tensor:
    """`image` as float32 (H, W, 3) in 0..1, on the CPU. `to_pil` gives exactly the same pixels back."""
    import torch

    return torch.from_numpy(np.asarray(to_rgb(image), dtype=np.float32) / 255)


def to_pil(tensor: torch.Tensor) -> Image.Image:
    """A picture from a float tensor (H, W, 3); values beyond 0..1 are clamped (rule B25).

    Raises:
        InputError: another shape.
        LightFusionError: values that are not numbers (NaN).
    """
    import torch

    if tensor.ndim != 3 or tensor.shape[2] != 3 or 0 in tensor.shape:
        raise InputError(f"Expected a picture of shape (height, width, 3), found {tuple(tensor.shape)}; permute it.")
    values = tensor.detach().to("cpu", torch.float32)
    broken = int(values.isnan().sum())
    if broken:
        raise LightFusionError(
            f"Expected a picture of numbers in 0..1, found NaN in {broken} of {values.numel()} values; "
            "run the model in bfloat16 or float32."
        )
    return Image.fromarray((255 * values.clamp(0, 1)).trunc().to(torch.uint8).numpy())


def split_alpha(picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Colours (..., 3), grey repeated, and alpha (..., 1) of float pictures (..., C); None where they have no alpha.

    Args:
        picture: C is 1 for grey, 2 for grey with alpha, 3 for RGB, 4 for RGBA.

    Raises:
        InputError: another number of channels.
    """
    channels = picture.shape[-1]
    if channels not in (1, 2, 3, 4):
        raise InputError(
            f"Expected a picture of 1 to 4 channels (grey or RGB, with alpha or without), found {channels}; "
            "turn it into RGB."
        )
    colours = picture[..., :3] if channels > 2 else picture[..., :1].expand(*picture.shape[:-1], 3)
    return colours, picture[..., -1:] if channels in (2, 4) else None


def rgb(picture: torch.Tensor) -> torch.Tensor:
    """Float pictures (..., C) as (..., 3): grey is repeated, transparency laid on white.

    Raises:
        InputError: see `split_alpha`.
    """
    colours, alpha = split_alpha(picture)
    return colours if alpha is None else on_white(colours, alpha.clamp(0, 1))


def on_white(colours: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    return colours * alpha + (1 - alpha)


# Editing: into the model's size and back


def padded_levels(levels: np.ndarray, edges: tuple[int, int, int, int]) -> np.ndarray:
    """A picture (H, W, C) with pixels added at the left, top, right and bottom, of the colours that it ends in."""
    left, top, right, bottom = edges
    return np.pad(levels, ((top, bottom), (left, right), (0, 0)), mode="edge")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a fitted picture came from. Sizes are (width, height) in pixels; the whole `original`
    was resized to the whole `fitted`, nothing cropped or padded."""

    original: tuple[int, int]
    fitted: tuple[int, int]


def fit(image: Image.Image, rule: SizeRule) -> tuple[Image.Image, Placement]:
    """`image` at the size that the model takes under `rule`, and what `restore` needs to undo that.

    Raises:
        InputError: as `resized_size` and `to_rgb`.
    """
    size = resized_size(*image.size, rule)
    return resize(image, size), Placement(original=image.size, fitted=size)


def restore(
    edited: torch.Tensor, placement: Placement, original: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Put an edited picture back at exactly the original's size and position.

    Args:
        edited: float (h, w, 3) in 0..1, at `placement`'s fitted size.
        original: float (H, W, 3) in 0..1, at its original size; or (H, W, 4) with alpha, where the edit is of the
            picture on white.
        mask: (H, W), 1 where the edit shows, 0 where the original stays, blended in between; None shows
            the edit everywhere.

    Returns:
        In 0..1, with the shape, dtype and alpha and on the device of `original`, and bit for bit equal to it
        wherever the mask is 0. On white it is the edit, whatever its alpha.

    Raises:
        InputError: a tensor of another shape than `placement` says.
    """
    import torch

    _check_shape("an edited picture", edited, (*placement.fitted[::-1], 3))
    channels = 4 if original.shape[-1] == 4 else 3
    _check_shape("an original picture", original, (*placement.original[::-1], channels))
    result = _resize_tensor(edited.to(original.device, torch.float32), placement.original).to(original.dtype)
    if mask is not None:
        _check_shape("a mask", mask, placement.original[::-1])
        weight = mask.to(original).clamp(0, 1)[..., None]
        result = torch.lerp(rgb(original), result, weight)
    if channels == 4:
        result = with_alpha(result, original)
    # Chosen rather than multiplied by 0 and 1: multiplying rounds, and carries NaN over.
    return result if mask is None else torch.where(weight > 0, result, original)


def with_alpha(flat: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
    """The picture (H, W, 4) with an original's alpha that gives `flat` (H, W, 3) on white; what is wholly
    transparent keeps the original's colour."""
    import torch

    colours, alpha = original[..., :3], original[..., 3:]
    share = alpha.clamp(0, 1)
    lifted = ((flat - (1 - share)) / share.clamp_min(torch.finfo(original.dtype).tiny)).clamp(0, 1)
    return torch.cat([torch.where(share > 0, lifted, colours), alpha], dim=-1)


def _resize_tensor(picture: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(h, w, 3) to `size` (width, height), with PIL's bicubic filter (antialiased where it shrinks), in 0..1."""
    import torch.nn.functional as F

    width, height = size
    if picture.shape[:2] != (height, width):
        planes = picture.permute(2, 0, 1)[None]
        planes = F.interpolate(planes, (height, width), mode="bicubic", align_corners=False, antialias=True)
        # To 16-bit levels, which hold every 8-bit one: the filter's weights add up to 1 only within
        # 1e-6, and `to_pil` truncates, so flat white would come back speckled with 254.
        picture = (planes[0].permute(1, 2, 0) * 65535).round() / 65535
    return picture.clamp(0, 1)


def _check_shape(what: str, tensor: torch.Tensor, expected: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != expected:
        raise InputError(
            f"Expected {what} of shape {expected}, found {tuple(tensor.shape)}; "
            "give what belongs to the picture that was fitted."
        )
