"""The generation tower over whole batches with gradients: one plain pass, no context kept.

Rules B3 to B18 as the engine follows them, for text to image: rows are padded on the right and masked.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lightfusion_core.config import ModelConfig
from lightfusion_core.generation.fusion import FusionLayer
from lightfusion_core.generation.rope import multimodal_rope, wan_rope
from lightfusion_core.generation.tower import GenerationTower
from lightfusion_core.layout import Split, TokenKind
from lightfusion_core.understanding.tower import UnderstandingTower

from .states import padded, run_layers


def new_generation(config: ModelConfig, seed: int = 0) -> GenerationTower:
    """An untrained tower: fusion and velocity start at zero, as the paper's fusion does."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tower = GenerationTower(config)
        for name, parameter in tower.named_parameters():
            if name.endswith("modulation") or name.startswith("vgen_model"):
                torch.nn.init.normal_(parameter, std=config.dit.dim**-0.5)
            elif name.endswith("o_gen_proj.weight") or name.startswith("head.head"):
                torch.nn.init.zeros_(parameter)
            elif parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
            elif name.endswith("bias"):
                torch.nn.init.zeros_(parameter)
        for block in tower.blocks:
            for layer in (block.self_attn.o, block.cross_attn.o, block.ffn[2]):
                layer.weight.data.mul_(0.3)
        torch.nn.init.normal_(tower.get_parameter("time_projection.1.weight"), std=0.02)
    return tower


class TextContext:
    """What the frozen VLM knows of a batch of prompts and of the markers of the pictures to come.

    states: every layer's raw output (B, n + 2, width), prompt then markers. valid: (B, n + 2).
    positions: (B, 3, n + 2).
    """

    def __init__(
        self, tower: UnderstandingTower, prompts: list[list[int]], extent: int, markers: tuple[int, int]
    ) -> None:
        ids, lengths = padded(prompts)
        count, longest = ids.shape
        ids = torch.cat([ids, torch.tensor([markers]).expand(count, -1)], dim=1)
        order = torch.arange(longest)
        text_valid = order < lengths[:, None]
        self.valid = torch.cat([text_valid, torch.ones(count, 2, dtype=torch.bool)], dim=1)
        ends = torch.stack([Split(TokenKind.NOISY, int(n), 1, extent).und_position_ids() for n in lengths])
        self.positions = torch.cat([order.expand(count, 3, -1), ends], dim=2)
        mask = torch.ones(longest + 2, longest + 2, dtype=torch.bool).tril()
        mask[-2:] = True  # both markers see each other
        mask = mask & self.valid[:, None, :]
        hidden = tower.model.language_model.embed_tokens(ids)
        self.states = run_layers(tower, hidden, self.positions.transpose(0, 1), mask[:, None])
        self.lengths = lengths


def velocity(tower: GenerationTower, x: Tensor, timesteps: Tensor, context: TextContext) -> Tensor:
    """The velocity (B, C, 1, h, w) of noisy latents at integer timesteps (B,)."""
    config, patch = tower.config, tower.config.dit.patch_size
    rows, columns = x.shape[-2] // patch, x.shape[-1] // patch
    stream = tower.embed(x)
    embedding, modulation = times(tower, timesteps)
    learned = tower.learned_context(x.device)
    rope = wan_rope(rows, columns, config.dit.head_dim, x.device)
    und_rope = batch_rope(context.positions, config)
    targets = [Split(TokenKind.NOISY, int(n), rows, columns).position_ids()[:, 1:-1] for n in context.lengths]
    gen_rope = batch_rope(torch.stack(targets), config)
    mask = F.pad(context.valid, (0, rows * columns), value=True)[:, None, None]
    for i, block in enumerate(tower.blocks):
        stream = block(stream, modulation, rope, block.cross_attn.keys_values(learned))
        if i < len(tower.mm_attn_layers):
            layer: FusionLayer = tower.mm_attn_layers[i]
            und_k, und_v = layer.und_keys_values(context.states[min(i, len(context.states) - 1)], und_rope)
            q, k, v = layer.gen_queries_keys_values(stream, gen_rope, stream.dtype)
            k, v = torch.cat([und_k, k], dim=2), torch.cat([und_v, v], dim=2)
            stream = layer.add_to_gen(stream, F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
    return tower.unfold(tower.head(stream, embedding), rows)


def times(tower: GenerationTower, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """As `GenerationTower.time` for one timestep a row."""
    half = tower.config.dit.freq_dim // 2
    angle = timesteps.double()[:, None] * 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    embedding = tower.time_embedding(torch.cat([angle.cos(), angle.sin()], dim=1).float())
    return embedding, tower.time_projection(embedding).unflatten(1, (6, -1))


def batch_rope(positions: Tensor, config: ModelConfig) -> tuple[Tensor, Tensor]:
    """Fusion tables (B, 1, n, head_dim) for positions (B, 3, n)."""
    flat = positions.transpose(0, 1).flatten(1)
    cos, sin = multimodal_rope(flat, config.text.mrope_section, config.text.rope_theta, "cpu")
    shape = (len(positions), 1, -1, cos.shape[-1])
    return cos.view(shape), sin.view(shape)
