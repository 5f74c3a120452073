"""Reading picture files: every odd one reads right, every failure says why."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import WHITE, grey16, noise, pixels, refusal, unprivileged
from PIL import Image

from lightfusion_core.errors import InputError
from lightfusion_core.images import to_rgb
from lightfusion_core.picture_files import load_image


def png_file(path: Path, size: tuple[int, int], depth: int, colour: int, rows: bytes) -> Path:
    """A PNG written by hand, for what PIL cannot write. `rows` start with their filter byte."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


# Reading


def test_16_bit_png_is_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    assert np.array_equal(np.asarray(load_image(tmp_path / "ramp.png"))[..., 0].ravel(), np.arange(256))


def test_dark_16_bit_png_stays_dark(tmp_path: Path) -> None:
    """Older PIL opens it in mode I; its largest value must not be taken for 8-bit white."""
    path = png_file(tmp_path / "dark.png", (2, 1), 16, 0, b"\0" + struct.pack(">2H", 200, 100))
    assert pixels(load_image(path)) == [[1, 1, 1], [0, 0, 0]]


def test_16_bit_colour_and_alpha_pngs(tmp_path: Path) -> None:
    rgb = png_file(tmp_path / "rgb.png", (1, 1), 16, 2, b"\0" + struct.pack(">3H", 0, 0x8080, 0xFFFF))
    assert pixels(load_image(rgb)) == [[0, 128, 255]]
    clear = png_file(tmp_path / "la.png", (2, 1), 16, 4, b"\0" + struct.pack(">4H", 0x8080, 0xFFFF, 0x8080, 0))
    assert pixels(load_image(clear)) == [[128] * 3, WHITE]


@pytest.mark.parametrize("name", ["float.tif", "grey16.tif"])
def test_deep_tiffs(tmp_path: Path, name: str) -> None:
    kind, white = (np.float32, 1) if name == "float.tif" else (np.uint16, 65535)
    Image.fromarray(np.array([[0, white]], dtype=kind)).save(tmp_path / name)
    assert pixels(load_image(tmp_path / name)) == [[0] * 3, WHITE]


@pytest.mark.parametrize("transparency", [1, bytes([255, 0])], ids=["index", "alpha table"])
def test_palette_with_transparency(tmp_path: Path, transparency: int | bytes) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "palette.png", transparency=transparency)
    assert pixels(load_image(tmp_path / "palette.png")) == [[10, 20, 30], WHITE]


def test_palette_with_alpha_channel() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.info["transparency"] = 1
    image = image.convert("PA")
    assert image.mode == "PA"
    assert pixels(to_rgb(image)) == [[10, 20, 30], WHITE]


@pytest.mark.parametrize(("mode", "clear"), [("L", 100), ("RGB", (9, 8, 7)), ("1", 0)])
def test_single_transparent_colour(tmp_path: Path, mode: str, clear: int | tuple[int, ...]) -> None:
    image = Image.new(mode, (2, 1), clear)
    image.putpixel((0, 0), 1 if mode == "1" else (3, 3, 3) if mode == "RGB" else 3)
    image.save(tmp_path / "clear.png", transparency=clear)
    first, second = pixels(load_image(tmp_path / "clear.png"))
    assert first == (WHITE if mode == "1" else [3, 3, 3]) and second == WHITE


def patches() -> Image.Image:
    """48x32: red, green, blue, white, black and grey squares of 16 pixels, a JPEG block or two each."""
    image = Image.new("RGB", (48, 32))
    colours = ["red", "lime", "blue", "white", "black", "gray"]
    for index, colour in enumerate(colours):
        image.paste(colour, (index % 3 * 16, index // 3 * 16, index % 3 * 16 + 16, index // 3 * 16 + 16))
    return image


def assert_patches(image: Image.Image, tolerance: int) -> None:
    assert image.size == (48, 32)
    difference = np.asarray(image).astype(int) - np.asarray(patches())
    assert abs(difference).max() <= tolerance


def cmyk_bytes(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=100, subsampling=0)
    return buffer.getvalue()


def test_adobe_cmyk_jpeg(tmp_path: Path) -> None:
    """PIL writes Adobe's inverted CMYK; a naive reader shows the negative."""
    data = cmyk_bytes(patches().convert("CMYK"))
    assert b"Adobe" in data
    (tmp_path / "cmyk.jpg").write_bytes(data)
    assert_patches(load_image(tmp_path / "cmyk.jpg"), 6)


def test_ycck_jpeg(tmp_path: Path) -> None:
    """As Photoshop writes CMYK: its inverse's C, M, Y as YCbCr. Made from a CMYK file whose channels hold
    those values, by setting the colour transform in the Adobe marker."""
    cyan, magenta, yellow, black = patches().convert("CMYK").split()
    luma = Image.merge("RGB", (cyan, magenta, yellow)).convert("YCbCr")
    inverted = [channel.point(lambda value: 255 - value) for channel in luma.split()]
    data = bytearray(cmyk_bytes(Image.merge("CMYK", (*inverted, black))))
    transform = data.index(b"Adobe") + 11
    assert data[transform] == 0
    data[transform] = 2
    (tmp_path / "ycck.jpg").write_bytes(data)
    with Image.open(tmp_path / "ycck.jpg") as image:
        assert image.mode == "CMYK" and image.info["adobe_transform"] == 2
    assert_patches(load_image(tmp_path / "ycck.jpg"), 10)


STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

FAITHFUL: dict[str, dict[str, Any]] = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation(tmp_path: Path, suffix: str, orientation: int) -> None:
    """Stored turned away, it comes back upright, once, whoever asks the result for its EXIF again."""
    method = STORED[orientation]
    stored = patches() if method is None else patches().transpose(method)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"turned.{suffix}", exif=exif, **FAITHFUL.get(suffix, {}))
    image = load_image(tmp_path / f"turned.{suffix}")
    assert_patches(image, 6)
    assert 0x0112 not in image.getexif()


def test_exif_orientation_of_a_16_bit_png(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    grey16(0, 65535).save(tmp_path / "turned.png", exif=exif)
    image = load_image(tmp_path / "turned.png")
    assert image.size == (1, 2) and pixels(image) == [[0] * 3, WHITE]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0nonsense", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"])
def test_broken_exif_is_no_reason_to_refuse(tmp_path: Path, exif: bytes) -> None:
    patches().save(tmp_path / "picture.jpg", exif=exif, quality=100, subsampling=0)
    assert_patches(load_image(tmp_path / "picture.jpg"), 6)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_first_frame_of_an_animation(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
    assert set(map(tuple, pixels(load_image(tmp_path / f"a.{suffix}")))) == {(255, 0, 0)}


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "bmp", "tif"])
def test_one_pixel(tmp_path: Path, suffix: str) -> None:
    Image.new("RGB", (1, 1), (0, 0, 0)).save(tmp_path / f"one.{suffix}")
    assert pixels(load_image(str(tmp_path / f"one.{suffix}"))) == [[0, 0, 0]]


# Files that are refused


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none.png"
    assert "no such file" in refusal(path, lambda: load_image(path))
    (tmp_path / "file").write_bytes(b"")
    inside = tmp_path / "file" / "none.png"
    assert "no such file" in refusal(inside, lambda: load_image(inside))


def test_refuses_a_folder(tmp_path: Path) -> None:
    assert "a folder" in refusal(tmp_path, lambda: load_image(tmp_path))


@pytest.mark.parametrize("data", [b"", b"some text", b"\x89PNG\r\n\x1a\n", bytes(1000)])
def test_refuses_what_is_no_picture(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    refusal(path, lambda: load_image(path))


@pytest.mark.filterwarnings("ignore:Truncated File Read", "ignore:Corrupt EXIF")
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "bmp", "tif"])
def test_refuses_a_truncated_file_at_any_length(tmp_path: Path, suffix: str) -> None:
    """Grey where the rest should be would be taken for the picture."""
    path = tmp_path / f"cut.{suffix}"
    noise(20, 20).save(path)
    data = path.read_bytes()
    for length in range(0, len(data) - 24, max(1, len(data) // 200)):
        path.write_bytes(data[:length])
        refusal(path, lambda: load_image(path))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "tif"])
def test_damaged_bytes_never_raise_anything_else(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"flipped.{suffix}"
    noise(20, 20).save(path)
    data = path.read_bytes()
    chance = random.Random(0)
    for _ in range(150):
        flipped = bytearray(data)
        for _ in range(4):
            flipped[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(flipped)
        try:
            assert load_image(path).mode == "RGB"
        except InputError as error:
            assert str(path) in str(error)


def test_refuses_a_decompression_bomb(tmp_path: Path) -> None:
    path = png_file(tmp_path / "bomb.png", (60000, 60000), 1, 0, b"")
    assert "too large" in refusal(path, lambda: load_image(path))


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_refuses_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "private.png"
    noise(4, 4).save(path)
    path.chmod(0)
    with unprivileged():
        assert "permission" in refusal(path, lambda: load_image(path))
