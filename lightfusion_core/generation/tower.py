"""The generation tower: Wan's DiT with a fusion layer after every block (rules B8, B9, B14 to B18).

`velocity` is the whole of one step: the noisy tokens alone, against a `Context` that was built before.
All rows (images times guidance branches) share one batch of linear layers; only the fusion attention
runs row by row, unpadded and unmasked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from ..config import ModelConfig
from .blocks import Head, WanBlock
from .context import BranchContext, Context
from .fusion import FusionLayer
from .hooks import BlockAttention, StepHooks
from .layers import Attention, Layers, TorchLayers, at, attention
from .rope import Rope


class GenerationTower(nn.Module):
    """Parameters and step of the generation side.

    Args:
        config: the model's sizes.
        coupled: fusion also changes the understanding stream (its `o_und_proj` is not zero).
        dtype: the compute dtype of the linear layers; the residual stream stays float32.
        layers, attention: leaf layers and attention function, see `layers.py`.
    """

    blocks: Any  # WanBlocks; torch's ModuleList forgets what it holds
    mm_attn_layers: Any  # FusionLayers, likewise

    def __init__(
        self,
        config: ModelConfig,
        *,
        coupled: bool = False,
        dtype: torch.dtype = torch.float32,
        layers: Layers = TorchLayers,
        attention: Attention = attention,
    ) -> None:
        super().__init__()
        dit = config.dit
        self.config, self.coupled, self.dtype, self.attention = config, coupled, dtype, attention
        self.patch_embedding = layers.Linear(dit.in_dim * dit.patch_size**2, dit.dim)
        self.text_embedding = nn.Sequential(
            layers.Linear(dit.text_dim, dit.dim), nn.GELU(approximate="tanh"), layers.Linear(dit.dim, dit.dim)
        )
        self.time_embedding = nn.Sequential(
            layers.Linear(dit.freq_dim, dit.dim), nn.SiLU(), layers.Linear(dit.dim, dit.dim)
        )
        self.time_projection = nn.Sequential(nn.SiLU(), layers.Linear(dit.dim, 6 * dit.dim))
        self.blocks = nn.ModuleList(WanBlock(dit, layers, attention) for _ in range(dit.num_layers))
        self.head = Head(dit, layers)
        self.mm_attn_layers = nn.ModuleList(
            FusionLayer(config, layers, coupled) for _ in range(config.fusion.num_layers)
        )
        self.vgen_model_cross_att_context = nn.Parameter(torch.empty(dit.text_len, dit.text_dim))

    def fold(self, latent: Tensor) -> Tensor:
        """Latent (B, C, 1, h, w) to tokens (B, h/p * w/p, p * p * C), channel fastest (rule B14)."""
        p = self.config.dit.patch_size
        return rearrange(latent, "b c 1 (h p) (w q) -> b (h w) (p q c)", p=p, q=p)

    def unfold(self, tokens: Tensor, rows: int) -> Tensor:
        """The inverse of `fold` for a picture of `rows` token rows."""
        p = self.config.dit.patch_size
        return rearrange(tokens, "b (h w) (p q c) -> b c 1 (h p) (w q)", h=rows, p=p, q=p)

    def embed(self, latent: Tensor) -> Tensor:
        """Latent (B, C, 1, h, w) to the float32 residual stream (B, N, D)."""
        return self.patch_embedding(self.fold(latent).to(self.dtype)).float()

    def time(self, timestep: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Embedding (1, D) and the blocks' six modulation vectors (1, 6, D) of an integer timestep
        (0 to 999), float32 (rule B17)."""
        return self.embed_time(self.sinusoids(timestep, timestep + 1, device))

    def sinusoids(self, first: int, end: int, device: torch.device) -> Tensor:
        """What the time embedding takes for the timesteps from `first` to before `end`, a row each."""
        return self.sinusoids_of(range(first, end), device)

    def sinusoids_of(self, timesteps: Sequence[float], device: torch.device) -> Tensor:
        """The same for any timesteps from 0 to 1000: a training draws them between the integers too."""
        half = self.config.dit.freq_dim // 2
        # float64 as the reference, and on the CPU: not every device has it
        frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = torch.outer(torch.tensor(timesteps, dtype=torch.float64), frequencies)
        return torch.cat([angles.cos(), angles.sin()], dim=1).float().to(device)

    def embed_time(self, sinusoids: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (n, D) and modulation vectors (n, 6, D) of rows of `sinusoids`, float32 under autocast too."""
        embedding = self.time_embedding(sinusoids).float()
        return embedding, self.time_projection(embedding).float().unflatten(1, (6, -1))

    def learned_context(self, device: torch.device) -> Tensor:
        """The context (1, rows, D) that every block's cross-attention reads (rule B16)."""
        rows = at(self.vgen_model_cross_att_context, torch.empty((), dtype=self.dtype, device=device))
        return self.text_embedding(rows).unsqueeze(0)

    def velocity(
        self,
        x: Tensor,
        timestep: int | Sequence[int],
        context: Context,
        branches: Sequence[BranchContext],
        hooks: StepHooks | None = None,
    ) -> Tensor:
        """The velocity, noise minus data, of every row.

        Args:
            x: noisy normalised latents (R, C, 1, h, w), float32.
            timestep: 0 to 999, the noise level of every row, or one for each.
            context: the run's context, built for this latent size.
            branches: the branch of each of the R rows, out of `context.branches`.
            hooks: a host's part in the step.

        Returns:
            (R, C, 1, h, w) float32.
        """
        levels = slice(timestep, timestep + 1) if isinstance(timestep, int) else list(timestep)
        return self.velocity_at(x, context.clock[levels], context, branches, hooks)

    def velocity_at(
        self,
        x: Tensor,
        sinusoids: Tensor,
        context: Context,
        branches: Sequence[BranchContext],
        hooks: StepHooks | None = None,
    ) -> Tensor:
        """As `velocity`, at noise levels told by their rows (1 or R, frequencies) of `sinusoids`: all that differs from
        step to step then is a tensor."""
        stream = self.embed(x)
        embedding, modulation = self.embed_time(sinusoids)
        rope = context.row_ropes(branches)
        markers = [branch.markers.start() for branch in branches if branch.markers]
        for i in range(max(len(self.blocks), len(self.mm_attn_layers))):
            for marker in markers:
                marker.run_layer(i)
            if i < len(self.blocks):
                stream = self._run_block(i, stream, modulation, context, hooks)
            if i < len(self.mm_attn_layers):
                layer: FusionLayer = self.mm_attn_layers[i]
                attention = hooks.fusion_attention(i) if hooks else self.attention
                q, k, v = layer.gen_queries_keys_values(stream, rope, self.dtype)
                attended = []
                for row, branch in enumerate(branches):
                    qkv = (q[row : row + 1], k[row : row + 1], v[row : row + 1])
                    if markers:
                        qkv = markers[row].join(layer, *qkv)
                    keys, values = branch.complete(i, *qkv[1:])
                    result = attention(qkv[0], keys, values)
                    attended.append(markers[row].take(layer, result) if markers else result)
                together = _as_batch(attended)
                stream = layer.add_to_gen(stream, hooks.fused(i, together) if hooks else together)
        return self.unfold(self.head(stream, embedding).float(), x.shape[-2] // self.config.dit.patch_size)

    def _run_block(
        self, index: int, stream: Tensor, modulation: Tensor, context: Context, hooks: StepHooks | None
    ) -> Tensor:
        block, cross = self.blocks[index], context.cross[index]
        if hooks is None:
            return block(stream, modulation, context.rope, cross)

        def run(stream: Tensor, modulation: Tensor, rope: Rope, attention: BlockAttention) -> Tensor:
            return block(stream, modulation, rope, cross, attention)

        return hooks.block(index, stream, modulation, context.rope, run)


def _as_batch(rows: Sequence[Tensor]) -> Tensor:
    """Rows (1, H, N, head_dim) as one batch, laid out as attention gives them (heads beside each other), so that
    merging the heads copies nothing."""
    return torch.cat([row.transpose(1, 2) for row in rows]).transpose(1, 2)


_FLOAT32 = ("time_embedding.", "time_projection.", "head.")


def keeps_float32(name: str) -> bool:
    """Whether a parameter stays float32 in a model of another dtype: what acts on the residual stream
    itself, and the time embedding (rule B27)."""
    return name.startswith(_FLOAT32) or name.endswith("modulation") or ".norm3." in name or ".vgen_norm." in name
