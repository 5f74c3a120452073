"""The noise levels are the reference's, to the bit (rule B19)."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lightfusion_core import InputError
from lightfusion_core.sampling.schedule import Schedule, make_schedule, timestep_of

# golden e1: six steps, shift 4
SIX_SIGMAS = (
    0.9997498393058777,
    0.9521086812019348,
    0.8885924220085144,
    0.7996798157691956,
    0.6663331985473633,
    0.44414806365966797,
    0.0,
)
SIX_TIMESTEPS = (999, 952, 888, 799, 666, 444)
GOLDEN = Path(__file__).parents[1] / "golden" / "data"


def test_six_steps_are_the_goldens() -> None:
    """Guards the exact grid: diffusers' default one starts at 1 and ends elsewhere."""
    assert make_schedule(6) == Schedule(SIX_SIGMAS, SIX_TIMESTEPS)


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("e*.safetensors")), ids=lambda file: file.stem)
def test_golden_trajectories(file: Path) -> None:
    """Guards the same for every trajectory that the repository holds."""
    from safetensors import safe_open

    with safe_open(str(file), framework="pt") as tensors:
        settings = {name: json.loads(tensors.metadata()[name]) for name in ("steps", "shift")}
        schedule = make_schedule(**settings)
        assert schedule.sigmas == tuple(tensors.get_tensor("out.sigmas").tolist())
        assert schedule.timesteps == tuple(tensors.get_tensor("out.timesteps_fed").tolist())


@pytest.mark.parametrize(("steps", "shift"), [(1, 4), (50, 4), (50, 1), (7, 2), (140, 8), (1000, 4), (3, 0.5)])
def test_the_formula(steps: int, shift: float) -> None:
    """Guards the formula in exact numbers, up to what float64 may lose before the rounding to float32."""
    schedule = make_schedule(steps, shift)
    start, s = Fraction(float(np.float32(0.999))), Fraction(shift)
    assert schedule.steps == steps == len(schedule.sigmas) - 1
    assert schedule.sigmas[-1] == 0
    for i, (sigma, timestep) in enumerate(zip(schedule.sigmas, schedule.timesteps, strict=False)):
        u = start * (1 - Fraction(i, steps))
        exact = s * u / (1 + (s - 1) * u)
        assert abs(sigma - exact) <= np.spacing(np.float32(sigma)) * 0.51
        assert sigma == np.float32(sigma)
        assert timestep == int(1000 * exact)


def test_long_schedules_descend() -> None:
    """Guards against levels that rise, and documents that timesteps repeat where the shift is large."""
    schedule = make_schedule(140, 8.0)
    assert all(a > b for a, b in zip(schedule.sigmas, schedule.sigmas[1:], strict=False))
    assert list(schedule.timesteps) == sorted(schedule.timesteps, reverse=True)
    assert len(set(schedule.timesteps)) < schedule.steps


@pytest.mark.parametrize(("share", "kept"), [(1.0, 6), (0.5, 3), (0.34, 2), (0.01, 1), (0.99, 6)])
def test_last_keeps_the_low_levels(share: float, kept: int) -> None:
    """Guards partial denoising: the run's end must stay, and at least one step of it."""
    last = make_schedule(6).last(share)
    assert last == Schedule(SIX_SIGMAS[-kept - 1 :], SIX_TIMESTEPS[-kept:])


@pytest.mark.parametrize(
    ("sigma", "timestep"), [(0.6, 600), (1.0, 999), (0.9997498, 999), (0.0, 0), (0.0019, 1), (0.5999, 599), (0.29, 290)]
)
def test_timestep_of_a_float32_level(sigma: float, timestep: int) -> None:
    """Guards truncation: float32's 0.6 lies above 0.6 and its 0.29 below, and both mean the round number."""
    assert timestep_of(float(np.float32(sigma))) == timestep


def test_given_levels_give_the_same_schedule() -> None:
    """Guards hosts that hand the levels over as float32 numbers."""
    for steps, shift in ((6, 4.0), (50, 4.0), (20, 4.0), (30, 1.0)):
        schedule = make_schedule(steps, shift)
        assert Schedule.from_sigmas(schedule.sigmas) == schedule


@pytest.mark.parametrize(
    ("steps", "shift"), [(0, 4.0), (-1, 4.0), (5, 0.0), (5, -1.0), (5, float("nan")), (5, float("inf"))]
)
def test_impossible_settings_are_refused(steps: int, shift: float) -> None:
    with pytest.raises(InputError, match=str(steps if steps < 1 else shift)):
        make_schedule(steps, shift)
