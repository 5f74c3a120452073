"""The native MODEL under the host's own samplers, guiders and model patches."""

from __future__ import annotations

from typing import Any

import comfy.sample
import torch
from harness import NEGATIVE, PROMPT, counted_steps, empty, encode, engine, ksample, largest, load, node, pack, stored
from torch import Tensor


def check_ksampler_draws_the_engines_latent() -> dict[str, float]:
    """A second convention on the way (sigma for timestep, latent statistics, sign) bends the picture."""
    return _compare_with_engine("tiny")


def check_ksampler_draws_the_engines_latent_coupled() -> dict[str, float]:
    """A coupled model needs the understanding tower in every step, through the same MODEL."""
    return _compare_with_engine("coupled")


def _compare_with_engine(name: str) -> dict[str, float]:
    model = load(f"{name}/")[0]
    steps, cfg, seed = 6, 3.0, 11
    sigmas = node("BasicScheduler", model=model, scheduler="simple", steps=steps, denoise=1.0)[0]
    start = empty()
    drawn = model.model.process_latent_in(ksample(model, start, name=f"{name}/", steps=steps, cfg=cfg, seed=seed))
    core = engine(name)
    guidance = pack("lightfusion_core.sampling.guidance")
    schedule = pack("lightfusion_core.sampling.schedule").Schedule.from_sigmas(sigmas.tolist())
    solve = pack("lightfusion_core.sampling.solvers").solver("euler")
    conditioning = core.encode(PROMPT, negative_prompt=NEGATIVE)
    velocity = core.guided(conditioning, 96, 64, guidance.Guidance(text=cfg))
    noise = comfy.sample.prepare_noise(start["samples"], seed).unsqueeze(2)  # one frame, in the engine
    wanted = solve(lambda x, sigma, timestep: velocity(x, timestep), noise * sigmas[0], schedule, lambda step: None)
    difference = largest(drawn - wanted.squeeze(2))
    assert difference <= 1e-3, f"the largest difference is {difference}, of {largest(wanted)}"
    return {"difference": difference}


def check_guidance_runs_as_one_batch() -> None:
    """Branches of different lengths must share a call, or a step takes twice its time."""
    with counted_steps() as calls:
        ksample(steps=3)
    assert calls == [2, 2, 2], calls


def check_batch_draws_what_each_noise_draws_alone() -> dict[str, float]:
    """Rows that share a branch's buffers must not write into each other's."""
    noise = torch.randn(2, *empty()["samples"].shape[1:], generator=torch.Generator().manual_seed(3))
    together = _draw(noise)
    alone = torch.cat([_draw(noise[:1]), _draw(noise[1:])])
    difference = largest(together - alone)
    assert difference <= 1e-4, difference
    assert largest(together[0] - together[1]) > 1e-2
    return {"difference": difference}


def _draw(noise: Tensor) -> Tensor:
    arguments = (load()[0], noise, 4, 3.0, "euler", "simple", encode(PROMPT), encode(NEGATIVE))
    return comfy.sample.sample(*arguments, torch.zeros_like(noise), seed=0)


def check_one_encoded_prompt_serves_every_size() -> None:
    """The target's markers depend on the picture's longer side: a stale size would draw another picture."""
    core = engine()
    conditioning = core.encode(PROMPT, negative_prompt=NEGATIVE)
    side = max(conditioning.full.markers.shape[0] - 1, 1) * core.config.token_size
    for width, height in ((64, 64), (32, 96), (side, 32)):
        samples = ksample(latent=empty(width, height), steps=2)
        assert samples.shape[-2:] == (height // 16, width // 16)
        assert bool(samples.isfinite().all())


def check_mask_keeps_the_latent_outside() -> dict[str, float]:
    """Inpainting must return what lies outside of the mask as it was."""
    picture = ksample(seed=5)
    mask = torch.zeros(1, picture.shape[-2], picture.shape[-1])
    mask[:, :, : picture.shape[-1] // 2] = 1
    latent = node("SetLatentNoiseMask", samples={"samples": picture}, mask=mask)[0]
    drawn = ksample(latent=latent, seed=6, denoise=0.7)
    half = picture.shape[-1] // 2
    outside, inside = largest((drawn - picture)[..., half:]), largest((drawn - picture)[..., :half])
    assert outside <= 1e-4, outside
    assert inside > 1e-2, inside
    return {"outside": outside, "inside": inside}


def check_partial_denoise_starts_from_the_picture() -> None:
    """Image to image: a little noise changes a little, much noise changes much."""
    picture = {"samples": ksample(seed=5)}
    little, much = (ksample(latent=picture, seed=6, steps=10, denoise=share) for share in (0.1, 0.9))
    assert 0 < (little - picture["samples"]).norm() < (much - picture["samples"]).norm()


def check_custom_sampling_draws_what_ksampler_draws() -> dict[str, float]:
    """SamplerCustomAdvanced with core's guiders goes another way to the same network."""
    model = load()[0]
    guided = node("CFGGuider", model=model, positive=encode(PROMPT), negative=encode(NEGATIVE), cfg=3.0)[0]
    basic = node("BasicGuider", model=model, conditioning=encode(PROMPT))[0]
    found = {
        "CFGGuider": largest(_sample_custom(guided) - ksample(cfg=3.0)),
        "BasicGuider": largest(_sample_custom(basic) - ksample(cfg=1.0)),
    }
    assert max(found.values()) <= 1e-5, found
    return found


def _sample_custom(guider: Any) -> Tensor:
    noise = node("RandomNoise", noise_seed=7)[0]
    sampler = node("KSamplerSelect", sampler_name="euler")[0]
    sigmas = node("BasicScheduler", model=load()[0], scheduler="simple", steps=4, denoise=1.0)[0]
    parts = {"noise": noise, "guider": guider, "sampler": sampler, "sigmas": sigmas}
    return node("SamplerCustomAdvanced", latent_image=empty(), **parts)[0]["samples"]


def check_easycache_skips_steps() -> dict[str, float]:
    """Core's step cache wraps the network's call: it needs the input and the output where it looks."""
    model = node(
        "EasyCache", model=load()[0], reuse_threshold=1.0, start_percent=0.1, end_percent=0.95, verbose=False
    )[0]  # fmt: skip
    steps = 20
    with counted_steps() as calls:
        cached = ksample(model, steps=steps)
    whole = ksample(steps=steps)
    passes = 2 * steps  # an older cache gets one call of the network for each branch
    assert sum(calls) < passes, f"{sum(calls)} of {passes} passes ran"
    assert bool(cached.isfinite().all())
    return {"passes run": sum(calls), "relative difference": float((cached - whole).norm() / whole.norm())}


def check_stock_solvers_draw() -> None:
    """Solvers call the network between their steps, at levels that are in no table."""
    for sampler, scheduler in (
        ("heun", "normal"),
        ("dpmpp_2m", "karras"),
        ("uni_pc", "simple"),
        ("euler_ancestral", "beta"),
    ):
        samples = ksample(sampler_name=sampler, scheduler=scheduler)
        assert bool(samples.isfinite().all()), f"{sampler}, {scheduler}"


def check_combined_prompts_draw() -> None:
    """Two prompts in one CONDITIONING are two branches of one run."""
    both = node("ConditioningCombine", conditioning_1=encode(PROMPT), conditioning_2=encode("a blue square"))[0]
    samples = ksample(positive=both)
    assert bool(samples.isfinite().all())
    assert largest(samples - ksample()) > 1e-3


def check_prompts_for_areas_draw() -> None:
    """A prompt for a part of the picture runs the network on a smaller latent in the same step."""
    area = {"width": 0.5, "height": 1.0, "x": 0.0, "y": 0.0, "strength": 1.0}
    left = node("ConditioningSetAreaPercentage", conditioning=encode("a blue square"), **area)[0]
    both = node("ConditioningCombine", conditioning_1=encode(PROMPT), conditioning_2=left)[0]
    samples = ksample(latent=empty(128, 64), positive=both)
    changed = (samples - ksample(latent=empty(128, 64))).abs().amax((0, 1, 2))
    assert float(changed[:4].min()) > 1e-3, "the area's prompt changes nothing in its area"


def check_the_host_is_told_of_a_runs_memory() -> dict[str, float]:
    """It made room for a third of a gigabyte where an edit takes three. What is told before a run is what it holds."""
    model = load()[0]
    base, run = model.model, pack("nodes.native.contexts").Run
    told, held, required, clear = [], [], base.memory_required, run.clear

    def watched(shape: Any, cond_shapes: Any = None) -> float:
        needed = required(shape, cond_shapes=cond_shapes)
        if any(len(one) == 3 for one in cond_shapes.get("lightfusion", ())):  # before a run, and not in its steps
            told.append(needed - required(shape, cond_shapes={}))
        return needed

    def counted(self: Any) -> None:
        if getattr(self, "made", None):
            contexts, builders = list(self.made.values()), list(self.builders.values())
            pairs = [pair for builder in builders for pair in builder.cross]
            pairs += [pair for builder in builders for part in builder._made.values() for pair in part.fusion]
            pairs += [pair for context in contexts for pair in context.held()]
            held.append(stored(tensor for pair in pairs for tensor in pair))
        clear(self)

    base.memory_required, run.clear = watched, counted
    try:
        ksample(model)
        pictures = {"image_1": torch.rand(1, 96, 128, 3, generator=torch.Generator().manual_seed(0))}
        texts = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "width": 64, "height": 64, "batch_size": 1}
        positive, negative, *_ = node("LightFusionEncode", clip=load()[1], vae=load()[2], **texts, **pictures)
        ksample(model, positive=positive, negative=negative)
    finally:
        del base.memory_required
        run.clear = clear
    foreseen = told[::2]  # the second is the least that will do
    assert len(foreseen) == len(held) == 2, (told, held)
    assert all(abs(mine / taken - 1) < 0.02 for mine, taken in zip(foreseen, held, strict=True)), (foreseen, held)
    return {"told": foreseen[1], "held": held[1]}


def check_a_condition_that_was_not_read_yet_has_its_size() -> None:
    """A host that asks before a run has read its conditions is told too, and of another model's nothing."""
    condition = encode(PROMPT)[0][0]
    read = pack("nodes.native.conditioning").branch_of({"cross_attn": condition})
    shapes = load()[0].model.extra_conds_shapes
    assert shapes(cross_attn=condition) == shapes(lightfusion=read) != {}
    assert shapes(cross_attn=condition.clone()) == {}
