"""One small picture for what a workflow shows."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

SIDE = 320
_INSET, _RIM, _LETTERS, _LINE = 92, 3, 34, 22


def compose(pictures: Sequence[Image.Image], texts: Sequence[str] = ()) -> Image.Image:
    """The last picture, the earlier ones small along its lower edge, texts along the upper; four or more equal
    ones as a grid.

    Args:
        pictures: at least one.
        texts: what was written, each cut to two lines.
    """
    if len(pictures) > 3:
        return _grid(pictures[:4])
    canvas = _square(pictures[-1], SIDE)
    for place, picture in enumerate(pictures[:-1]):
        left, top = _RIM * 2 + place * (_INSET + 4 * _RIM), SIDE - _INSET - 3 * _RIM
        canvas.paste((120, 120, 120), (left, top, left + _INSET + 2 * _RIM, top + _INSET + 2 * _RIM))
        canvas.paste(_square(picture, _INSET), (left + _RIM, top + _RIM))
    lines = [line for text in texts for line in textwrap.wrap(text, _LETTERS)[:2]]
    if lines:
        canvas.paste((30, 30, 30), (0, 0, SIDE, _LINE * len(lines) + 8))
        draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(16)
        draw.multiline_text((8, 5), "\n".join(lines), fill="white", font=font, spacing=4)
    return canvas


def _grid(pictures: Sequence[Image.Image]) -> Image.Image:
    canvas, side = Image.new("RGB", (SIDE, SIDE), "white"), SIDE // 2
    for place, picture in enumerate(pictures):
        canvas.paste(_square(picture, side - 2), (place % 2 * (side + 1), place // 2 * (side + 1)))
    return canvas


def _square(picture: Image.Image, side: int) -> Image.Image:
    return picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
