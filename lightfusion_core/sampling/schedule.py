"""The noise levels of a run (rule B19)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..config import TIMESTEPS
from ..errors import InputError

MOST_STEPS = 1_000_000


@dataclass(frozen=True, slots=True)
class Schedule:
    """The levels of N steps.

    sigmas: N + 1 values from near 1 down to 0, each a float32 number. timesteps: N integers 0..999,
    what the network is told.
    """

    sigmas: tuple[float, ...]
    timesteps: tuple[int, ...]

    @property
    def steps(self) -> int:
        return len(self.timesteps)

    def last(self, share: float) -> Schedule:
        """The last `share` (0 to 1) of the steps, at least one: for partial denoising."""
        keep = max(1, round(self.steps * share))
        return Schedule(self.sigmas[-keep - 1 :], self.timesteps[-keep:])

    @classmethod
    def from_sigmas(cls, sigmas: Sequence[float]) -> Schedule:
        """A schedule through given levels, the last one 0 or more."""
        rounded = np.asarray(sigmas, dtype=np.float32)
        return cls(tuple(rounded.tolist()), tuple(timestep_of(float(sigma)) for sigma in rounded[:-1]))


def timestep_of(sigma: float) -> int:
    """The integer timestep of a level that came as float32: one that this precision cannot tell from k / 1000
    counts as k (0.6 would become 599), any other is cut off."""
    nearest = round(sigma * TIMESTEPS)
    if np.float32(nearest / TIMESTEPS) != np.float32(sigma):
        nearest = int(np.floor(sigma * TIMESTEPS))
    return min(TIMESTEPS - 1, nearest)


def make_schedule(steps: int, shift: float = 4.0) -> Schedule:
    """The reference's grid: u = 0.999 (1 - i/N), sigma = s u / (1 + (s - 1) u), a last 0.

    Raises:
        InputError: no steps or too many, or a shift with which their levels cannot be told apart.
    """
    if steps < 1:
        raise InputError(f"A picture needs at least 1 step, found {steps}.")
    if steps > MOST_STEPS:
        raise InputError(f"A picture takes at most {MOST_STEPS:,} steps, found {steps:,}.")
    if not 0 < shift < np.inf:
        raise InputError(f"The shift must be above 0 and finite (the models are trained with 4), found {shift}.")
    # 0.999 as the float32 number, and float64 from there on, as the reference has it
    u = float(np.float32(0.999)) * (1 - np.arange(steps, dtype=np.float64) / steps)
    sigmas = shift * u / (1 + (shift - 1) * u)
    timesteps = np.floor(TIMESTEPS * sigmas).astype(int)  # before the rounding to float32
    levels = (*sigmas.astype(np.float32).tolist(), 0.0)
    if levels[0] >= 1 or any(later >= level for level, later in pairwise(levels)):
        raise InputError(
            f"A shift of {shift:g} leaves no difference between the noise levels of {steps} steps (the models are "
            "trained with 4): take one nearer to 4, or fewer steps."
        )
    return Schedule(levels, tuple(timesteps.tolist()))
