"""Solvers of the flow's equation dx/dsigma = velocity, from the first sigma of a schedule to its last.

A solver is `solve(predict, x, schedule, on_step) -> x`: `predict(x, sigma, timestep)` gives a velocity,
`on_step(Step)` is told of every step before it is taken and may raise to cancel. Solvers know nothing
of models, guidance or masks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from .schedule import Schedule

Predict = Callable[[Tensor, float, int], Tensor]


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """One step about to be taken: x is the noisy latent (B, C, 1, h, w) before it, velocity the guided
    one there, denoised the picture that both foresee, x - sigma * velocity."""

    index: int
    sigma: float
    timestep: int
    x: Tensor
    velocity: Tensor

    @property
    def denoised(self) -> Tensor:
        return self.x - self.sigma * self.velocity


OnStep = Callable[[Step], None]
Solver = Callable[[Predict, Tensor, Schedule, OnStep], Tensor]


def euler(predict: Predict, x: Tensor, schedule: Schedule, on_step: OnStep) -> Tensor:
    """First order, one prediction a step."""
    for index, timestep in enumerate(schedule.timesteps):
        sigma, after = schedule.sigmas[index : index + 2]
        velocity = predict(x, sigma, timestep)
        on_step(Step(index, sigma, timestep, x, velocity))
        x = x + (after - sigma) * velocity
    return x


def heun(predict: Predict, x: Tensor, schedule: Schedule, on_step: OnStep) -> Tensor:
    """Second order, two predictions a step (one in the last): the mean of the slopes at both ends."""
    for index, timestep in enumerate(schedule.timesteps):
        sigma, after = schedule.sigmas[index : index + 2]
        velocity = predict(x, sigma, timestep)
        on_step(Step(index, sigma, timestep, x, velocity))
        ahead = x + (after - sigma) * velocity
        if index + 1 < schedule.steps:
            velocity = (velocity + predict(ahead, after, schedule.timesteps[index + 1])) / 2
        x = x + (after - sigma) * velocity
    return x


def unipc(predict: Predict, x: Tensor, schedule: Schedule, on_step: OnStep) -> Tensor:
    """UniPC of order 2 (rule B20), diffusers' scheduler on this schedule's sigmas."""
    from diffusers import UniPCMultistepScheduler

    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0)
    scheduler.set_timesteps(schedule.steps)
    # Set, not passed: older releases of our range take no sigmas, and theirs differ. The solver takes
    # the logarithm of 1 - sigma, so a schedule that starts at 1 is nudged, as the library does.
    scheduler.sigmas = torch.tensor([min(sigma, 1 - 1e-6) for sigma in schedule.sigmas], dtype=torch.float32)
    scheduler.timesteps = torch.tensor(schedule.timesteps)
    scheduler.set_begin_index(0)  # by place, since timesteps can repeat in long schedules
    for index, timestep in enumerate(schedule.timesteps):
        sigma = schedule.sigmas[index]
        velocity = predict(x, sigma, timestep)
        on_step(Step(index, sigma, timestep, x, velocity))
        x = scheduler.step(velocity, timestep, x, return_dict=False)[0]
    return x


SOLVERS: dict[str, Solver] = {"unipc": unipc, "euler": euler, "heun": heun}


def solver(name: str) -> Solver:
    """A solver by its name. Raises InputError for one that is not there."""
    if name not in SOLVERS:
        raise InputError(f"There is no solver {name!r}: choose one of {', '.join(SOLVERS)}.")
    return SOLVERS[name]
