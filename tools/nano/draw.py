"""Drawing many different requests at once, to look at a model while it is trained. (`LightFusion` draws one
request at a time; what it draws is the same.)"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightfusion_core.generation.tower import GenerationTower
from lightfusion_core.sampling.guidance import Guidance
from lightfusion_core.sampling.loop import Sampling, make_noise
from lightfusion_core.sampling.schedule import make_schedule
from lightfusion_core.sampling.solvers import solver

from .drawings import Pictures, Requests
from .flow import velocity
from .model import DEVICE, SIZE

Picture = NDArray[np.uint8]
TOGETHER = 32 if DEVICE.type == "cpu" else 128


@torch.no_grad()
def draw(
    tower: GenerationTower,
    requests: Requests,
    pictures: Pictures,
    asked: Sequence[tuple[str, Sequence[Picture]]],
    seed: int,
    sampling: Sampling,
    guidance: Guidance,
    sides: tuple[str, ...] = ("vit", "vae"),
    side: int = SIZE,
) -> list[Picture]:
    """One picture (side, side, 3) for each text with its reference pictures; picture k has the seed `seed` + k."""
    grid = (side // tower.config.token_size,) * 2
    drawn: list[Picture] = []
    for start in range(0, len(asked), TOGETHER):
        part = asked[start : start + TOGETHER]
        texts = [text for text, _ in part]
        latents = [list(pictures.encode(np.stack(given))) if given and "vae" in sides else [] for _, given in part]
        with torch.autocast(DEVICE.type, torch.bfloat16):
            features = [
                list(requests.features(np.stack(given))) if given and "vit" in sides else [] for _, given in part
            ]
            full = requests.context([(text,) for text in texts], latents, features, grid)
            empty = requests.context([("",)] * len(part), latents, features, grid)

        def predict(x: Tensor, sigma: float, timestep: int, full=full, empty=empty) -> Tensor:
            timesteps = torch.full((len(x),), float(timestep), device=x.device)
            with torch.autocast(DEVICE.type, torch.bfloat16):
                wanted, other = (velocity(tower, x, timesteps, one).float() for one in (full, empty))
            return guidance.mix(wanted, other, None, tower.config.dit.patch_size)

        stride = tower.config.vae.stride
        shape = (tower.config.dit.in_dim, 1, side // stride, side // stride)
        noise = make_noise(shape, range(seed + start, seed + start + len(part))).to(DEVICE)
        schedule = make_schedule(sampling.steps, sampling.shift)
        result = solver(sampling.solver)(predict, noise, schedule, lambda step: None)
        drawn += list(pictures.decode(result))
    return drawn
