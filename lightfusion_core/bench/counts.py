"""How many floating point operations the parts of a step take, in closed form; a multiplication and its
addition count as two, as is the custom. Norms, rotations and gates are left out: matrix products and
attention are all but a hundredth of the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from ..config import DiTConfig, ModelConfig


def linear(rows: int, inputs: int, outputs: int) -> int:
    """A matrix product of `rows` rows."""
    return 2 * rows * inputs * outputs


def attention(queries: int, keys: int, width: int) -> int:
    """Scores and their application, over all heads together."""
    return 4 * queries * keys * width


def wan_block(dit: DiTConfig, tokens: int, *, cached_context: bool) -> int:
    """One block on one picture; the keys and values of its cross-attention unless they are `cached_context`."""
    d = dit.dim
    context = 0 if cached_context else 2 * linear(dit.text_len, d, d)
    self_attention = 4 * linear(tokens, d, d) + attention(tokens, tokens, d)
    cross_attention = 2 * linear(tokens, d, d) + attention(tokens, dit.text_len, d) + context
    return self_attention + cross_attention + 2 * linear(tokens, d, dit.ffn_dim)


def fusion(dit: DiTConfig, tokens: int, keys: int) -> int:
    """One fusion layer for a picture's noisy tokens, against `keys` tokens of context and their own."""
    return 4 * linear(tokens, dit.dim, dit.dim) + attention(tokens, keys + tokens, dit.dim)


def step(config: ModelConfig, tokens: int, contexts: Sequence[int]) -> int:
    """One step of the generation tower: `tokens` noisy ones a row, row k behind `contexts[k]` fixed ones
    (the target's two markers among them)."""
    dit, rows = config.dit, len(contexts)
    patch = dit.in_dim * dit.patch_size**2
    ends = 2 * linear(tokens * rows, patch, dit.dim)
    blocks = rows * dit.num_layers * wan_block(dit, tokens, cached_context=True)
    return _clock(dit, 1) + ends + blocks + config.fusion.num_layers * sum(fusion(dit, tokens, n) for n in contexts)


def plain_step(dit: DiTConfig, tokens: int, batch: int) -> int:
    """One forward of diffusers' WanTransformer3DModel, which embeds its text context every time."""
    patch = dit.in_dim * dit.patch_size**2
    text = linear(dit.text_len, dit.text_dim, dit.dim) + linear(dit.text_len, dit.dim, dit.dim)
    ends = 2 * linear(tokens, patch, dit.dim)
    blocks = dit.num_layers * wan_block(dit, tokens, cached_context=False)
    return _clock(dit, batch) + batch * (text + ends + blocks)


def _clock(dit: DiTConfig, rows: int) -> int:
    return linear(rows, dit.freq_dim, dit.dim) + linear(rows, dit.dim, dit.dim) + linear(rows, dit.dim, 6 * dit.dim)


def _flash_for_cpu(query: Any, key: Any, value: Any, *rest: Any, **options: Any) -> int:
    return sdpa_flop_count(query, key, value)


def counted(task: Callable[[], object]) -> int:
    """The operations that torch itself counts while a task runs."""
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    with FlopCounterMode(display=False, custom_mapping={kernel: _flash_for_cpu}) as counter:
        task()
    return counter.get_total_flops()
