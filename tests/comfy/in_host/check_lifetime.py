"""What a run leaves behind: nothing that comes from weights, and no memory."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import comfy.model_management
import torch
from comfy.patcher_extension import WrappersMP
from harness import (
    NEGATIVE,
    PROMPT,
    contexts,
    empty,
    encode,
    ksample,
    largest,
    live_tensors,
    load,
    load_again,
    node,
    pack,
    with_lora,
)  # fmt: skip

import nodes


class BrokenError(Exception):
    """An error in the middle of a run."""


def check_context_is_dropped_after_a_run() -> dict[str, int]:
    """Half a gigabyte for each reference stays on the GPU until the next run, or for ever.

    Without the garbage collector: the host collects every ten seconds, and what hangs in a cycle is still
    there when the VAE decodes.
    """
    gc.collect()
    gc.disable()
    try:
        with contexts() as made:
            ksample()
        return _all_gone(made)
    finally:
        gc.enable()


def check_context_is_dropped_after_an_error() -> dict[str, int]:
    """An error keeps alive what its frames hold; the context must not be among it."""

    def fail(step: int) -> None:
        if step == 2:
            raise BrokenError

    with contexts() as made:
        try:
            ksample(_watched(fail))
        except BrokenError:
            pass
        else:
            raise AssertionError("the error was swallowed")
    return _all_gone(made)


def check_context_is_dropped_after_cancel() -> dict[str, int]:
    """Cancel is an exception too, and the next run must start from nothing."""

    def cancel(step: int) -> None:
        if step == 2:
            nodes.interrupt_processing(True)

    before = ksample()
    with contexts() as made:
        try:
            ksample(_watched(cancel))
        except comfy.model_management.InterruptProcessingException:
            pass
        else:
            raise AssertionError("the cancel was swallowed")
    assert torch.equal(ksample(), before)
    return _all_gone(made)


def _watched(on_step: Any) -> Any:
    """A model that tells of each call of the network."""
    step = 0

    def call(executor: Any, *args: Any, **options: Any) -> Any:
        nonlocal step
        step += 1
        on_step(step)
        return executor(*args, **options)

    model = load()[0].clone()
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "watched", call)
    return model


def _all_gone(made: list[Any]) -> dict[str, int]:
    assert made, "no context was built"
    alive = sum(reference() is not None for reference in made)
    assert alive == 0, f"{alive} of {len(made)} tensors of the context are alive"
    return {"tensors built": len(made)}


def check_run_leaves_no_handle_on_the_model() -> None:
    """A run's object that stays in the model's options is found again by the next run."""
    model, run = load()[0], pack("nodes.native.contexts").RUN
    ksample(model)
    assert run not in model.model_options["transformer_options"]
    assert run not in model.model_options


def check_clone_keeps_what_drops_the_context() -> None:
    """Every LoRA and patch node clones the model: a clone without the wrapper would never drop anything."""
    model = load()[0]
    clone = model.clone().clone()
    kind = WrappersMP.SAMPLER_SAMPLE
    assert clone.get_all_wrappers(kind) == model.get_all_wrappers(kind) != []
    with contexts() as made:
        drawn = ksample(clone)
    _all_gone(made)
    assert torch.equal(drawn, ksample(model))


def check_context_follows_hooks_on_the_weights() -> dict[str, Any]:
    """A prompt that brings a LoRA along, and keyframes that turn it on half way: each state of the weights has its own
    context, and no step makes one again."""
    file, steps = "wan.safetensors", 4
    model, start = load()[0], empty()
    sampling, sigmas = model.get_model_object("model_sampling"), node("BasicScheduler", model=model, steps=steps,
                                                                       scheduler="simple", denoise=1.0)[0]  # fmt: skip
    half = next(at / 1000 for at in range(1000) if sampling.percent_to_sigma(at / 1000) < sigmas[1:3].mean())
    keyframe = None
    for strength, begin in ((0.0, 0.0), (1.0, half)):
        keyframe = node("CreateHookKeyframe", strength_mult=strength, start_percent=begin, prev_hook_kf=keyframe)[0]
    lora = node("CreateHookLoraModelOnly", lora_name=file, strength_model=1.0)[0]
    late = node("SetHookKeyframes", hooks=lora.clone(), hook_kf=keyframe)[0]

    def under(hooks: Any, text: str) -> Any:
        named = {"cond_NEW": encode(text), "strength": 1.0, "set_cond_area": "default", "hooks": hooks}
        return node("ConditioningSetProperties", **named)[0]

    with contexts() as made:
        turned_on = ksample(latent=start, positive=under(late, PROMPT), negative=under(late, NEGATIVE))
    shared = {"model": model, "noise_seed": 7, "steps": steps, "cfg": 3.0, "sampler_name": "euler",
              "scheduler": "simple", "positive": encode(PROMPT), "negative": encode(NEGATIVE)}  # fmt: skip
    first = node("KSamplerAdvanced", **shared, add_noise="enable", latent_image=start, start_at_step=0, end_at_step=2,
                 return_with_leftover_noise="enable")[0]  # fmt: skip
    second = node("KSamplerAdvanced", **{**shared, "model": with_lora(model, file)}, add_noise="disable",
                  latent_image=first, start_at_step=2, end_at_step=steps,
                  return_with_leftover_noise="disable")[0]["samples"]  # fmt: skip
    # one side alone: guidance mixes what each side's weights say, step by step
    both = [ksample(latent=start, positive=under(hooks, PROMPT), steps=1) for hooks in (lora, None)]
    apart = ksample(with_lora(model, file), start, negative=under(None, PROMPT), steps=1, cfg=1.0)
    plain = ksample(latent=start, negative=encode(NEGATIVE), positive=encode(NEGATIVE), steps=1, cfg=1.0)
    found = {
        "half way": largest(turned_on - second),
        "one side": largest(both[0] - (plain + 3.0 * (apart - plain))),
        "contexts": len(made),
    }
    assert largest(both[0] - both[1]) > 1e-2
    assert found["half way"] <= 1e-4, found
    assert found["one side"] <= 1e-3, found
    return found


def check_models_are_freed_with_their_last_use() -> None:
    """A circle of references holds gigabytes until a collection that nobody asks for."""
    from check_answers import ask

    for name in ("tiny/", "coupled/"):
        parts = load_again(name)
        ask(clip=parts[1])
        alive = [weakref.ref(model) for model in (parts[0].model, parts[1].cond_stage_model)]
        comfy.model_management.unload_all_models()
        gc.collect()
        gc.disable()
        try:
            del parts
            assert not any(model() for model in alive), f"{name}: {[model() is not None for model in alive]}"
        finally:
            gc.enable()


def check_thirty_runs_keep_no_tensor() -> dict[str, int]:
    """A cache without an end fills the memory in an evening."""
    for seed in range(3):
        ksample(seed=seed, steps=2)
    before = live_tensors()
    for seed in range(30):
        ksample(seed=seed, steps=2)
    after = live_tensors()
    assert after[0] <= before[0] and after[1] <= before[1], f"{before} tensors and bytes became {after}"
    return {"tensors": after[0], "bytes": after[1]}
