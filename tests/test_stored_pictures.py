"""What an edit keeps of a picture: its mode, depth, alpha and colour profile, bit for bit."""

from __future__ import annotations

import io
import logging
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, PngImagePlugin

from lightfusion_core.deep import deep_png
from lightfusion_core.errors import InputError
from lightfusion_core.images import to_tensor
from lightfusion_core.modes import to_mask, to_rgb
from lightfusion_core.picture_files import load_image, load_stored, save_png
from lightfusion_core.stored import Stored, put_back

HEIGHT, WIDTH = 12, 20
KEPT = np.zeros((HEIGHT, WIDTH), dtype=bool)
KEPT[:, : WIDTH // 2] = True
MASK = torch.from_numpy(~KEPT).float()


def levels(channels: int, kind: str = "u1", seed: int = 0) -> np.ndarray:
    white = np.iinfo(kind).max
    return np.random.default_rng(seed).integers(0, white + 1, (HEIGHT, WIDTH, channels)).astype(kind)


def wide_gamut() -> bytes:
    """The profile of an RGB with the primaries of Adobe's: sRGB's, with the red and blue columns changed."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for tag, values in {"rXYZ": (0.6097, 0.3111, 0.0195), "gXYZ": (0.2053, 0.6257, 0.0609)}.items():
        entry = profile.index(tag.encode(), 128)
        at = int.from_bytes(profile[entry + 4 : entry + 8], "big") + 8
        profile[at : at + 12] = b"".join(round(value * 65536).to_bytes(4, "big") for value in values)
    return bytes(profile)


def dark_grey() -> bytes:
    """The profile of a grey whose levels go up with the light itself (a gamma of 1)."""
    curve = b"curv" + bytes(4) + (0).to_bytes(4, "big")
    white = b"XYZ " + bytes(4) + b"".join(round(value * 65536).to_bytes(4, "big") for value in (0.9642, 1, 0.8249))
    text = b"desc" + bytes(4) + (5).to_bytes(4, "big") + b"grey\0" + bytes(79)
    tags, data, table = {b"desc": text, b"wtpt": white, b"kTRC": curve}, b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + (start + len(data)).to_bytes(4, "big") + len(value).to_bytes(4, "big")
        data += value + bytes(-len(value) % 4)
    head = bytearray(128)
    size = (start + len(data)).to_bytes(4, "big")
    for at, value in ((0, size), (8, b"\x02\x40"), (12, b"mntrGRAYXYZ "), (36, b"acsp")):
        head[at : at + len(value)] = value
    head[68:80] = white[8:]
    return bytes(head) + len(tags).to_bytes(4, "big") + table + data


def edited(seed: int = 9) -> torch.Tensor:
    return torch.from_numpy(levels(3, seed=seed).astype(np.float32) / 255)


def merged(stored: Stored, mask: torch.Tensor = MASK) -> torch.Tensor:
    """What `LightFusion.edit` gives: the edit, and the picture in RGB where it stays."""
    return torch.where(mask[..., None] > 0, edited(), to_tensor(to_rgb(stored.image())))


def written(stored: Stored, path: Path) -> Stored:
    save_png(stored, path, {"prompt": "a fox"})
    return load_stored(path)


# Every depth and number of channels


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_file_is_read_and_written_as_it_is(tmp_path: Path, channels: int, kind: str) -> None:
    """Guards depth and alpha: PIL reads colours of 16 bits as 8, and writes none."""
    given = Stored(levels(channels, kind), wide_gamut() if channels > 2 else dark_grey())
    found = written(given, tmp_path / "a.png")
    assert found.levels.dtype == kind and np.array_equal(found.levels, given.levels)
    assert found.profile == given.profile
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["parameters"] == "a fox"
        upper = given.levels >> 8 if kind == "u2" else given.levels
        if channels > 2:  # another reader's view of the same file
            assert np.array_equal(np.asarray(image), upper)


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_what_is_kept_is_bit_identical(tmp_path: Path, channels: int, kind: str) -> None:
    original = written(
        Stored(levels(channels, kind), wide_gamut() if channels > 2 else dark_grey()), tmp_path / "a.png"
    )
    found = written(put_back(merged(original), original, MASK), tmp_path / "b.png")
    assert found.levels.dtype == kind and found.levels.shape == original.levels.shape
    assert found.profile == original.profile
    assert np.array_equal(found.levels[KEPT], original.levels[KEPT])
    assert not np.array_equal(found.levels[~KEPT], original.levels[~KEPT])
    if channels in (2, 4):
        assert np.array_equal(found.levels[..., -1], original.levels[..., -1])


def tiff_bytes(pixels: np.ndarray, order: str, deflated: bool) -> bytes:
    """A TIFF of colours of 16 bits, which PIL does not write."""
    data = pixels.astype(order + "u2").tobytes()
    data = zlib.compress(data) if deflated else data
    end = 8 + 2 + 12 * 9 + 4
    tags = [(256, 4, WIDTH), (257, 4, HEIGHT), (258, 3, end), (259, 3, 8 if deflated else 1), (262, 3, 2),
            (273, 4, end + 6), (277, 3, 3), (278, 4, HEIGHT), (279, 4, len(data))]  # fmt: skip
    table = struct.pack(order + "H", len(tags))
    for tag, kind, value in tags:
        count, kind_of_value = (3, 4) if tag == 258 else (1, kind)
        field = struct.pack(order + ("I" if kind_of_value == 4 else "H"), value).ljust(4, b"\0")
        table += struct.pack(order + "HHI", tag, kind, count) + field
    head = b"II*\0" if order == "<" else b"MM\0*"
    depths = struct.pack(order + "HHH", 16, 16, 16)
    return head + struct.pack(order + "I", 8) + table + bytes(4) + depths + data


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiffs_of_16_bits(tmp_path: Path, order: str, deflated: bool) -> None:
    (tmp_path / "a.tif").write_bytes(tiff_bytes(levels(3, "u2"), order, deflated))
    assert np.array_equal(load_stored(tmp_path / "a.tif").levels, levels(3, "u2"))


def test_an_interlaced_deep_png_is_read(tmp_path: Path) -> None:
    """One pixel is in the first pass of Adam7, which is then all there is."""
    data = bytearray(deep_png(levels(2, "u2")[:1, :1], PngImagePlugin.PngInfo(), None))
    data[28], data[29:33] = 1, zlib.crc32(bytes(data[12:28]) + b"\1").to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(data)
    assert np.array_equal(load_stored(tmp_path / "a.png").levels, levels(2, "u2")[:1, :1])


def test_a_deep_picture_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"eXIf", exif.tobytes()[6:])
    given = levels(3, "u2")
    (tmp_path / "a.png").write_bytes(deep_png(given, chunks, None))
    assert np.array_equal(load_stored(tmp_path / "a.png").levels, np.rot90(given, -1))


def test_a_deep_transparent_colour_is_told_from_its_neighbours(tmp_path: Path) -> None:
    """All 16 bits of it mean transparent; the upper eight are those of other colours too."""
    given = np.array([[[1000, 2000, 3000], [1001, 2000, 3000]]], dtype="u2")
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"tRNS", given[0, 0].astype(">u2").tobytes())
    (tmp_path / "a.png").write_bytes(deep_png(given, chunks, None))
    assert load_stored(tmp_path / "a.png").levels[0, :, 3].tolist() == [0, 65535]
    assert np.asarray(load_image(tmp_path / "a.png"))[0].tolist() == [[255, 255, 255], [3, 7, 11]]


# Modes that hold some colours alone


def palette() -> Image.Image:
    image = Image.fromarray(levels(3)).quantize(16)
    image.info["transparency"] = bytes([0, 128, *[255] * 14])
    return image


def keyed(mode: str) -> Image.Image:
    image = Image.fromarray(levels(3)).convert(mode)
    image.info["transparency"] = image.getpixel((0, 0))
    return image


PACKED = {"palette": palette, "bit": lambda: Image.fromarray(levels(1)[..., 0]).convert("1"),
          "key": lambda: keyed("RGB"), "grey key": lambda: keyed("L")}  # fmt: skip


@pytest.mark.parametrize("name", PACKED)
def test_packed_modes_stay_unless_something_changes(tmp_path: Path, name: str) -> None:
    PACKED[name]().save(tmp_path / "a.png")
    original, before = load_stored(tmp_path / "a.png"), Image.open(tmp_path / "a.png")
    save_png(put_back(merged(original), original, torch.zeros_like(MASK)), tmp_path / "b.png", {})
    after = Image.open(tmp_path / "b.png")
    assert after.mode == before.mode and after.tobytes() == before.tobytes()
    assert after.info.get("transparency") == before.info.get("transparency")
    found = written(put_back(merged(original), original, MASK), tmp_path / "c.png")
    channels = {"palette": 4, "bit": 1, "key": 4, "grey key": 2}[name]
    assert found.levels.shape[2] == channels
    mode = {1: "L", 2: "LA", 4: "RGBA"}[channels]
    whole = before.convert("RGBA").convert(mode)
    assert np.array_equal(found.levels[KEPT], np.asarray(whole).reshape(HEIGHT, WIDTH, -1)[KEPT])


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "RGBX"])
def test_what_no_png_holds_is_kept_in_rgb(mode: str) -> None:
    image = Image.fromarray(levels(3)).convert(mode)
    original = Stored.of(image)
    found = put_back(merged(original), image, MASK)
    assert np.array_equal(found.levels[KEPT], np.asarray(to_rgb(image))[KEPT])


# Colours


def test_a_profile_is_read_into_srgb_and_written_back() -> None:
    """The same colours, in the numbers of the picture's profile: what was edited shows as it was drawn."""
    profile = wide_gamut()
    image = Image.fromarray(levels(3, seed=1) // 2 + 60)
    image.info["icc_profile"] = profile
    wanted = ImageCms.profileToProfile(
        Image.fromarray(np.asarray(image)), io.BytesIO(profile), ImageCms.createProfile("sRGB")
    )
    assert wanted is not None
    assert np.array_equal(np.asarray(to_rgb(image)), np.asarray(wanted))
    assert abs(np.asarray(wanted).astype(int) - np.asarray(image)).max() > 10
    colours = (edited() * 0.4 + 0.3).clamp(0, 1)
    found = put_back(torch.where(MASK[..., None] > 0, colours, to_tensor(to_rgb(image))), image, MASK)
    shown = np.asarray(to_rgb(found.image())).astype(int)
    assert abs(shown - np.asarray((colours * 255).numpy().astype(int)))[~KEPT].max() <= 3


def test_a_grey_profile_is_read_and_written_back() -> None:
    image = Image.fromarray(np.full((HEIGHT, WIDTH), 55, dtype=np.uint8))
    image.info["icc_profile"] = dark_grey()
    bright = to_rgb(image).getpixel((0, 0))
    assert isinstance(bright, tuple) and bright[0] == bright[1] == bright[2] > 120
    grey = torch.full((HEIGHT, WIDTH, 3), bright[0] / 255)
    found = put_back(grey, image, torch.ones(HEIGHT, WIDTH)).levels
    assert found.shape[2] == 1 and abs(found.astype(int) - 55).max() <= 1


def test_srgb_by_name_changes_nothing() -> None:
    image = Image.fromarray(levels(3))
    image.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(np.asarray(to_rgb(image)), levels(3))


def test_a_broken_profile_is_said_and_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    image = Image.fromarray(levels(3))
    image.info["icc_profile"] = b"no profile, and said once"
    with caplog.at_level(logging.WARNING, "lightfusion_core"):
        assert np.array_equal(np.asarray(to_rgb(image)), levels(3))
        to_rgb(image)
    assert [record.message for record in caplog.records if "profile" in record.message] != []
    assert len(caplog.records) == 1


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_profile_of_other_colours_than_the_picture_s(mode: str) -> None:
    """A grey one on colours, or one of RGB on CMYK, says nothing of them; one of RGB on grey is often written."""
    plain = Image.fromarray(levels(3)).convert(mode)
    image = plain.copy()
    image.info["icc_profile"] = dark_grey() if mode == "RGB" else wide_gamut()
    if mode != "L":
        assert to_rgb(image).tobytes() == to_rgb(plain).tobytes()
    put_back(merged(Stored.of(image)), image, MASK)


def test_a_grey_picture_stays_grey_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    image = Image.fromarray(levels(1)[..., 0])
    with caplog.at_level(logging.WARNING, "lightfusion_core"):
        assert put_back(merged(Stored.of(image)), image, MASK).image().mode == "L"
    assert "stays grey" in caplog.text or "is grey" in caplog.text


def test_on_white_an_edited_cut_out_is_the_edit() -> None:
    image = Image.fromarray(levels(4))
    image.putalpha(Image.fromarray(np.maximum(levels(1, seed=3)[..., 0], 200)))
    light = 1 - edited() * 0.2  # a half transparent pixel cannot be darker than the white behind it
    result = put_back(light, image, torch.ones(HEIGHT, WIDTH)).image()
    assert result.getchannel("A").tobytes() == image.getchannel("A").tobytes()
    assert abs(np.asarray(to_rgb(result)) / 255 - light.numpy()).max() < 2 / 255


def test_what_does_not_belong_together_is_refused() -> None:
    image = Image.fromarray(levels(3))
    for result, mask in ((edited()[1:], MASK), (edited(), MASK[:, 1:]), (edited(), MASK[None])):
        with pytest.raises(InputError, match=f"{HEIGHT} and {WIDTH}"):
            put_back(result, image, mask)


# Masks


def strokes(mode: str) -> Image.Image:
    """White strokes on a layer whose transparent pixels are white too, as painting programs leave them."""
    white = Image.new("L", (WIDTH, HEIGHT), 255)
    opacity = Image.fromarray(np.where(KEPT, 0, 255).astype(np.uint8))
    if mode == "P":
        image = Image.new("P", (WIDTH, HEIGHT), 1)
        image.putpalette([255] * 6)
        image.paste(0, mask=Image.fromarray(KEPT))
        image.info["transparency"] = 0
        return image
    image = white.convert(mode)
    image.putalpha(opacity)
    return image


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_in_a_mask_stays(tmp_path: Path, mode: str) -> None:
    strokes(mode).save(tmp_path / "mask.png")
    found = to_mask(load_stored(tmp_path / "mask.png").image())
    assert found.dtype == np.float32 and np.array_equal(found, MASK.numpy())


def test_masks_of_other_modes() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    grey: dict[str, Any] = {"L": ramp, "I;16": ramp.astype("u2") * 257, "F": ramp.astype("f4") / 255}
    for values in grey.values():
        assert np.array_equal(to_mask(Image.fromarray(values)), ramp.astype(np.float32) / 255)
    half = Image.merge("LA", (Image.new("L", (1, 1), 128), Image.new("L", (1, 1), 128)))
    assert to_mask(half)[0, 0] == pytest.approx((128 / 255) ** 2)
    profiled = Image.fromarray(ramp)
    profiled.info["icc_profile"] = dark_grey()
    assert np.array_equal(to_mask(profiled), ramp.astype(np.float32) / 255)
