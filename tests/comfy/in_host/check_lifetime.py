"""What a run leaves behind: nothing that comes from weights, and no memory."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import comfy.model_management
import torch
from comfy.patcher_extension import WrappersMP
from harness import contexts, ksample, live_tensors, load, load_again, pack

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
    model, run = load()[0], pack("nodes.native.model").RUN
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
