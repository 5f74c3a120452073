"""The generation tower over whole batches with gradients: one plain pass, no context kept.

Rules B3 to B18 as the engine follows them: rows are padded and masked. Clean references run through the
tower at timestep 0 beside the noisy picture, so that the tower learns to read them too.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from lightfusion_core.config import ModelConfig
from lightfusion_core.generation.fusion import FusionLayer
from lightfusion_core.generation.rope import Rope, wan_rope
from lightfusion_core.generation.tower import GenerationTower
from lightfusion_core.layout import Split, TokenKind
from lightfusion_core.training.flow import noisy, squared_error, warped
from lightfusion_core.understanding.tower import UnderstandingTower

from .attention import autocast_dtype, bias_of, plain_attention
from .graphs import to_device
from .states import Row, Rows, batch_rope


def new_generation(config: ModelConfig, seed: int = 0) -> GenerationTower:
    """An untrained tower: fusion and velocity start at zero, as the paper's fusion does."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tower = GenerationTower(config, attention=plain_attention)
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


class Layout:
    """Where the tokens of a batch of requests stand: what can be said of it before a picture is encoded, or on another
    process.

    Args:
        rows: drawing contexts, without the markers of the picture to come: these are added here.
        grid: (rows, columns) of tokens of the pictures to come and of the references.
        step: the VLM's rows are padded to a multiple of it.
    """

    def __init__(self, rows: Sequence[Row], grid: tuple[int, int], step: int = 1) -> None:
        self.grid = grid
        targets = [Split(TokenKind.NOISY, row.end, *grid) for row in rows]
        self.rows = Rows([row.target(*grid) for row in rows], step)
        places = [[(k, split) for k, split in enumerate(row.splits) if split.kind is TokenKind.CLEAN] for row in rows]
        self.slots = max(map(len, places))
        """Clean pictures of the row that has most."""
        self.gen_positions = torch.stack(
            [
                torch.cat([split.position_ids()[:, 1:-1] for split in _slots(place, target, self.slots)], dim=1)
                for place, target in zip(places, targets, strict=True)
            ]
        )
        last = torch.iinfo(torch.int64).max  # the picture to come, and an empty slot, come after everything
        full = self.slots + 1
        self.part = torch.tensor([[*(k for k, _ in place), *[last] * (full - len(place))] for place in places])
        """Which segment of its row a slot stands in."""
        self.there = torch.tensor(
            [[slot < len(place) or slot == self.slots for slot in range(full)] for place in places]
        )

    def mask(self) -> Tensor:
        """Who sees whom in fusion (B, 1, clean and noisy tokens, VLM, clean and noisy tokens)."""
        tokens, rows = self.grid[0] * self.grid[1], self.rows
        und = rows.valid[:, None] & (rows.part[:, None] <= self.part[:, :, None])
        order = torch.arange(self.slots + 1, device=self.part.device)
        gen = self.there[:, None] & (order <= order[:, None])
        both = torch.cat([und, gen.repeat_interleave(tokens, dim=2)], dim=2)
        return both.repeat_interleave(tokens, dim=1)[:, None]


class Context:
    """What the frozen VLM knows of a batch of requests, and the clean latents of their references.

    Args:
        tower: the understanding tower.
        layout: of the requests; it moves to the tower's device.
        features: ViT features (pictures, tokens, width) of all rows' pictures in order, and more behind them, or None.
        clean: the normalised latents (B, slots, C, 1, h, w) of each row's CLEAN segments in order, or None; see
            `stacked`.
    """

    def __init__(
        self, tower: UnderstandingTower, layout: Layout, features: Tensor | None, clean: Tensor | None
    ) -> None:
        self.grid, self.slots, self.clean = layout.grid, layout.slots, clean
        to_device(layout, tower.model.language_model.embed_tokens.weight.device)
        self.states = layout.rows.run(tower, features)
        self.positions, self.gen_positions = layout.rows.positions, layout.gen_positions
        self.mask = layout.mask()


def stacked(clean: Sequence[Sequence[Tensor]]) -> Tensor | None:
    """Each row's latents (C, 1, h, w), all of one size, as (B, slots, C, 1, h, w): empty slots are zeros."""
    slots = max(map(len, clean))
    if not slots:
        return None
    blank = torch.zeros_like(next(latent for latents in clean for latent in latents))
    filled = [latent for latents in clean for latent in (*latents, *[blank] * (slots - len(latents)))]
    return torch.stack(filled).unflatten(0, (len(clean), slots))


def _slots(place: list[tuple[int, Split]], target: Split, count: int) -> list[Split]:
    """The splits of all slots and of the target; an empty slot has the target's place, which nobody reads."""
    return [*(split for _, split in place), *[target] * (count - len(place)), target]


def velocity(tower: GenerationTower, x: Tensor, timesteps: Tensor, context: Context) -> Tensor:
    """The velocity (B, C, 1, h, w) of noisy latents at integer timesteps (B,)."""
    config, (rows, columns) = tower.config, context.grid
    count, tokens, slots = len(x), rows * columns, context.slots
    pictures = x[:, None]
    if context.clean is not None:
        pictures = torch.cat([context.clean, pictures], dim=1)
    stream = tower.embed(pictures.flatten(0, 1))
    embedding, modulation = times(tower, F.pad(timesteps[:, None], (slots, 0)).flatten())
    if count == 1:  # a fused norm modulates a picture alone, and takes no narrower parameters
        embedding, modulation = embedding.float(), modulation.float()
    learned = tower.learned_context(x.device)
    rope = _wan_rope(rows, columns, config.dit.head_dim, x.device)
    und_rope = batch_rope(context.positions.transpose(0, 1), config)
    gen_rope = batch_rope(context.gen_positions.transpose(0, 1), config)
    bias = bias_of(context.mask, autocast_dtype(stream))
    for i, block in enumerate(tower.blocks):
        stream = block(stream, modulation, rope, block.cross_attn.keys_values(learned))
        if i < len(tower.mm_attn_layers):
            layer: FusionLayer = tower.mm_attn_layers[i]
            together = stream.view(count, -1, stream.shape[-1])
            und_k, und_v = layer.und_keys_values(context.states[min(i, len(context.states) - 1)], und_rope)
            q, k, v = layer.gen_queries_keys_values(together, gen_rope, stream.dtype)
            k, v = torch.cat([und_k, k], dim=2), torch.cat([und_v, v], dim=2)
            if i == len(tower.mm_attn_layers) - 1:  # nobody reads the references after this
                together, q, bias = together[:, -tokens:], q[:, :, -tokens:], bias[:, :, -tokens:]
                modulation, embedding = (one.unflatten(0, (count, -1))[:, -1] for one in (modulation, embedding))
            stream = layer.add_to_gen(together, plain_attention(q, k, v, bias)).view(-1, tokens, stream.shape[-1])
    return tower.unfold(tower.head(stream, embedding), rows)


def flow_loss(tower: GenerationTower, context: Context, clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """The mean squared error of the velocity of latents (B, C, 1, h, w) with noise of levels (B,)."""
    found = velocity(tower, noisy(clean, noise, sigma), (sigma * 1000).floor(), context)
    return squared_error(found, clean, noise).mean()


def chance(rng: random.Random, like: Tensor, shift: float) -> tuple[Tensor, Tensor]:
    """Noise for latents (B, C, 1, h, w), and noise levels (B,) as they are learned."""
    draw = torch.Generator().manual_seed(rng.getrandbits(62))
    sigma = warped(torch.randn(len(like), generator=draw).to(like.device), shift)
    return torch.randn(like.shape, generator=draw).to(like.device), sigma


@cache
def _wan_rope(rows: int, columns: int, head_dim: int, device: torch.device) -> Rope:
    return wan_rope(rows, columns, head_dim, device)


def times(tower: GenerationTower, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """As `GenerationTower.time` for one timestep a row."""
    half = tower.config.dit.freq_dim // 2
    angle = timesteps.double()[:, None] * 10000.0 ** (
        -torch.arange(half, dtype=torch.float64, device=timesteps.device) / half
    )
    embedding = tower.time_embedding(torch.cat([angle.cos(), angle.sin()], dim=1).float())
    return embedding, tower.time_projection(embedding).unflatten(1, (6, -1))
