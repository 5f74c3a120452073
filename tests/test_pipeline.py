"""The public face on tiny random models: requests are repeatable, independent, and refused with reasons."""

from __future__ import annotations

import logging
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from samples import ids, latents, references, relative_error
from tiny import CONFIG, make_model, write_model
from torch import Tensor

from lightfusion_core import (
    CapabilityError,
    Decoding,
    Guidance,
    InputError,
    LightFusion,
    LightFusionError,
    Sampling,
    Step,
)
from lightfusion_core.sampling.loop import make_noise
from lightfusion_core.sampling.schedule import make_schedule
from lightfusion_core.sampling.solvers import SOLVERS

FAST = Sampling(steps=3)
GUIDED = Guidance(text=3.0, image=1.5)


def test_one_image_of_a_batch_equals_its_single_run(model: LightFusion) -> None:
    """Guards seeds: image k of a batch is drawn with seed + k, whatever its neighbours are."""
    conditioning = model.encode("a red circle", references(1), negative_prompt="dark")
    together = model.sample(conditioning, 96, 64, 7, FAST, GUIDED, batch=3)
    for k in range(3):
        alone = model.sample(conditioning, 96, 64, 7 + k, FAST, GUIDED)
        assert relative_error(together[k : k + 1], alone) <= 1e-4
    assert relative_error(together[0], together[1]) > 0.1


def test_the_largest_seed_draws_a_batch() -> None:
    """Guards the end of a host's range: seed + k runs over 2**64, which torch refuses."""
    noise = make_noise((48, 1, 4, 4), range(2**64 - 1, 2**64 + 1))
    assert torch.equal(noise[1:], make_noise((48, 1, 4, 4), [0]))


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_same_request_gives_the_same_bits(model: LightFusion, picture: Image.Image, solver: str) -> None:
    """Guards reuse: nothing may leak from one run into the next."""
    sampling = Sampling(steps=3, solver=solver)

    def run() -> Tensor:
        return model.edit(picture, "make it blue", seed=3, sampling=sampling, guidance=GUIDED)

    first = run()
    model.generate("something else", sampling=FAST)
    assert torch.equal(run(), first)
    assert first.shape == (1, 80, 100, 3)


@pytest.mark.parametrize("change", ["seed", "steps", "size", "guidance", "prompt", "negative"])
def test_every_setting_matters(frozen: LightFusion, change: str) -> None:
    """Guards settings that are taken and not used."""
    asked = {"prompt": "a circle", "negative": "dark", "seed": 1, "steps": 3, "size": 64, "guidance": 3.0}
    other = {"prompt": "a square", "negative": "light", "seed": 2, "steps": 4, "size": 96, "guidance": 2.0}

    def run(values: dict) -> Tensor:
        conditioning = frozen.encode(values["prompt"], negative_prompt=values["negative"])
        return frozen.sample(
            conditioning, values["size"], 64, values["seed"], Sampling(values["steps"]), Guidance(values["guidance"])
        )

    one, two = run(asked), run({**asked, change: other[change]})
    assert one.shape != two.shape or relative_error(one, two) > 1e-3


def random_states() -> list:
    name, keys, *rest = np.random.get_state()
    return [torch.random.get_rng_state().tolist(), name, keys.tolist(), rest, random.getstate()]


@pytest.mark.parametrize("is_coupled", [False, True], ids=["frozen", "coupled"])
def test_global_random_states_are_left_alone(tmp_path: Path, picture: Image.Image, is_coupled: bool) -> None:
    """Guards other people's seeds, from loading to an answer at a temperature."""
    folder = write_model(tmp_path, coupled=is_coupled)
    torch.rand(1), np.random.rand(), random.random()  # a state that no seed of this test gives
    before = random_states()
    model = LightFusion.load(folder, device="cpu")
    conditioning = model.encode("a red circle", [picture])
    latent = model.sample(conditioning, 96, 64, 4242, FAST, GUIDED)
    model.decode(latent)
    "".join(model.answer("what?", [picture], decoding=Decoding(4, 1.0)))
    assert random_states() == before


def test_seeds_do_not_depend_on_global_state(frozen: LightFusion) -> None:
    """Guards the other direction: a host that seeds everything must not change our pictures."""
    conditioning = frozen.encode("a red circle")
    first = frozen.sample(conditioning, 64, 64, 5, FAST)
    state = torch.random.get_rng_state()
    torch.manual_seed(123)
    assert torch.equal(frozen.sample(conditioning, 64, 64, 5, FAST), first)
    torch.random.set_rng_state(state)


def test_partial_denoising_begins_between_latent_and_noise(model: LightFusion) -> None:
    """Guards denoise: it needs a latent, begins at the level that is left, and less of it changes less."""
    conditioning, latent, noise = model.encode("a red circle"), latents(1, 2, 2, 5), make_noise((48, 1, 4, 4), [1])
    levels, distances = make_schedule(10).sigmas, []
    for denoise in (0.1, 0.5, 1.0):
        seen: list[Step] = []
        sampling = Sampling(steps=10, denoise=denoise)
        drawn = model.sample(conditioning, 64, 64, 1, sampling, Guidance(1.0), latent=latent, on_step=seen.append)
        sigma = levels[-len(seen) - 1]
        assert len(seen) == round(10 * denoise)
        assert seen[0].sigma == sigma
        if denoise < 1:
            torch.testing.assert_close(seen[0].x, sigma * noise + (1 - sigma) * latent)
        distances.append(relative_error(drawn, latent))
    assert distances == sorted(distances)
    assert distances[0] < distances[2] / 2
    assert torch.equal(
        drawn, model.sample(conditioning, 64, 64, 1, Sampling(10), Guidance(1.0))
    )  # 1: the latent is inert
    with pytest.raises(InputError, match="latent"):
        model.sample(conditioning, 64, 64, 1, Sampling(steps=10, denoise=0.5))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("denoise", [1.0, 0.5])
def test_a_mask_keeps_what_lies_outside(model: LightFusion, solver: str, denoise: float) -> None:
    """Guards inpainting for each solver: outside the latent comes back, inside something new is drawn that
    goes with it (and so is not what an unmasked run draws)."""
    conditioning, latent = model.encode("a red circle"), latents(2, 2, 3)
    mask = torch.zeros(1, 1, 1, 4, 6)
    mask[..., 1:3, 2:5] = 1
    kept, inside = mask.expand_as(latent) == 0, mask.expand_as(latent) == 1
    sampling = Sampling(steps=4, solver=solver, denoise=denoise)
    drawn = model.sample(conditioning, 96, 64, 1, sampling, batch=2, latent=latent, mask=mask)
    free = model.sample(conditioning, 96, 64, 1, sampling, batch=2, latent=latent)
    assert torch.equal(drawn[kept], latent[kept])
    assert relative_error(drawn[inside], latent[inside]) > 0.1
    assert relative_error(drawn[inside], free[inside]) > 1e-3
    with pytest.raises(InputError, match="latent"):
        model.sample(conditioning, 96, 64, 1, FAST, mask=mask)


def test_a_full_mask_is_no_mask(frozen: LightFusion) -> None:
    """Guards the masked path's arithmetic: with everything to be drawn it is the plain run."""
    conditioning, latent = frozen.encode("a red circle"), latents(1, 2, 3)
    masked = frozen.sample(conditioning, 96, 64, 1, FAST, latent=latent, mask=torch.ones(1, 1, 1, 4, 6))
    assert relative_error(masked, frozen.sample(conditioning, 96, 64, 1, FAST)) <= 1e-4


def test_an_edit_with_a_mask_returns_the_rest_bit_for_bit(model: LightFusion, picture: Image.Image) -> None:
    """Guards what a person sees: pixels outside of the mask are the original's own."""
    mask = torch.zeros(80, 100)
    mask[20:60, 30:70] = 1
    edited = model.edit(picture, "make it blue", mask=mask, sampling=FAST, guidance=GUIDED)
    original = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)
    assert torch.equal(edited[0][mask == 0], original[mask == 0])
    assert (edited[0][mask == 1] - original[mask == 1]).abs().mean() > 0.02


def test_image_guidance_without_references_changes_nothing(model: LightFusion) -> None:
    """Guards rule B21: text to image has no branch without images, so its scale is inert."""
    conditioning = model.encode("a red circle")
    one, two = (model.sample(conditioning, 64, 64, 1, FAST, Guidance(3.0, image)) for image in (1.0, 4.0))
    assert torch.equal(one, two)
    conditioning = model.encode("a red circle", references(1))
    one, two = (model.sample(conditioning, 64, 64, 1, FAST, Guidance(3.0, image)) for image in (1.0, 4.0))
    assert relative_error(one, two) > 1e-3


def test_another_prompt_does_not_look_at_the_pictures_again(frozen: LightFusion, picture: Image.Image) -> None:
    """Guards the kept prefix through the public face, where a picture is prepared anew each time."""
    visual = frozen.understanding.model.visual.patch_embed
    layer = frozen.understanding.model.language_model.layers[0]
    frozen.encoder.forget()
    seen: list[str | int] = []
    hooks = [visual.register_forward_hook(lambda *_: seen.append("vision"))]
    hooks.append(layer.register_forward_hook(lambda _, given, made: seen.append(given[0].shape[1])))
    try:
        frozen.encode("make it blue", [picture])
        first = seen.count("vision")
        seen.clear()
        frozen.encode("make it red", [picture.copy()])
    finally:
        for hook in hooks:
            hook.remove()
    assert first == 1
    texts = ["make it red", frozen.config.defaults.negative_prompt, "make it red"]
    # texts and markers of three branches in one call, no image segment
    assert seen == [sum(len(frozen.tokenizer.segment(text)) + 2 * frozen.config.max_extent for text in texts)]


def test_sampling_never_runs_the_frozen_understanding_tower(frozen: LightFusion) -> None:
    """Guards the idea of the whole design: another seed, step count, size or guidance encodes nothing, and
    the VLM could be anywhere."""
    conditioning = frozen.encode("a red circle", references(1))
    ran: list[object] = []
    hooks = [m.register_forward_hook(lambda m, *_: ran.append(m)) for m in frozen.understanding.modules()]
    try:
        for seed, steps, size, guidance in ((1, 2, (64, 64), 3.0), (2, 3, (160, 96), 2.0), (2, 3, (64, 192), 1.0)):
            frozen.sample(conditioning, *size, seed, Sampling(steps), Guidance(guidance))
    finally:
        for hook in hooks:
            hook.remove()
    assert ran == []


def test_a_larger_picture_than_encoded_is_refused_by_name(frozen: LightFusion) -> None:
    """Guards wrong markers (12 to 39 % of their states): the message says what to do, and doing it works."""
    conditioning = frozen.encode("a red circle", max_extent=2)
    frozen.sample(conditioning, 64, 64, 1, FAST)
    with pytest.raises(InputError, match="max_extent=4"):
        frozen.sample(conditioning, 128, 64, 1, FAST)
    drawn = frozen.sample(frozen.encode("a red circle", max_extent=4), 128, 64, 1, FAST)
    wanted = frozen.sample(frozen.encode("a red circle"), 128, 64, 1, FAST)
    assert relative_error(drawn, wanted) <= 1e-4


@pytest.mark.parametrize(
    ("asked", "drawn"), [((70, 95), (64, 96)), ((10, 64), (32, 64)), ((64, 65), (64, 64)), ((512, 511), (512, 512))]
)
def test_odd_sizes_are_rounded_with_a_warning(
    frozen: LightFusion, caplog: pytest.LogCaptureFixture, asked: tuple[int, int], drawn: tuple[int, int]
) -> None:
    """Guards pictures that come out in another size than asked for, without a word."""
    with caplog.at_level(logging.WARNING, logger="lightfusion_core"):
        assert frozen.fit_size(*asked) == drawn
    message = caplog.records[0].getMessage()
    assert f"{asked[0]}x{asked[1]}" in message
    assert f"{drawn[0]}x{drawn[1]}" in message


def test_a_fitting_size_is_not_warned_of(frozen: LightFusion, caplog: pytest.LogCaptureFixture) -> None:
    assert frozen.fit_size(96, 64) == (96, 64)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("width", "height", "named"),
    [
        (0, 64, "0x64"),
        (64, -32, "64x-32"),
        (32, 32 * 17, "32x544"),
        (32 * 17, 32, "544x32"),
        (544, 64, "544x64"),
        (64, 10_000, "64x10000"),
    ],
)
def test_impossible_sizes_are_refused(frozen: LightFusion, width: int, height: int, named: str) -> None:
    """Guards out of memory and nonsense: nothing, slivers, and pictures beyond the model's largest side."""
    with pytest.raises(InputError, match=named):
        frozen.sample(frozen.encode("a"), width, height, 1, FAST)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8, "fp8"])
def test_a_dtype_that_nothing_is_computed_in_is_refused(dtype: object) -> None:
    with pytest.raises(InputError, match=r"float32, bfloat16 or float16 .* --dtype fp8"):
        LightFusion.load("nano", device="cpu", dtype=dtype)


def test_a_batch_of_nothing_is_refused(frozen: LightFusion) -> None:
    with pytest.raises(InputError, match="at least 1 picture, found 0"):
        frozen.sample(frozen.encode("a"), 64, 64, 1, FAST, batch=0)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"steps": 0}, "0"),
        ({"steps": -3}, "-3"),
        ({"shift": 0.0}, "0"),
        ({"shift": float("nan")}, "nan"),
        ({"solver": "ddim"}, "ddim"),
        ({"denoise": 0.0}, "0"),
        ({"denoise": 1.1}, "1.1"),
        ({"denoise": float("nan")}, "nan"),
    ],
)
def test_impossible_sampling_is_refused(settings: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        Sampling(**settings)


def test_a_sliver_of_a_picture_is_refused(frozen: LightFusion) -> None:
    with pytest.raises(InputError, match="16:1"):
        frozen.edit(Image.new("RGB", (1700, 100)), "make it blue", sampling=FAST)


def test_a_prompt_that_is_too_long_is_refused(model: LightFusion) -> None:
    with pytest.raises(InputError, match="602 tokens"):
        model.encode("a" * 600)
    model.encode("")  # an empty one is not


def test_an_empty_negative_prompt_is_not_the_models_own(frozen: LightFusion) -> None:
    """Guards `None` against "": an empty negative is bos, eos (rule B21)."""
    lengths = [
        frozen.encode("a", negative_prompt=text).negative.segments[0].split.columns for text in (None, "", "dark")
    ]
    assert lengths == [2 + len("blurred"), 2, 2 + len("dark")]


def test_thinking_leaves_the_negative_branch_without_text(frozen: LightFusion) -> None:
    """Guards rule B29 in the public face: three segments, and no text at all in branch n."""
    conditioning = frozen.encode("a star", references(1), system="Think.\n", thought="Five points.")
    texts = [len(text) + 2 for text in ("Think.\n", "a star", "Five points.")]
    assert [s.split.columns for s in conditioning.full.segments if s.split.is_text] == texts
    assert [s.split.columns for s in conditioning.no_image.segments] == texts
    assert not any(s.split.is_text for s in conditioning.negative.segments)


def test_token_ids_serve_as_a_prompt(frozen: LightFusion) -> None:
    """Guards callers that tokenise themselves: a text is its framed ids, nothing added."""
    text, given = frozen.encode("a star").full, frozen.encode(ids("a star")).full
    assert torch.equal(text.segments[0].hidden, given.segments[0].hidden)


def test_a_part_that_is_missing_is_named(tmp_path: Path, picture: Image.Image) -> None:
    """Guards models in parts: each error says what to give, and the rest goes on working."""
    model = make_model(tmp_path, vae=False, tokenizer=False, lm_head=False)
    drawn = model.sample(model.encode(ids("a star"), negative_prompt=ids("")), 64, 64, 1, FAST)
    for call in (lambda: model.decode(drawn), lambda: model.prepare(picture), lambda: model.edit(picture, ids("a"))):
        with pytest.raises(CapabilityError, match="vae="):
            call()
    for call in (lambda: model.encode("a star"), lambda: model.answer("what?")):
        with pytest.raises(CapabilityError, match="tokenizer="):
            call()


@pytest.mark.parametrize("is_coupled", [False, True], ids=["frozen", "coupled"])
def test_an_understanding_model_without_its_head_draws_and_says_that_it_cannot_answer(
    tmp_path: Path, is_coupled: bool
) -> None:
    model = make_model(tmp_path, vae=False, lm_head=False, coupled=is_coupled)
    model.sample(model.encode("a star"), 64, 64, 1, FAST)
    for manner in ("chat", "reference"):
        with pytest.raises(CapabilityError, match="lm_head"):
            next(model.answer("what?", manner=manner))


def test_tasks_that_a_model_was_not_trained_for_are_refused(tmp_path: Path, picture: Image.Image) -> None:
    """Guards a small model that would answer a request with noise."""
    model = make_model(tmp_path, replace(CONFIG, name="painter", tasks=("generate",)))
    model.generate("a star", sampling=FAST)
    for call in (lambda: model.edit(picture, "a"), lambda: model.answer("a"), lambda: model.think("a")):
        with pytest.raises(CapabilityError, match=r"painter .*generate"):
            call()
    reader = make_model(tmp_path / "reader", replace(CONFIG, tasks=("answer",)))
    with pytest.raises(CapabilityError, match="generate"):
        reader.generate("a star")


class InterruptedByHostError(Exception):
    """The host's own."""


def test_cancelling_leaves_the_model_usable(model: LightFusion) -> None:
    """Guards an interrupt in the middle of a run: it comes out unchanged, and the next run is untouched."""
    conditioning = model.encode("a red circle", references(1))
    wanted = model.sample(conditioning, 64, 64, 1, FAST, GUIDED)

    def cancel(step: Step) -> None:
        if step.index == 1:
            raise InterruptedByHostError

    with pytest.raises(InterruptedByHostError):
        model.sample(conditioning, 64, 64, 1, FAST, GUIDED, on_step=cancel)
    assert torch.is_grad_enabled()
    assert torch.equal(model.sample(conditioning, 64, 64, 1, FAST, GUIDED), wanted)


def test_steps_are_reported(model: LightFusion) -> None:
    """Guards previews: every step of every kind of run, with a picture that the last one delivers."""
    seen: list[Step] = []
    drawn = model.sample(model.encode("a"), 96, 64, 1, Sampling(3, solver="euler"), batch=2, on_step=seen.append)
    assert [step.index for step in seen] == [0, 1, 2]
    assert seen[0].x.shape == (2, 48, 1, 4, 6)
    torch.testing.assert_close(seen[-1].denoised, drawn)


def test_results_need_no_gradients(model: LightFusion, picture: Image.Image) -> None:
    """Guards memory: a call outside of `torch.no_grad` must not keep the graph of fifty steps."""
    assert torch.is_grad_enabled()
    for parameter in model.generation.parameters():
        parameter.requires_grad_(True)
    try:
        conditioning = model.encode("a", [picture])
        drawn = model.sample(conditioning, 64, 64, 1, FAST)
        assert not drawn.requires_grad
        assert not model.decode(drawn).requires_grad
        assert not conditioning.full.segments[0].hidden.requires_grad
    finally:
        model.generation.requires_grad_(False)


def test_given_noise_replaces_the_seed(frozen: LightFusion) -> None:
    """Guards hosts that bring their own noise."""
    conditioning = frozen.encode("a")
    wanted = frozen.sample(conditioning, 96, 64, 9, FAST, batch=2)
    noise = make_noise((48, 1, 4, 6), (9, 10))
    assert torch.equal(frozen.sample(conditioning, 96, 64, 1, FAST, noise=noise), wanted)


def test_the_picture_of_an_edit_has_the_originals_size(frozen: LightFusion, picture: Image.Image) -> None:
    """Guards rule B24 and the way back: drawn at the model's size, returned at the picture's."""
    sizes: list[torch.Size] = []
    edited = frozen.edit(
        picture, "a", references=[picture], sampling=FAST, batch=2, on_step=lambda step: sizes.append(step.x.shape)
    )
    assert sizes[0] == (2, 48, 1, 4, 6)  # 96 x 64 pixels
    assert edited.shape == (2, 80, 100, 3)
    assert 0 <= edited.min() <= edited.max() <= 1


def test_what_is_no_number_is_told_with_its_step(frozen: LightFusion, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the black picture: a network that overflows from its third step on must not be drawn to the end."""
    steps = iter(range(10))
    mix = frozen.generation.velocity

    def overflowing(*arguments: object) -> Tensor:
        return mix(*arguments) * (float("inf") if next(steps) >= 2 else 1.0)

    monkeypatch.setattr(frozen.generation, "velocity", overflowing)
    with pytest.raises(LightFusionError, match=r"From step 3 of 4 on .*NaN or infinity"):
        frozen.generate("a circle", width=64, height=64, sampling=Sampling(steps=4))
    with pytest.raises(LightFusionError, match="no picture in it"):
        frozen.decode(torch.full((1, 48, 1, 4, 4), float("nan")))
