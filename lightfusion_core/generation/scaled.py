"""Linear layers whose weight may stay in scaled fp8, a quarter of float32's memory: `layers` to build with.

`ScaledLayers` widen the weight where it is used. `Fp8ProductLayers` multiply in fp8 on devices that can, their
input quantised by its largest number, and are `ScaledLayers` elsewhere. Both are torch's own layers for a weight
without a scale.
"""

from __future__ import annotations

from math import inf
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import TorchLayers

FP8 = torch.float8_e4m3fn


class HoldsScale(nn.Module):
    """What makes a linear layer one that may hold a scale: its weight then is the stored one times that number."""

    scale_weight: Tensor | None
    _factor = 1.0

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.register_buffer("scale_weight", None)

    def hold_scale(self, scale: Tensor) -> None:
        """Take the one float32 number that the stored weight is multiplied by."""
        self.scale_weight, self._factor = scale, float(scale)


class ScaledLinear(HoldsScale, nn.Linear):
    """A linear layer that may hold a scale, or a weight in another dtype than it computes in."""

    def forward(self, x: Tensor) -> Tensor:
        if self.scale_weight is None:
            return F.linear(x, cast(self.weight, x.dtype), self.bias)
        return self.multiply(x.flatten(0, -2)).unflatten(0, x.shape[:-1])

    def multiply(self, x: Tensor) -> Tensor:
        """x (n, in) to (n, out)."""
        return scaled_product(x, self.weight, self._factor, self.bias)


class Fp8ProductLinear(ScaledLinear):
    """As `ScaledLinear`, multiplying in fp8 where the device and the shapes allow it."""

    def forward(self, x: Tensor) -> Tensor:
        if self.scale_weight is None or not has_fp8_product(x.device) or not fits_fp8_product(x, self.weight):
            return super().forward(x)
        return fp8_product(x, self.weight, self.scale_weight, self.bias)


class ScaledLayers(TorchLayers):
    """Layers that keep weights as they are stored, scaled or not, and cast them at use."""

    Linear = ScaledLinear


class Fp8ProductLayers(TorchLayers):
    """Layers that keep scaled weights as they are stored and multiply in fp8 where that is possible."""

    Linear = Fp8ProductLinear


def scaled_product(x: Tensor, weight: Tensor, factor: float, bias: Tensor | None) -> Tensor:
    """x (n, k) times the transpose of weight (m, k) * factor, plus bias: (n, m) in x's dtype."""
    if bias is not None:
        bias = bias.to(x.dtype)
    if _widens_by_bits(weight, x.dtype) and not (torch.is_grad_enabled() or torch.compiler.is_compiling()):
        return _product_in_blocks(x, weight, factor, bias)
    return _product(x, widened(weight, x.dtype), factor, bias)


def _product(x: Tensor, wide: Tensor, factor: float, bias: Tensor | None, out: Tensor | None = None) -> Tensor:
    """`scaled_product` of a widened weight. The factor goes into the product itself: the weight is never written out
    in full precision."""
    if bias is None:
        return torch.addmm(x.new_zeros(()), x, wide.t(), beta=0, alpha=factor, out=out)
    return torch.addmm(bias, x, wide.t(), alpha=factor, out=out)


def _product_in_blocks(x: Tensor, weight: Tensor, factor: float, bias: Tensor | None) -> Tensor:
    """The same product, some rows of the weight after others: widened into one buffer that stays in the processor's
    cache, they never reach the memory, whose speed is the limit where x has few rows."""
    made = x.new_empty(len(x), len(weight))
    rows = max(1, _BLOCK_BYTES // (x.element_size() * weight.shape[1]))
    buffer = torch.empty(min(rows, len(weight)), weight.shape[1], dtype=_BITS[x.dtype][0])
    for start in range(0, len(weight), rows):
        part = slice(start, start + rows)
        block = weight[part]
        wide = _widen_into(buffer[: len(block)], block, x.dtype)
        _product(x, wide, factor, None if bias is None else bias[part], out=made[:, part])
    return made


_BLOCK_BYTES = 1 << 22
"""Of widened weight: what the second-level caches of two cores hold; a product of less is slower for many rows."""


def cast(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """A weight in the dtype of a product, which it outlives only where a gradient wants it.

    On a CPU the copy is taken from so much memory at once that the C library gets it from the system and gives it back.
    Smaller ones come from its heap, where what a run keeps, such as keys, comes to lie between them: of a file in
    float32 at full size, two steps left 2 GB of holes.
    """
    small = weight.numel() * dtype.itemsize < _LARGE
    if small or weight.dtype == dtype or weight.device.type != "cpu" or torch.compiler.is_compiling():
        return weight.to(dtype)
    size = max(weight.numel(), _FROM_THE_SYSTEM // dtype.itemsize)
    return torch.empty(size, dtype=dtype)[: weight.numel()].view(weight.shape).copy_(weight)


_LARGE, _FROM_THE_SYSTEM = 1 << 20, 33 << 20
"""Bytes. glibc takes more than 32 MB from the system, whatever was freed before (mallopt(3), M_MMAP_THRESHOLD)."""


def widened(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """The stored values in a wider dtype.

    torch converts e4m3 on a CPU number by number. Its bits at the top of a float's exponent and mantissa are that
    float times a power of two (2 to the difference of the exponents' biases), subnormal numbers too: a shift, a mask
    and a product of whole vectors, ten times as fast. (NaN would become a number; loading refuses it.)
    """
    if not _widens_by_bits(weight, dtype):
        return cast(weight, dtype)
    return _widen_into(torch.empty_like(weight, dtype=_BITS[dtype][0]), weight, dtype)


def _widens_by_bits(weight: Tensor, dtype: torch.dtype) -> bool:
    return weight.device.type == "cpu" and weight.dtype == FP8 and dtype in _BITS


def _widen_into(bits: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """The values of e4m3 `weight` in `dtype`, in the memory of `bits`: integers of that size."""
    _, shift, mask = _BITS[dtype]
    bits.copy_(weight.view(torch.int8)).bitwise_left_shift_(shift).bitwise_and_(mask)
    return bits.view(dtype).mul_(2.0**120)


_BITS = {torch.bfloat16: (torch.int16, 4, ~0x7800), torch.float32: (torch.int32, 20, ~0x78000000)}
"""By dtype: the integer of its size, e4m3's way to its exponent, and what clears the copies of the sign."""


def has_fp8_product(device: torch.device) -> bool:
    """Whether matrices multiply in fp8 there: NVIDIA's from compute capability 8.9 on."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_capability(device) >= (8, 9)


def fits_fp8_product(x: Tensor, weight: Tensor) -> bool:
    """Whether the kernel takes x (..., k) and weight (m, k): halves of a float in, e4m3, sides in sixteens."""
    halves = x.dtype in (torch.bfloat16, torch.float16)
    return halves and weight.dtype == FP8 and all(side % 16 == 0 for side in weight.shape)


def fp8_product(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """x (..., k) times the transpose of weight (m, k) e4m3 * scale, plus bias: (..., m) in x's dtype. x is quantised by
    its largest number, which stays on the device."""
    stored, scale_x = _quantised(x)
    bias = None if bias is None else bias.to(x.dtype)
    rows = stored.flatten(0, -2)
    made = torch._scaled_mm(rows, weight.t(), scale_a=scale_x, scale_b=scale, bias=bias, out_dtype=x.dtype)
    return made.unflatten(0, x.shape[:-1])


def _quantised(x: Tensor) -> tuple[Tensor, Tensor]:
    """x in e4m3, and what that is to be multiplied by. Kept with x itself, since queries, keys and values are all made
    of the same numbers."""
    if torch.compiler.is_compiling():  # which sees that for itself
        return _quantise(x)
    kept = getattr(x, _KEPT, None)
    if kept is None or kept[0] != x._version:
        kept = x._version, _quantise(x)
        setattr(x, _KEPT, kept)
    return kept[1]


_KEPT = "_lightfusion_fp8"


def _quantise(x: Tensor) -> tuple[Tensor, Tensor]:
    # a factor in x's own dtype: one of another makes the product of a large tensor half as fast
    factor = (torch.finfo(FP8).max / torch.linalg.vector_norm(x, inf).float().clamp(min=1e-9)).to(x.dtype)
    return (x * factor).to(FP8), factor.float().reciprocal()
