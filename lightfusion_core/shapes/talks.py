"""Samples of conversations, and of sentences with the kind of turn that they ask for."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from .edit_wordings import WAY
from .edits import LINKS, edit_of, refer, sample_reference
from .manners import MANNERS, sample_manner
from .prompt_wordings import FRAME, PAIR
from .prompts import CATEGORIES, sample_prompt
from .questions import question_about, sample_caption, sample_question, single
from .samples import QUESTIONS, REFERENCES, EditSample
from .scenes import RELATIONS, random_background, random_scene
from .talk_wordings import (
    AND_THAT,
    ASK_TO_ANSWER,
    ASK_TO_DRAW,
    ASK_TO_EDIT,
    ELLIPTIC_EDIT,
    FOLLOW,
    GREETING,
    HELLO,
    NO_PICTURE,
    OTHERWORLDLY,
    STRANGE,
    THANKS,
    UNKNOWN,
    WELCOME,
)
from .wordings import RELATION, background_phrase, describe_background, noun, plural, polish
from .world import COLORS, SHAPES, Scene, Thing

DRAW, EDIT, ANSWER = KINDS = ("draw", "edit", "answer")
"""What a turn may ask for, in the conversation's own words."""

_IMPERATIVES = (
    "make", "change", "turn", "color", "paint", "recolor", "give", "replace", "swap", "put", "exchange", "use", "take",
    "add", "place", "insert", "include", "remove", "delete", "erase", "get", "drop", "move", "shift", "push", "slide",
    "set", "draw", "leave",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Said:
    """One message: who says it, the pictures that it brings, and its text behind them."""

    by_user: bool
    text: str
    scenes: tuple[Scene, ...] = ()


@dataclass(frozen=True, slots=True)
class TalkSample:
    """What the user says next, and the one right answer.

    kind: the kind of turn (of `KINDS`) or of question. history: what was said before, as the conversation lays it out.
    given: pictures that come with the sentence. about: the things of the last picture that the sentence means.
    """

    kind: str
    history: tuple[Said, ...]
    sentence: str
    answer: str
    given: tuple[Scene, ...] = ()
    about: tuple[Thing, ...] = ()


@dataclass
class Talk:
    """A conversation so far: what was said, the pictures in their order, and the last turn if it was an edit."""

    history: list[Said] = field(default_factory=list)
    scenes: list[Scene] = field(default_factory=list)
    edit: EditSample | None = None

    @property
    def scene(self) -> Scene | None:
        return self.scenes[-1] if self.scenes else None

    def show(self, asked: str, scene: Scene, edit: EditSample | None = None, given: tuple[Scene, ...] = ()) -> None:
        """Add a turn that drew a picture."""
        self.history += [Said(True, asked, given), Said(False, "", (scene,))]
        self.scenes += [*given, scene]
        self.edit = edit

    def tell(self, asked: str, answer: str, given: tuple[Scene, ...] = ()) -> None:
        """Add a turn that was answered."""
        self.history += [Said(True, asked, given), Said(False, answer)]
        self.scenes += given
        self.edit = None


def sample_talk(rng: random.Random, turns: int, held_out: bool = False) -> Talk:
    """A conversation of so many turns."""
    talk = Talk()
    while len(talk.history) < 2 * turns:
        _go_on(rng, talk, held_out)
    return talk


def _go_on(rng: random.Random, talk: Talk, held_out: bool) -> None:
    """Add a turn of a random kind."""
    scene, chance = talk.scene, rng.random()
    if scene is None:
        if chance < 0.6:
            talk.show(*_drawn(rng, held_out))
        elif chance < 0.9:
            given = random_scene(rng)
            _ask(rng, talk, given, held_out, (given,))
        else:
            talk.tell(*_strange(rng, held_out, picture=False))
    elif chance < 0.45:
        edit = _edit_of(rng, scene, held_out)
        talk.show(_imperative(rng, edit, held_out), edit.target, edit)
    elif chance < 0.6:
        talk.show(*_drawn(rng, held_out))
    elif chance < 0.93:
        _ask(rng, talk, scene, held_out)
    else:
        talk.tell(*_strange(rng, held_out, picture=True))


def _ask(rng: random.Random, talk: Talk, scene: Scene, held_out: bool, given: tuple[Scene, ...] = ()) -> None:
    found = question_about(rng, scene, held_out)
    if found is not None:
        talk.tell(ASK_TO_ANSWER.say(rng, held_out, q=found.question), found.answer, given)


def _drawn(rng: random.Random, held_out: bool) -> tuple[str, Scene]:
    """A prompt in any wording, and its picture."""
    if rng.random() < 0.25:
        sample = sample_manner(rng, rng.choice(tuple(MANNERS)), held_out)
        return sample.prompt, sample.scene
    frame = rng.choice((FRAME, ASK_TO_DRAW))
    sample = sample_prompt(rng, rng.choice(CATEGORIES), held_out, frame=frame)
    return sample.prompt, sample.scene


def _distinct(scene: Scene) -> bool:
    return all(single(scene, thing) for thing in scene.things)


def _edit_of(rng: random.Random, scene: Scene, held_out: bool) -> EditSample:
    """An edit of a picture, such that each of its things can be named after it too."""
    while True:
        kind = rng.choice(LINKS) if _distinct(scene) else "background"
        if len(scene.things) == (1 if kind == "remove" else 4 if kind == "add" else -1):
            continue
        edit = edit_of(rng, kind, scene, held_out)
        if edit is not None and (_distinct(edit.target) or kind == "background"):
            return _with_it(rng, edit)


def in_talk(rng: random.Random, edit: EditSample, held_out: bool = False) -> str:
    """An edit's instruction as it is said in a conversation."""
    return _imperative(rng, _with_it(rng, edit), held_out)


def _with_it(rng: random.Random, edit: EditSample) -> EditSample:
    """The edit, where it is of the only thing now and then in words that call it "it"."""
    if edit.before is None or len(edit.source.things) > 1 or rng.random() < 0.5:
        return edit
    color, shape = edit.before.color, edit.before.shape
    text = edit.instruction
    for name in (f"the {color} {shape}", f"the {color} object", f"the {shape}"):
        text = text.replace(name, "it")
    return replace(edit, instruction=text)


def _imperative(rng: random.Random, edit: EditSample, held_out: bool) -> str:
    """An edit as it stands, or after a word or two."""
    text = edit.instruction[0].lower() + edit.instruction[1:].rstrip(".")
    if text.endswith("?") or text.split(" ")[0] not in _IMPERATIVES or rng.random() < 0.5:
        return edit.instruction
    return ASK_TO_EDIT.say(rng, held_out, e=text)


def sample_turn(rng: random.Random, kind: str, held_out: bool = False, turns: int | None = None) -> TalkSample:
    """A sentence that asks for one kind of turn, after so many others (none to four where nothing is said). Without a
    picture there is nothing to edit: such a wish is to draw."""
    talk = sample_talk(rng, rng.choice((0, 1, 1, 2, 3, 4)) if turns is None else turns, held_out)
    return turn_in(rng, talk, kind, held_out)


def turn_in(rng: random.Random, talk: Talk, kind: str, held_out: bool = False) -> TalkSample:
    """The same in a given conversation."""
    given: tuple[Scene, ...] = ()
    scene = talk.scene
    if kind == EDIT and scene is None and rng.random() < 0.5:
        given, scene = (random_scene(rng),), None
        if rng.random() < 0.3:
            composed = sample_reference(rng, rng.choice(REFERENCES), held_out)
            return _turn(rng, EDIT, talk, composed.instruction, composed.references)
        scene = given[0]
    if kind == DRAW:
        return _turn(rng, DRAW, talk, _wish(rng, held_out))
    if kind == EDIT:
        sentence = _change(rng, scene or random_scene(rng), held_out)
        return _turn(rng, EDIT if scene is not None else DRAW, talk, sentence, given)
    if rng.random() < 0.3 and scene is None:
        given = (random_scene(rng),)
    return _turn(rng, ANSWER, talk, _question(rng, scene or (given[0] if given else None), held_out), given)


def _turn(rng: random.Random, kind: str, talk: Talk, sentence: str, given: tuple[Scene, ...] = ()) -> TalkSample:
    return TalkSample(kind, tuple(talk.history), polish(rng, sentence), kind, given)


def _wish(rng: random.Random, held_out: bool) -> str:
    if rng.random() < 0.85:
        return _drawn(rng, held_out)[0]
    first, second = _other_word(rng, held_out), _other_word(rng, held_out)
    thing = noun(first, rng.choice(tuple(COLORS)) if rng.random() < 0.3 else None)
    text = thing if rng.random() < 0.6 else PAIR.say(rng, held_out, a=thing, b=noun(second))
    return rng.choice((FRAME, ASK_TO_DRAW)).say(rng, held_out, x=text)


def _other_word(rng: random.Random, held_out: bool) -> str:
    return OTHERWORLDLY.say(rng, held_out)


def _change(rng: random.Random, scene: Scene, held_out: bool) -> str:
    edit = _edit_of(rng, scene, held_out)
    if rng.random() < 0.75:
        return _imperative(rng, edit, held_out)
    thing, ground = rng.choice(scene.things), random_background(rng)
    color = rng.choice([name for name in COLORS if name != thing.color])
    new = noun(rng.choice(SHAPES), rng.choice(tuple(COLORS)))
    x = "it" if len(scene.things) == 1 and rng.random() < 0.5 else refer(rng, scene, thing)
    return ELLIPTIC_EDIT.say(
        rng, held_out, x=x, color=color, old=thing.color, bg=background_phrase(ground),
        bgc=describe_background(ground), y=new, way=rng.choice(tuple(WAY.values())),
    )  # fmt: skip


def _question(rng: random.Random, scene: Scene | None, held_out: bool) -> str:
    chance = rng.random()
    if chance < 0.2:
        return _strange(rng, held_out, picture=scene is not None)[0]
    if chance < 0.4:
        return _leaning(rng, held_out, scene or random_scene(rng))
    if chance < 0.5:
        return ASK_TO_ANSWER.say(rng, held_out, q=sample_caption(rng, held_out).question)
    found = question_about(rng, scene, held_out) if scene is not None and rng.random() < 0.7 else None
    found = found or sample_question(rng, rng.choice(QUESTIONS), held_out)
    return ASK_TO_ANSWER.say(rng, held_out, q=found.question)


def _leaning(rng: random.Random, held_out: bool, scene: Scene) -> str:
    """A question that leans on another turn, whether that was there or not."""
    if rng.random() < 0.3:
        return AND_THAT.say(rng, held_out, y=_meant(rng, scene, rng.choice(scene.things)))
    thing = rng.choice(scene.things)
    x = refer(rng, scene, thing)
    return rng.choice(tuple(FOLLOW.values())).say(
        rng, held_out, x=x, color=rng.choice(tuple(COLORS)),
        y=rng.choice((x, noun(thing.shape, thing.color))) if rng.random() < 0.5 else x,
        rel=RELATION[rng.choice(tuple(RELATIONS))].say(rng, held_out),
    )  # fmt: skip


def _meant(rng: random.Random, scene: Scene, thing: Thing) -> str:
    return rng.choice((refer(rng, scene, thing), plural(thing.shape)))


def _strange(rng: random.Random, held_out: bool, picture: bool) -> tuple[str, str]:
    """What is not of this world, or asks for nothing; and what nano says to it."""
    chance = rng.random()
    if chance < 0.12:
        return GREETING.say(rng, held_out), HELLO
    if chance < 0.24:
        return THANKS.say(rng, held_out), WELCOME
    if chance < 0.35 and not picture:
        return sample_question(rng, rng.choice(QUESTIONS), held_out).question, NO_PICTURE
    return STRANGE.say(rng, held_out, o=_other_word(rng, held_out)), UNKNOWN


def strange_in(rng: random.Random, talk: Talk, held_out: bool = False) -> TalkSample:
    """What is not of this world, in a given conversation."""
    sentence, answer = _strange(rng, held_out, picture=talk.scene is not None)
    return TalkSample("strange", tuple(talk.history), polish(rng, sentence), answer)
