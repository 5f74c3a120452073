"""The network as it is trained: the engine's own step, on a context whose making is learned too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..conditioning import Branch
from ..generation.context import ContextBuilder, VLMLayers
from ..generation.tower import GenerationTower
from .flow import noisy, squared_error


@dataclass(frozen=True, eq=False, slots=True)
class Row:
    """One picture to learn: its condition, its clean latent and the noise (1, C, 1, h, w), the level 0 to 1."""

    branch: Branch
    clean: Tensor
    noise: Tensor
    sigma: float


class Trainee(nn.Module):
    """A generation tower with the loss at its end.

    Args:
        vlm: the understanding tower, which a coupled model runs as it builds a context; it is no part of this.
        autocast: what matrix products run in, where the weights have more bits; None for the weights' own dtype.
    """

    def __init__(
        self, tower: GenerationTower, vlm: VLMLayers | None = None, autocast: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.tower, self.autocast = tower, autocast
        self._vlm = (vlm,)  # a tuple's modules are nobody's children

    def velocity(self, rows: Sequence[Row]) -> list[Tensor]:
        """The velocity (1, C, 1, h, w) of every row. Rows of one size share their linear layers."""
        device = self.tower.patch_embedding.weight.device
        builder = ContextBuilder(self.tower, device, self._vlm[0])
        patch = self.tower.config.dit.patch_size
        found: dict[int, Tensor] = {}
        for size in dict.fromkeys(row.clean.shape[-2:] for row in rows):
            group = [k for k, row in enumerate(rows) if row.clean.shape[-2:] == size]
            context = builder.build([rows[k].branch for k in group], size[0] // patch, size[1] // patch)
            sigmas = [rows[k].sigma for k in group]
            clean, noise = (torch.cat([getattr(rows[k], of) for k in group]).to(device) for of in ("clean", "noise"))
            levels = torch.tensor(sigmas, dtype=torch.float32, device=device)
            clock = self.tower.sinusoids_of([1000 * sigma for sigma in sigmas], device)
            drawn = self.tower.velocity_at(noisy(clean, noise, levels), clock, context, context.branches)
            found.update(zip(group, drawn.split(1), strict=True))
        return [found[k] for k in range(len(rows))]

    def forward(self, rows: Sequence[Row]) -> Tensor:
        """The loss of every row (len(rows),)."""
        device = self.tower.patch_embedding.weight.device
        with torch.autocast(device.type, self.autocast) if self.autocast else nullcontext():
            drawn = self.velocity(rows)
        return torch.stack(
            [
                squared_error(one, row.clean.to(device), row.noise.to(device)).mean()
                for one, row in zip(drawn, rows, strict=True)
            ]
        )


def recompute_blocks(tower: GenerationTower) -> None:
    """Keep no activations inside of blocks: they are computed once more on the way back (gradient checkpointing)."""
    for block in tower.blocks:
        block.forward = partial(_recomputed, block.forward)


def _recomputed(forward: Callable[..., Tensor], *given: Any) -> Tensor:
    if not torch.is_grad_enabled():
        return forward(*given)
    return checkpoint(forward, *given, use_reentrant=False, preserve_rng_state=False)
