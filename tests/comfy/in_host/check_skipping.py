"""Passes of the network that LightFusion Sampler and Guider do without, in the host's own run."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import torch
from harness import NEGATIVE, PROMPT, empty, encode, engine, largest, load, node, pack
from torch import Tensor

STEPS = 12
SETTINGS = {"cache": 20.0, "guidance_every": 2}
"""A threshold for random weights, whose velocities bend more than a trained model's."""


def _draw(name: str = "tiny/", *, batch: int = 1, seed: int = 7, model: Any = None, **settings: Any) -> Tensor:
    given = {
        "positive": encode(PROMPT, name), "negative": encode(NEGATIVE, name), "latent": empty(batch=batch),
        "steps": STEPS, "text_guidance": 3.0, "image_guidance": 1.0, "shift": 4.0, "solver": "unipc", "denoise": 1.0,
        "renorm": "none", "renorm_min": 0.0, "interval_start": 0.0, "interval_end": 1.0,
    }  # fmt: skip
    return node("LightFusionSampler", model=model or load(name)[0], seed=seed, **{**given, **settings})[0]["samples"]


def check_off_it_is_the_same_run() -> None:
    """Files from before these inputs do not name them."""
    plain = _draw()
    assert torch.equal(plain, _draw(cache=0.0, guidance_every=1))
    assert largest(plain - _draw(**SETTINGS)) > 1e-6


def check_it_draws_what_the_engine_draws() -> dict[str, float]:
    """One rule in both: the same steps foreseen, the same picture."""
    return {name: _compared(name) for name in ("tiny", "coupled")}


def _compared(name: str) -> float:
    sampling = pack("lightfusion_core.sampling.loop").Sampling(STEPS, cache=SETTINGS["cache"])
    guidance = pack("lightfusion_core.sampling.guidance").Guidance(3.0, every=SETTINGS["guidance_every"])
    passes, core = pack("lightfusion_core.sampling.skipping").Passes(), engine(name)
    conditioning = core.encode(PROMPT, negative_prompt=NEGATIVE)
    wanted = core.sample(conditioning, 96, 64, 7, sampling, guidance, batch=2, passes=passes)
    with _Told() as said:
        drawn = load(f"{name}/")[0].model.process_latent_in(_draw(f"{name}/", batch=2, **SETTINGS))
    assert 0 < passes.foreseen < passes.steps
    assert said == [f"{passes}."], (said, str(passes))
    difference = largest(drawn - wanted.squeeze(2))
    assert difference <= 1e-3, difference
    return difference


def check_a_picture_is_the_same_alone_and_in_a_batch() -> dict[str, float]:
    """Each picture is decided alone."""
    alone = torch.cat([_draw(seed=seed, **SETTINGS) for seed in (7, 8, 9)])
    difference = largest(_draw(batch=3, **SETTINGS) - alone)
    assert difference <= 1e-3, difference
    return {"difference": difference}


def check_patches_of_guidance_are_given_all_rows() -> dict[str, float]:
    """A node that keeps a mean over steps must not read the rows that did not run as empty."""
    model = node("APG", model=load()[0], eta=1.0, norm_threshold=5.0, momentum=0.5)[0]
    together = _draw(batch=2, model=model, **SETTINGS)
    assert bool(together.isfinite().all())
    return {"of the plain run": largest(together - _draw(batch=2, **SETTINGS))}


def check_a_prompt_that_comes_later_is_not_foreseen() -> None:
    """Where a condition begins to act, velocities change at once."""
    late = node("ConditioningSetTimestepRange", conditioning=encode("a blue square"), start=0.5, end=1.0)[0]
    early = node("ConditioningSetTimestepRange", conditioning=encode(PROMPT), start=0.0, end=0.5)[0]
    both = node("ConditioningCombine", conditioning_1=early, conditioning_2=late)[0]
    plain, cached = (_draw(positive=both, cache=cache, steps=30) for cache in (0.0, 0.3))
    assert float((cached - plain).norm() / plain.norm()) < 0.1


def check_areas_and_masks_run_with_fewer_rows() -> None:
    """What the host cuts out of the batch keeps all of its rows."""
    area = {"width": 0.5, "height": 1.0, "x": 0.0, "y": 0.0, "strength": 1.0}
    left = node("ConditioningSetAreaPercentage", conditioning=encode("a blue square"), **area)[0]
    both = node("ConditioningCombine", conditioning_1=encode(PROMPT), conditioning_2=left)[0]
    mask = torch.zeros(1, 4, 6)
    mask[..., :3] = 1
    masked = node("SetLatentNoiseMask", samples=empty(batch=2), mask=mask)[0]
    drawn = _draw(positive=both, latent=masked, **SETTINGS)
    assert drawn.shape == masked["samples"].shape and bool(drawn.isfinite().all())


class _Told:
    """What is said on the node in a block."""

    def __enter__(self) -> list[str]:
        said: list[str] = []
        self.patch = patch.object(pack("nodes.native.contexts"), "inform", said.append)
        self.patch.__enter__()
        return said

    def __exit__(self, *error: Any) -> None:
        self.patch.__exit__(*error)
