"""The Wan block under Wan's own names computes what diffusers' WanTransformerBlock computes (rule B15)."""

from __future__ import annotations

import copy

import pytest
import torch
from samples import relative_error
from tiny import CONFIG
from torch import Tensor, nn

from lightfusion_core.config import DiTConfig
from lightfusion_core.generation.blocks import WanBlock
from lightfusion_core.generation.layers import TorchLayers, attention
from lightfusion_core.generation.rope import wan_rope

TO_DIFFUSERS = (
    ("self_attn.", "attn1."),
    ("cross_attn.", "attn2."),
    (".q.", ".to_q."),
    (".k.", ".to_k."),
    (".v.", ".to_v."),
    (".o.", ".to_out.0."),
    ("norm3.", "norm2."),
    ("ffn.0.", "ffn.net.0.proj."),
    ("ffn.2.", "ffn.net.2."),
    ("modulation", "scale_shift_table"),
)


def diffusers_name(name: str) -> str:
    for ours, theirs in TO_DIFFUSERS:
        name = name.replace(ours, theirs)
    return name


def random_block(config: DiTConfig) -> WanBlock:
    draw = torch.Generator().manual_seed(0)
    block = WanBlock(config, TorchLayers, attention).requires_grad_(False)
    for parameter in block.parameters():
        scale = 0.3 if parameter.ndim != 2 else parameter.shape[1] ** -0.5
        parameter.copy_(scale * torch.randn(parameter.shape, generator=draw) + (parameter.ndim == 1) * 0.7)
    return block


def diffusers_output(
    block: WanBlock, config: DiTConfig, x: Tensor, time: Tensor, grid: tuple[int, int], context: Tensor
) -> Tensor:
    from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed, WanTransformerBlock

    theirs = WanTransformerBlock(
        config.dim, config.ffn_dim, config.num_heads, "rms_norm_across_heads", cross_attn_norm=True, eps=config.eps
    )
    weights = {diffusers_name(name): tensor for name, tensor in block.state_dict().items()}
    theirs.load_state_dict(weights, strict=True)
    rope = WanRotaryPosEmbed(config.head_dim, (1, 1, 1), 64)(torch.empty(1, 1, 1, *grid))
    return theirs.requires_grad_(False)(x, context.expand(len(x), -1, -1), time.expand(len(x), -1, -1), rope)


@pytest.mark.parametrize(
    "config", [CONFIG.dit, DiTConfig(dim=128, num_heads=2, ffn_dim=96)], ids=["tiny", "wide heads"]
)
def test_equals_diffusers(config: DiTConfig) -> None:
    """Guards the order of the six modulation vectors, the gate that cross-attention lacks, and which norm
    is affine. Both a time of its own for every image and one for all must be taken."""
    draw = torch.Generator().manual_seed(1)
    rows, columns, batch = 3, 5, 2
    block = random_block(config)
    x = torch.randn(batch, rows * columns, config.dim, generator=draw)
    context = torch.randn(1, 16, config.dim, generator=draw)
    rope = wan_rope(rows, columns, config.head_dim, "cpu")
    for times in (1, batch):
        time = torch.randn(times, 6, config.dim, generator=draw)
        found = block(x, time, rope, block.cross_attn.keys_values(context))
        wanted = diffusers_output(block, config, x, time, (rows, columns), context)
        assert relative_error(found, wanted) <= 1e-6
        assert (found - wanted).abs().max() <= 1e-5


def test_images_of_a_batch_do_not_meet() -> None:
    """Guards rule B8, and the trick of cross-attention that lays all rows into one long query."""
    draw = torch.Generator().manual_seed(2)
    block = random_block(CONFIG.dit)
    rope = wan_rope(2, 3, CONFIG.dit.head_dim, "cpu")
    context = block.cross_attn.keys_values(torch.randn(1, 16, CONFIG.dit.dim, generator=draw))
    x, time = torch.randn(3, 6, CONFIG.dit.dim, generator=draw), torch.randn(1, 6, CONFIG.dit.dim, generator=draw)
    together = block(x, time, rope, context)
    alone = torch.cat([block(row[None], time, rope, context) for row in x])
    assert relative_error(together, alone) <= 1e-6


def test_the_stream_is_not_rounded() -> None:
    """Guards rule B27 in one block: with bfloat16 weights what a block adds is rounded, what it carries is not."""
    draw = torch.Generator().manual_seed(3)
    exact = random_block(CONFIG.dit)
    rounded = copy.deepcopy(exact)
    for name, module in rounded.named_modules():
        if isinstance(module, nn.Linear | nn.RMSNorm) and name != "norm3":
            module.bfloat16()
    rope, learned = wan_rope(2, 3, CONFIG.dit.head_dim, "cpu"), torch.randn(1, 16, CONFIG.dit.dim, generator=draw)
    x, time = (
        1000 * torch.randn(1, 6, CONFIG.dit.dim, generator=draw),
        torch.randn(1, 6, CONFIG.dit.dim, generator=draw),
    )
    wanted = exact(x, time, rope, exact.cross_attn.keys_values(learned))
    found = rounded(x, time, rope, rounded.cross_attn.keys_values(learned.bfloat16()))
    added = (wanted - x).square().mean().sqrt()
    assert (found - wanted).square().mean().sqrt() < 0.05 * added
    assert (x.bfloat16().float() - x).square().mean().sqrt() > 0.2 * added
