"""The pack's own sampling nodes against the engine, which knows no ComfyUI."""

from __future__ import annotations

from typing import Any

import torch
from harness import NEGATIVE, PROMPT, engine, largest, load, node, pack
from torch import Tensor

SIZE = {"width": 96, "height": 64}
GUIDANCE = {
    "text_guidance": 3.0, "image_guidance": 1.5, "renorm": "channel", "renorm_min": 0.2,
    "interval_start": 0.1, "interval_end": 1.0,
}  # fmt: skip
STEPS, SHIFT, SEED = 6, 4.0, 21


def check_sampler_draws_the_engines_latent() -> dict[str, float]:
    """The node, its encoding, guidance and solver against one call of the engine, with a reference."""
    drawn = _sampler()
    return _compare(_normalised(drawn), _engine())


def check_parts_draw_the_engines_latent() -> dict[str, float]:
    """Guider, Scheduler and Solver under SamplerCustomAdvanced, which draws its own noise."""
    model = load()[0]
    positive, negative, no_image, latent = _encoded()[:4]
    branches = {"positive": positive, "negative": negative, "no_image": no_image}
    guider = node("LightFusionGuider", model=model, **branches, **GUIDANCE)[0]
    drawn = node(
        "SamplerCustomAdvanced",
        noise=node("RandomNoise", noise_seed=SEED)[0],
        guider=guider,
        sampler=node("LightFusionSolver", solver="unipc")[0],
        sigmas=node("LightFusionScheduler", steps=STEPS, shift=SHIFT, denoise=1.0)[0],
        latent_image=latent,
    )[0]
    return _compare(_normalised(drawn), _engine())


def check_sampler_batch_is_its_seeds() -> dict[str, float]:
    """Picture k of a batch is what seed + k draws alone, or a good picture in a batch is lost."""
    together = _sampler(batch=2)["samples"]
    alone = torch.cat([_sampler(seed=SEED)["samples"], _sampler(seed=SEED + 1)["samples"]])
    return _compare(together, alone)


def _picture() -> Tensor:
    """An IMAGE (1, 80, 100, 3) whose numbers are whole bytes, as every loaded picture's are."""
    return torch.randint(0, 256, (1, 80, 100, 3), generator=torch.Generator().manual_seed(4)) / 255


def _encoded(batch: int = 1) -> tuple[Any, ...]:
    _, clip, vae = load()
    texts = {"prompt": PROMPT, "negative_prompt": NEGATIVE}
    return node("LightFusionEncode", clip=clip, vae=vae, image_1=_picture(), **texts, **SIZE, batch_size=batch)


def _sampler(seed: int = SEED, batch: int = 1) -> dict[str, Tensor]:
    positive, negative, no_image, latent = _encoded(batch)[:4]
    return node(
        "LightFusionSampler", model=load()[0], positive=positive, negative=negative, no_image=no_image, latent=latent,
        seed=seed, steps=STEPS, shift=SHIFT, solver="unipc", denoise=1.0, **GUIDANCE,
    )[0]  # fmt: skip


def _engine() -> Tensor:
    """The normalised latent."""
    core, to_pil = engine(), pack("lightfusion_core.images").to_pil
    guidance = pack("lightfusion_core.sampling.guidance").Guidance(3.0, 1.5, "channel", 0.2, (0.1, 1.0))
    sampling = pack("lightfusion_core.sampling.loop").Sampling(STEPS, SHIFT)
    conditioning = core.encode(PROMPT, [to_pil(_picture()[0])], negative_prompt=NEGATIVE)
    return core.sample(conditioning, **SIZE, seed=SEED, sampling=sampling, guidance=guidance)


def _normalised(latent: dict[str, Tensor]) -> Tensor:
    return load()[0].model.process_latent_in(latent["samples"]).unsqueeze(2)


def _compare(drawn: Tensor, wanted: Tensor) -> dict[str, float]:
    assert drawn.shape == wanted.shape
    difference = largest(drawn - wanted)
    assert difference <= 1e-4, f"the largest difference is {difference}, of {largest(wanted)}"
    return {"difference": difference}
