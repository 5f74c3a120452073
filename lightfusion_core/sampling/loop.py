"""A sampling run: noise, guided velocity, mask, solver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from ..conditioning import Conditioning
from ..errors import InputError, LightFusionError
from ..generation.context import BranchContext, Context, ContextBuilder
from ..generation.recorded import RecordedStep
from ..generation.tower import GenerationTower
from .guidance import Guidance
from .schedule import Schedule, make_schedule
from .skipping import Passes, Skipping
from .solvers import OnStep, Predict, Step, solver


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a picture is drawn: steps, the schedule's shift, the solver's name, and how much of the
    schedule is run (denoise, 0 to 1: below 1 an existing latent is redrawn in part).

    cache: how far foreseen velocities may be off in sum, relative to the velocity, before the network runs again (see
    `skipping.py`); 0 runs it at every step, 0.05 at about half of 50.
    """

    steps: int = 50
    shift: float = 4.0
    solver: str = "unipc"
    denoise: float = 1.0
    cache: float = 0.0

    def __post_init__(self) -> None:
        make_schedule(self.steps, self.shift)
        solver(self.solver)
        if not 0 < self.denoise <= 1:
            raise InputError(f"denoise must be above 0 and at most 1, found {self.denoise}.")
        if not 0 <= self.cache < inf:
            raise InputError(f"The cache's threshold must be 0 (off) or more, found {self.cache}.")


def make_noise(shape: Sequence[int], seeds: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Noise (B, *shape) float32, image k from `seeds[k]` by a generator of its own on the CPU, so that an
    image is the same alone, in a batch, and on another device."""
    # hosts hand out seeds up to 2**64 - 1, and image k's is k above that
    generators = [torch.Generator().manual_seed(seed % 2**64) for seed in seeds]
    drawn = [torch.randn(*shape, generator=generator, dtype=torch.float32) for generator in generators]
    return torch.stack(drawn).to(device)


class GuidedVelocity:
    """The network under guidance: all images and all branches that a timestep needs, in one batch."""

    def __init__(
        self, tower: GenerationTower, builder: ContextBuilder, conditioning: Conditioning, guidance: Guidance,
        rows: int, columns: int,
    ) -> None:  # fmt: skip
        self.tower, self.guidance = tower, guidance
        count = guidance.branches(conditioning.no_image is not None)
        if count > 1 and conditioning.negative is None:
            raise InputError(
                "Text guidance above 1 needs a negative branch: encode with a negative prompt (it may be empty), or "
                "set text guidance to 1."
            )
        branches = (conditioning.full, conditioning.negative, conditioning.no_image)[:count]
        self.context: Context = builder.build([branch for branch in branches if branch is not None], rows, columns)
        self._step = RecordedStep(tower, self.context)

    @torch.no_grad()
    def __call__(self, x: Tensor, timestep: int) -> Tensor:
        """The guided velocity of latents (B, C, 1, h, w) at an integer timestep."""
        return self.prompted_and_guided(x, timestep, self.guidance.is_active(timestep))[1]

    @torch.no_grad()
    def prompted_and_guided(self, x: Tensor, timestep: int, guided: bool) -> tuple[Tensor, Tensor]:
        """The velocity under the prompt alone and the guided one; the first twice where not `guided`."""
        branches = self.context.branches if guided else self.context.branches[:1]
        rows: list[BranchContext] = [branch for branch in branches for _ in range(len(x))]
        velocities = self._step(torch.cat([x] * len(branches)), timestep, rows)
        if len(branches) == 1:
            return velocities, velocities
        full, negative, *rest = velocities.chunk(len(branches))
        return full, self.guidance.mix(full, negative, rest[0] if rest else None, self.tower.config.dit.patch_size)


def sample(
    velocity: GuidedVelocity,
    noise: Tensor,
    sampling: Sampling,
    *,
    latent: Tensor | None = None,
    mask: Tensor | None = None,
    on_step: OnStep | None = None,
    passes: Passes | None = None,
    finite: Finite | None = None,
) -> Tensor:
    """Draw latents.

    Args:
        velocity: the guided network, built for this size.
        noise: (B, C, 1, h, w) float32.
        latent: what a partial or masked run starts from, normalised, (B or 1, C, 1, h, w).
        mask: (B or 1, 1, 1, h, w) from 0 (kept) to 1 (drawn anew).
        on_step: told of every step; an exception from it ends the run.
        passes: what a run that ends has cost is added to it.
        finite: looks at every velocity.

    Returns:
        Normalised latents (B, C, 1, h, w) float32.

    Raises:
        InputError: a partial or masked run without a latent.
    """
    schedule = make_schedule(sampling.steps, sampling.shift).last(sampling.denoise)
    solve, watch = solver(sampling.solver), on_step or _unwatched
    if latent is None and (sampling.denoise < 1 or mask is not None):
        raise InputError("A partial or masked run needs the latent that it starts from.")
    cost = Passes()
    predict, x = _predict(velocity, sampling, cost), noise
    if finite is not None:
        predict = finite.watch(predict, schedule)
    if latent is not None and sampling.denoise < 1:
        x = blend(noise, latent, schedule.sigmas[0])
    if latent is None or mask is None:
        drawn = solve(predict, x, schedule, watch)
    else:
        drawn = solve(_keep_unmasked(predict, noise, latent, mask), x, schedule, watch)
        drawn = torch.lerp(latent.expand_as(drawn), drawn, mask.expand_as(drawn))
    if passes is not None:
        passes.add(cost)
    return drawn


class Finite:
    """Whether what the network gave were numbers. The device is asked once, when all is drawn: a question at every step
    would make it wait."""

    def __init__(self) -> None:
        self._seen: list[tuple[str, Tensor]] = []

    def watch(self, predict: Predict, schedule: Schedule) -> Predict:
        """The prediction, looked at."""

        def watched(x: Tensor, sigma: float, timestep: int) -> Tensor:
            velocity = predict(x, sigma, timestep)
            step = f"{schedule.sigmas.index(sigma) + 1} of {schedule.steps}"
            self._seen.append((step, velocity.isfinite().all()))
            return velocity

        return watched

    def check(self) -> None:
        """Raises LightFusionError naming the first step whose numbers are none."""
        finite = torch.stack([each for _, each in self._seen]).tolist()
        if not all(finite):
            raise LightFusionError(
                f"From step {self._seen[finite.index(False)][0]} on the network gave numbers that are none (NaN or "
                "infinity): run it in bfloat16 or float32, and look at what was put into its weights or its prompt."
            )


def _predict(velocity: GuidedVelocity, sampling: Sampling, passes: Passes) -> Predict:
    """The network's prediction, or one that does without some passes."""
    guidance, most = velocity.guidance, len(velocity.context.branches)
    skipping = Skipping(sampling.cache, guidance.every, passes)

    def every(x: Tensor, sigma: float, timestep: int) -> Tensor:
        passes.count(len(x), len(x) * (most if guidance.is_active(timestep) else 1), most)
        return velocity(x, timestep)

    def some(x: Tensor, sigma: float, timestep: int) -> Tensor:
        active = guidance.is_active(timestep)

        def evaluate(pictures: Sequence[int], guided: bool) -> tuple[Tensor, Tensor]:
            return velocity.prompted_and_guided(x[pictures], timestep, guided)

        return skipping(len(x), sigma, active, most if active else 1, most, evaluate)

    return some if sampling.cache > 0 or guidance.every > 1 else every


def blend(noise: Tensor, latent: Tensor, sigma: float) -> Tensor:
    """The noisy latent at a level between the picture (0) and pure noise (1)."""
    return sigma * noise + (1 - sigma) * latent


def _keep_unmasked(predict: Predict, noise: Tensor, latent: Tensor, mask: Tensor) -> Predict:
    """A prediction that holds everything outside of the mask on the path from the noise to the latent."""

    def masked(x: Tensor, sigma: float, timestep: int) -> Tensor:
        inside = torch.lerp(blend(noise, latent, sigma), x, mask)
        denoised = inside - sigma * predict(inside, sigma, timestep)
        return (x - torch.lerp(latent, denoised, mask)) / sigma

    return masked


def _unwatched(step: Step) -> None:
    """The callback of a run that nobody watches."""
