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
    """UniPC of order 2 with B(h) = bh2 and predicted data (arXiv 2302.04867; rule B20).

    The numbers are diffusers' UniPCMultistepScheduler's bit for bit. Its coefficients are tensors on the sample's
    device, which a GPU waits for at every step; here they are numbers on the CPU.
    """
    sigmas = _below_one(schedule)
    denoised: list[Tensor] = []
    before, order = x, 0
    for index, timestep in enumerate(schedule.timesteps):
        sigma = schedule.sigmas[index]
        velocity = predict(x, sigma, timestep)
        on_step(Step(index, sigma, timestep, x, velocity))
        denoised.append(x - sigmas[index] * velocity)
        if index:
            x = _unify(sigmas, index - 1, before, denoised[-3:-1], order, denoised[-1])
        order = min(2, index + 1, schedule.steps - index)
        before = x
        x = _unify(sigmas, index, before, denoised[-2:], order)
        del denoised[:-2]
    return x


def dpmpp(predict: Predict, x: Tensor, schedule: Schedule, on_step: OnStep) -> Tensor:
    """DPM-Solver++(2M) in its midpoint form (arXiv 2211.01095), the other solver of the authors' code.

    diffusers' DPMSolverMultistepScheduler of order 2: the predictor of UniPC alone. The first step is of order 1, and
    so is the last, which returns the predicted data.
    """
    sigmas = _below_one(schedule)
    denoised: list[Tensor] = []
    for index, timestep in enumerate(schedule.timesteps):
        sigma = schedule.sigmas[index]
        velocity = predict(x, sigma, timestep)
        on_step(Step(index, sigma, timestep, x, velocity))
        denoised = [*denoised[-1:], x - sigmas[index] * velocity]
        last = schedule.sigmas[index + 1] == 0
        x = _unify(sigmas, index, x, denoised, 1 if last else min(2, index + 1))
    return x


def _below_one(schedule: Schedule) -> Tensor:
    """The levels as these solvers take them, who read the logarithm of 1 - sigma: a schedule that starts at 1 is
    nudged, as the library does."""
    return torch.tensor([min(sigma, 1 - 1e-6) for sigma in schedule.sigmas], dtype=torch.float32)


def _unify(
    sigmas: Tensor, index: int, x: Tensor, denoised: list[Tensor], order: int, target: Tensor | None = None
) -> Tensor:
    """From level `index` to the next one: the predictor, or with the `target` that was found there the corrector.

    denoised: the predictions at level `index - 1` (read at order 2 alone) and at `index`.
    """
    sigma, sigma_next = sigmas[index], sigmas[index + 1]
    h = _log_ratio(sigma_next) - _log_ratio(sigma)
    phi_1 = torch.expm1(-h)
    drawn = sigma_next / sigma * x - (1 - sigma_next) * phi_1 * denoised[-1]
    if order == 1 and target is None:
        return drawn.to(x.dtype)
    weights, changes = torch.full((order,), 0.5, dtype=sigma.dtype), []
    if order == 2:
        ratio = (_log_ratio(sigmas[index - 1]) - _log_ratio(sigma)) / h
        change = (denoised[-2] - denoised[-1]) / ratio
        if target is not None:
            phi_2 = phi_1 / -h - 1
            phi_3 = phi_2 / -h - 0.5
            ratios = torch.stack([ratio, torch.ones_like(ratio)])
            weights = torch.linalg.solve(torch.stack([ratios**0, ratios]), torch.stack([phi_2, phi_3 * 2]) / phi_1)
        changes.append(weights[0] * change)
    if target is not None:
        changes.append(weights[-1] * (target - denoised[-1]))
    return (drawn - (1 - sigma_next) * phi_1 * sum(changes[1:], changes[0])).to(x.dtype)


def _log_ratio(sigma: Tensor) -> Tensor:
    """Half the logarithm of the signal-to-noise ratio of a level."""
    return torch.log(1 - sigma) - torch.log(sigma)


SOLVERS: dict[str, Solver] = {"unipc": unipc, "euler": euler, "heun": heun, "dpm++": dpmpp}


def solver(name: str) -> Solver:
    """A solver by its name. Raises InputError for one that is not there."""
    if name not in SOLVERS:
        raise InputError(f"There is no solver {name!r}: choose one of {', '.join(SOLVERS)}.")
    return SOLVERS[name]
