"""The shipped nano model: what it draws, edits and answers, and the properties that every LightFusion has, on real
weights."""

from __future__ import annotations

import json
import time
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lightfusion_core import CapabilityError, Guidance, LightFusion, Sampling
from lightfusion_core.pipeline import NANO
from lightfusion_core.shapes.bench import Engine, run
from lightfusion_core.shapes.judge import judge_prompt
from lightfusion_core.shapes.prompts import acceptance_prompts
from lightfusion_core.shapes.samples import GENEVAL
from lightfusion_core.shapes.world import Scene, Thing, render
from tools.nano.tokens import normalizer

FAST = Sampling(steps=4)
QUICK = ("text_to_image", "editing", "questions")
MOST = (*QUICK, "composition", "manners", "talk")
"""Parts of the benchmark."""
LEAST = {
    "single_object": 0.9, "two_objects": 0.9, "counting": 0.9, "colors": 0.9, "position": 0.9,
    "color_attribution": 0.9, "edits_done": 0.7, "questions_exact": 0.9, "several_things": 0.85, "sizes": 0.65,
    "any_manner": 0.85, "rewriting": 0.85,
}  # fmt: skip


@pytest.fixture(scope="module")
def nano() -> LightFusion:
    return LightFusion.load("nano", device="cpu")


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(render(Scene((Thing("circle", "red", "large", 0.5, 0.5),))))


def scores(model: LightFusion, seed: int, count: int, parts: tuple[str, ...] = QUICK) -> dict[str, float | None]:
    """The benchmark's figures, `count` requests of every kind, in wordings that training never saw."""
    report = run(Engine(model), seed, count, lambda phase: None, lambda: None, parts)
    return {name: value for part in report.as_json().values() for name, value in part.items()}


def simple_prompts_right(model: LightFusion, every: int) -> float:
    """The share of the sixty prompts of one thing each, or of every so many-th, that were drawn right."""
    samples = acceptance_prompts()[::every]
    pictures = Engine(model).draw([sample.prompt for sample in samples], 0)
    return float(np.mean([judge_prompt(*pair) for pair in zip(samples, pictures, strict=True)]))


def test_it_draws_what_is_asked(nano: LightFusion) -> None:
    """A dozen of the sixty: every colour and every shape is among them."""
    assert simple_prompts_right(nano, 5) >= 0.9


def test_it_does_every_kind_of_request(nano: LightFusion) -> None:
    """A few requests of every kind."""
    found = scores(nano, 5, 2)
    change = found.pop("mean_change_outside")
    assert change is not None and change <= 0.03
    assert np.mean([value for value in found.values() if value is not None]) >= 0.8
    assert len(found) == len(GENEVAL) + 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", [6, 7])
def test_its_scores(nano: LightFusion, seed: int) -> None:
    """Its card's figures, less what chance takes away among so few."""
    found = scores(nano, seed, 30, MOST)
    assert {name: found[name] for name in LEAST if (found[name] or 0) < LEAST[name]} == {}
    assert (found["mean_change_outside"] or 1) <= 0.02


@pytest.mark.slow
def test_it_understands_a_conversation(nano: LightFusion) -> None:
    """Which kind of turn 200 sentences ask for, and questions that lean on an earlier turn, in wordings that training
    never had."""
    found = [scores(nano, seed, 100, ("talk",)) for seed in (1, 2)]
    kinds, follow_ups = (np.mean([one[name] for one in found]) for name in ("kind_of_turn", "follow_ups"))
    print(f"kinds {kinds:.3f}, follow-ups {follow_ups:.3f}")
    assert kinds >= 0.95 and follow_ups >= 0.85


@pytest.mark.slow
def test_it_draws_sixty_prompts(nano: LightFusion) -> None:
    """Six colours, five shapes, two wordings."""
    assert simple_prompts_right(nano, 1) >= 0.95


@pytest.mark.parametrize(
    ("written", "plain"),
    [("A Red Circle.", "a red circle"), ("3 BLUE STARS!", "three blue stars"), ("A grey Star", "a gray star")],
)
def test_case_stops_and_numerals_change_nothing(nano: LightFusion, written: str, plain: str) -> None:
    """The same picture, bit for bit."""
    assert torch.equal(*(nano.generate(prompt, seed=4, sampling=FAST) for prompt in (written, plain)))


def test_its_tokenizer_has_the_normaliser_that_training_gives(nano: LightFusion) -> None:
    shipped = json.loads((NANO / "tokenizer.json").read_text())
    assert shipped["normalizer"] == json.loads(normalizer().__getstate__())


def test_a_picture_takes_seconds(nano: LightFusion) -> None:
    """After the start, on two cores."""
    nano.generate("a red circle")
    started = time.perf_counter()
    nano.generate("a blue star")
    assert time.perf_counter() - started < 3


def test_it_ships_small() -> None:
    """25 MB altogether, for git and for the registry."""
    assert sum(file.stat().st_size for file in NANO.iterdir()) <= 25e6


@pytest.mark.parametrize("task", ["edit", "answer"])
def test_a_model_says_what_it_was_not_trained_for(nano: LightFusion, picture: Image.Image, task: str) -> None:
    """An untrained answer must not look like a bad one."""
    painter = copy(nano)
    painter.config = replace(nano.config, tasks=("generate",))
    calls = {"edit": lambda: painter.edit(picture, "make it blue"), "answer": lambda: painter.answer("what is this?")}
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


def test_a_masked_edit_leaves_the_rest_untouched(nano: LightFusion) -> None:
    """Bit by bit, at a size that is not the model's."""
    pixels = np.random.default_rng(0).integers(0, 256, (150, 201, 3), dtype=np.uint8)
    mask = torch.zeros(150, 201)
    mask[40:90, 60:120] = 1
    edited = nano.edit(Image.fromarray(pixels), "a red circle", mask=mask, sampling=FAST)[0]
    before = torch.from_numpy(pixels).float() / 255
    assert torch.equal(edited[mask == 0], before[mask == 0])
    assert not torch.equal(edited[mask == 1], before[mask == 1])


def test_one_image_of_a_batch_equals_its_single_run(nano: LightFusion) -> None:
    together = nano.generate("a red circle", seed=5, batch=3, sampling=FAST)
    for k in range(3):
        alone = nano.generate("a red circle", seed=5 + k, sampling=FAST)[0]
        assert (together[k] - alone).abs().max() <= 1e-4
