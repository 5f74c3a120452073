"""PIL's modes: colours and alpha of any picture, and what they are in RGB or as a mask."""

from __future__ import annotations

import numpy as np
from PIL import Image

from .colour import to_srgb
from .errors import InputError

__all__ = ["colours_and_alpha", "deep_grey", "is_deep", "to_mask", "to_rgb"]

_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_GREY = frozenset({"1", "L", "LA", "La"})


def to_rgb(image: Image.Image) -> Image.Image:
    """A copy of `image` in 8-bit RGB and sRGB, any transparency laid on white, without metadata.

    Deep greyscale is scaled, not clipped. Where a mode does not say what its white is (I and F, which
    hold 32-bit numbers), it is told from the brightest pixel: see `_white`.

    Raises:
        InputError: a mode that has no way to RGB.
    """
    try:
        colours, alpha = colours_and_alpha(image)
        rgb = to_srgb(colours, image.info.get("icc_profile"))
    except ValueError as error:
        raise InputError(
            f"Expected a picture that can be turned into RGB, found PIL mode {image.mode} ({error}); save it as RGB."
        ) from None
    if alpha is not None:
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(rgb, mask=alpha)
        rgb = white
    # A CMYK profile or an orientation that was already applied must not travel on with the pixels.
    rgb.info.clear()
    return rgb


def to_mask(image: Image.Image) -> np.ndarray:
    """A picture as a mask, (H, W) float32 in 0..1: how bright it is, and 0 where it is transparent. Its levels are
    numbers and no colours, so a profile changes nothing.

    Raises:
        InputError: a mode that has no way to greyscale.
    """
    try:
        colours, alpha = colours_and_alpha(image)
        bright = np.asarray(colours.convert("RGB").convert("L"), dtype=np.float32) / 255
    except ValueError as error:
        raise InputError(
            f"Expected a mask that can be turned into greyscale, found PIL mode {image.mode} ({error}); save it so."
        ) from None
    return bright if alpha is None else bright * (np.asarray(alpha, dtype=np.float32) / 255)


def colours_and_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Any picture's colours in a mode of 8 bits without alpha, and its alpha (L), None where nothing is transparent."""
    if is_deep(image):
        values, transparent = np.asarray(image), image.info.get("transparency")
        alpha = None if transparent is None else Image.fromarray(np.where(values == transparent, 0, 255).astype("u1"))
        scaled = np.floor(_scaled(image) * 255 + 0.5).astype(np.uint8)
        return Image.fromarray(scaled), alpha
    if image.mode not in _ALPHA and "transparency" not in image.info:
        return image, None
    # PIL knows no direct way from La, greyscale multiplied by its alpha, to RGBA.
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    return rgba.convert("L" if image.mode in _GREY else "RGB"), rgba.getchannel("A")


def is_deep(image: Image.Image) -> bool:
    """Whether a picture is grey with more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def deep_grey(image: Image.Image) -> np.ndarray:
    """The (H, W) uint16 levels of a deep greyscale picture."""
    return np.floor(_scaled(image) * 65535 + 0.5).astype(np.uint16)


def _scaled(image: Image.Image) -> np.ndarray:
    """The (H, W) float64 form in 0..1 of a deep greyscale picture."""
    values = np.asarray(image).astype(np.float64)
    return np.nan_to_num(np.clip(values / _white(image, values), 0, 1))


def _white(image: Image.Image, values: np.ndarray) -> float:
    """The value that means white in a deep greyscale picture.

    A 16-bit PNG says so (older versions of PIL open it in mode I). Otherwise it is the smallest of the
    usual whites (1 for F, 8, 16 and 32 bits) that holds all values; F may overshoot 1 up to 2, as
    highlights and sharpened pictures do.
    """
    if image.mode.startswith("I;16") or image.format == "PNG":
        return 65535.0
    brightest = float(values[np.isfinite(values)].max(initial=0))
    if image.mode == "F" and brightest <= 2:
        return 1.0
    return next((white for white in (255.0, 65535.0) if brightest <= white), 2.0**31 - 1)
