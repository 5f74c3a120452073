"""A whole picture at the published settings on a GPU: seconds, the share of the device's own rate of matrix
products, peak memory in bf16 and fp8, and what an edit with one reference costs beside a picture.

It runs on a CPU too, where only a tiny preset makes sense.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ..checkpoints.loader import build_generation, generation_dtype
from ..errors import CapabilityError
from ..generation.compiled import compile_step
from ..generation.context import ContextBuilder
from ..generation.tower import GenerationTower
from ..sampling.guidance import Guidance
from ..sampling.loop import GuidedVelocity, Sampling, sample
from . import counts
from .memory import PeakMemory
from .phases import weight_bytes
from .plain import matmul_rate
from .presets import random_generation, random_state
from .report import Report, Series, of_bytes, of_ratio, of_time, spread_dict
from .requests import Request
from .settings import OnRound, Settings, quiet
from .timing import Spread, interleaved, ratio

PICTURE, EDIT = "text to image", "edit, 1 reference"
_LARGEST_ON_CPU = 1024


@dataclass(slots=True)
class Run:
    """Pictures under one form of the weights."""

    tower: GenerationTower
    settings: Settings
    sampling: Sampling

    @torch.no_grad()
    def draw(self, request: Request) -> torch.Tensor:
        """Context and all steps of one picture; understanding and VAE are phases of their own."""
        config, device = self.settings.config, self.settings.device
        conditioning = request.conditioning(config, device, self.settings.dtype)
        guidance = Guidance(config.defaults.text_guidance, config.defaults.image_guidance)
        builder = ContextBuilder(self.tower, device)
        velocity = GuidedVelocity(self.tower, builder, conditioning, guidance, request.side, request.side)
        return sample(velocity, request.latent(config).to(device), self.sampling)


def measure(settings: Settings, on_round: OnRound = quiet) -> Report:
    """Pictures and edits in turns, in the settings' dtype and then with fp8 weights.

    Raises:
        CapabilityError: a large preset without a GPU.
    """
    config, device = settings.config, settings.device
    if device.type == "cpu" and config.dit.dim > _LARGEST_ON_CPU:
        raise CapabilityError(
            f"Pictures of the preset {config.name} are measured on a GPU, and there is none here: measure on a machine "
            "with one, or take --preset tiny to see the table."
        )
    sampling = Sampling(config.defaults.steps, config.defaults.shift)
    requests = {PICTURE: Request(settings.side, 0, settings.prompt), EDIT: Request(settings.side, 1, settings.prompt)}
    rate = matmul_rate(device, settings.dtype)
    on_round("matrix products")
    report = Report(
        f"Pictures of {settings.side * config.token_size} pixels, {sampling.steps} steps, {config.name}",
        {**settings.as_dict(), "steps": sampling.steps},
        ("weights", "what", "a picture (quartiles)", "of the matmul rate", "times a picture", "weights' memory",
         "peak while sampling"),
        x_axis="weights",
        notes=[f"One large matrix product reaches {rate / 1e12:.3g} T operations a second."],
    )  # fmt: skip
    report.results["matmul_operations_per_second"] = rate
    bars = {name: Series(name) for name in requests}
    for weights in (str(settings.dtype).removeprefix("torch."), "fp8"):
        run = Run(tower(settings, weights), settings, sampling)
        held = weight_bytes(run.tower)
        peaks = {}
        for name, request in requests.items():
            with PeakMemory(device) as memory:
                run.draw(request)
            peaks[name] = memory.rise + held
        times = interleaved(
            {name: partial(run.draw, request) for name, request in requests.items()},
            settings.rounds, device, warmup=0, on_round=partial(on_round, f"pictures in {weights}"),
        )  # fmt: skip
        for name, request in requests.items():
            spread, beside = Spread.of(times[name]), ratio(times, name, PICTURE)
            operations = sampling.steps * counts.step(config, request.tokens, [request.context(config) + 2] * 2)
            share = operations / spread.median / rate
            report.rows.append((
                weights, name, of_time(spread), f"{share:.1%}", of_ratio(beside), of_bytes(held), of_bytes(peaks[name]),
            ))  # fmt: skip
            report.results.setdefault(weights, {})[name] = {
                "seconds": spread_dict(spread), "share_of_matmul_rate": share, "ratio": beside.median,
                "peak_bytes": peaks[name], "weight_bytes": held,
            }  # fmt: skip
            bars[name].add(weights, spread)
        del run, times  # before the next weights come
    report.series.extend(bars.values())
    return report


def tower(settings: Settings, weights: str) -> GenerationTower:
    """A generation tower of random weights, in the settings' dtype or "fp8", compiled where the settings say so."""
    if weights == "fp8":
        made = random_fp8_generation(settings)
    else:
        made = random_generation(settings.config, settings.device, settings.dtype)
    if settings.compiled:
        compile_step(made)
    return made


def random_fp8_generation(settings: Settings) -> GenerationTower:
    """A generation tower whose matrices are held in scaled fp8 as conversion stores them, multiplied so where the
    device can."""
    from ..generation.scaled import FP8, Fp8ProductLayers

    device, dtype = settings.device, settings.dtype
    tower: GenerationTower = build_generation(settings.config, coupled=False, dtype=dtype, layers=Fp8ProductLayers)
    state = random_state(tower, device, partial(generation_dtype, dtype=dtype, fp8=True))
    for name, tensor in state.items():
        if tensor.dtype == FP8:
            layer: Any = tower.get_submodule(name.removesuffix(".weight"))
            layer.hold_scale(torch.ones((), device=device))
    tower.load_state_dict(state, strict=False, assign=True)
    return tower.eval().requires_grad_(False)
