"""What every step learns: examples, noise levels and dropped conditions, out of the seed and the step's number alone.

So a run that was stopped goes on as if it had not been, and what the frozen parts have to encode is known before.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shown:
    """Which conditions of an example are shown.

    text: else there is no text segment at all, not an empty one.
    latents, vits: one for each reference, its clean latent and its ViT tokens.
    """

    text: bool
    latents: tuple[bool, ...] = ()
    vits: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Draw:
    """One row of a batch.

    index: of the example. sigma: the noise level, 0 to 1. noise: the seed of the noise.
    """

    index: int
    shown: Shown
    sigma: float
    noise: int


@dataclass(frozen=True, slots=True)
class Pool:
    """Examples of one source and one size. `weight` is the pool's share of all batches."""

    weight: float
    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Dropout:
    """How often a text, a reference's clean latent and its ViT tokens are left out; as the large model was trained."""

    text: float = 0.1
    latent: float = 0.1
    vit: float = 0.5


class Draws:
    """The batches of a run, one for each step.

    Every batch comes from one pool; a pool's examples come all once, in a new order each time, before any comes again.

    Args:
        references: how many references each example has.
        batch: rows of a step.
        shift: the warp of the noise levels, whose logits are normal before it (as the authors draw them).
    """

    def __init__(
        self, pools: Sequence[Pool], references: Sequence[int], batch: int, seed: int, shift: float, dropout: Dropout
    ) -> None:
        self.pools, self.references = list(pools), references
        self.batch, self.seed, self.shift, self.dropout = batch, seed, shift, dropout

    def steps(self, first: int, end: int) -> Iterator[list[Draw]]:
        """The batches of steps `first` to before `end`."""
        taken = [0] * len(self.pools)
        weights = [pool.weight for pool in self.pools]
        for step in range(end):
            chosen = random.Random(f"{self.seed} pool {step}").choices(range(len(self.pools)), weights)[0]
            start, taken[chosen] = taken[chosen], taken[chosen] + self.batch
            if step >= first:
                yield [self._row(step, row, self._index(chosen, start + row)) for row in range(self.batch)]

    def _index(self, chosen: int, place: int) -> int:
        """The example at a place in a pool's endless order."""
        indices = self.pools[chosen].indices
        turn, within = divmod(place, len(indices))
        return random.Random(f"{self.seed} order {chosen} {turn}").sample(indices, len(indices))[within]

    def _row(self, step: int, row: int, index: int) -> Draw:
        rng = random.Random(f"{self.seed} row {step} {row}")
        level = 1 / (1 + math.exp(-rng.gauss(0.0, 1.0)))
        sigma = self.shift * level / (1 + (self.shift - 1) * level)
        count, drop = self.references[index], self.dropout
        text = rng.random() >= drop.text
        latents = tuple(rng.random() >= drop.latent for _ in range(count))
        vits = tuple(rng.random() >= drop.vit for _ in range(count))
        return Draw(index, Shown(text, latents, vits), sigma, rng.getrandbits(63))
