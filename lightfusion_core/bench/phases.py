"""How long each phase of a picture takes: understanding, context, a step, the VAE."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..conditioning import Conditioning
from ..generation.compiled import compile_step
from ..generation.context import ContextBuilder
from ..generation.tower import GenerationTower
from ..generation.vae import ImageVAE
from ..sampling.guidance import Guidance
from ..sampling.loop import GuidedVelocity
from ..understanding.encoder import Encoder
from ..understanding.tower import UnderstandingTower
from .presets import random_generation, random_understanding, random_vae, special_ids
from .report import Report, Series, of_time, spread_dict
from .requests import Request
from .settings import OnRound, Settings, quiet
from .timing import Spread, interleaved

TIMESTEP = 600


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of a request.

    part: what of the model it needs. prepare: makes that and what the phase starts from. run: the phase itself,
    on what `prepare` made.
    """

    name: str
    part: str
    prepare: Callable[[], tuple[nn.Module, Any]]
    run: Callable[[Any, Any], object]


def weight_bytes(module: nn.Module) -> int:
    """Bytes of a part's weights, and of the scales beside them."""
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())


def phases(settings: Settings, requests: Sequence[Request]) -> Iterator[Phase]:
    """All phases of the requests, one after another."""
    config, device, dtype = settings.config, settings.device, settings.dtype
    for request in requests:
        count = request.references
        label = f", {count} reference{'s' if count > 1 else ''}" if count else ""
        made = _Parts(settings, request)
        yield Phase(f"understanding{label}", "understanding", made.understanding, made.encode)
        yield Phase(f"context{label}", "generation", made.generation, made.context)
        yield Phase(f"step{label}", "generation", made.sampling, made.step)
    side = settings.side * config.token_size
    pixels, latent = torch.rand(1, 3, side, side) * 2 - 1, Request(settings.side).latent(config)
    yield Phase("VAE encode", "vae", lambda: (random_vae(config, device, dtype), pixels), _encode_pixels)
    yield Phase("VAE decode", "vae", lambda: (random_vae(config, device, dtype), latent), _decode)


@torch.no_grad()
def _encode_pixels(vae: ImageVAE, pixels: Tensor) -> Tensor:
    return vae.encode(pixels)


@torch.no_grad()
def _decode(vae: ImageVAE, latent: Tensor) -> Tensor:
    return vae.decode(latent)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the phases of one request are made of."""

    settings: Settings
    request: Request

    def understanding(self) -> tuple[UnderstandingTower, None]:
        return random_understanding(self.settings.config, self.settings.device, self.settings.dtype), None

    @torch.no_grad()
    def encode(self, tower: UnderstandingTower, _: None) -> Conditioning:
        config, request = self.settings.config, self.request
        encoder = Encoder(tower, config, special_ids(config)[2:], coupled=False)
        negative = [request.prompt_ids(config, seed=1)]
        return encoder.encode([request.prompt_ids(config)], request.prepared(config), negative)

    def generation(self) -> tuple[GenerationTower, Conditioning]:
        config, device, dtype = self.settings.config, self.settings.device, self.settings.dtype
        tower = random_generation(config, device, dtype)
        if self.settings.compiled:
            compile_step(tower)
        return tower, self.request.conditioning(config, device, dtype)

    @torch.no_grad()
    def context(self, tower: GenerationTower, conditioning: Conditioning) -> GuidedVelocity:
        builder, side = ContextBuilder(tower, self.settings.device), self.request.side
        return GuidedVelocity(tower, builder, conditioning, Guidance(3.0), side, side)

    def sampling(self) -> tuple[GenerationTower, tuple[GuidedVelocity, Tensor]]:
        tower, conditioning = self.generation()
        x = self.request.latent(self.settings.config).to(self.settings.device)
        return tower, (self.context(tower, conditioning), x)

    def step(self, tower: GenerationTower, ready: tuple[GuidedVelocity, Tensor]) -> Tensor:
        velocity, x = ready
        return velocity(x, TIMESTEP)


def measure(settings: Settings, on_round: OnRound = quiet) -> Report:
    """Every phase of a picture and of an edit with one reference."""
    report = Report(
        f"Phases of {settings.config.name}", settings.as_dict(), ("phase", "time (quartiles)"), x_axis="phase"
    )
    bars = Series("seconds")
    for phase in phases(settings, [Request(settings.side, count, settings.prompt) for count in (0, 1)]):
        task = partial(phase.run, *phase.prepare())
        watch = partial(on_round, phase.name)
        times = interleaved({phase.name: task}, settings.rounds, settings.device, on_round=watch)
        spread = Spread.of(times[phase.name])
        report.rows.append((phase.name, of_time(spread)))
        report.results[phase.name] = {"seconds": spread_dict(spread)}
        bars.add(phase.name, spread)
    report.series.append(bars)
    return report
