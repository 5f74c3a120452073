"""Weights in scaled fp8 (e4m3): which ones, their scale, and the error that it costs.

One scale a matrix, and a power of two: e4m3 is a floating-point format, so its relative error does not depend on
the scale, and multiplying by a power of two rounds nothing, in any dtype and by any reader.
"""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor

from ..generation.scaled import FP8, widened

LARGEST = torch.finfo(FP8).max

# The matrices between the towers' streams, which are nearly all of the bytes. What they leave in bf16 is small and
# costs more per byte: embeddings, modulation, the time and text embeddings, the first and the last layer, norms,
# biases; and the vision tower, whose features enter the sequence once.
_QUANTISED = {
    "generation": re.compile(
        r"^(blocks\.\d+\.((self|cross)_attn\.[qkvo]|ffn\.[02])|mm_attn_layers\.\d+\.mm_attn\.\w+_proj)\.weight$"
    ),
    "understanding": re.compile(
        r"^model\.language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)\.weight$"
    ),
}


def takes_fp8(part: str, name: str) -> bool:
    """Whether a tensor is one of those that are quantised."""
    return part in _QUANTISED and _QUANTISED[part].match(name) is not None


def scale_for(largest: float) -> float:
    """The smallest power of two by which numbers up to `largest` come within e4m3's range."""
    return 2.0 ** math.ceil(math.log2(largest / LARGEST)) if largest > 0 else 1.0


def quantise(numbers: Tensor, scale: float | Tensor) -> Tensor:
    """Numbers of any float dtype as e4m3 values that times `scale` are nearly them."""
    if numbers.dtype is torch.bfloat16 and math.frexp(scale)[0] == 0.5:
        return (numbers * (1 / scale)).to(FP8)  # a power of two rounds nothing in bfloat16 either
    return (numbers.float() / scale).to(FP8)


_SAMPLE = 1 << 16


class Error:
    """The relative error of a tensor against its float32 original, gathered in pieces.

    Args:
        whole: of all numbers, or of the first 65,536 of each piece.
    """

    def __init__(self, whole: bool) -> None:
        self._error = self._norm = 0.0
        self._most = None if whole else _SAMPLE

    def add(self, original: Tensor, stored: Tensor, scale: float = 1.0) -> None:
        """Flat pieces of both; what is stored is meant times `scale`."""
        original = original[: self._most].float()
        difference = widened(stored[: self._most], torch.float32) * scale - original
        self._error += float(torch.dot(difference, difference))
        self._norm += float(torch.dot(original, original))

    @property
    def relative(self) -> float:
        """Norm of the difference over norm of the original."""
        return math.sqrt(self._error / self._norm) if self._norm else 0.0
