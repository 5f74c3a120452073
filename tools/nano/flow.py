"""The generation tower over whole batches with gradients: one plain pass, no context kept.

Rules B3 to B18 as the engine follows them: rows are padded and masked. Clean references run through the
tower at timestep 0 beside the noisy picture, so that the tower learns to read them too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lightfusion_core.config import ModelConfig
from lightfusion_core.generation.fusion import FusionLayer
from lightfusion_core.generation.rope import wan_rope
from lightfusion_core.generation.tower import GenerationTower
from lightfusion_core.layout import Split, TokenKind
from lightfusion_core.understanding.tower import UnderstandingTower

from .attention import autocast_dtype, bias_of, plain_attention
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


class Context:
    """What the frozen VLM knows of a batch of requests, and the clean latents of their references.

    Args:
        tower: the understanding tower.
        rows: drawing contexts, without the markers of the picture to come: these are added here.
        features: ViT features (pictures, tokens, width) of all rows' pictures in order, or None.
        clean: the normalised latents (C, 1, h, w) of each row's CLEAN segments in order, all of one size.
        grid: (rows, columns) of tokens of the pictures to come and of the references.
    """

    def __init__(
        self,
        tower: UnderstandingTower,
        rows: Sequence[Row],
        features: Tensor | None,
        clean: Sequence[Sequence[Tensor]],
        grid: tuple[int, int],
    ) -> None:
        self.grid = grid
        targets = [Split(TokenKind.NOISY, row.end, *grid) for row in rows]
        batch = Rows([row.target(*grid) for row in rows])
        self.states = batch.run(tower, features)
        self.positions = batch.positions
        places = [[(k, split) for k, split in enumerate(row.splits) if split.kind is TokenKind.CLEAN] for row in rows]
        self.slots = max(map(len, places))
        """Clean pictures of the row that has most."""
        self.clean = None
        if self.slots:
            blank = torch.zeros_like(next(latent for latents in clean for latent in latents))
            filled = [[*latents, *[blank] * (self.slots - len(latents))] for latents in clean]
            self.clean = torch.stack([torch.stack(latents) for latents in filled])
        self.gen_positions = torch.stack(
            [
                torch.cat([split.position_ids()[:, 1:-1] for split in _slots(place, target, self.slots)], dim=1)
                for place, target in zip(places, targets, strict=True)
            ]
        ).to(batch.positions.device)
        self.mask = self._mask(batch, places)

    def _mask(self, batch: Rows, places: list[list[tuple[int, Split]]]) -> Tensor:
        """Who sees whom in fusion (B, 1, clean and noisy tokens, VLM, clean and noisy tokens)."""
        tokens = self.grid[0] * self.grid[1]
        last = torch.iinfo(torch.int64).max  # the picture to come, and an empty slot, come after everything
        full = self.slots + 1
        part = torch.tensor([[*(k for k, _ in place), *[last] * (full - len(place))] for place in places])
        there = torch.tensor([[slot < len(place) or slot == self.slots for slot in range(full)] for place in places])
        und = batch.valid[:, None] & (batch.part[:, None] <= part[:, :, None])
        part, there = part.to(batch.part.device), there.to(batch.part.device)
        order = torch.arange(full, device=part.device)
        gen = there[:, None] & (order <= order[:, None])
        both = torch.cat([und, gen.repeat_interleave(tokens, dim=2)], dim=2)
        return both.repeat_interleave(tokens, dim=1)[:, None]


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
    rope = wan_rope(rows, columns, config.dit.head_dim, x.device)
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


def times(tower: GenerationTower, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """As `GenerationTower.time` for one timestep a row."""
    half = tower.config.dit.freq_dim // 2
    angle = timesteps.double()[:, None] * 10000.0 ** (
        -torch.arange(half, dtype=torch.float64, device=timesteps.device) / half
    )
    embedding = tower.time_embedding(torch.cat([angle.cos(), angle.sin()], dim=1).float())
    return embedding, tower.time_projection(embedding).unflatten(1, (6, -1))
