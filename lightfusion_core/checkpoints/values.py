"""The look for NaN and infinity in weights: by their bits, tensor by tensor side by side.

In every float format the bits of NaN lie above those of infinity, and those of infinity above all numbers', for either
sign: the largest pattern of each sign says all. On a CPU numpy looks, each tensor on one thread: torch's own threads
wait for each other after every piece, and for a processor that another program holds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

_INFINITY = {
    torch.float64: 0x7FF0000000000000,
    torch.float32: 0x7F800000,
    torch.float16: 0x7C00,
    torch.bfloat16: 0x7F80,
    torch.float8_e5m2: 0x7C,
    torch.float8_e4m3fn: 0x7F,  # it has no infinity; this is its NaN
}
_SIGNED = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
_IN_CACHE = 1 << 18
"""Numbers of a piece: it is looked at twice, and the second time it is in the processor's cache."""
_ON_DEVICE = 1 << 26


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor is free of NaN and infinity; in pieces, so that no second copy is made."""
    width, infinity = tensor.element_size(), _INFINITY[tensor.dtype]
    bits = tensor.detach().reshape(-1).view(_SIGNED[width])
    if tensor.device.type != "cpu":
        magnitude = (1 << (8 * width - 1)) - 1
        return all(int((piece & magnitude).amax()) < infinity for piece in bits.split(_ON_DEVICE) if piece.numel())
    signed = bits.numpy()
    unsigned, negative = signed.view(_UNSIGNED[width]), infinity + (1 << (8 * width - 1))
    return all(
        signed[start : start + _IN_CACHE].max() < infinity and unsigned[start : start + _IN_CACHE].max() < negative
        for start in range(0, len(signed), _IN_CACHE)
    )


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor with NaN or infinity in it, None where there is none."""
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for name, fine in zip(tensors, pool.map(is_finite, tensors.values()), strict=True):
            if not fine:
                return name
    return None
