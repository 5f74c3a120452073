"""How a step's time grows with the picture, the references, the batch and the guidance branches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch

from ..generation.compiled import compile_step
from ..generation.context import ContextBuilder
from ..generation.tower import GenerationTower
from ..sampling.guidance import OFF, Guidance
from ..sampling.loop import GuidedVelocity
from . import counts
from .presets import random_generation
from .report import Report, Series, of_ratio, of_time, spread_dict
from .requests import Request
from .settings import OnRound, Settings, quiet
from .timing import Spread, Task, interleaved, ratio

TIMESTEP = 600
_GUIDANCE = {1: OFF, 2: Guidance(3.0), 3: Guidance(3.0, 2.0)}
_BASE = "base"


@dataclass(frozen=True, slots=True)
class Case:
    """One point: so many pictures of one request, with one to three branches (three need a reference)."""

    request: Request
    batch: int = 1
    branches: int = 2


def cases(settings: Settings) -> Iterator[tuple[str, int, Case]]:
    """(what grows, its value, the case); everything else stays as it is."""
    side, prompt = settings.side, settings.prompt
    for part in (0.5, 0.75, 1.0):
        small = max(1, round(side * part))
        yield "side in pixels", small * settings.config.token_size, Case(Request(small, 0, prompt))
    for count in (0, 1, 2, 3):
        yield "references", count, Case(Request(side, count, prompt))
    for batch in (1, 2, 4):
        yield "batch", batch, Case(Request(side, 0, prompt), batch=batch)
    for branches in (1, 2, 3):
        yield "branches, 1 reference", branches, Case(Request(side, 1, prompt), branches=branches)


def measure(settings: Settings, on_round: OnRound = quiet) -> Report:
    """Every case in turns with a text to image step with two branches, and what operation counts foretell."""
    config, device = settings.config, settings.device
    tower = random_generation(config, device, settings.dtype)
    if settings.compiled:
        compile_step(tower)
    base_case = Case(Request(settings.side, 0, settings.prompt))
    base, base_operations = _task(settings, tower, base_case), _operations(settings, base_case)
    report = Report(
        f"Scaling of a step, {config.name}", settings.as_dict(),
        ("what grows", "value", "time (quartiles)", "times a text to image step", "of operations"),
        x_axis="how many", y_axis="times a text to image step",
    )  # fmt: skip
    curves: dict[str, Series] = {}
    for what, value, case in cases(settings):
        tasks = {_BASE: base, what: _task(settings, tower, case)}
        times = interleaved(tasks, settings.rounds, device, on_round=partial(on_round, what))
        spread, grown = Spread.of(times[what]), ratio(times, what, _BASE)
        operations = _operations(settings, case) / base_operations
        report.rows.append((what, str(value), of_time(spread), of_ratio(grown), f"{operations:.3f}"))
        report.results.setdefault(what, {})[str(value)] = {
            "seconds": spread_dict(spread), "ratio": grown.median, "operations_ratio": operations,
        }  # fmt: skip
        place = value / (settings.side * config.token_size) if what == "side in pixels" else value
        curves.setdefault(what, Series("side (1 = full)" if what == "side in pixels" else what)).add(place, grown)
    report.series.extend(curves.values())
    return report


def _task(settings: Settings, tower: GenerationTower, case: Case) -> Task:
    config, device, request = settings.config, settings.device, case.request
    conditioning = request.conditioning(config, device, settings.dtype)
    with torch.no_grad():
        builder = ContextBuilder(tower, device)
        velocity = GuidedVelocity(tower, builder, conditioning, _GUIDANCE[case.branches], request.side, request.side)
    x = request.latent(config, case.batch).to(device)
    return lambda: velocity(x, TIMESTEP)


def _operations(settings: Settings, case: Case) -> int:
    config, request = settings.config, case.request
    contexts = [request.context(config) + 2, request.context(config) + 2, request.prompt + 2][: case.branches]
    return counts.step(config, request.tokens, [n for n in contexts for _ in range(case.batch)])
