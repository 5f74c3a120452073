"""The shipped nano model: what it draws, and the properties that every LightFusion has, on real weights.

This nano was trained to draw; it edits by the same rules, only not well, so the tests of editing rules
lift its limit by hand.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lightfusion_core import CapabilityError, Guidance, LightFusion, Sampling
from lightfusion_core.config import TASKS
from lightfusion_core.images import to_pil
from lightfusion_core.pipeline import NANO
from lightfusion_core.shapes.judge import judge_prompt
from lightfusion_core.shapes.prompts import PromptSample, acceptance_prompts
from lightfusion_core.shapes.world import Scene, Thing, render

FAST = Sampling(steps=4)


@pytest.fixture(scope="module")
def nano() -> LightFusion:
    return LightFusion.load("nano", device="cpu")


@pytest.fixture(scope="module")
def unlimited(nano: LightFusion) -> LightFusion:
    """nano with the limit on its tasks lifted."""
    model = LightFusion.load("nano", device="cpu")
    model.config = replace(model.config, tasks=TASKS)
    return model


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(render(Scene((Thing("circle", "red", "large", 0.5, 0.5),))))


def share_right(model: LightFusion, samples: list[PromptSample]) -> float:
    pictures = [np.asarray(to_pil(model.generate(s.prompt, seed=k)[0])) for k, s in enumerate(samples)]
    return float(np.mean([judge_prompt(*pair) for pair in zip(samples, pictures, strict=True)]))


def test_it_draws_what_is_asked(nano: LightFusion) -> None:
    """A dozen of the sixty: every colour and every shape is among them."""
    assert share_right(nano, acceptance_prompts()[::5]) >= 0.8


@pytest.mark.slow
def test_it_draws_sixty_prompts(nano: LightFusion) -> None:
    """Six colours, five shapes, two wordings."""
    assert share_right(nano, acceptance_prompts()) >= 0.8


def test_a_picture_takes_seconds(nano: LightFusion) -> None:
    """After the start, on two cores."""
    nano.generate("a red circle")
    started = time.perf_counter()
    nano.generate("a blue star")
    assert time.perf_counter() - started < 5


def test_it_ships_small() -> None:
    """25 MB altogether, for git and for the registry."""
    assert sum(file.stat().st_size for file in NANO.iterdir()) <= 25e6


def test_it_says_what_it_was_not_trained_for(nano: LightFusion, picture: Image.Image) -> None:
    """An untrained answer must not look like a bad one."""
    missing = [task for task in ("edit", "answer") if task not in nano.config.tasks]
    calls = {"edit": lambda: nano.edit(picture, "make it blue"), "answer": lambda: nano.answer("what is this?")}
    for task in missing:
        with pytest.raises(CapabilityError, match=f"not trained to {task}"):
            calls[task]()


def test_image_guidance_needs_a_reference(nano: LightFusion) -> None:
    conditioning = nano.encode("a red circle")
    pictures = [nano.sample(conditioning, 128, 128, 1, FAST, Guidance(text=3.0, image=scale)) for scale in (1.0, 2.0)]
    assert torch.equal(*pictures)


@pytest.mark.parametrize("change", ["nothing", "prompt", "reference", "seed"])
def test_what_changes_the_picture(nano: LightFusion, picture: Image.Image, change: str) -> None:
    """The prompt, a reference and the seed do; none of them changed gives the same bits."""
    other = Image.fromarray(render(Scene((Thing("star", "blue", "large", 0.5, 0.5),))))

    def run(prompt: str, reference: Image.Image, seed: int) -> Tensor:
        return nano.sample(nano.encode(prompt, [reference]), 128, 128, seed, FAST, Guidance(3.0, 1.5))

    asked = ("a red circle", picture, 1)
    changed = {"prompt": ("a green heart", picture, 1), "reference": ("a red circle", other, 1)}
    changed |= {"seed": ("a red circle", picture, 2), "nothing": asked}
    same = torch.equal(run(*asked), run(*changed[change]))
    assert same == (change == "nothing")


def test_a_masked_edit_leaves_the_rest_untouched(unlimited: LightFusion) -> None:
    """Bit by bit, at a size that is not the model's."""
    pixels = np.random.default_rng(0).integers(0, 256, (150, 201, 3), dtype=np.uint8)
    mask = torch.zeros(150, 201)
    mask[40:90, 60:120] = 1
    edited = unlimited.edit(Image.fromarray(pixels), "a red circle", mask=mask, sampling=FAST)[0]
    before = torch.from_numpy(pixels).float() / 255
    assert torch.equal(edited[mask == 0], before[mask == 0])
    assert not torch.equal(edited[mask == 1], before[mask == 1])


def test_one_image_of_a_batch_equals_its_single_run(nano: LightFusion) -> None:
    together = nano.generate("a red circle", seed=5, batch=3, sampling=FAST)
    for k in range(3):
        alone = nano.generate("a red circle", seed=5 + k, sampling=FAST)[0]
        assert (together[k] - alone).abs().max() <= 1e-4
