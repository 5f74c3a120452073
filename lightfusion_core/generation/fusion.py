"""One multimodal self-attention layer between the towers (rule B10), under the authors' names.

Und tokens (VLM) and gen tokens (DiT) have projections of their own into one attention. In a frozen
model nothing flows back (`o_und_proj` is zero), so the und side only gives keys and values and its
query and output projections are not even made.
"""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn

from ..config import ModelConfig
from .layers import Layers, summand
from .rope import Rope, apply_half_rope


class FusionAttention(nn.Module):
    """The projections, and the one query and one key norm that both sides share."""

    def __init__(self, config: ModelConfig, layers: Layers, coupled: bool) -> None:
        super().__init__()
        width, dim = config.text.hidden_size, config.fusion.hidden_size
        self.heads = config.fusion.num_attention_heads
        self.k_und_proj = layers.Linear(width, dim)
        self.v_und_proj = layers.Linear(width, dim)
        self.q_gen_proj = layers.Linear(dim, dim)
        self.k_gen_proj = layers.Linear(dim, dim)
        self.v_gen_proj = layers.Linear(dim, dim)
        self.o_gen_proj = layers.Linear(dim, dim, bias=False)
        self.q_norm = layers.RMSNorm(dim // self.heads, eps=config.fusion.eps)
        self.k_norm = layers.RMSNorm(dim // self.heads, eps=config.fusion.eps)
        if coupled:
            self.q_und_proj = layers.Linear(width, dim)
            self.o_und_proj = layers.Linear(dim, width, bias=False)

    def split_heads(self, x: Tensor) -> Tensor:
        return rearrange(x, "b l (h d) -> b h l d", h=self.heads)


class FusionLayer(nn.Module):
    """Fusion layer i, run after VLM layer i and DiT block i. It adds to the streams; no gate, no MLP."""

    def __init__(self, config: ModelConfig, layers: Layers, coupled: bool) -> None:
        super().__init__()
        self.llm_norm = layers.RMSNorm(config.text.hidden_size, eps=config.fusion.eps)
        self.vgen_norm = layers.RMSNorm(config.fusion.hidden_size, eps=config.fusion.eps)
        self.mm_attn = FusionAttention(config, layers, coupled)

    def und_keys_values(self, hidden: Tensor, rope: Rope) -> tuple[Tensor, Tensor]:
        """VLM states (B, n, width) to roped keys and values (B, H, n, head_dim), in the tables' dtype: the towers may
        compute in different ones."""
        part = self.mm_attn
        hidden = self.llm_norm(hidden.to(rope[0].dtype))
        k = part.k_norm(part.split_heads(part.k_und_proj(hidden)))
        return apply_half_rope(k, rope), part.split_heads(part.v_und_proj(hidden))

    def und_queries(self, hidden: Tensor, rope: Rope) -> Tensor:
        """VLM states (B, n, width) to roped queries (B, H, n, head_dim); coupled models only."""
        part = self.mm_attn
        hidden = self.llm_norm(hidden.to(rope[0].dtype))
        return apply_half_rope(part.q_norm(part.split_heads(part.q_und_proj(hidden))), rope)

    def gen_queries_keys_values(self, x: Tensor, rope: Rope, dtype) -> tuple[Tensor, Tensor, Tensor]:
        """The DiT's stream (B, N, D) float32 to roped queries, keys, and values (B, H, N, head_dim)."""
        part = self.mm_attn
        x = self.vgen_norm(x).to(dtype)
        q = part.q_norm(part.split_heads(part.q_gen_proj(x)))
        k = part.k_norm(part.split_heads(part.k_gen_proj(x)))
        return apply_half_rope(q, rope), apply_half_rope(k, rope), part.split_heads(part.v_gen_proj(x))

    def add_to_gen(self, x: Tensor, attended: Tensor) -> Tensor:
        """x (B, N, D) plus the projected attention output (B, H, N, head_dim)."""
        return x + summand(self.mm_attn.o_gen_proj(rearrange(attended, "b h l d -> b l (h d)")), x)

    def add_to_und(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """hidden (B, n, width) plus the projected attention output (B, H, n, head_dim)."""
        return hidden + self.mm_attn.o_und_proj(rearrange(attended, "b h l d -> b l (h d)")).to(hidden.dtype)
