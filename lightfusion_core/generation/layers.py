"""The leaf layers and the attention that the towers are made of, as two things that can be swapped.

A host that casts, offloads or patches weights in its own way (ComfyUI) gives its own layer classes and
its own attention; standalone they are torch's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""attention(q (B, H, Lq, D), k (B, H, Lk, D), v (B, H, Lk, D)) -> (B, H, Lq, D), unmasked, scale D**-0.5."""

KeyValue = tuple[Tensor, Tensor]
"""One layer's keys and values, (..., heads, tokens, head_dim) each."""

Layers = Any
"""A namespace of layer classes: Linear, RMSNorm, LayerNorm, Conv2d, Conv3d, Embedding (see `TorchLayers`)."""


class RMSNorm(nn.RMSNorm):
    """torch's, but on a CPU without gradients in two passes over the numbers: there torch has no kernel for
    it and takes seven times as long as for a LayerNorm."""

    def forward(self, x: Tensor) -> Tensor:
        elsewhere = x.device.type != "cpu" or x.dtype == torch.float64
        if elsewhere or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return super().forward(x)
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        eps = torch.finfo(x.dtype).eps if self.eps is None else self.eps
        scale = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        return (x * scale).mul_(self.weight).to(x.dtype)


class GELU(nn.Module):
    """GELU in its tanh form; without gradients in place, since what comes out of a feed-forward's first matrix
    is by far the largest tensor of a step and nothing else reads it."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return F.gelu(x, approximate="tanh")
        return torch.ops.aten.gelu_(x, approximate="tanh")


class TorchLayers:
    """torch's own layers: the default."""

    Linear: type[nn.Linear] = nn.Linear
    RMSNorm = RMSNorm
    LayerNorm = nn.LayerNorm
    Conv2d = nn.Conv2d
    Conv3d = nn.Conv3d
    Embedding = nn.Embedding


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """PyTorch's fused attention, without a mask."""
    return F.scaled_dot_product_attention(q, k, v)


def masked_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """As `attention` with a boolean mask (Lq, Lk), True where a query may attend to a key."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def at(parameter: Tensor, like: Tensor) -> Tensor:
    """A bare parameter on the device and in the dtype where it is used: a host that offloads moves the
    weights of layers by itself, but not parameters outside of them."""
    return parameter.to(device=like.device, dtype=like.dtype)


def summand(made: Tensor, stream: Tensor) -> Tensor:
    """What a layer made, to be added to the residual stream: numbers in less bits are widened by the sum itself, a copy
    saved; those in more (float64 weights) must not widen the stream."""
    return made.to(stream.dtype) if made.element_size() > stream.element_size() else made


def without_init() -> torch.device:
    """The context to build modules in when their weights come later: nothing is allocated or drawn."""
    return torch.device("meta")
