"""Colours of 16 bits, which PIL reads as 8 and does not write: the levels of PNG and TIFF files, and a PNG of them.

PIL's decoders take the upper byte of each level. Told that the bytes lie the other way round, they take the lower one.
"""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

__all__ = ["deep_colours", "deep_png"]

_NATIVE = "L" if sys.byteorder == "little" else "B"
_READ = frozenset({"RGB;16", "RGBA;16"})
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""PNG's, by the number of channels."""
_HEADER = slice(16, 33)
"""Of a PNG file, its size, depth, colour type and so on, and their checksum."""


def deep_colours(image: Image.Image, data: Callable[[], bytes]) -> tuple[Image.Image, Image.Image] | None:
    """The upper and the lower bytes of a picture file's levels, as two pictures (LA, RGB or RGBA); None where it has no
    colours, nor alpha, of 16 bits.

    Args:
        image: the file as PIL has opened it, and not read yet.
        data: gives the whole file.
    """
    rawmode = _rawmode(image)
    if rawmode.startswith("LA;16"):
        return _grey_and_alpha(data())
    kind, order = rawmode[:-1], rawmode[-1:]
    if kind not in _READ:
        return None
    little = (_NATIVE if order == "N" else order) == "L"
    file = data()
    return _read(file, kind + ("L" if little else "B")), _read(file, kind + ("B" if little else "L"))


def _rawmode(image: Image.Image) -> str:
    """How the first part of a file's pixels lies, in PIL's words."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    named = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return named if isinstance(named, str) else ""


def _read(file: bytes, rawmode: str) -> Image.Image:
    with Image.open(io.BytesIO(file)) as image:
        image.tile = [_as(tile, rawmode) for tile in image.tile]
        image.load()
        return image.copy()


def _as(tile: Any, rawmode: str) -> Any:
    """One of PIL's descriptions of where pixels lie (a tuple, which has names in newer ones), with another rawmode."""
    arguments = (rawmode, *tile[3][1:]) if isinstance(tile[3], tuple) else rawmode
    return tile._replace(args=arguments) if hasattr(tile, "_replace") else (*tile[:3], arguments)


def _grey_and_alpha(file: bytes) -> tuple[Image.Image, Image.Image]:
    """Four bytes a pixel, which an RGBA picture of 8 bits has too."""
    width, height, _, _, *rest = struct.unpack(">IIBBBBB", file[_HEADER][:13])
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[4], *rest)
    checksum = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    with Image.open(io.BytesIO(file[: _HEADER.start] + header + checksum + file[_HEADER.stop :])) as image:
        bands = image.split()
    return Image.merge("LA", bands[::2]), Image.merge("LA", bands[1::2])


def deep_png(levels: np.ndarray, chunks: PngImagePlugin.PngInfo, profile: bytes | None) -> bytes:
    """A PNG file of levels (H, W, C) uint16, with text chunks and an ICC profile."""
    height, width, channels = levels.shape
    rows = np.ascontiguousarray(levels.astype(">u2")).view(np.uint8).reshape(height, -1)
    filtered = np.full((height, rows.shape[1] + 1), 2, dtype=np.uint8)  # each row as its difference to the one above
    filtered[0, 1:], filtered[1:, 1:] = rows[0], rows[1:] - rows[:-1]
    file = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    file.seek(0, io.SEEK_END)
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    PngImagePlugin.putchunk(file, b"IHDR", header)
    if profile:
        PngImagePlugin.putchunk(file, b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile))
    for chunk in chunks.chunks:
        PngImagePlugin.putchunk(file, chunk[0], chunk[1])
    PngImagePlugin.putchunk(file, b"IDAT", zlib.compress(filtered.tobytes()))
    PngImagePlugin.putchunk(file, b"IEND", b"")
    return file.getvalue()
