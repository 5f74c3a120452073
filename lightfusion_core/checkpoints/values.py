"""The look for NaN, infinity and the largest number in weights: by their bits, tensor by tensor side by side.

In every float format the bits of NaN lie above those of infinity, and those of infinity above all numbers', for either
sign: the largest pattern of each sign says all. On a CPU numpy looks, each tensor on one thread: torch's own threads
wait for each other after every piece, and for a processor that another program holds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

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
    return _largest_bits(tensor) < _INFINITY[tensor.dtype]


def largest(tensor: Tensor) -> float:
    """The largest magnitude of a tensor; NaN or infinity where one is in it. 0 where it has no numbers."""
    bits = torch.tensor(_largest_bits(tensor), dtype=torch.int64)
    return float(bits.to(_SIGNED[tensor.element_size()]).view(tensor.dtype))


def _largest_bits(tensor: Tensor) -> int:
    """The bits, without the sign, of what has the largest magnitude."""
    width = tensor.element_size()
    sign = 1 << (8 * width - 1)
    bits, found = tensor.detach().reshape(-1).view(_SIGNED[width]), 0
    if tensor.device.type != "cpu":
        pieces = (piece for piece in bits.split(_ON_DEVICE) if piece.numel())
        return max((int((piece & (sign - 1)).amax()) for piece in pieces), default=0)
    signed = bits.numpy()
    unsigned = signed.view(_UNSIGNED[width])
    for start in range(0, len(signed), _IN_CACHE):
        above, below = (int(view[start : start + _IN_CACHE].max()) for view in (signed, unsigned))
        found = max(found, above, below - sign)
    return found


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """Threads for whole tensors side by side, in each of which torch computes alone. What has not begun when an error
    ends the block never does."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1), initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # what a thread sets for itself is for threads to come as well


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor with NaN or infinity in it, None where there is none."""
    with workers() as pool:
        for name, fine in zip(tensors, pool.map(is_finite, tensors.values()), strict=True):
            if not fine:
                return name
    return None
