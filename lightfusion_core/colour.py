"""Colour profiles (ICC): from a picture's own colours to sRGB, which the model was trained in, and back."""

from __future__ import annotations

import io
import logging
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from PIL import ImageCms

log = logging.getLogger(__name__)

_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""PIL's mode by the colour space that a profile names."""
_GREYS = frozenset({"1", "L"})


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """A picture in RGB, L, CMYK or another mode without alpha as RGB in sRGB.

    A profile that cannot be read, or is of another kind of colours than the picture's, is passed over.
    """
    mode = _mode(profile) if profile else None
    if profile is None or mode is None or not _belongs(mode, image.mode):
        return image.convert("RGB")
    from PIL import ImageCms

    transform = ImageCms.buildTransform(_opened(profile), ImageCms.createProfile("sRGB"), mode, "RGB")
    return _transformed(image.convert(mode), transform)


def from_srgb(image: Image.Image, profile: bytes | None, mode: str) -> Image.Image:
    """An RGB picture in sRGB as the mode (L or RGB) and the colours of a picture with that profile."""
    own = _mode(profile) if profile else None
    if profile is None or own is None or own == "CMYK" or not _belongs(own, mode):
        return image.convert(mode)
    from PIL import ImageCms

    transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), _opened(profile), "RGB", own)
    return _transformed(image, transform).convert(mode)


def _belongs(own: str, mode: str) -> bool:
    """Whether a profile's colours can be those of a picture's mode; grey is also written with a profile of RGB."""
    if mode in _GREYS:
        return own != "CMYK"
    return own == ("CMYK" if mode == "CMYK" else "RGB")


def _transformed(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    made = transform.apply(image)
    made.info.clear()
    return made


@lru_cache(maxsize=8)
def _mode(profile: bytes) -> str | None:
    """The PIL mode of a profile's colours; None where it cannot be read, or says what sRGB says."""
    try:
        from PIL import ImageCms

        opened, srgb = _opened(profile), ImageCms.createProfile("sRGB")
        mode = _MODES.get(opened.profile.xcolor_space.strip())
        if mode is None:
            return None
        transform = ImageCms.buildTransform(opened, srgb, mode, "RGB")
        if mode != "CMYK":  # the way back is needed too
            ImageCms.buildTransform(srgb, opened, "RGB", mode)
    except (ImportError, OSError, ValueError, TypeError, _cms_error()) as error:
        log.warning("A colour profile cannot be read (%s): the picture's colours are taken as sRGB.", error)
        return None
    if mode == "CMYK":
        return mode
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(len(levels), -1, 3)
    tried = Image.fromarray(grid).convert(mode)
    moved = np.asarray(transform.apply(tried)).astype(int) - np.asarray(tried.convert("RGB"))
    # One level is rounding: pictures that name sRGB must be what they were
    return mode if abs(moved).max() > 1 else None


def _opened(profile: bytes) -> ImageCms.ImageCmsProfile:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


def _cms_error() -> type[Exception]:
    """What littlecms raises; it may have been left out of a PIL."""
    try:
        from PIL import ImageCms
    except ImportError:
        return OSError
    return ImageCms.PyCMSError
