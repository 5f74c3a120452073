"""The benchmark: full marks for drawings of the truth, none for wrong ones, and a JSON form that others read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from lightfusion_core.shapes.bench import Picture, Report, edits_of, prompts_of, questions_of, run
from lightfusion_core.shapes.samples import GENEVAL
from lightfusion_core.shapes.world import COLORS, Scene, render

COUNT = 14


class Knowing:
    """Looks up the right answer to every request of one seed; `wrong` spoils what it gives."""

    tasks: Sequence[str] = ("generate", "edit", "answer")

    def __init__(self, seed: int, wrong: bool = False) -> None:
        self.wrong = wrong
        self.prompts = {s.prompt: s.scene for name in GENEVAL for s in prompts_of(name, seed, COUNT)}
        self.edits = {s.instruction: s.target for s in edits_of(seed, COUNT)}
        self.answers = {s.question: s.answer for s in questions_of(seed, COUNT)}
        self.seeds: list[int] = []

    def draw(self, prompts: Sequence[str], seed: int) -> Iterable[Picture]:
        self.seeds.append(seed)
        return [render(self.spoiled(self.prompts[prompt])) for prompt in prompts]

    def edit(self, asked: Sequence[tuple[Picture, str]], seed: int) -> Iterable[Picture]:
        return [picture if self.wrong else render(self.edits[text]) for picture, text in asked]

    def answer(self, asked: Sequence[tuple[Picture, str]]) -> Iterable[str]:
        return ["I do not know" if self.wrong else self.answers[question] for _, question in asked]

    def spoiled(self, scene: Scene) -> Scene:
        """The scene without its first thing, or, where it has but one, with a second beside it."""
        if not self.wrong:
            return scene
        if len(scene.things) > 1:
            return replace(scene, things=scene.things[1:])
        (thing,) = scene.things
        small = replace(thing, size="small", x=0.2, y=0.2)
        other = replace(small, x=0.8, y=0.8, color=next(name for name in COLORS if name != thing.color))
        return replace(scene, things=(small, other))


def examine(artist: Knowing, seed: int) -> Report:
    return run(artist, seed, COUNT, lambda phase: None, lambda: None)


def test_truth_gets_full_marks() -> None:
    scores = examine(Knowing(3), 3).as_json()
    assert set(scores["text_to_image"]) == set(GENEVAL)
    assert set(scores["text_to_image"].values()) == {1.0}
    assert scores["editing"]["edits_done"] == 1.0
    assert scores["questions"] == {"questions_exact": 1.0}


def test_the_change_outside_of_an_edit_is_measured() -> None:
    """Drawn truth changes nothing outside; a veil over the whole picture does."""

    class Veiled(Knowing):
        def edit(self, asked: Sequence[tuple[Picture, str]], seed: int) -> Iterable[Picture]:
            drawn = np.stack(list(super().edit(asked, seed))).astype(float)
            return list((drawn * 0.9).astype(np.uint8))

    clear, veiled = (
        examine(artist, 3).as_json()["editing"]["mean_change_outside"] for artist in (Knowing(3), Veiled(3))
    )
    assert clear is not None and clear < 0.002
    assert veiled is not None and 0.05 < veiled < 0.1


def test_wrong_pictures_and_answers_get_nothing() -> None:
    scores = examine(Knowing(3, wrong=True), 3).as_json()
    assert set(scores["text_to_image"].values()) == {0.0}
    assert scores["editing"]["edits_done"] == 0.0
    assert scores["questions"] == {"questions_exact": 0.0}


@pytest.mark.parametrize("what", [lambda seed: prompts_of("position", seed, 20), lambda seed: edits_of(seed, 20)])
def test_a_seed_is_a_set_of_requests(what) -> None:
    assert what(1) == what(1)
    assert not set(map(repr, what(1))) & set(map(repr, what(2)))


def test_a_model_of_fewer_tasks_is_not_scored_for_the_others() -> None:
    artist = Knowing(3)
    artist.tasks = ("answer",)
    scores = examine(artist, 3).as_json()
    assert scores["questions"] == {"questions_exact": 1.0}
    assert set(scores["text_to_image"].values()) == set(scores["editing"].values()) == {None}


def test_other_seeds_draw_from_other_noise() -> None:
    artist = Knowing(3)
    examine(artist, 3)
    assert set(artist.seeds) == {30_000}
