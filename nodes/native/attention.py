"""The attention function that ComfyUI's flags and nodes choose."""

from __future__ import annotations

from typing import Any

from comfy.cli_args import args
from comfy.ldm.modules.attention import attention_pytorch, attention_sub_quad, optimized_attention
from torch import Tensor


def comfy_attention(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any] | None = None) -> Tensor:
    """The attention that ComfyUI's launch flags choose, or the one in its transformer options."""
    chosen = attention_pytorch if _unflagged and q.device.type == "cpu" else optimized_attention
    return chosen(q, k, v, q.shape[1], skip_reshape=True, skip_output_reshape=True, transformer_options=options)


# On a CPU, and without a flag, ComfyUI takes an attention that reads how much memory is free at every call: a
# fifth of a small picture's time. torch's fused one needs as little.
_unflagged = optimized_attention is attention_sub_quad and not args.use_quad_cross_attention
