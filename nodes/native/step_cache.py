"""The host's EasyCache, where it cannot keep apart the branches of one call."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch


def mixes_branches(options: dict[str, Any]) -> bool:
    """Whether a step cache in these transformer options adds every branch's cached difference to all rows, as that
    of ComfyUI 0.3.64 does: each branch then needs a call of its own."""
    cache = options.get("easycache")
    return hasattr(cache, "uuid_cache_diffs") and _mixes(type(cache))


@lru_cache
def _mixes(kind: type) -> bool:
    """Two branches of one row, whose differences are 0 and 1."""
    cache = kind(0.0, 0.0, 1.0, subsample_factor=1, offload_cache_diff=False)
    cache.uuid_cache_diffs = {0: torch.zeros(1, 1, 1, 1), 1: torch.ones(1, 1, 1, 1)}
    return bool(cache.apply_cache_diff(torch.zeros(2, 1, 1, 1), [0, 1])[0] != 0)
