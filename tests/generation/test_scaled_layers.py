"""Layers that keep scaled fp8 weights: the numbers of the widened weight, and how far the fp8 product is from them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import write_model
from torch import Tensor, nn

from lightfusion_core import LightFusion, Sampling
from lightfusion_core.checkpoints.convert import Converter
from lightfusion_core.checkpoints.quantise import FP8, quantise, scale_for
from lightfusion_core.generation import scaled
from lightfusion_core.generation.scaled import (
    Fp8ProductLinear,
    ScaledLayers,
    ScaledLinear,
    fits_fp8_product,
    fp8_product,
    has_fp8_product,
    widened,
)

CPU = torch.device("cpu")
SHORT = Sampling(steps=2)


def holding(kind: type[ScaledLinear], bias: bool, factor: float = 0.0) -> tuple[ScaledLinear, Tensor]:
    """A layer of 32 to 48 with a scaled weight, and that weight widened."""
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(48, 32, generator=draw) / 6
    scale = factor or scale_for(float(weight.abs().max()))
    layer = kind(32, 48, bias=bias)
    layer.weight = nn.Parameter(quantise(weight, scale), requires_grad=False)
    layer.hold_scale(torch.tensor(scale))
    return layer.requires_grad_(False), layer.weight.float() * scale


@pytest.mark.parametrize("kind", [ScaledLinear, Fp8ProductLinear])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5,), (2, 3), (1,)])
def test_it_is_the_widened_weights_product(kind: type[ScaledLinear], bias: bool, shape: tuple[int, ...]) -> None:
    """The scale acts inside of the product; without a device that multiplies in fp8 both kinds are the same."""
    layer, wide = holding(kind, bias, factor=0.0007)  # a scale as other writers have it
    x = torch.randn(*shape, 32, generator=torch.Generator().manual_seed(1))
    wanted = torch.nn.functional.linear(x, wide, layer.bias)
    torch.testing.assert_close(layer(x), wanted, rtol=1e-5, atol=1e-5)
    assert layer(x.bfloat16()).dtype == torch.bfloat16
    torch.testing.assert_close(layer(x.bfloat16()).float(), wanted, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 5, 47, 48, 100])
def test_a_product_in_blocks_is_the_whole_one(
    rows: int, bias: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row at a time, with a rest, with a rest of one, all at once, and fewer than a block has room for.

    In whole numbers of at most 160, which every sum keeps in bfloat16 too: in which order a machine adds, and where it
    rounds, depends on a matrix' address.
    """
    draw = torch.Generator().manual_seed(1)
    layer, _ = holding(ScaledLinear, bias, factor=0.5)
    layer.weight = nn.Parameter(torch.randint(-2, 3, (48, 32), generator=draw).to(FP8), requires_grad=False)
    if layer.bias is not None:
        layer.bias.copy_(torch.randint(-16, 17, (48,), generator=draw) * 0.5)
    x = torch.randint(-2, 3, (3, 32), generator=draw).to(dtype)
    whole = layer(x)  # with gradients enabled
    exact = x.double() @ layer.weight.double().T * 0.5
    assert torch.equal(whole.double(), exact if layer.bias is None else exact + layer.bias)
    monkeypatch.setattr(scaled, "_BLOCK_BYTES", rows * 32 * x.element_size())
    with torch.no_grad():
        assert torch.equal(layer(x), whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_widening_is_exact_for_every_number(dtype: torch.dtype) -> None:
    """All 254 of them: both zeros, subnormal numbers, the largest."""
    every = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn)
    numbers = every[~every.float().isnan()]
    assert len(numbers) == 254
    found = widened(numbers, dtype)
    assert found.dtype == dtype
    assert torch.equal(found, numbers.to(dtype))
    assert torch.equal(found.signbit(), numbers.float().signbit())


def test_a_weight_without_a_scale_is_torchs_own() -> None:
    torch.manual_seed(0)
    layer = ScaledLinear(32, 48)
    x = torch.randn(4, 32)
    assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
    assert "scale_weight" not in layer.state_dict()


def test_large_copies_leave_no_holes_in_the_heap() -> None:
    """Guards full size: the C library keeps what is under 32 MB, and 2 GB of it stayed after two steps."""
    weight = torch.randn(1024, 600)
    copy = scaled.cast(weight, torch.bfloat16)
    assert torch.equal(copy, weight.to(torch.bfloat16))
    size = copy.untyped_storage().nbytes()
    assert size > 32 * 2**20
    assert scaled.cast(weight, weight.dtype) is weight
    small = scaled.cast(weight[:9], torch.bfloat16).untyped_storage().nbytes()
    assert small == 9 * 600 * 2


def test_the_scale_moves_with_its_layer() -> None:
    layer, _ = holding(ScaledLinear, True)
    assert dict(layer.named_buffers()).keys() == {"scale_weight"}


@pytest.mark.parametrize("bias", [True, False])
def test_the_fp8_product_is_near_the_widened_one(bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch computes it on the CPU too, slowly: so the arithmetic is tested where the speed cannot be."""
    layer, wide = holding(Fp8ProductLinear, bias)
    x = torch.randn(2, 24, 32, generator=torch.Generator().manual_seed(1)).bfloat16()
    wanted = torch.nn.functional.linear(x.float(), wide, layer.bias)
    try:
        fp8_product(x[0], layer.weight, layer.scale_weight, None)
    except (RuntimeError, NotImplementedError) as error:
        pytest.skip(f"this torch has no fp8 product on the CPU: {error}")
    monkeypatch.setattr(scaled, "has_fp8_product", lambda device: True)
    found = layer(x)
    assert found.dtype == torch.bfloat16
    assert found.shape == (2, 24, 48)
    error = float((found.float() - wanted).norm() / wanted.norm())
    assert 0.005 < error < 0.05  # above: the input was quantised; below: rightly


@pytest.mark.parametrize(("dtype", "rows"), [(torch.float32, 48), (torch.bfloat16, 40)])
def test_what_the_kernel_does_not_take_is_widened(dtype: torch.dtype, rows: int) -> None:
    """Guards the float32 layers around the stream, and widths that are no multiple of 16."""
    assert not fits_fp8_product(torch.zeros(4, 32, dtype=dtype), torch.zeros(rows, 32).to(torch.float8_e4m3fn))
    assert fits_fp8_product(torch.zeros(4, 32, dtype=torch.bfloat16), torch.zeros(48, 32).to(torch.float8_e4m3fn))
    assert not has_fp8_product(CPU)


def test_a_model_keeps_fp8_and_a_named_dtype_widens_it(tmp_path: Path) -> None:
    Converter(write_model(tmp_path / "source"), tmp_path / "out", dtype="fp8").run()
    kept = LightFusion.load(tmp_path / "out", device="cpu")
    wide = LightFusion.load(tmp_path / "out", device="cpu", dtype=torch.float32)
    held = [p.dtype for p in (*kept.generation.parameters(), *kept.understanding.parameters())]
    assert held.count(torch.float8_e4m3fn) == 90 + 28
    assert isinstance(kept.generation.blocks[0].ffn[0], Fp8ProductLinear)
    assert not isinstance(kept.understanding.model.language_model.layers[0].mlp.up_proj, Fp8ProductLinear)
    assert {p.dtype for p in wide.generation.parameters()} == {torch.float32}
    found, wanted = (model.generate("a word", width=64, height=64, sampling=SHORT) for model in (kept, wide))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


def test_layers_that_are_named_are_used(tmp_path: Path) -> None:
    """For those who want fp8 in memory and nothing rounded on the way."""
    Converter(write_model(tmp_path / "source"), tmp_path / "out", dtype="fp8").run()
    model = LightFusion.load(tmp_path / "out", device="cpu", layers=ScaledLayers)
    assert type(model.generation.blocks[0].ffn[0]) is ScaledLinear
    assert model.generation.blocks[0].ffn[0].weight.dtype == torch.float8_e4m3fn
