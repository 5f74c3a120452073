"""Held-out wordings stay unseen in training, and every place has its ways to be said."""

from __future__ import annotations

import random

import pytest

from lightfusion_core.shapes.edit_wordings import (
    ADD,
    ADD_BESIDE,
    MOVE,
    RECOLOR,
    REFERENCE,
    REMOVE,
    REPLACE,
    SET_BACKGROUND,
)
from lightfusion_core.shapes.prompt_wordings import FRAME, PLACE
from lightfusion_core.shapes.prompts import CATEGORIES, EDITS, QUESTIONS, sample_edit, sample_prompt, sample_question
from lightfusion_core.shapes.question_wordings import ASK
from lightfusion_core.shapes.wordings import PLACES, RELATION, Wording

SENTENCES = (
    FRAME, RECOLOR, REPLACE, ADD, ADD_BESIDE, REMOVE, MOVE, SET_BACKGROUND, *REFERENCE.values(), *ASK.values()
)  # fmt: skip


def said(held_out: bool) -> str:
    """Some hundreds of requests of every kind, one a line."""
    rng = random.Random(0)
    texts = [sample_prompt(rng, category, held_out).prompt for category in CATEGORIES for _ in range(300)]
    texts += [sample_edit(rng, kind, held_out).instruction for kind in EDITS for _ in range(300)]
    texts += [sample_question(rng, kind, held_out).question for kind in QUESTIONS for _ in range(300)]
    return "\n".join(texts).lower()


@pytest.mark.slow
def test_training_never_says_what_is_held_out() -> None:
    """Nor as a part of something longer."""
    training, evaluation = said(False), said(True)
    wordings = (*RELATION.values(), *PLACE.values())
    unseen = {held for wording in wordings for held in wording.held if held not in wording.train}
    assert len(unseen) == 7
    assert {phrase for phrase in unseen if phrase in training} == set()
    assert {phrase for phrase in unseen if phrase not in evaluation} == set()


@pytest.mark.parametrize("wording", SENTENCES, ids=lambda wording: wording.held[0])
def test_no_sentence_of_training_is_held_out(wording: Wording) -> None:
    assert wording.held and not set(wording.held) & set(wording.train)


def test_every_place_has_its_ways_to_be_said() -> None:
    assert set(PLACE) == set(PLACES)
