"""The benchmark: full marks for drawings of the truth, none for wrong ones, and a JSON form that others read."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from lightfusion_core.shapes import PARTS, bench_painting, bench_talk
from lightfusion_core.shapes.bench import (
    Picture,
    Report,
    chains_of,
    edits_of,
    examined,
    manners_of,
    prompts_of,
    questions_of,
    run,
)
from lightfusion_core.shapes.bench_painting import Painting, beyond_of, larger_of, masked_of
from lightfusion_core.shapes.bench_talk import follow_ups_of, rewritings_of, turns_of
from lightfusion_core.shapes.rewriting import description
from lightfusion_core.shapes.samples import COMPOSITION, GENEVAL
from lightfusion_core.shapes.talks import KINDS, TalkSample
from lightfusion_core.shapes.world import COLORS, Scene, render

COUNT = 14


def key(picture: Picture) -> int:
    return zlib.crc32(picture.tobytes())


def _rough(picture: Picture) -> Picture:
    """The picture with pieces bitten out of every rim: each pixel is what one at most two pixels away was."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices(picture.shape[:2])
    away = rng.integers(-2, 3, (2, *picture.shape[:2]))
    rows, columns = (np.clip(at + off, 0, 127) for at, off in zip((rows, columns), away, strict=True))
    return picture[rows, columns]


class Knowing:
    """Looks up the right answer to every request of one seed; `wrong` spoils what it gives."""

    tasks: Sequence[str] = ("generate", "edit", "answer", "converse")

    def __init__(self, seed: int, wrong: bool = False) -> None:
        self.wrong = wrong
        samples = [s for name in (*GENEVAL, *COMPOSITION) for s in prompts_of(name, seed, COUNT)]
        self.prompts = {s.prompt: s.scene for s in (*samples, *manners_of(seed, COUNT), *larger_of(seed, COUNT))}
        links = [edit for chain in chains_of(seed, COUNT) for edit in chain.edits]
        self.edits = {(key(render(s.source)), s.instruction): s.target for s in (*edits_of(seed, COUNT), *links)}
        self.answers = {s.question: s.answer for s in questions_of(seed, COUNT)}
        self.painted = {(key(render(s.source)), s.instruction): s.target for s in masked_of(seed, COUNT)}
        self.painted |= {(key(render(s.source)), s.instruction): s.target for s in beyond_of(seed, COUNT)}
        self.talks = {repr(s): s.answer for s in (*turns_of(seed, COUNT), *follow_ups_of(seed, COUNT))}
        self.rewritten = {s.prompt: description(s) for s in rewritings_of(seed, COUNT)}
        self.seeds: list[int] = []

    def draw(self, prompts: Sequence[str], seed: int, side: int | None = None) -> Iterable[Picture]:
        self.seeds.append(seed)
        return [render(self.spoiled(self.prompts[prompt]), side or 128) for prompt in prompts]

    def paint(self, asked: Sequence[Painting], seed: int) -> Iterable[Picture]:
        for one in asked:
            scene = self.painted[key(one.picture), one.instruction]
            painted = render(scene, (128 + one.beyond[2], 128))
            if self.wrong:
                painted = one.picture if one.mask is not None else render(self.spoiled(scene), (192, 128))
            elif one.mask is not None:
                painted = np.where(one.mask[:, :, None], painted, one.picture)
            yield painted

    def edit(self, asked: Sequence[tuple[Picture, str]], seed: int) -> Iterable[Picture]:
        return [picture if self.wrong else render(self.edits[key(picture), text]) for picture, text in asked]

    def answer(self, asked: Sequence[tuple[Picture, str]]) -> Iterable[str]:
        return ["I do not know" if self.wrong else self.answers[question] for _, question in asked]

    def kinds(self, asked: Sequence[TalkSample]) -> Iterable[str]:
        return [next(kind for kind in KINDS if (kind == self.talks[repr(one)]) != self.wrong) for one in asked]

    def reply(self, asked: Sequence[TalkSample]) -> Iterable[str]:
        return ["I do not know" if self.wrong else self.talks[repr(one)] for one in asked]

    def rewrite(self, prompts: Sequence[str]) -> Iterable[str]:
        return [prompt if self.wrong else self.rewritten[prompt] for prompt in prompts]

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


def examine(artist: Knowing, seed: int, parts: Sequence[str] = PARTS) -> Report:
    return run(artist, seed, COUNT, lambda phase: None, lambda: None, parts)


def test_truth_gets_full_marks() -> None:
    scores = examine(Knowing(3), 3).as_json()
    assert set(scores["text_to_image"]) == set(GENEVAL)
    assert set(scores["composition"]) == set(COMPOSITION)
    assert {*scores["text_to_image"].values(), *scores["composition"].values()} == {1.0}
    assert scores["manners"] == {"any_manner": 1.0}
    assert scores["editing"]["edits_done"] == scores["chains"]["five_edits_done"] == 1.0
    assert scores["questions"] == {"questions_exact": 1.0}
    assert scores["talk"] == dict.fromkeys(bench_talk.CATEGORIES, 1.0)
    assert scores["painting"] == dict.fromkeys(bench_painting.CATEGORIES, 1.0)


def test_the_change_outside_of_an_edit_is_measured() -> None:
    """Drawn truth changes nothing outside; a veil over the whole picture does."""

    class Veiled(Knowing):
        def edit(self, asked: Sequence[tuple[Picture, str]], seed: int) -> Iterable[Picture]:
            drawn = np.stack(list(super().edit(asked, seed))).astype(float)
            return list((drawn * 0.9).astype(np.uint8))

    clear, veiled = (
        examine(artist, 3, ("editing",)).as_json()["editing"]["mean_change_outside"]
        for artist in (Knowing(3), Veiled(3))
    )
    assert clear is not None and clear < 0.002
    assert veiled is not None and 0.05 < veiled < 0.1


def test_wrong_pictures_and_answers_get_nothing() -> None:
    scores = examine(Knowing(3, wrong=True), 3).as_json()
    assert {*scores["text_to_image"].values(), *scores["composition"].values()} == {0.0}
    assert scores["manners"] == {"any_manner": 0.0}
    assert scores["editing"]["edits_done"] == scores["chains"]["five_edits_done"] == 0.0
    assert set(scores["outlines"].values()) == {None}
    assert scores["questions"] == {"questions_exact": 0.0}
    assert scores["painting"] == dict.fromkeys(bench_painting.CATEGORIES, 0.0)
    # some prompts leave nothing open: handed back as they are, they are rewritten well
    assert scores["talk"]["kind_of_turn"] == scores["talk"]["follow_ups"] == 0.0 and scores["talk"]["rewriting"] < 0.2


def test_outlines_are_measured() -> None:
    """Drawn truth has none of the error that a soft, rough rim gives, which the judge forgives."""

    class Rough(Knowing):
        def __init__(self, seed: int) -> None:
            super().__init__(seed)
            self.clean: dict[int, Picture] = {}

        def draw(self, prompts: Sequence[str], seed: int, side: int | None = None) -> Iterable[Picture]:
            return [_rough(picture) for picture in super().draw(prompts, seed, side)]

        def edit(self, asked: Sequence[tuple[Picture, str]], seed: int) -> Iterable[Picture]:
            given = [(self.clean.get(key(picture), picture), text) for picture, text in asked]
            results = {key(_rough(one)): one for one in super().edit(given, seed)}
            self.clean |= results
            return [_rough(one) for one in results.values()]

    clean, rough = (examine(artist, 3, ("manners", "chains")).as_json() for artist in (Knowing(3), Rough(3)))
    assert rough["chains"]["five_edits_done"] == 1.0 and rough["manners"]["any_manner"] == 1.0
    for part, name in (("outlines", "outline_error"), ("outlines", "circle_error"), ("chains", "outline_error_after")):
        assert clean[part][name] < 0.005 < 0.03 < rough[part][name]


def test_what_a_mask_protects_must_stay() -> None:
    """To the last bit: one level elsewhere and the edit is not done at the mask."""

    class Leaking(Knowing):
        def paint(self, asked: Sequence[Painting], seed: int) -> Iterable[Picture]:
            for picture in super().paint(asked, seed):
                picture[0, 0, 0] ^= 1
                yield picture

    assert examine(Leaking(3), 3, ("painting",)).as_json()["painting"]["at_a_mask"] == 0.0


def test_parts_alone() -> None:
    artist = Knowing(3)
    report = examine(artist, 3, ("questions", "manners"))
    assert list(report.results) == examined(artist.tasks, ("questions", "manners")) == ["questions_exact", "any_manner"]
    assert set(report.as_json()) == {"manners", "questions", "outlines"}


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
    examine(artist, 3, ("manners",))
    assert set(artist.seeds) == {30_000}
