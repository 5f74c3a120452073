"""Solvers reach the known end of a known flow, at the speed that their order promises."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from samples import relative_error
from torch import Tensor

from lightfusion_core import InputError, Step
from lightfusion_core.sampling.schedule import Schedule, make_schedule
from lightfusion_core.sampling.solvers import SOLVERS, Solver, dpmpp, euler, solver, unipc

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

MEAN, SPREAD = 0.7, 0.4


def spread_at(sigma: float) -> float:
    """The spread of (1 - sigma) data + sigma noise, for data of N(MEAN, SPREAD^2)."""
    return ((1 - sigma) ** 2 * SPREAD**2 + sigma**2) ** 0.5


def gaussian(x: Tensor, sigma: float, timestep: int) -> Tensor:
    """The exact velocity E[noise - data | x] for that data."""
    slope = (sigma - (1 - sigma) * SPREAD**2) / spread_at(sigma) ** 2
    return -MEAN + slope * (x - (1 - sigma) * MEAN)


def exact_end(x: Tensor, schedule: Schedule) -> Tensor:
    """Where the flow takes x from the schedule's first level to its last."""
    first, last = schedule.sigmas[0], schedule.sigmas[-1]
    return (1 - last) * MEAN + spread_at(last) / spread_at(first) * (x - (1 - first) * MEAN)


def ignore(step: Step) -> None:
    pass


def start() -> Tensor:
    return torch.randn(2, 48, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def error(solve: Solver, schedule: Schedule) -> float:
    x = start()
    return relative_error(solve(gaussian, x, schedule, ignore), exact_end(x, schedule))


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2), ("unipc", 2)])
def test_order_of_convergence(name: str, order: int) -> None:
    """Guards the order: twice the steps must halve Euler's error and quarter that of the others."""
    schedules = [Schedule.from_sigmas(np.linspace(0.9, 0.2, steps + 1)) for steps in (16, 32, 64)]
    errors = [error(solver(name), schedule) for schedule in schedules]
    for coarse, fine in itertools.pairwise(errors):
        assert 0.9 * 2**order < coarse / fine < 1.15 * 2**order


def test_dpmpp_is_at_least_of_second_order() -> None:
    """Guards the same for a solver whose error happens to fall faster on this flow."""
    schedules = [Schedule.from_sigmas(np.linspace(0.9, 0.2, steps + 1)) for steps in (16, 32, 64)]
    errors = [error(dpmpp, schedule) for schedule in schedules]
    assert all(coarse / fine > 3.6 for coarse, fine in itertools.pairwise(errors))


@pytest.mark.parametrize(("name", "better"), [("heun", 4), ("unipc", 4), ("dpm++", 3)])
def test_second_order_beats_euler_down_to_zero(name: str, better: int) -> None:
    """Guards the end of the run: a wrong last step spoils what the steps before it won."""
    for steps in (8, 16, 32):
        schedule = make_schedule(steps, 1.0)
        assert error(solver(name), schedule) < error(euler, schedule) / better


def test_predictions_per_run() -> None:
    """Guards the cost: one prediction a step, Heun two but for the last."""
    for name, wanted in (("unipc", 6), ("euler", 6), ("heun", 11), ("dpm++", 6)):
        calls: list[int] = []

        def predict(x: Tensor, sigma: float, timestep: int, calls: list[int] = calls) -> Tensor:
            calls.append(timestep)
            return gaussian(x, sigma, timestep)

        solver(name)(predict, start(), make_schedule(6), ignore)
        assert len(calls) == wanted


def diffusers_unipc(sigmas: Sequence[float], shift: float) -> SchedulerMixin:
    """The library's scheduler, set to unshifted levels as the authors set it."""
    from diffusers import UniPCMultistepScheduler

    if "sigmas" not in inspect.signature(UniPCMultistepScheduler.set_timesteps).parameters:
        pytest.skip("this diffusers takes no sigmas")
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)
    scheduler.set_timesteps(sigmas=np.array(sigmas))
    return scheduler


@pytest.mark.parametrize(("steps", "shift"), [(1, 4.0), (2, 4.0), (6, 4.0), (50, 4.0), (20, 1.0), (30, 2.5)])
def test_unipc_is_diffusers_own_bit_for_bit(steps: int, shift: float) -> None:
    """Guards rule B20 against the library driven as the authors drive theirs: unshifted levels handed in,
    its own shift applied."""
    scheduler = diffusers_unipc(float(np.float32(0.999)) * (1 - np.arange(steps) / steps), shift)
    schedule = make_schedule(steps, shift)
    assert schedule.sigmas == tuple(scheduler.sigmas.tolist())
    assert schedule.timesteps == tuple(scheduler.timesteps.tolist())
    x = wanted = start().float()
    for t, sigma in zip(scheduler.timesteps, schedule.sigmas, strict=False):
        wanted = scheduler.step(torch.sin(3 * wanted) + sigma, t, wanted, return_dict=False)[0]
    found = unipc(lambda x, sigma, timestep: torch.sin(3 * x) + sigma, x, schedule, ignore)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize(("steps", "shift"), [(1, 4.0), (2, 4.0), (6, 4.0), (50, 4.0), (20, 1.0)])
def test_dpmpp_is_diffusers_own(steps: int, shift: float) -> None:
    """Guards DPM++ against the library's, on the reference's levels. (Its exponentials are rounded in another way.)"""
    from diffusers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)
    schedule = make_schedule(steps, shift)
    scheduler.set_timesteps(steps)
    scheduler.sigmas = torch.tensor(schedule.sigmas)  # its own grid is another one
    scheduler.timesteps = torch.tensor(schedule.timesteps)
    scheduler.set_begin_index(0)
    x = wanted = start().float()
    for t, sigma in zip(scheduler.timesteps, schedule.sigmas, strict=False):
        wanted = scheduler.step(torch.sin(3 * wanted) + sigma, t, wanted, return_dict=False)[0]
    found = dpmpp(lambda x, sigma, timestep: torch.sin(3 * x) + sigma, x, schedule, ignore)
    assert relative_error(found, wanted) < 1e-5


def test_unipc_from_level_one_is_diffusers_own() -> None:
    """Guards hosts whose schedules begin at 1: UniPC takes the logarithm of 1 - sigma, so the library nudges."""
    schedule = Schedule.from_sigmas([1.0, 0.9, 0.7, 0.4, 0.0])
    scheduler = diffusers_unipc(schedule.sigmas[:-1], 1.0)
    x = wanted = start().float()
    for t, sigma in zip(scheduler.timesteps, schedule.sigmas, strict=False):
        wanted = scheduler.step(gaussian(wanted, sigma, 0), t, wanted, return_dict=False)[0]
    assert torch.equal(unipc(gaussian, x, schedule, ignore), wanted)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_schedule_from_level_one_stays_finite(name: str) -> None:
    """Guards the same for every solver: finite, and near the known end."""
    schedule = Schedule.from_sigmas([1.0, 0.9, 0.7, 0.4, 0.0])
    end = solver(name)(gaussian, start().float(), schedule, ignore)
    assert end.isfinite().all()
    assert relative_error(end, exact_end(start().float(), schedule)) < 0.3


@pytest.mark.parametrize("name", SOLVERS)
def test_repeated_timesteps(name: str) -> None:
    """Guards long schedules, where a search by timestep finds the wrong step: even the first two share one."""
    schedule = make_schedule(150, 8.0)
    assert schedule.timesteps[0] == schedule.timesteps[1]
    end = solver(name)(gaussian, start().float(), schedule, ignore)
    assert relative_error(end, exact_end(start().float(), schedule)) < 0.05


@pytest.mark.parametrize("name", SOLVERS)
def test_every_step_is_told_before_it_is_taken(name: str) -> None:
    """Guards previews: index, level, and a foreseen picture that the last step returns."""
    seen: list[Step] = []
    schedule = make_schedule(6)
    end = solver(name)(gaussian, start().float(), schedule, seen.append)
    assert [step.index for step in seen] == list(range(6))
    assert tuple(step.sigma for step in seen) == schedule.sigmas[:-1]
    assert tuple(step.timestep for step in seen) == schedule.timesteps
    assert torch.equal(seen[0].x, start().float())
    for step in seen:
        torch.testing.assert_close(step.velocity, gaussian(step.x, step.sigma, step.timestep))
        torch.testing.assert_close(step.denoised, step.x - step.sigma * step.velocity)
    if name != "unipc":  # which corrects its last sample first
        torch.testing.assert_close(end, seen[-1].denoised)


@pytest.mark.parametrize("name", SOLVERS)
def test_an_exception_ends_the_run(name: str) -> None:
    """Guards cancelling: the host's own exception comes out as it is, at once, and nothing is left behind."""

    class Interrupted(BaseException):
        pass

    said = Interrupted("stop")
    steps: list[int] = []

    def cancel(step: Step) -> None:
        steps.append(step.index)
        if step.index == 2:
            raise said

    schedule = make_schedule(6)
    before = solver(name)(gaussian, start().float(), schedule, ignore)
    with pytest.raises(Interrupted) as caught:
        solver(name)(gaussian, start().float(), schedule, cancel)
    assert caught.value is said
    assert steps == [0, 1, 2]
    assert torch.equal(solver(name)(gaussian, start().float(), schedule, ignore), before)


def test_an_unknown_solver_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"'dpm'.*unipc, euler, heun, dpm\+\+"):
        solver("dpm")
