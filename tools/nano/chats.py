"""Chats as rows of a batch, laid out as the engine lays them out (`understanding.chat`), and what is learned from them:
which kind of turn a sentence asks for, questions that need an earlier turn, and prompts rewritten."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from lightfusion_core.conversation import KIND_REQUEST
from lightfusion_core.shapes.follow_ups import follow_up_in
from lightfusion_core.shapes.prompts import (
    CATEGORIES,
    COMPOSITION,
    EDITS,
    REFERENCES,
    sample_edit,
    sample_prompt,
    sample_reference,
)
from lightfusion_core.shapes.rewriting import description, edit_description
from lightfusion_core.shapes.talks import KINDS, Said, Talk, sample_talk, strange_in, turn_in
from lightfusion_core.shapes.world import Scene, Thing
from lightfusion_core.understanding.answer import REWRITE_REFERENCES, REWRITE_REQUEST
from lightfusion_core.understanding.chat import CHAT_SYSTEM
from lightfusion_core.understanding.tokenizer import Tokenizer

from .model import nano_config
from .states import Row
from .words import asked_again, loosen, mumbled

LONGEST = 320
"""Tokens of a context; behind it there is room for a sentence within what the engine reads of a chat."""
FORGOTTEN = 0.1
"""How many chats are read without their first pictures, as the engine reads long ones."""
KIND = 6.0
"""What the first token of a turn's kind weighs against one of an answer: it alone decides the turn."""
PROMPTS = 5
"""Prompts that are rewritten in one row, behind one request."""
TURNS = (0, 0, 1, 1, 2, 2, 3, 4)
"""Of the chats that are learned from, chosen by chance."""
_HARDER = [2 if name in (*COMPOSITION, "free") else 1 for name in CATEGORIES]
"""How often prompts of each category are rewritten: those of several things have more to keep."""


class Chats:
    """Rows of chats.

    Args:
        tokenizer: nano's.
        vit_grid: rows and columns of a picture's tokens.
    """

    def __init__(self, tokenizer: Tokenizer, vit_grid: tuple[int, int]) -> None:
        self.tokenizer, self.vit_grid = tokenizer, vit_grid
        special = nano_config().special_tokens
        self.answering, self.asking = (
            tokenizer.encode(f"{special.eos}\n{special.bos}{role}\n") for role in ("assistant", "user")
        )
        self.opening = tokenizer.encode(f"{special.bos}system\n{CHAT_SYSTEM}{special.eos}\n{special.bos}user\n")

    def row(self) -> Row:
        return Row((self.tokenizer.sov, self.tokenizer.eov)).text(self.opening)

    def context(self, history: Sequence[Said], given: Sequence[Scene] = ()) -> Row:
        """What was said, up to the text of the user's next message, whose pictures are `given`. Answers in it are
        foreseen too."""
        row = self.row()
        for said in history:
            for _ in said.scenes:
                row.vit(*self.vit_grid, causal=True)
            ids = self.tokenizer.encode(said.text)
            if said.by_user:
                row.text([*ids, *self.answering])
            elif ids:
                row.text([*ids, self.tokenizer.eos], 0, 0).text(self.asking[1:])
            else:
                row.text(self.asking)
        for _ in given:
            row.vit(*self.vit_grid, causal=True)
        return row

    def ask(self, row: Row, question: str, answer: str, leaf: int, weight: float = 1.0) -> int:
        """Append a question and its answer, as a leaf of its own; the place of the question's last token."""
        asked = [*self.tokenizer.encode(question, literal=True), *self.answering]
        end = len(row.ids) + len(asked) - 1
        row.text([*asked, *self.tokenizer.encode(answer), self.tokenizer.eos], leaf, len(asked), weight)
        return end

    def ask_kind(self, row: Row, sentence: str, kind: str, leaf: int) -> None:
        end = self.ask(row, sentence + KIND_REQUEST, kind, leaf)
        row.weight[end + 1] = KIND

    def talk(self, rng: random.Random, turns: int) -> tuple[Row, list[Scene], list[tuple[int, tuple[Thing, ...]]]]:
        """A chat of so many turns: its row, its pictures, and where a question ends with the things that it means."""
        while True:
            talk = sample_talk(rng, turns)
            follow_up = follow_up_in(rng, talk)  # gives the chat a turn more now and then
            talk = _shortened(talk, rng.randint(1, 2)) if rng.random() < FORGOTTEN else talk
            first = turn_in(rng, talk, rng.choice(KINDS))
            row = self.context(talk.history, first.given)
            while len(row.ids) > LONGEST and talk.scenes:
                talk = _shortened(talk, 1)
                row = self.context(talk.history, first.given)
            if len(row.ids) <= LONGEST:
                break
        samples = [first]
        if not first.given:
            samples += [one for one in (turn_in(rng, talk, rng.choice(KINDS)) for _ in range(2)) if not one.given]
        for leaf, sample in enumerate(samples, start=1):
            self.ask_kind(row, mumbled(rng, sample.kind, sample.sentence), sample.kind, leaf)
        ends = []
        if follow_up is not None and not first.given and talk.scenes:
            end = self.ask(row, asked_again(rng, follow_up.sentence), follow_up.answer, 8)
            ends = [(end, follow_up.about)] if follow_up.about else []
        if rng.random() < 0.15 and not first.given:
            strange = strange_in(rng, talk)
            self.ask(row, strange.sentence, strange.answer, 9, 0.5)
        return row, [*talk.scenes, *first.given], ends

    def rewriting(self, rng: random.Random) -> tuple[Row, list[Scene]]:
        """Prompts to rewrite in one row; or an instruction with its pictures."""
        if rng.random() < 0.75:
            row = self.row().text(self.tokenizer.encode(REWRITE_REQUEST))
            for leaf in range(1, PROMPTS + 1):
                prompt = sample_prompt(rng, rng.choices(CATEGORIES, _HARDER)[0])
                self.ask(row, f"\n{loosen(rng, prompt.prompt)}", description(prompt), leaf)
            return row, []
        if rng.random() < 0.7:
            edit = sample_edit(rng, rng.choice(EDITS))
            scenes, text, said = [edit.source], edit.instruction, edit_description(edit)
        else:
            composed = sample_reference(rng, rng.choice(REFERENCES))
            scenes, text, said = list(composed.references), composed.instruction, edit_description(composed)
        row = self.context((), scenes)
        self.ask(row, f"{REWRITE_REQUEST}{REWRITE_REFERENCES}\n{loosen(rng, text)}", said, 1)
        return row, scenes


def _shortened(talk: Talk, pictures: int) -> Talk:
    """A chat without its first pictures, so many of them."""
    left, history = pictures, []
    for said in talk.history:
        dropped = min(left, len(said.scenes))
        left -= dropped
        history.append(replace(said, scenes=said.scenes[dropped:]))
    return Talk(history, talk.scenes[pictures:], talk.edit)
