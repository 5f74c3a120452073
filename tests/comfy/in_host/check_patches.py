"""What other nodes put into a MODEL acts with LightFusion's own sampler and guider too, or is named."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP
from harness import NEGATIVE, PROMPT, counted_steps, empty, encode, ksample, largest, load, node, pack, raised
from torch import Tensor

import nodes

NANO = "nano (built in)"
MIXING = {
    "APG": {"eta": 1.0, "norm_threshold": 5.0, "momentum": 0.5},
    "CFGNorm": {"strength": 1.0},
    "CFGZeroStar": {},
    "Epsilon Scaling": {"scaling_factor": 1.05},
    "FreSca": {"scale_low": 1.0, "scale_high": 1.5, "freq_cutoff": 1},
    "LatentApplyOperationCFG": {},
    "Mahiro": {},
    "PerturbedAttentionGuidance": {"scale": 3.0},
    "RenormCFG": {"cfg_trunc": 100.0, "renorm_cfg": 0.5},
    "RescaleCFG": {"multiplier": 0.7},
    "SkipLayerGuidanceDiTSimple": {
        "double_layers": "1", "single_layers": "", "start_percent": 0.0, "end_percent": 1.0,
    },
    "TCFG": {},
    "TemporalScoreRescaling": {"tsr_k": 0.8, "tsr_sigma": 1.0},
    "VideoLinearCFGGuidance": {"min_cfg": 1.0},
}  # fmt: skip
"""Nodes that act where guidance mixes, with inputs under which they change a tiny model's latents."""


def patched(name: str, model: Any = None, **inputs: Any) -> Any:
    """A MODEL through a stock node."""
    if name == "LatentApplyOperationCFG":
        inputs["operation"] = node("LatentOperationSharpen", sharpen_radius=1, sigma=1.0, alpha=0.5)[0]
    return node(name, model=model or load()[0], **inputs)[0]


def draw(model: Any = None, latent: dict[str, Tensor] | None = None, *, name: str = "tiny/", **inputs: Any) -> Tensor:
    """The samples of LightFusion Sampler."""
    given = {
        "seed": 7, "steps": 4, "text_guidance": 3.0, "image_guidance": 1.0, "shift": 4.0, "solver": "unipc",
        "denoise": 1.0, "renorm": "none", "renorm_min": 0.0, "interval_start": 0.0, "interval_end": 1.0,
        "positive": encode(PROMPT, name), "negative": encode(NEGATIVE, name), **inputs,
    }  # fmt: skip
    latent = empty() if latent is None else latent
    return node("LightFusionSampler", model=model or load(name)[0], latent=latent, **given)[0]["samples"]


def guide(model: Any, **inputs: Any) -> Any:
    """LightFusion Guider."""
    given = {
        "text_guidance": 3.0, "image_guidance": 1.0, "renorm": "none", "renorm_min": 0.0, "interval_start": 0.0,
        "interval_end": 1.0, "positive": encode(PROMPT), "negative": encode(NEGATIVE), **inputs,
    }  # fmt: skip
    return node("LightFusionGuider", model=model, **given)[0]


def custom(guider: Any, sampler: str = "euler") -> Tensor:
    """What a guider draws through the stock custom sampler."""
    sigmas = node("BasicScheduler", model=load()[0], scheduler="simple", steps=4, denoise=1.0)[0]
    parts = {"noise": node("RandomNoise", noise_seed=7)[0], "sampler": node("KSamplerSelect", sampler_name=sampler)[0]}
    return node("SamplerCustomAdvanced", guider=guider, sigmas=sigmas, latent_image=empty(), **parts)[0]["samples"]


def core_guide(model: Any, cfg: float = 3.0) -> Any:
    return node("CFGGuider", model=model, positive=encode(PROMPT), negative=encode(NEGATIVE), cfg=cfg)[0]


@contextmanager
def told() -> Iterator[list[str]]:
    """What is said to the person meanwhile."""
    said: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("LightFusion: "):
                said.append(record.getMessage())

    ear = Ear(logging.WARNING)
    logging.getLogger().addHandler(ear)
    try:
        yield said
    finally:
        logging.getLogger().removeHandler(ear)


def check_step_caches_keep_the_picture() -> dict[str, str]:
    """EasyCache adds what it has cached to the tensor that it is given, and once that was the sampler's own."""
    vae, found = load(NANO)[2], {}
    draws: dict[str, Callable[..., Tensor]] = {"KSampler": ksample, "LightFusion Sampler": draw}
    for sampler, sample in draws.items():
        for batch in (1, 2):
            latent = node("LightFusionEmptyLatent", model=load(NANO)[0], width=0, height=0, batch_size=batch)[0]
            whole = _decoded(vae, sample(None, latent, name=NANO, steps=20))
            for cache in ("EasyCache", "LazyCache"):
                settings = {"reuse_threshold": 0.1, "start_percent": 0.15, "end_percent": 0.95, "verbose": False}
                model = patched(cache, load(NANO)[0], **settings)
                with counted_steps() as calls:
                    picture = _decoded(vae, sample(model, latent, name=NANO, steps=20))
                apart = float((picture - whole).abs().mean()) * 255
                skipped = 20 - sum(calls) // (2 * batch)  # rows, since branches may come one at a time
                found[f"{sampler}, {batch}, {cache}"] = f"{skipped} skipped, {apart:.2f} of 255"
                assert skipped >= 8, found
                assert 0 < apart <= 2, found
    return found


def _decoded(vae: Any, samples: Tensor) -> Tensor:
    return node("VAEDecode", samples={"samples": samples}, vae=vae)[0]


def check_hooks_may_write_into_what_they_are_given() -> None:
    """A hook of the host owns no tensor that another reads after it."""

    def spoil(executor: Any, x: Tensor, *rest: Any, **options: Any) -> Any:
        out = executor(x, *rest, **options)
        x.zero_()
        return out

    def spoil_arguments(args: dict[str, Any]) -> Any:
        out = args["denoised"].clone()
        for name in ("input", "denoised", "cond_denoised", "uncond_denoised"):
            args[name].zero_()
        return out

    wrapped = load()[0].clone()
    wrapped.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "spoil", spoil)
    assert torch.equal(ksample(wrapped), ksample())
    wrapped.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "spoil", spoil)
    wrapped.set_model_sampler_post_cfg_function(spoil_arguments)
    for solver in ("unipc", "heun"):
        for renorm in ("none", "global"):
            settings = {"solver": solver, "renorm": renorm}
            assert torch.equal(draw(wrapped, **settings), draw(**settings)), settings


def check_guidance_patches_act_as_with_the_hosts_guider() -> dict[str, float]:
    """A patched MODEL means the same before LightFusion Guider as before the stock one."""
    plain, own, found = custom(core_guide(load()[0])), draw(), {}
    assert largest(custom(guide(load()[0])) - plain) <= 1e-5
    for name, inputs in MIXING.items():
        if name not in nodes.NODE_CLASS_MAPPINGS:  # a newer host's
            continue
        model = patched(name, **inputs)
        theirs, ours = custom(core_guide(model)), custom(guide(model))
        assert largest(ours - theirs) <= 1e-5, name
        found[name] = largest(ours - plain)
        assert found[name] > 1e-4, f"{name} changes nothing"
        assert largest(draw(model) - own) > 1e-4, f"{name} changes nothing before LightFusion Sampler"
    return found


def check_guidance_patches_act_under_image_guidance() -> None:
    """The text guidance is what they change; the image guidance follows, as in the stock guider of two scales."""
    third = encode("a circle")
    for name, inputs in (("CFGZeroStar", {}), ("RescaleCFG", {"multiplier": 0.7}), ("APG", MIXING["APG"])):
        model = patched(name, **inputs)
        ours = custom(guide(model, no_image=third, image_guidance=2.0))
        assert largest(ours - custom(guide(load()[0], no_image=third, image_guidance=2.0))) > 1e-4, name
        if name == "APG":  # the stock guider does not call what acts before the mixing
            continue
        stock = node(
            "DualCFGGuider", model=model, cond1=encode(PROMPT), cond2=encode(NEGATIVE), negative=third, cfg_conds=3.0,
            cfg_cond2_negative=2.0, style="nested",
        )[0]  # fmt: skip
        assert largest(ours - custom(stock)) <= 1e-3, name


def check_nothing_mixes_outside_of_the_interval() -> None:
    """Guidance off by the interval leaves the prompted velocity to the functions that do not mix."""
    off = {"interval_start": 0.0, "interval_end": 0.0}
    prompted = draw(text_guidance=1.0)
    assert torch.equal(draw(patched("APG", **MIXING["APG"]), **off), prompted)
    assert largest(draw(patched("Epsilon Scaling", scaling_factor=1.05), **off) - prompted) > 1e-4


def check_without_guidance_patches_act_as_at_cfg_1() -> None:
    """A text guidance of 1 is KSampler's cfg of 1."""
    for name in ("Epsilon Scaling", "LatentApplyOperationCFG", "RescaleCFG"):
        model = patched(name, **MIXING[name])
        assert largest(custom(guide(model, text_guidance=1.0)) - custom(core_guide(model, 1.0))) <= 1e-5, name


def check_cfg_plus_plus_samplers_find_the_negative() -> None:
    """They step along what the negative branch foresees, which they ask for by a function of their own."""
    for sampler in ("euler_cfg_pp", "dpmpp_2m_cfg_pp"):
        ours, theirs = (custom(guider, sampler) for guider in (guide(load()[0]), core_guide(load()[0])))
        assert largest(ours - theirs) <= 1e-5, sampler


def check_attention_override_is_called() -> dict[str, int]:
    """In self-, cross- and fusion attention of every block, with the block's number; it may write into its input."""
    seen: list[tuple[int, int, int]] = []

    def override(function: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, *rest: Any, **options: Any) -> Tensor:
        out = function(q, k, v, heads, *rest, **options)
        transformer = options["transformer_options"]
        seen.append((transformer["block_index"], transformer["total_blocks"], k.shape[-2]))
        for given in (q, k, v):
            given.zero_()
        return out

    model = load()[0].clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = override
    config = model.model.diffusion_model.config
    assert torch.equal(draw(model, text_guidance=1.0), draw(text_guidance=1.0))
    steps, blocks = 4, config.dit.num_layers
    assert len(seen) == steps * (2 * blocks + config.fusion.num_layers), len(seen)
    assert {index for index, _, _ in seen} == set(range(blocks))
    assert {total for _, total, _ in seen} == {blocks}
    return {"calls": len(seen), "lengths of keys": len({length for _, _, length in seen})}


def check_a_reference_takes_the_override() -> None:
    """A reference is read once, at the run's start, and by the same attention."""
    calls: list[int] = []

    def override(function: Any, *args: Any, **options: Any) -> Tensor:
        calls.append(1)
        return function(*args, **options)

    model, clip, vae = load()
    image = torch.rand(1, 64, 96, 3, generator=torch.Generator().manual_seed(1))
    size = {"width": 96, "height": 64, "batch_size": 1}
    with_image = node("LightFusionEncode", clip=clip, vae=vae, prompt=PROMPT, negative_prompt="", image_1=image, **size)
    counts = []
    for positive in (encode(PROMPT), with_image[0]):
        patched_model = model.clone()
        patched_model.model_options["transformer_options"]["optimized_attention_override"] = override
        calls.clear()
        draw(patched_model, positive=positive, text_guidance=1.0)
        counts.append(len(calls))
    assert counts[1] > counts[0], counts


def check_blocks_are_replaced() -> None:
    """The whole block, under the name that the host's Wan has for it; its own run changes nothing."""
    model = load()[0]
    same = model.clone()
    same.set_model_patch_replace(lambda args, extra: extra["original_block"](args), "dit", "double_block", 1)
    assert torch.equal(ksample(same), ksample())
    skipped = model.clone()
    skipped.set_model_patch_replace(lambda args, extra: args, "dit", "double_block", 1)
    assert largest(ksample(skipped) - ksample()) > 1e-3
    block = model.model.diffusion_model.blocks[1]
    forward = block.forward
    block.forward = lambda stream, *rest: stream
    try:
        without = ksample(model)
    finally:
        block.forward = forward
    difference = largest(ksample(skipped) - without)
    assert difference <= 1e-5, difference


def check_calls_after_a_block_act() -> None:
    """The host's Wan hands the stream to them after every block."""
    places: list[int] = []

    def after(args: dict[str, Any]) -> dict[str, Any]:
        places.append(args["block_index"])
        return {"img": args["img"] * 0.9}

    model = load()[0].clone()
    model.set_model_patch(after, "double_block")
    assert largest(ksample(model, steps=1) - ksample(steps=1)) > 1e-3
    assert places == list(range(len(model.model.diffusion_model.blocks)))


def check_skip_layer_guidance_acts() -> None:
    """It pushes away from what the network foresees without a block: the further, the higher its scale."""
    plain, apart = draw(), []
    for scale in (0.5, 2.0):
        settings = {"start_percent": 0.0, "end_percent": 1.0, "rescaling_scale": 0.0}
        model = patched("SkipLayerGuidanceDiT", double_layers="1", single_layers="", scale=scale, **settings)
        apart.append(largest(draw(model) - plain))
    assert 1e-3 < apart[0] < apart[1], apart


def check_guidance_by_attention_acts() -> None:
    """Self-Attention Guidance reads the middle block's attention; normalized attention guidance changes what the
    prompt's attention gives, at a text guidance of 1 too."""
    latent = empty(192, 192)
    sag = patched("SelfAttentionGuidance", scale=0.5, blur_sigma=2.0)
    assert largest(draw(sag, latent) - draw(None, latent)) > 1e-4
    assert largest(ksample(sag, latent) - ksample(None, latent)) > 1e-4
    if "NAGuidance" in nodes.NODE_CLASS_MAPPINGS:  # a newer host's
        nag = patched("NAGuidance", nag_scale=5.0, nag_alpha=0.5, nag_tau=1.5)
        assert largest(draw(nag, text_guidance=1.0) - draw(text_guidance=1.0)) > 1e-4


def check_rope_is_scaled() -> None:
    """Positions times one are the trained ones; others give another picture, a shift beside a prompt too."""
    as_trained = dict.fromkeys(("scale_x", "scale_y", "scale_t"), 1.0) | dict.fromkeys(
        ("shift_x", "shift_y", "shift_t"), 0.0
    )

    def roped(**changed: float) -> Any:
        model = load()[0].clone()
        model.model_options["transformer_options"]["rope_options"] = {**as_trained, **changed}
        return model

    assert torch.equal(draw(roped()), draw())
    for changed in ({"scale_x": 2.0}, {"scale_y": 0.5}, {"shift_x": 20.0}, {"shift_t": 20.0}):
        assert largest(draw(roped(**changed)) - draw()) > 1e-5, changed
    with told() as said:
        draw(roped(scale_t=2.0))
    assert len(said) == 1 and "scale_t" in said[0], said


def check_patches_without_a_place_are_named() -> dict[str, str]:
    """Once a run, by the node that made them, before KSampler and LightFusion Sampler."""
    downscale = {
        "block_number": 3, "downscale_factor": 2.0, "start_percent": 0.0, "end_percent": 1.0,
        "downscale_after_skip": True, "downscale_method": "bicubic", "upscale_method": "bicubic",
    }  # fmt: skip
    unread = {
        "FreeU_V2": {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2},
        "HyperTile": {"tile_size": 256, "swap_size": 2, "max_depth": 0, "scale_depth": False},
        "PatchModelAddDownscale": downscale,
        "TomePatchModel": {"ratio": 0.3},
    }
    found = {}
    for name, inputs in unread.items():
        for sample in (ksample, draw):
            with told() as said:
                same = torch.equal(sample(patched(name, **inputs)), sample())
            assert same, name
            assert len(said) == 1 and name in said[0], (name, said)
        found[name] = said[0]
    foreign = load()[0].clone()
    foreign.set_model_patch(foreign_patch, "somewhere_else")
    with told() as said:
        draw(foreign)
    assert len(said) == 1 and "foreign_patch (somewhere_else)" in said[0], said
    layers = patched(
        "SkipLayerGuidanceDiT", double_layers="1, 99", single_layers="1", scale=1.0, start_percent=0.0,
        end_percent=1.0, rescaling_scale=0.0,
    )  # fmt: skip
    with told() as said:
        draw(layers)
    assert len(said) == 1 and "double_block 99" in said[0] and "single" not in said[0], said
    return found


def foreign_patch(*args: Any) -> None:
    """What a pack that nobody here knows might put into a MODEL."""


def check_the_compute_dtype_is_the_nodes() -> dict[str, float]:
    """bfloat16 changes a little, and the model computes as before without the node."""
    plain = draw()
    apart = largest(draw(patched("ModelComputeDtype", dtype="bf16")) - plain) / largest(plain)
    assert 1e-5 < apart < 0.2, apart
    assert torch.equal(draw(), plain)
    assert torch.equal(draw(patched("ModelComputeDtype", dtype="default")), plain)
    return {"relative difference": apart}


def check_the_shift_of_another_node_is_named() -> None:
    """It acts with KSampler; LightFusion Sampler has its own, and says so."""
    model = patched("ModelSamplingSD3", shift=8.0)
    assert largest(ksample(model) - ksample()) > 1e-3
    with told() as said:
        assert torch.equal(draw(model), draw())
    assert len(said) == 1 and "shift 8" in said[0], said
    with told() as said:
        draw(patched("ModelSamplingSD3", shift=4.0))
    assert not said, said


def check_other_models_patches_are_refused() -> None:
    """They would ruin the picture without a word, or end in an AttributeError of the host."""
    eps = patched("ModelSamplingDiscrete", sampling="eps", zsnr=False)
    assert "ModelSamplingSD3" in raised(lambda: ksample(eps))
    assert "ModelSamplingSD3" in raised(lambda: draw(eps))
    foreign = load()[0].clone()
    foreign.add_object_patch("diffusion_model.params.default_ref_method", "index")
    assert "diffusion_model.params.default_ref_method" in raised(lambda: draw(foreign))
    sigmas = node("KarrasScheduler", steps=4, sigma_max=14.6, sigma_min=0.03, rho=7.0)[0]
    parts = {"noise": node("RandomNoise", noise_seed=7)[0], "sampler": node("KSamplerSelect", sampler_name="euler")[0]}
    guider = core_guide(load()[0])
    parts |= {"guider": guider, "sigmas": sigmas, "latent_image": empty()}
    assert "BasicScheduler" in raised(lambda: node("SamplerCustomAdvanced", **parts))


def check_exact_timesteps_survive_a_move() -> None:
    """The host moves sigmas to the device, where the attribute that holds their integer timesteps is lost."""
    seen: list[list[int]] = []
    timestep = pack("nodes.native.model").TIMESTEP

    def watch(executor: Any, *args: Any, **options: Any) -> Any:
        seen[-1].append(args[-1][timestep])
        return executor(*args, **options)

    def move(
        executor: Any, noise: Tensor, latent: Tensor, sampler: Any, sigmas: Tensor, *rest: Any, **more: Any
    ) -> Any:
        return executor(noise, latent, sampler, sigmas.clone(), *rest, **more)

    for wrappers in ({}, {WrappersMP.OUTER_SAMPLE: move}):
        model = load()[0].clone()
        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "watch", watch)
        for kind, wrapper in wrappers.items():
            model.add_wrapper_with_key(kind, "move", wrapper)
        seen.append([])
        draw(model, steps=50, text_guidance=1.0, latent=empty(32, 32))
    wanted = pack("lightfusion_core.sampling.schedule").make_schedule(50).timesteps
    assert seen == [list(wanted), list(wanted)]


def check_a_soft_mask_is_drawn_by_its_depth() -> None:
    """Differential Diffusion turns a grey mask into the level from which on a place is drawn."""
    latent = {**empty(), "noise_mask": torch.linspace(0, 1, 96).expand(1, 64, 96)}
    assert largest(draw(patched("DifferentialDiffusion"), latent) - draw(None, latent)) > 1e-4


def check_every_stock_sampler_draws() -> dict[str, int]:
    """With KSampler's sampling, for each name that the host has."""
    for name in comfy.samplers.KSampler.SAMPLERS:
        samples = ksample(sampler_name=name, latent=empty(32, 32))
        assert bool(samples.isfinite().all()), name
    return {"samplers": len(comfy.samplers.KSampler.SAMPLERS)}


def check_compiling_is_done_once_for_all_prompts() -> dict[str, float]:
    """Not once a prompt, as where the whole network is traced with a run's context in it."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper
    from torch._dynamo.utils import counters

    model = load()[0].clone()
    set_torch_compile_wrapper(model, backend="eager", fullgraph=True)
    counters.clear()
    graphs, off = [], []
    for text in (PROMPT, "a blue star", "three green squares and a much longer sentence behind them"):
        drawn = ksample(model, positive=encode(text))
        off.append(largest(drawn - ksample(positive=encode(text))))
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[0] > 0
    assert graphs == graphs[:1] * 3, graphs
    assert max(off) < 1e-3, off
    assert not any("_orig_mod" in name for name, _ in model.model.named_parameters())
    return {"graphs": graphs[0], "off": max(off)}


def check_compiling_gives_way_to_patches() -> None:
    """They are called inside of blocks, with another function at every step."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    def doubled(attend: Callable[..., Tensor], *args: Any, **more: Any) -> Tensor:
        return attend(*args, **more) * 2

    def overridden() -> Any:
        model = load()[0].clone()
        model.model_options["transformer_options"]["optimized_attention_override"] = doubled
        return model

    compiled = overridden()
    set_torch_compile_wrapper(compiled, backend="eager")
    with told() as said:
        drawn = ksample(compiled)
    assert any("TorchCompileModel" in text for text in said), said
    assert torch.equal(drawn, ksample(overridden()))
