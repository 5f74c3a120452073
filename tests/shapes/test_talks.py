"""Samples of conversations: what is said fits the pictures, and the judge of rewritten prompts."""

from __future__ import annotations

import random

import pytest

from lightfusion_core.conversation import KINDS as CONVERSATION
from lightfusion_core.shapes.follow_ups import sample_follow_up
from lightfusion_core.shapes.prompts import CATEGORIES, sample_prompt
from lightfusion_core.shapes.rewriting import description, judge_rewriting
from lightfusion_core.shapes.talk_wordings import (
    AND_THAT,
    ASK_TO_ANSWER,
    ASK_TO_DRAW,
    ASK_TO_EDIT,
    ELLIPTIC_EDIT,
    FOLLOW,
    GREETING,
    OTHERWORLDLY,
    STRANGE,
    THANKS,
)
from lightfusion_core.shapes.talks import DRAW, EDIT, KINDS, TalkSample, sample_talk, sample_turn
from lightfusion_core.shapes.wordings import NUMBERS, Wording

WORDINGS = (
    AND_THAT, ASK_TO_ANSWER, ASK_TO_DRAW, ASK_TO_EDIT, ELLIPTIC_EDIT, GREETING, OTHERWORLDLY, STRANGE, THANKS,
    *FOLLOW.values(),
)  # fmt: skip


@pytest.mark.parametrize("wording", WORDINGS, ids=lambda wording: wording.held[0])
def test_no_way_to_talk_of_training_is_held_out(wording: Wording) -> None:
    assert wording.held and not {held for held in wording.held if held != "{q}"} & set(wording.train)


def test_kinds_are_the_conversations() -> None:
    assert KINDS == CONVERSATION


def pictures_of(sample: TalkSample) -> list:
    return [*(scene for said in sample.history for scene in said.scenes), *sample.given]


def test_turns_take_turns() -> None:
    """The user asks and brings pictures; the other side draws one or says something."""
    rng = random.Random(0)
    for turns in range(5):
        talk = sample_talk(rng, turns)
        assert [said.by_user for said in talk.history] == [True, False] * turns
        assert all(len(said.scenes) == 1 - bool(said.text) for said in talk.history[1::2])
        assert [scene for said in talk.history for scene in said.scenes] == talk.scenes


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_picture_can_be_edited(kind: str) -> None:
    rng = random.Random(1)
    found = [sample_turn(rng, kind, held_out) for held_out in (False, True) for _ in range(150)]
    for sample in found:
        assert sample.answer == sample.kind
        assert sample.kind == kind or (kind == EDIT and sample.kind == DRAW and not pictures_of(sample))
        assert sample.kind != EDIT or pictures_of(sample)
    assert len({sample.sentence for sample in found}) > 280


def test_follow_ups_are_of_what_is_seen() -> None:
    """What a question means stands in the last picture, and an answer of one word is true of it."""
    rng = random.Random(2)
    found = [sample_follow_up(rng, held_out) for held_out in (False, True) for _ in range(500)]
    assert len({sample.kind for sample in found}) == len(FOLLOW) + 1
    for sample in found:
        last = pictures_of(sample)[-1]
        assert all(thing in last.things for thing in sample.about)
        if sample.kind in ("color", "color_now", "shape") or (sample.kind == "beside"):
            (thing,) = sample.about
            right = {"shape": thing.shape}.get(sample.kind, thing.color)
            assert (sample.answer == right) == (sample.kind != "beside")
        if sample.kind in ("count", "count_now"):
            assert sample.answer == NUMBERS[len(last.things)]


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_description_keeps_all_and_fills_what_is_open(category: str) -> None:
    rng = random.Random(3)
    for held_out in (False, True):
        for _ in range(60):
            sample = sample_prompt(rng, category, held_out)
            assert judge_rewriting(sample, description(sample)) == (True, True)


def test_what_a_rewriting_drops_or_changes_is_seen() -> None:
    rng = random.Random(4)
    for category in ("two_objects", "counting", "position", "color_attribution", "several_things", "three_related"):
        for _ in range(40):
            sample = sample_prompt(rng, category, background=True)
            text = description(sample)
            last = sample.wanted[-1]
            number = {"one": "three"}.get(NUMBERS[last.count], "a")
            spoiled = [
                text.replace(last.shape, "moon"), text.split(" on ")[0] + " on nothing", text + " and a red circle",
                text.replace(f" {last.shape}", f" {last.shape} and {number} {last.shape}"),
            ]  # fmt: skip
            if sample.relations:
                spoiled.append(text.replace(sample.relations[0].name, "beside"))
            for other in spoiled:
                assert judge_rewriting(sample, other)[0] is False, other
    sample = sample_prompt(rng, "two_objects", background=False)
    assert judge_rewriting(sample, sample.prompt) == (True, False)
