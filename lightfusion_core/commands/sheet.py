"""A contact sheet: pictures side by side, scaled to one size, a caption under each."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from ..errors import InputError

_PAPER, _INK = (250, 250, 248), (35, 35, 35)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def contact_sheet(tiles: Sequence[tuple[Image.Image, str]], columns: int = 4, side: int = 256) -> Image.Image:
    """One RGB picture of all tiles, row by row.

    Args:
        tiles: pictures of any size, each with its caption.
        side: what a tile's longer side is scaled to, in pixels.

    Raises:
        InputError: there are no tiles.
    """
    if not tiles:
        raise InputError("A contact sheet needs at least one picture, found none.")
    columns, gap, font = min(columns, len(tiles)), side // 16, _font(side // 14)
    captions = [_wrapped(caption, font, side) for _, caption in tiles]
    line = sum(font.getmetrics()) if isinstance(font, ImageFont.FreeTypeFont) else 14
    rows = [captions[start : start + columns] for start in range(0, len(tiles), columns)]
    tops = [gap]
    for row in rows:
        tops.append(tops[-1] + side + 2 * gap + line * max(map(len, row)))
    sheet = Image.new("RGB", (columns * (side + gap) + gap, tops[-1]), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, (picture, _) in enumerate(tiles):
        left, top = gap + index % columns * (side + gap), tops[index // columns]
        scaled = _scaled(picture, side)
        sheet.paste(scaled, (left + (side - scaled.width) // 2, top + (side - scaled.height) // 2))
        for number, text in enumerate(captions[index]):
            draw.text((left, top + side + gap // 3 + number * line), text, fill=_INK, font=font)
    return sheet


def _scaled(picture: Image.Image, side: int) -> Image.Image:
    factor = side / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def _font(size: int) -> Font:
    """PIL's own font at a size; at its one size where this PIL has no scalable one."""
    try:
        return ImageFont.load_default(size=size)
    except (TypeError, ImportError, OSError):
        return ImageFont.load_default()


def _wrapped(text: str, font: Font, width: int) -> list[str]:
    """The caption in lines that fit into `width` pixels; a longer word stands alone."""
    if not isinstance(font, ImageFont.FreeTypeFont):
        text = text.encode("latin-1", "replace").decode("latin-1")  # all that the fixed font has
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] = f"{lines[-1]} {word}"
        else:
            lines.append(word)
    return lines
