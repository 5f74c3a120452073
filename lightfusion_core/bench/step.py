"""One step of the generation tower beside one of a plain diffusers Wan transformer of the same size.

Ours draws two guidance branches and adds fusion; the plain one runs a batch of two without any. What our
step may cost is the ratio of their operations.
"""

from __future__ import annotations

import torch

from ..generation.compiled import compile_step
from ..generation.context import ContextBuilder
from ..generation.tower import GenerationTower
from ..sampling.guidance import Guidance
from ..sampling.loop import GuidedVelocity
from . import counts
from .plain import diffusers_wan
from .presets import random_generation
from .report import Report, Series, of_ratio, of_time, spread_dict
from .requests import Request
from .settings import OnRound, Settings, quiet
from .timing import Spread, Task, interleaved, ratio

PLAIN = "plain Wan"
TIMESTEP = 600


def measure(settings: Settings, on_round: OnRound = quiet) -> Report:
    """Text to image and an edit with one reference, each round beside the plain step."""
    config, device, dtype = settings.config, settings.device, settings.dtype
    tower = random_generation(config, device, dtype)
    if settings.compiled:
        compile_step(tower)
    requests = {
        "text_to_image": Request(settings.side, prompt=settings.prompt),
        "edit_one_reference": Request(settings.side, 1, settings.prompt),
    }
    tasks: dict[str, Task] = {name: our_step(settings, tower, request) for name, request in requests.items()}
    tasks[PLAIN] = plain_step(settings)
    times = interleaved(tasks, settings.rounds, device, on_round=lambda: on_round("step"))

    report = Report(
        f"Step time of {config.name}", settings.as_dict(),
        ("step", "context", "time (quartiles)", "operations", "ratio to plain (quartiles)", "of operations"),
        x_axis="step",
    )  # fmt: skip
    plain = counts.plain_step(config.dit, settings.side**2, 2)
    bars = Series("seconds a step")
    for name in tasks:
        spread = Spread.of(times[name])
        bars.add(name, spread)
        if name == PLAIN:
            report.rows.append((name, "", of_time(spread), f"{plain / 1e9:.1f} G", "1", "1"))
            report.results["plain"] = {"seconds": spread_dict(spread), "operations": plain}
            continue
        context = requests[name].context(config)
        operations = counts.step(config, settings.side**2, [context + 2] * 2)
        paired = ratio(times, name, PLAIN)
        report.rows.append((
            name, str(context), of_time(spread), f"{operations / 1e9:.1f} G", of_ratio(paired),
            f"{operations / plain:.3f}",
        ))  # fmt: skip
        report.results[name] = {
            "ratio": paired.median,
            "ratio_quartiles": [paired.low, paired.high],
            "operations_ratio": operations / plain,
            "operations": operations,
            "context_tokens": context,
            "seconds": spread_dict(spread),
        }
    report.series.append(bars)
    return report


def our_step(settings: Settings, tower: GenerationTower, request: Request) -> Task:
    """One guided step, its context built before."""
    config, device = settings.config, settings.device
    conditioning = request.conditioning(config, device, settings.dtype)
    with torch.no_grad():
        builder = ContextBuilder(tower, device)
        velocity = GuidedVelocity(tower, builder, conditioning, Guidance(3.0), request.side, request.side)
    x = request.latent(config).to(device)
    return lambda: velocity(x, TIMESTEP)


def plain_step(settings: Settings) -> Task:
    """One forward of the plain transformer on a batch of two."""
    config, device, dtype = settings.config, settings.device, settings.dtype
    model = diffusers_wan(config.dit, device, dtype)
    x = Request(settings.side).latent(config, batch=2).to(device, dtype)
    timestep = torch.full((2,), TIMESTEP, device=device)
    text = torch.randn(2, config.dit.text_len, config.dit.text_dim, device=device, dtype=dtype)

    @torch.no_grad()
    def run() -> object:
        return model(hidden_states=x, timestep=timestep, encoder_hidden_states=text, return_dict=False)

    return run
