"""Pictures in and out: every odd file reads right, every failure says why, edits come back in place."""

from __future__ import annotations

import io
import json
import os
import random
import stat
import struct
import subprocess
import sys
import textwrap
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin
from safetensors.numpy import load_file

from lightfusion_core.config import SizeRule
from lightfusion_core.errors import InputError, LightFusionError
from lightfusion_core.images import (
    Placement,
    check_aspect,
    fit,
    load_image,
    read_parameters,
    resize,
    resized_size,
    restore,
    save_png,
    to_pil,
    to_rgb,
    to_tensor,
)

REPOSITORY = Path(__file__).resolve().parents[1]
GOLDEN = Path(__file__).parent / "golden" / "data" / "p1_preprocess.safetensors"
VAE_RULE = SizeRule(1024, 512, 32)
WHITE = [255, 255, 255]


def pixels(image: Image.Image) -> list[list[int]]:
    assert image.mode == "RGB"
    return np.asarray(image).reshape(-1, 3).tolist()


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def png_file(path: Path, size: tuple[int, int], depth: int, colour: int, rows: bytes) -> Path:
    """A PNG written by hand, for what PIL cannot write. `rows` start with their filter byte."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def refusal(path: Path, call: Callable[[], object]) -> str:
    """The message of the InputError that `call` raises: one sentence that starts with the path."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and message.endswith(".")
    assert "\n" not in message and ". " not in message.removeprefix(str(path))
    return message


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may do everything: step down inside of the block."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


# Modes


def grey16(*values: int, kind: str = "<u2") -> Image.Image:
    return Image.fromarray(np.array([values], dtype=kind))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGB", (1, 1), (1, 2, 3)), [[1, 2, 3]]),
        (Image.new("L", (1, 1), 77), [[77, 77, 77]]),
        (Image.new("1", (1, 1), 1), [WHITE]),
        (Image.new("RGBA", (1, 1), (255, 0, 0, 0)), [WHITE]),
        (Image.new("RGBA", (1, 1), (255, 0, 0, 255)), [[255, 0, 0]]),
        (Image.new("RGBA", (1, 1), (255, 0, 0, 51)), [[255, 204, 204]]),
        (Image.new("RGBa", (1, 1), (51, 0, 0, 51)), [[255, 204, 204]]),
        (Image.new("LA", (1, 1), (0, 51)), [[204, 204, 204]]),
        (Image.new("La", (1, 1), (0, 51)), [[204, 204, 204]]),
        (Image.new("CMYK", (1, 1), (0, 255, 255, 0)), [[255, 0, 0]]),
        (Image.new("CMYK", (1, 1), (0, 0, 0, 255)), [[0, 0, 0]]),
        (Image.new("YCbCr", (1, 1), (255, 128, 128)), [WHITE]),
        (Image.new("HSV", (1, 1), (0, 255, 255)), [[255, 0, 0]]),
        (grey16(0, 257, 32896, 65535), [[0] * 3, [1] * 3, [128] * 3, WHITE]),
        (grey16(0, 257, 32896, 65535, kind=">u2"), [[0] * 3, [1] * 3, [128] * 3, WHITE]),
        (grey16(0, 100, 255, kind="<i4"), [[0] * 3, [100] * 3, WHITE]),
        (grey16(0, 257, 65535, kind="<i4"), [[0] * 3, [1] * 3, WHITE]),
        (grey16(-9, 2**30, 2**31 - 1, kind="<i4"), [[0] * 3, [128] * 3, WHITE]),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
def test_to_rgb_modes(image: Image.Image, expected: list[list[int]]) -> None:
    assert pixels(to_rgb(image)) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.5, 1], [0, 128, 255]),
        ([-0.1, 0.5, 1.2], [0, 128, 255]),
        ([0, 100, 255], [0, 100, 255]),
        ([0, 257, 65535], [0, 1, 255]),
        ([float("nan"), 0.5, float("inf")], [0, 128, 255]),
    ],
)
def test_float_white_is_told_from_the_brightest_pixel(values: list[float], expected: list[int]) -> None:
    image = Image.fromarray(np.array([values], dtype=np.float32))
    assert image.mode == "F"
    assert pixels(to_rgb(image)) == [[value] * 3 for value in expected]


def test_to_rgb_lays_a_transparent_16_bit_value_on_white() -> None:
    image = grey16(0, 1000, 65535)
    image.info["transparency"] = 1000
    assert pixels(to_rgb(image)) == [[0] * 3, WHITE, WHITE]


def test_to_rgb_copies_and_drops_metadata() -> None:
    """A profile of the old mode in the new picture's file would colour it wrongly."""
    image = Image.new("RGB", (2, 2), (9, 9, 9))
    image.info["icc_profile"] = b"a profile"
    result = to_rgb(image)
    result.putpixel((0, 0), (1, 1, 1))
    assert image.getpixel((0, 0)) == (9, 9, 9)
    assert result.info == {} and image.info


# Files


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


# Sizes


@pytest.mark.parametrize(
    ("size", "rule", "expected"),
    [
        ((593, 342), SizeRule(1024, 1024, 32), (1024, 608)),
        ((401, 3546), VAE_RULE, (128, 1024)),
        ((300, 328), VAE_RULE, (512, 576)),  # 559.8 is 560 pixels first, then 17.5 strides, to even 18
        ((1, 1), VAE_RULE, (512, 512)),
        ((1, 1), SizeRule(532, 224, 28), (224, 224)),
    ],
)
def test_resized_size_examples(size: tuple[int, int], rule: SizeRule, expected: tuple[int, int]) -> None:
    assert resized_size(*size, rule) == expected


@pytest.mark.parametrize(
    ("table", "rule"),
    [
        ("out.vae_hw_1024_512_32", VAE_RULE),
        ("out.vae_hw_1024_1024_32", SizeRule(1024, 1024, 32)),
        ("out.vit_hw_532_224_28", SizeRule(532, 224, 28)),
    ],
)
def test_resized_size_golden_table(table: str, rule: SizeRule) -> None:
    golden = load_file(GOLDEN)
    found = [resized_size(int(width), int(height), rule)[::-1] for width, height in golden["in.sizes_wh"]]
    assert found == [tuple(row) for row in golden[table].tolist()]


def test_resized_size_keeps_to_its_rule() -> None:
    chance = random.Random(0)
    for _ in range(5000):
        rule = chance.choice([VAE_RULE, SizeRule(1024, 1024, 32), SizeRule(532, 224, 28)])
        width, height = chance.randint(1, 6000), chance.randint(1, 6000)
        wide, high = resized_size(width, height, rule)
        assert wide % rule.stride == high % rule.stride == 0
        assert rule.stride <= min(wide, high) and max(wide, high) <= rule.max
        assert resized_size(height, width, rule) == (high, wide)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
def test_sizes_below_a_pixel_are_refused(size: tuple[int, int]) -> None:
    for call in (lambda: resized_size(*size, VAE_RULE), lambda: check_aspect(*size)):
        with pytest.raises(InputError, match=f"{size[0]}x{size[1]}"):
            call()


def test_check_aspect() -> None:
    for size in ((1, 1), (16, 1), (1, 16), (1600, 100), (593, 342)):
        check_aspect(*size)
    for size in ((17, 1), (1, 17), (1601, 100), (100, 1601)):
        with pytest.raises(InputError, match="16:1"):
            check_aspect(*size)


def test_fit_golden_pixels() -> None:
    """The size rule and the resampling together, against the authors' transform."""
    golden = load_file(GOLDEN)
    fitted, placement = fit(Image.fromarray(golden["in.image_uint8"]), SizeRule(128, 64, 32))
    found = np.asarray(fitted).transpose(2, 0, 1) / 127.5 - 1
    difference = abs(found - golden["out.vae_pixels"])
    assert difference.max() < 1e-6, f"max {difference.max()}, mean {difference.mean()}"
    assert placement == Placement(original=(50, 38), fitted=(96, 64))


def test_resize_of_a_palette_picture_is_not_nearest() -> None:
    """PIL resizes mode P by nearest neighbour, whatever filter it is asked for."""
    image = noise(20, 20).resize((8, 8)).convert("P")
    assert pixels(resize(image, (30, 20))) == pixels(image.convert("RGB").resize((30, 20), Image.Resampling.BICUBIC))


# Saving

PARAMETERS = {
    "prompt": "a fox, 狐 ☃ \x00 \u0141\nsecond line",
    "seed": 2**63,
    "shift": 0.1,
    "size": [64, 32],
    "model": Path("a/b"),
    "nested": {"x": None, "y": True},
}


def test_save_png_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "picture.png"
    save_png(noise(33, 21), path, PARAMETERS)
    assert pixels(load_image(path)) == pixels(noise(33, 21))
    assert read_parameters(path) == {**PARAMETERS, "model": str(Path("a/b"))}
    assert os.listdir(path.parent) == ["picture.png"]
    with Image.open(path) as image:
        lines = image.info["parameters"].splitlines()
        assert json.loads(image.info["lightfusion"])["shift"] == 0.1
    assert lines[0].startswith("prompt: a fox, 狐 ☃") and "size: [64, 32]" in lines and f"seed: {2**63}" in lines


def test_save_png_takes_undecodable_names(tmp_path: Path) -> None:
    """A path with a byte that is not UTF-8 reaches Python as a lone surrogate."""
    save_png(noise(2, 2), tmp_path / "a.png", {"reference": "caf\udce9.png"})
    assert read_parameters(tmp_path / "a.png") == {"reference": "caf\udce9.png"}


def test_save_png_replaces_and_drops_a_profile(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    save_png(noise(4, 4, seed=1), path, {"old": 1})
    os.link(path, tmp_path / "kept.png")
    image = noise(4, 4, seed=2)
    image.info["icc_profile"] = b"a profile"
    save_png(image, str(path), {})
    assert pixels(load_image(path)) == pixels(image) and read_parameters(path) == {}
    with Image.open(path) as saved:
        assert "icc_profile" not in saved.info
    # Written in place, the old file would have changed under whoever was reading it.
    assert pixels(load_image(tmp_path / "kept.png")) == pixels(noise(4, 4, seed=1))


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_saved_files_have_ordinary_permissions(tmp_path: Path) -> None:
    """A private temporary file would leave pictures that a web server or another user cannot read."""
    before = os.umask(0o022)
    try:
        save_png(noise(2, 2), tmp_path / "a.png", {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o644


def test_saving_from_many_threads_leaves_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "same.png"
    threads = [threading.Thread(target=save_png, args=(noise(64, 64, n), path, {"n": n})) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winner = read_parameters(path)
    assert winner is not None and pixels(load_image(path)) == pixels(noise(64, 64, winner["n"]))
    assert os.listdir(tmp_path) == ["same.png"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting a file system takes root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a file system is not allowed here: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_full_disk_leaves_the_old_picture(small_disk: Path) -> None:
    path = small_disk / "picture.png"
    save_png(noise(40, 40), path, {"n": 1})
    before = path.read_bytes()
    message = refusal(path, lambda: save_png(noise(300, 300), path, {"n": 2}))
    assert "No space left" in message and "free some space" in message
    assert path.read_bytes() == before and os.listdir(small_disk) == ["picture.png"]
    save_png(noise(40, 40, seed=3), path, {"n": 3})
    assert read_parameters(path) == {"n": 3}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file size limits")
def test_write_that_fails_half_way_leaves_the_old_picture(tmp_path: Path) -> None:
    """The kernel stops the write at 20 kB, in a process of its own so that the limit ends with it."""
    path = tmp_path / "picture.png"
    save_png(noise(40, 40), path, {"n": 1})
    before = path.read_bytes()
    script = """
        import resource, signal, sys
        import numpy as np
        from PIL import Image
        from lightfusion_core.errors import InputError
        from lightfusion_core.images import save_png
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
        picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8))
        try:
            save_png(picture, sys.argv[1], {})
        except InputError as error:
            print(error)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.startswith(f"{path}: ") and "File too large" in result.stdout
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["picture.png"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_saving_without_permission(tmp_path: Path) -> None:
    folder = tmp_path / "readonly"
    folder.mkdir(mode=0o500)
    with unprivileged():
        message = refusal(folder / "a.png", lambda: save_png(noise(2, 2), folder / "a.png", {}))
    assert "may write to" in message and os.listdir(folder) == []


def test_saving_where_no_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    inside = tmp_path / "file" / "deeper" / "a.png"
    assert "another folder" in refusal(inside, lambda: save_png(noise(2, 2), inside, {}))
    assert "folder or device" in refusal(tmp_path, lambda: save_png(noise(2, 2), tmp_path, {}))
    long = tmp_path / ("n" * 300 + ".png")
    assert "shorter name" in refusal(long, lambda: save_png(noise(2, 2), long, {}))
    null = tmp_path / "a\0b.png"
    refusal(null, lambda: save_png(noise(2, 2), null, {}))
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_bytes() == b"mine"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_saving_never_replaces_a_device(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("/dev/full")
    assert "device" in refusal(tmp_path / "a.png", lambda: save_png(noise(2, 2), tmp_path / "a.png", {}))
    assert (tmp_path / "a.png").is_symlink() and os.listdir(tmp_path) == ["a.png"]


def test_read_parameters_of_other_pictures(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "a.gif"):
        noise(4, 4).save(tmp_path / name)
        assert read_parameters(tmp_path / name) is None
    refusal(tmp_path / "none.png", lambda: read_parameters(tmp_path / "none.png"))
    (tmp_path / "text.png").write_text("text")
    refusal(tmp_path / "text.png", lambda: read_parameters(tmp_path / "text.png"))


@pytest.mark.parametrize("record", ["{", "[1]", "[" * 100_000])
def test_read_parameters_refuses_a_damaged_record(tmp_path: Path, record: str) -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("lightfusion", record)
    noise(4, 4).save(tmp_path / "a.png", pnginfo=chunks)
    assert "damaged" in refusal(tmp_path / "a.png", lambda: read_parameters(tmp_path / "a.png"))


def test_read_parameters_needs_no_pixels_and_finds_a_moved_record(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    save_png(noise(40, 40), path, {"seed": 5})
    data = path.read_bytes()
    path.write_bytes(data[:-2000])
    assert read_parameters(path) == {"seed": 5}
    start = data.index(b"tEXtlightfusion") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    path.write_bytes(data[:start] + data[end:-12] + data[start:end] + data[-12:])
    assert read_parameters(path) == {"seed": 5}


# Tensors


def test_tensor_round_trip_is_exact_for_every_value() -> None:
    image = Image.fromarray(np.arange(768, dtype=np.uint32).astype(np.uint8).reshape(16, 16, 3))
    tensor = to_tensor(image)
    assert tensor.shape == (16, 16, 3) and tensor.dtype == torch.float32
    assert tensor.min() == 0 and tensor.max() == 1
    assert pixels(to_pil(tensor)) == pixels(image)


def test_to_tensor_is_height_first_and_rgb() -> None:
    assert to_tensor(Image.new("L", (5, 3))).shape == (3, 5, 3)
    assert to_tensor(Image.new("RGBA", (1, 1), (255, 0, 0, 0))).tolist() == [[[1, 1, 1]]]


def test_to_pil_truncates_and_clamps() -> None:
    values = torch.tensor([[[0.5, 0.9999, 254.9 / 255]], [[-3, 7, float("inf")]]], requires_grad=True)
    image = to_pil(values)
    assert image.size == (1, 2) and pixels(image) == [[127, 254, 254], [0, 255, 255]]
    assert pixels(to_pil(torch.ones(1, 1, 3, dtype=torch.bfloat16))) == [WHITE]


def test_to_pil_refuses_nan_and_other_shapes() -> None:
    broken = torch.zeros(2, 2, 3)
    broken[0, 0, 0] = float("nan")
    with pytest.raises(LightFusionError, match="NaN in 1 of 12"):
        to_pil(broken)
    for shape in ((3, 4, 4), (1, 4, 4, 3), (4, 4), (0, 4, 3)):
        with pytest.raises(InputError, match="height, width, 3"):
            to_pil(torch.zeros(shape))


def test_importing_does_not_import_torch() -> None:
    script = (
        "import sys, lightfusion_core; before = 'torch' in sys.modules; "
        "import lightfusion_core.images; assert before == ('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True)


# Fit and restore

SIZES = [(593, 342), (100, 37), (37, 100), (1, 1), (2, 1), (4000, 3000), (401, 3546), (1000, 63), (1024, 512)]
LOW, HIGH = 51 / 255, 204 / 255


def bar(side: int) -> tuple[int, int]:
    """First pixel and thickness of the cross's bar along one side: off the middle, so that zooming shows."""
    return int(side * 0.37), max(1, side // 60)


def cross(width: int, height: int) -> torch.Tensor:
    picture = torch.full((height, width, 3), LOW)
    (x, wide), (y, high) = bar(width), bar(height)
    picture[y : y + high] = HIGH
    picture[:, x : x + wide] = HIGH
    return picture


def centre(picture: torch.Tensor, axis: int) -> float:
    """Where the bar across `axis` lies, in pixels: its centroid in a window, away from the other bar."""
    side, other = picture.shape[axis], picture.shape[1 - axis]
    away = picture.narrow(1 - axis, int(other * 0.7), other - int(other * 0.7))
    profile = (away.double() - LOW).mean(dim=(1 - axis, 2))
    start, thickness = bar(side)
    reach = max(8, 2 * thickness)
    window = slice(max(0, start - reach), start + thickness + reach)
    return float((profile * torch.arange(side))[window].sum() / profile[window].sum())


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "{}x{}".format(*size))
@pytest.mark.parametrize("rule", [VAE_RULE, SizeRule(1024, 1024, 32)], ids=["512", "1024"])
def test_an_edit_that_changes_nothing_comes_back_in_place(size: tuple[int, int], rule: SizeRule) -> None:
    """The complaint this guards against: an edit that zooms, shifts or resizes the picture."""
    original = cross(*size)
    fitted, placement = fit(to_pil(original), rule)
    assert fitted.size == placement.fitted == resized_size(*size, rule) and placement.original == size
    result = restore(to_tensor(fitted), placement, original)
    assert result.shape == original.shape and result.min() >= 0 and result.max() <= 1
    error = result - original
    assert error.abs().mean() < 0.015, f"mean {error.abs().mean():.4f}, max {error.abs().max():.4f}"
    assert abs(error.mean()) < 2e-4
    for axis in (0, 1):
        assert abs(centre(result, axis) - centre(original, axis)) < 0.05


@pytest.mark.parametrize("size", [(593, 342), (100, 37), (1, 1), (1213, 831)])
def test_flat_areas_come_back_exactly(size: tuple[int, int]) -> None:
    """Truncating a resampled 0.9999999 would speckle a white background with 254."""
    for value in (255, 254, 200, 128, 1, 0):
        flat = Image.new("RGB", size, (value, value, value))
        fitted, placement = fit(flat, VAE_RULE)
        assert to_pil(restore(to_tensor(fitted), placement, to_tensor(flat))).tobytes() == flat.tobytes()


def test_smooth_pictures_come_back_within_two_levels() -> None:
    height, width = 342, 593
    y, x = torch.meshgrid(torch.linspace(0, 6, height), torch.linspace(0, 6, width), indexing="ij")
    original = torch.stack([x.sin(), y.cos(), (x + y).sin()], dim=-1) * 0.4 + 0.5
    fitted, placement = fit(to_pil(original), VAE_RULE)
    assert (restore(to_tensor(fitted), placement, original) - original).abs().max() < 2 / 255


def test_restore_at_the_fitted_size_changes_nothing() -> None:
    image = noise(1024, 512)
    fitted, placement = fit(image, VAE_RULE)
    assert torch.equal(restore(to_tensor(fitted), placement, to_tensor(image)), to_tensor(image))


def test_restore_to_a_smaller_size_does_not_alias() -> None:
    """One-pixel stripes, ten times too fine for the original's size, are an even grey there."""
    placement = Placement(original=(100, 37), fitted=(1024, 384))
    stripes = (torch.arange(1024) % 2).float()[None, :, None].expand(384, 1024, 3)
    result = restore(stripes, placement, torch.zeros(37, 100, 3))
    assert (result - 0.5).abs().max() < 0.05


def masked_edit(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, Placement, torch.Tensor, torch.Tensor]:
    image = noise(100, 37)
    _, placement = fit(image, VAE_RULE)
    edited = to_tensor(noise(*placement.fitted, seed=1))
    mask = torch.zeros(37, 100)
    mask[:, 40:60] = torch.linspace(0, 1, 20)
    mask[:, 60:] = 1
    return edited, placement, to_tensor(image).to(dtype), mask


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_mask_zero_is_bit_identical_and_mask_one_is_the_edit(dtype: torch.dtype) -> None:
    edited, placement, original, mask = masked_edit(dtype)
    result, whole = restore(edited, placement, original, mask), restore(edited, placement, original)
    assert result.dtype == dtype and not torch.equal(whole, original)
    assert torch.equal(result[mask == 0], original[mask == 0])
    assert torch.equal(result[mask == 1], whole[mask == 1])


def test_mask_blends_in_between() -> None:
    edited, placement, original, mask = masked_edit()
    result, whole = restore(edited, placement, original, mask), restore(edited, placement, original)
    weight = mask[..., None]
    torch.testing.assert_close(result, weight * whole + (1 - weight) * original, rtol=0, atol=1e-6)


def test_a_broken_edit_does_not_reach_outside_of_the_mask() -> None:
    """0 times NaN is NaN: a blend by multiplication would lose the whole picture."""
    edited, placement, original, mask = masked_edit()
    result = restore(torch.full_like(edited, float("nan")), placement, original, mask)
    assert torch.equal(result[mask == 0], original[mask == 0])


def test_mask_may_be_boolean_and_survives_saving(tmp_path: Path) -> None:
    edited, placement, original, mask = masked_edit()
    result = restore(edited, placement, original, mask > 0)
    save_png(to_pil(result), tmp_path / "a.png", {})
    saved = np.asarray(load_image(tmp_path / "a.png"))
    outside = (mask == 0).numpy()
    assert np.array_equal(saved[outside], np.asarray(noise(100, 37))[outside])


def test_restore_refuses_what_does_not_belong_together() -> None:
    edited, placement, original, mask = masked_edit()
    with pytest.raises(InputError, match="an edited picture"):
        restore(edited[:-1], placement, original)
    with pytest.raises(InputError, match="an original picture"):
        restore(edited, placement, original.transpose(0, 1))
    with pytest.raises(InputError, match="a mask"):
        restore(edited, placement, original, mask[None])
