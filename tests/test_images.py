"""Pictures in and out: every mode turns to RGB, sizes follow their rules, edits come back in place."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import WHITE, grey16, noise, pixels
from PIL import Image
from safetensors.numpy import load_file

from lightfusion_core.config import SizeRule
from lightfusion_core.errors import InputError, LightFusionError
from lightfusion_core.images import (
    Placement,
    check_aspect,
    fit,
    resize,
    resized_size,
    restore,
    rgb,
    split_alpha,
    to_pil,
    to_rgb,
    to_tensor,
)
from lightfusion_core.picture_files import load_image, save_png

REPOSITORY = Path(__file__).resolve().parents[1]
GOLDEN = Path(__file__).parent / "golden" / "data" / "p1_preprocess.safetensors"
VAE_RULE = SizeRule(1024, 512, 32)


# Modes


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


# Transparency in tensors


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_rgb_of_a_tensor_is_pils(channels: int) -> None:
    """What a file's reader does to a mode is what is done to a tensor that a node graph hands over."""
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    bytes_ = torch.randint(0, 256, (9, 7, channels), generator=torch.Generator().manual_seed(channels))
    image = Image.fromarray(bytes_.to(torch.uint8).squeeze(-1).numpy(), mode)
    assert (rgb(bytes_ / 255) - to_tensor(image)).abs().max() <= 1 / 255 + 1e-6
    assert (split_alpha(bytes_ / 255)[1] is None) == (channels in (1, 3))


def test_hidden_colours_are_white() -> None:
    """Under a cut-out lies what was cut away."""
    picture = torch.rand(2, 5, 4, 4)
    picture[..., 3] = 0
    assert torch.equal(rgb(picture), torch.ones(2, 5, 4, 3))


@pytest.mark.parametrize("channels", [0, 5])
def test_other_channels_are_refused(channels: int) -> None:
    with pytest.raises(InputError, match="1 to 4 channels"):
        rgb(torch.zeros(3, 3, channels))


def test_restored_cut_out_keeps_its_alpha() -> None:
    """On white it is the edit, wherever anything of it shows; bit for bit the original outside of the mask."""
    edited, placement, colours, mask = masked_edit()
    alpha = torch.linspace(0, 1, 37)[:, None].expand(37, 100)
    alpha = torch.where(alpha > 0.9, 1.0, torch.where(alpha < 0.1, 0.0, alpha))
    original = torch.cat([colours, alpha[..., None]], dim=-1)
    flat, hidden = restore(edited, placement, rgb(original), mask), alpha == 0
    result = restore(edited, placement, original, mask)
    assert torch.equal(result[mask == 0], original[mask == 0])
    assert torch.equal(result[..., 3], original[..., 3])
    assert torch.equal(result[hidden], original[hidden])
    # what is half transparent cannot be darker than the white that shines through it
    reachable = (flat >= 1 - original[..., 3:]).all(dim=-1) & ~hidden
    assert reachable.sum() > 500
    assert (rgb(result) - flat)[reachable].abs().max() < 1e-5
    assert torch.equal(restore(edited, placement, original)[..., 3], original[..., 3])


def test_restore_of_an_opaque_alpha_is_the_plain_one() -> None:
    edited, placement, original, mask = masked_edit()
    opaque = torch.cat([original, torch.ones(*original.shape[:2], 1)], dim=-1)
    assert torch.equal(restore(edited, placement, opaque, mask)[..., :3], restore(edited, placement, original, mask))
