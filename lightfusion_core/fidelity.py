"""What a change of the weights does to what is drawn: the velocity of one fixed request, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .pipeline import LightFusion
from .sampling.guidance import OFF
from .understanding.vision import Reference

TIMESTEPS = (900, 500, 100)
_TEXT, _SIDE = 24, 8  # tokens of the prompt, and along each side of the picture


def velocities(model: LightFusion) -> list[Tensor]:
    """Float32 velocities of a request with a text and a reference at each of `TIMESTEPS`; it reads every weight but
    the text output's and the VAE's."""
    config, draw = model.config, torch.Generator().manual_seed(0)
    side = min(_SIDE, config.max_extent, config.defaults.max_size // config.token_size)
    latent_side, stride = side * config.dit.patch_size, config.vae.stride
    shape = (1, config.dit.in_dim, 1, latent_side, latent_side)
    sees = max(1, config.vit_image.min // config.vit_image.stride) * config.vit_image.stride
    reference = Reference(
        torch.randn(3, sees, sees, generator=draw, dtype=torch.float32),
        torch.randn(shape, generator=draw, dtype=torch.float32),
    )
    words = [7 * i % config.text.vocab_size for i in range(1, _TEXT)]
    conditioning = model.encode(words, [reference], negative_prompt=words[:2], max_extent=side)
    noise = torch.randn(shape, generator=draw, dtype=torch.float32).to(model.device)
    with model.residency.using(model.generation, model.understanding), torch.no_grad():
        guided = model.guided(conditioning, latent_side * stride, latent_side * stride, OFF)
        return [guided(noise, timestep).float().cpu() for timestep in TIMESTEPS]


def compare_velocity(source: Mapping[str, Any], target: Mapping[str, Any]) -> dict[int, float]:
    """Relative error of a model's velocity by timestep: `target` as it is stored, `source` in float32, each given as
    the arguments of `LightFusion.load`. They are loaded one after the other, on the CPU."""
    wanted = velocities(LightFusion.load(**source, device="cpu", dtype=torch.float32))
    found = velocities(LightFusion.load(**target, device="cpu"))
    return {
        timestep: float((ours - theirs).norm() / theirs.norm())
        for timestep, theirs, ours in zip(TIMESTEPS, wanted, found, strict=True)
    }
