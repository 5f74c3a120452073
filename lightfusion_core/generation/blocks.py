"""The Wan transformer block under Wan's own parameter names (rule B15), and the output head (rule B18).

Unusual here: the residual stream is float32 whatever the weights are (rule B27: an all-bfloat16 stream
costs 1e-2), and cross-attention takes ready keys and values, since its context is the same for every
image, prompt and timestep.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..config import DiTConfig
from .hooks import BlockAttention
from .layers import GELU, Attention, KeyValue, Layers, at, summand
from .rope import Rope, apply_wan_rope


class WanAttention(nn.Module):
    """Projections and whole-width query and key norms that self- and cross-attention share."""

    def __init__(self, config: DiTConfig, layers: Layers, attention: Attention) -> None:
        super().__init__()
        self.heads = config.num_heads
        self.q = layers.Linear(config.dim, config.dim)
        self.k = layers.Linear(config.dim, config.dim)
        self.v = layers.Linear(config.dim, config.dim)
        self.o = layers.Linear(config.dim, config.dim)
        self.norm_q = layers.RMSNorm(config.dim, eps=config.eps)
        self.norm_k = layers.RMSNorm(config.dim, eps=config.eps)
        self.attention = attention

    def split_heads(self, x: Tensor) -> Tensor:
        return rearrange(x, "b l (h d) -> b h l d", h=self.heads)

    def merge_heads(self, x: Tensor) -> Tensor:
        return rearrange(x, "b h l d -> b l (h d)")


class SelfAttention(WanAttention):
    def forward(self, x: Tensor, rope: Rope, attention: Attention | None = None) -> Tensor:
        """Attend inside each image: x (B, N, D) to (B, N, D); by another attention where one is given."""
        q = apply_wan_rope(self.split_heads(self.norm_q(self.q(x))), rope)
        k = apply_wan_rope(self.split_heads(self.norm_k(self.k(x))), rope)
        v = self.split_heads(self.v(x))
        return self.o(self.merge_heads((attention or self.attention)(q, k, v)))


class CrossAttention(WanAttention):
    def keys_values(self, context: Tensor) -> KeyValue:
        """Keys and values (1, H, rows, head_dim) of the embedded context (1, rows, D)."""
        return self.split_heads(self.norm_k(self.k(context))), self.split_heads(self.v(context))

    def forward(self, x: Tensor, keys_values: KeyValue, attention: Attention | None = None) -> Tensor:
        """Attend to the shared context: x (B, N, D) to (B, N, D); by another attention where one is given."""
        # one long query instead of a batch: the keys are the same for every row
        q = self.split_heads(self.norm_q(self.q(x)).flatten(0, 1).unsqueeze(0))
        return self.o(self.merge_heads((attention or self.attention)(q, *keys_values)).view_as(x))


class WanBlock(nn.Module):
    """One block: modulated self-attention, cross-attention, modulated feed-forward."""

    def __init__(self, config: DiTConfig, layers: Layers, attention: Attention) -> None:
        super().__init__()
        self.eps = config.eps
        self.modulation = nn.Parameter(torch.empty(1, 6, config.dim))
        self.self_attn = SelfAttention(config, layers, attention)
        self.norm3 = layers.LayerNorm(config.dim, eps=config.eps)
        self.cross_attn = CrossAttention(config, layers, attention)
        self.ffn = nn.Sequential(
            layers.Linear(config.dim, config.ffn_dim),
            GELU(),
            layers.Linear(config.ffn_dim, config.dim),
        )

    def forward(
        self, x: Tensor, time: Tensor, rope: Rope, context: KeyValue, attention: BlockAttention | None = None
    ) -> Tensor:
        """One block over independent images.

        Args:
            x: the residual stream (B, N, D), float32.
            time: six modulation vectors (B or 1, 6, D), float32, from the timestep.
            rope: Wan's tables for the N tokens.
            context: this block's ready cross-attention keys and values, in the compute dtype.
            attention: for self- and for cross-attention, in place of the tower's own.
        """
        dtype = context[0].dtype
        inside, across = attention or (None, None)
        table = at(self.modulation, time) + time
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = table.unsqueeze(2).unbind(1)
        attended = self.self_attn(modulate(x, shift, scale, self.eps).to(dtype), rope, inside)
        x = torch.addcmul(x, summand(attended, x), gate)
        x = x + summand(self.cross_attn(self.norm3(x).to(dtype), context, across), x)
        return torch.addcmul(x, summand(self.ffn(modulate(x, ffn_shift, ffn_scale, self.eps).to(dtype)), x), ffn_gate)


class Head(nn.Module):
    """From the last block's stream to the velocity of each token's patch."""

    def __init__(self, config: DiTConfig, layers: Layers) -> None:
        super().__init__()
        self.eps = config.eps
        self.modulation = nn.Parameter(torch.empty(1, 2, config.dim))
        self.head = layers.Linear(config.dim, config.out_dim * config.patch_size**2)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """x (B, N, D) float32 and the time embedding (B or 1, D) to (B, N, patch numbers)."""
        shift, scale = (at(self.modulation, time) + time.unsqueeze(1)).unsqueeze(2).unbind(1)
        return self.head(modulate(x, shift, scale, self.eps))


def modulate(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    """LayerNorm without weights, then * (1 + scale) + shift."""
    if scale.numel() == x.shape[-1]:  # one timestep for all: the norm's own weights, in one pass
        return F.layer_norm(x, x.shape[-1:], 1 + scale.flatten(), shift.flatten(), eps)
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=eps), 1 + scale)
