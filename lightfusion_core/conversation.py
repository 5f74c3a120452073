"""A conversation with one model: turns that draw, edit and answer, each on what came before it.

    talk = Conversation(LightFusion.load("nano"))
    talk.draw("a red circle left of a blue star")
    talk.edit("make the circle green")
    print(talk.answer("what is left of the star?").answer)

Turns form a tree: `undo` goes back without losing anything, and what is said then begins a branch. A turn is there when
it is done and not before, so that one that fails or is cancelled leaves all others as they were.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import images
from .errors import CapabilityError, InputError
from .understanding.chat import ASSISTANT, USER, Message

if TYPE_CHECKING:
    from PIL.Image import Image

    from .pipeline import LightFusion, Picture
    from .sampling.guidance import Guidance
    from .sampling.loop import Sampling
    from .sampling.solvers import OnStep
    from .understanding.answer import Decoding

__all__ = ["ANSWER", "DRAW", "EDIT", "KINDS", "Conversation", "Settings", "Turn"]

DRAW, EDIT, ANSWER = "draw", "edit", "answer"
KINDS = (DRAW, EDIT, ANSWER)
"""What a turn may do, by the words that the model is asked to choose of."""

KIND_REQUEST = "\n\nDoes this ask to draw a new picture, to edit a picture, or for an answer? Say draw, edit or answer."
"""What goes behind a sentence whose kind is looked for."""

OnText = Callable[[str], None]
"""Told each piece of an answer as it is written; an exception from it ends the turn."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How turns are done, where a turn says nothing else; None leaves it to the model.

    width, height: of what is drawn, in pixels. keep: see `LightFusion.edit`.
    """

    sampling: Sampling | None = None
    guidance: Guidance | None = None
    width: int | None = None
    height: int | None = None
    keep: bool = True
    decoding: Decoding | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Turn:
    """One thing that was said, and what came of it.

    number: from 1, in the order in which turns were made; parent: the turn before it, 0 at the beginning.
    given: pictures that came with the text. picture: what was drawn, RGB; answer: what was written.
    settings: what it was done with, such as the seed, as JSON has it; of an edit `source`, the number of the turn whose
        picture was edited (0: the first given one), and `references`, those of further pictures.
    kinds: how likely each kind was taken to be, 0 to 1; None where the kind was said.
    """

    number: int
    parent: int
    kind: str
    text: str
    given: tuple[Image, ...] = ()
    picture: Image | None = None
    answer: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    kinds: Mapping[str, float] | None = None


class Conversation:
    """Turns with one model, and the place in them where the next one begins.

    Args:
        model: who draws, edits and answers.
        settings: how, where a turn says nothing else.
        seed: of turns that name none.
    """

    def __init__(self, model: LightFusion, settings: Settings | None = None, seed: int = 0) -> None:
        self.model, self.settings, self.seed = model, settings or Settings(), seed
        self._turns: list[Turn] = []
        self._head = 0

    @property
    def turns(self) -> tuple[Turn, ...]:
        """All turns that were ever made, undone ones too."""
        return tuple(self._turns)

    @property
    def head(self) -> int:
        """The number of the turn that the next one goes on from; 0 at the beginning."""
        return self._head

    @property
    def path(self) -> tuple[Turn, ...]:
        """The turns from the beginning to where the conversation stands."""
        found: list[Turn] = []
        number = self._head
        while number:
            found.append(self._turns[number - 1])
            number = found[-1].parent
        return tuple(reversed(found))

    @property
    def picture(self) -> Image | None:
        """The last picture on the path: drawn, edited or given; None where there is none."""
        return next((shown[-1] for turn in reversed(self.path) if (shown := _shown(turn))), None)

    def say(
        self,
        text: str,
        given: Sequence[Image] = (),
        *,
        kind: str | None = None,
        source: int | None = None,
        references: Sequence[int] = (),
        seed: int | None = None,
        settings: Settings | None = None,
        on_step: OnStep | None = None,
        on_text: OnText | None = None,
    ) -> Turn:
        """Make the next turn.

        Args:
            text: what to draw, to change or to tell.
            given: pictures that come with it. An edit changes the first, the others are its references.
            kind: "draw", "edit" or "answer"; the model finds it where it is None.
            source: the number of the turn whose picture is edited; without one and without given pictures the last
                picture is.
            references: numbers of turns whose pictures an edit speaks of too.
            seed, settings: of this turn; the conversation's own where they are None.
            on_step, on_text: told each step of a drawing, each piece of an answer; what they raise ends the turn.

        Raises:
            InputError: an unknown kind, a turn that is not there or has no picture, or nothing to edit.
            CapabilityError: the model was not trained for it.
        """
        given = tuple(images.to_rgb(picture) for picture in given)
        kinds = None
        if kind is None:
            kinds = self.kinds_of(text, given)
            kind = max(kinds, key=lambda one: kinds[one])
        _check_kind(kind)
        if kind != EDIT and (source is not None or references):
            raise InputError(f"Only an edit has a source and references; this is to {kind}.")
        seed = self.seed if seed is None else seed
        turn = Turn(len(self._turns) + 1, self._head, kind, text, given, kinds=kinds)
        return self._append(
            self._done(turn, source, tuple(references), seed, settings or self.settings, on_step, on_text)
        )

    def add(
        self,
        kind: str,
        text: str,
        given: Sequence[Image] = (),
        *,
        picture: Image | None = None,
        answer: str | None = None,
    ) -> Turn:
        """Add a turn that was made elsewhere: what was said, and the picture or the answer that came of it.

        Raises:
            InputError: an unknown kind.
        """
        _check_kind(kind)
        return self._append(Turn(len(self._turns) + 1, self._head, kind, text, tuple(given), picture, answer))

    def draw(self, text: str, **options: Any) -> Turn:
        """`say`, to draw."""
        return self.say(text, kind=DRAW, **options)

    def edit(self, text: str, given: Sequence[Image] = (), **options: Any) -> Turn:
        """`say`, to edit."""
        return self.say(text, given, kind=EDIT, **options)

    def answer(self, text: str, given: Sequence[Image] = (), **options: Any) -> Turn:
        """`say`, to answer."""
        return self.say(text, given, kind=ANSWER, **options)

    def kinds_of(self, text: str, given: Sequence[Image] = ()) -> dict[str, float]:
        """How likely a sentence asks for each kind of turn that can be had here, together 1: by how likely the model
        goes on with each of their names.

        Raises:
            CapabilityError: the model was not trained to tell.
        """
        if "converse" not in self.model.config.tasks:
            raise CapabilityError(
                f"The model {self.model.config.name} was not trained to tell what a sentence asks for: say whether to "
                "draw, to edit or to answer."
            )
        tasks = {DRAW: "generate", EDIT: "edit", ANSWER: "answer"}
        can = [kind for kind in KINDS if tasks[kind] in self.model.config.tasks]
        if not given and self.picture is None:  # there is nothing to edit
            can = [kind for kind in can if kind != EDIT]
        asked: Message[Picture] = Message(USER, text + KIND_REQUEST, tuple(given))
        found = self.model.likelihoods([*self._history(), asked], can)
        shares = [math.exp(one - max(found)) for one in found]
        return {kind: share / sum(shares) for kind, share in zip(can, shares, strict=True)}

    def undo(self) -> Turn | None:
        """Go back to before the last turn, which is kept; the turn that was undone, None at the beginning."""
        if not self._head:
            return None
        undone = self._turns[self._head - 1]
        self._head = undone.parent
        return undone

    def go_to(self, number: int) -> None:
        """Go on from any turn, or from the beginning with 0. Raises InputError for one that is not there."""
        if number:
            self._turn(number)
        self._head = number

    def redo(self, seed: int | None = None, **options: Any) -> Turn:
        """Make the last turn again beside itself, with another seed: the next one unless it is named.

        Raises:
            InputError: there is no turn yet.
        """
        if not self._head:
            raise InputError("There is no turn to make again: say something first.")
        last = self._turns[self._head - 1]
        chosen = {"source": last.settings.get("source") or None, "references": last.settings.get("references", ())}
        if last.kind == EDIT:
            options = {**chosen, **options}
        self._head = last.parent
        try:
            wanted = last.settings.get("seed", self.seed) + 1 if seed is None else seed
            return self.say(last.text, last.given, kind=last.kind, seed=wanted, **options)
        except BaseException:
            self._head = last.number
            raise

    def save(self, folder: str | Path) -> Path:
        """Write all turns into a folder; see `conversation_files.save`."""
        from .conversation_files import save

        return save(self, folder)

    @classmethod
    def load(cls, folder: str | Path, model: LightFusion, *, other_model: bool = False) -> Conversation:
        """A conversation out of a folder; see `conversation_files.load`."""
        from .conversation_files import load

        return load(folder, model, other_model=other_model)

    def _done(
        self,
        turn: Turn,
        source: int | None,
        references: tuple[int, ...],
        seed: int,
        settings: Settings,
        on_step: OnStep | None,
        on_text: OnText | None,
    ) -> Turn:
        if turn.kind == ANSWER:
            return self._answered(turn, seed, settings, on_text)
        how: dict[str, Any] = {
            "seed": seed, "width": settings.width, "height": settings.height, "sampling": settings.sampling,
            "guidance": settings.guidance, "on_step": on_step,
        }  # fmt: skip
        said: dict[str, Any] = {"seed": seed, "width": settings.width, "height": settings.height}
        said |= {name: None if (one := how[name]) is None else asdict(one) for name in ("sampling", "guidance")}
        if turn.kind == DRAW:
            drawn = self.model.generate(turn.text, **how)
        else:
            pictures, number = self._edited(turn, source, references)
            drawn = self.model.edit(pictures[0], turn.text, references=pictures[1:], keep=settings.keep, **how)
            said |= {"source": number, "references": list(references), "keep": settings.keep}
        return replace(turn, picture=images.to_pil(drawn[0]), settings=said)

    def _answered(self, turn: Turn, seed: int, settings: Settings, on_text: OnText | None) -> Turn:
        from .understanding.answer import Decoding

        decoding = replace(settings.decoding or Decoding(), seed=seed)
        given = turn.given
        history = self._history()
        if not history and not given and self.picture is not None:  # all that is known of what was said before
            given = (self.picture,)
        pieces = []
        question: Message[Picture] = Message(USER, turn.text, given)
        for piece in self.model.chat([*history, question], decoding=decoding):
            pieces.append(piece)
            if on_text is not None:
                on_text(piece)
        return replace(turn, answer="".join(pieces).strip(), settings=asdict(decoding))

    def _edited(self, turn: Turn, source: int | None, references: tuple[int, ...]) -> tuple[list[Image], int]:
        """What an edit is of, then its references; and the number of the turn that the first is of."""
        others = [self._picture_of(number) for number in references]
        if source is not None:
            return [self._picture_of(source), *turn.given, *others], source
        if turn.given:
            return [*turn.given, *others], 0
        last = next((one for one in reversed(self.path) if _shown(one)), None)
        if last is None:
            raise InputError("There is no picture to edit yet: draw one, or give one with the instruction.")
        return [_shown(last)[-1], *others], last.number

    def _picture_of(self, number: int) -> Image:
        shown = _shown(self._turn(number))
        if not shown:
            raise InputError(f"Turn {number} has no picture: name one that drew, edited or was given one.")
        return shown[-1]

    def _turn(self, number: int) -> Turn:
        if not 1 <= number <= len(self._turns):
            raise InputError(f"There is no turn {number}: there are {len(self._turns)}.")
        return self._turns[number - 1]

    def _append(self, turn: Turn) -> Turn:
        """Take a turn that is done: the conversation stands at it."""
        self._turns.append(turn)
        self._head = turn.number
        return turn

    def _history(self) -> list[Message[Picture]]:
        """What was said so far, for the model that reads it; nothing for one that was not trained for more than one
        question."""
        if "converse" not in self.model.config.tasks:
            return []
        messages: list[Message[Picture]] = []
        for turn in self.path:
            drawn = () if turn.picture is None else (turn.picture,)
            messages += [Message(USER, turn.text, turn.given), Message(ASSISTANT, turn.answer or "", drawn)]
        return messages


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise InputError(f"A turn is one of draw, edit and answer, found {kind!r}.")


def _shown(turn: Turn) -> tuple[Image, ...]:
    """The pictures of a turn, the one that it ends with last."""
    return turn.given if turn.picture is None else (*turn.given, turn.picture)
