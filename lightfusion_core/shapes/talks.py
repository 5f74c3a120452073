"""Samples of conversations: which kind of turn a sentence asks for, and questions that need an earlier turn."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from .edits import LINKS, edit_of, plainly, refer, sample_reference
from .manners import MANNERS, sample_manner
from .prompts import CATEGORIES, sample_prompt
from .questions import caption, place_in, question_about, sample_caption, sample_question, single
from .samples import QUESTIONS, REFERENCES, EditSample
from .scenes import RELATIONS, holds, random_background, random_scene
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
from .wordings import (
    ASK,
    FRAME,
    NUMBERS,
    PAIR,
    RELATION,
    WAY,
    article,
    background_phrase,
    describe_background,
    noun,
    plural,
    polish,
)
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


# Which kind of turn a sentence asks for


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
    others = [f"{article(word)} {word}" for word in (_other_word(rng, held_out), _other_word(rng, held_out))]
    if rng.random() < 0.3:
        others[0] = f"{article(others[0][2:])} {rng.choice(tuple(COLORS))} {others[0].split(' ')[1]}"
        others[0] = _articled(others[0].split(" ", 1)[1])
    text = others[0] if rng.random() < 0.6 else PAIR.say(rng, held_out, a=others[0], b=others[1])
    return rng.choice((FRAME, ASK_TO_DRAW)).say(rng, held_out, x=text)


def _articled(words: str) -> str:
    return f"{article(words)} {words}"


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


# Questions that need an earlier turn


_Asked = tuple[str, str, str, tuple[Thing, ...]]
"""A question's kind, the question, its answer and the things that it means."""

_Lead = tuple[str, str, str, Thing]
"""A question that others follow: its kind, itself, its answer, and the thing that is "it" afterwards."""


def sample_follow_up(rng: random.Random, held_out: bool = False) -> TalkSample:
    """A question that can be answered only with the turns before."""
    while True:
        talk = sample_talk(rng, rng.choice((1, 1, 2, 2, 3)), held_out)
        found = follow_up_in(rng, talk, held_out)
        if found is not None:
            return found


def follow_up_in(rng: random.Random, talk: Talk, held_out: bool = False) -> TalkSample | None:
    """The same in a given conversation, which it may give one more turn to lean on; None where it has no picture or
    the chosen kind of question cannot be asked of it."""
    if talk.scene is None:
        return None
    made = _after_edit(rng, talk, held_out) if talk.edit is not None and rng.random() < 0.6 else None
    made = made or _after_picture(rng, talk, held_out) or _after_question(rng, talk, held_out)
    if made is None:
        return None
    kind, question, answer, about = made
    return TalkSample(kind, tuple(talk.history), polish(rng, question), answer, (), about)


def strange_in(rng: random.Random, talk: Talk, held_out: bool = False) -> TalkSample:
    """What is not of this world, in a given conversation."""
    sentence, answer = _strange(rng, held_out, picture=talk.scene is not None)
    return TalkSample("strange", tuple(talk.history), polish(rng, sentence), answer)


def _after_edit(rng: random.Random, talk: Talk, held_out: bool) -> _Asked | None:
    """What changed, and what did not."""
    edit, scene = talk.edit, talk.scene
    assert edit is not None and scene is not None
    before, after = edit.before, edit.after
    options: list[tuple[str, dict[str, str], str, tuple[Thing, ...]]] = [
        ("count_now", {}, NUMBERS[len(scene.things)], ()),
    ]
    if before is not None and after is not None and before.shape == after.shape and before.color != after.color:
        x = f"the {after.shape}"
        if sum(thing.shape == after.shape for thing in scene.things) == 1:
            options += [
                ("color_now", {"x": x}, after.color, (after,)),
                ("color_before", {"x": x}, before.color, ()),
            ] * 2
    if before is None and after is not None:
        options += [("added", {}, noun(after.shape, after.color), (after,))] * 3
    if before is not None and after is None:
        options += [("removed", {}, noun(before.shape, before.color), ())] * 3
    gone = before if before is not None and (before.shape, before.color) not in _kinds(scene) else None
    asked = gone if gone is not None and rng.random() < 0.5 else rng.choice(scene.things)
    options.append(
        ("still_there", {"y": rng.choice((f"the {asked.color} {asked.shape}", noun(asked.shape, asked.color)))},
         "no" if asked is gone else "yes", () if asked is gone else (asked,))
    )  # fmt: skip
    if after is not None and after in scene.things and rng.random() < 0.5:
        return _of_it(rng, held_out, scene, after, "edit")
    kind, words, answer, about = rng.choice(options)
    return kind, FOLLOW[kind].say(rng, held_out, **words), answer, about


def _kinds(scene: Scene) -> set[tuple[str, str]]:
    return {(thing.shape, thing.color) for thing in scene.things}


def _after_picture(rng: random.Random, talk: Talk, held_out: bool) -> _Asked | None:
    """Of what was drawn last, or first, without a question between."""
    scene = talk.scene
    assert scene is not None
    if len(talk.scenes) > 1 and rng.random() < 0.1:
        return "first_picture", FOLLOW["first_picture"].say(rng, held_out), caption(talk.scenes[0]), ()
    if not talk.history[-1].scenes or talk.edit is not None:
        return None
    things = scene.things
    if len(things) > 1 and len(_kinds(scene)) == 1:
        if rng.random() < 0.5:
            return "count", FOLLOW["count"].say(rng, held_out), NUMBERS[len(things)], ()
        return "colors", FOLLOW["colors"].say(rng, held_out), things[0].color, ()
    if len(things) == 1 and rng.random() < 0.6:
        return _of_it(rng, held_out, scene, things[0], "draw")
    return None


def _after_question(rng: random.Random, talk: Talk, held_out: bool) -> _Asked | None:
    """A question is asked and answered; then one that leans on it."""
    scene = talk.scene
    assert scene is not None
    if len(scene.things) > 1 and len(_kinds(scene)) == 1:
        thing = scene.things[0]
        words = rng.choice((plural(thing.shape), "objects"))
        talk.tell(ASK["count"].say(rng, held_out, noun=words), NUMBERS[len(scene.things)])
        return "colors", FOLLOW["colors"].say(rng, held_out), thing.color, ()
    lead = rng.choice(_LEADS)(rng, held_out, scene)
    if lead is None:
        return None
    kind, question, answer, thing = lead
    asked = _and_that(rng, held_out, scene, thing, kind) if rng.random() < 0.35 else None
    asked = asked or _of_it(rng, held_out, scene, thing, kind)
    if asked is not None:
        talk.tell(polish(rng, question), answer)
    return asked


def _lead_beside(rng: random.Random, held_out: bool, scene: Scene) -> _Lead | None:
    pairs = [
        (first, name, second)
        for second in scene.things
        for name in RELATIONS
        if single(scene, second) and (first := _only(scene, name, second)) is not None
    ]
    if not pairs:
        return None
    first, name, second = rng.choice(pairs)
    rel = RELATION[name].say(rng, held_out)
    question = ASK["beside"].say(rng, held_out, rel=rel, x=refer(rng, scene, second))
    return "beside", question, noun(first.shape, first.color), first


def _only(scene: Scene, name: str, anchor: Thing) -> Thing | None:
    """The only thing that stands so to another, and plainly."""
    others = [thing for thing in scene.things if thing is not anchor]
    there = [thing for thing in others if holds((thing.x, thing.y), name, (anchor.x, anchor.y))]
    return there[0] if len(there) == 1 and plainly(there[0], name, anchor) else None


def _lead_color(rng: random.Random, held_out: bool, scene: Scene) -> _Lead | None:
    thing = rng.choice(scene.things)
    if sum(other.shape == thing.shape for other in scene.things) > 1:
        return None
    return "color", ASK["color"].say(rng, held_out, x=f"the {thing.shape}"), thing.color, thing


def _lead_shape(rng: random.Random, held_out: bool, scene: Scene) -> _Lead | None:
    thing = rng.choice(scene.things)
    if sum(other.color == thing.color for other in scene.things) > 1:
        return None
    return "shape", ASK["shape"].say(rng, held_out, color=thing.color), thing.shape, thing


def _lead_where(rng: random.Random, held_out: bool, scene: Scene) -> _Lead | None:
    thing = rng.choice(scene.things)
    place = place_in(scene, thing)
    if place is None:
        return None
    return "where", ASK["where"].say(rng, held_out, x=refer(rng, scene, thing)), place, thing


def _lead_there(rng: random.Random, held_out: bool, scene: Scene) -> _Lead | None:
    thing = rng.choice(scene.things)
    if not single(scene, thing):
        return None
    words = noun(thing.shape, thing.color)
    if sum(other.shape == thing.shape for other in scene.things) == 1 and rng.random() < 0.5:
        words = noun(thing.shape)
    return "there", ASK["is_there"].say(rng, held_out, y=words), "yes", thing


def _lead_count(rng: random.Random, held_out: bool, scene: Scene) -> _Lead | None:
    thing = rng.choice(scene.things)
    if sum(other.color == thing.color for other in scene.things) > 1:
        return None
    return "count", ASK["count"].say(rng, held_out, noun=f"{thing.color} objects"), "one", thing


def _lead_count_shape(rng: random.Random, held_out: bool, scene: Scene) -> _Lead | None:
    thing = rng.choice(scene.things)
    if sum(other.shape == thing.shape for other in scene.things) > 1:
        return None
    return "count_shape", ASK["count"].say(rng, held_out, noun=plural(thing.shape)), "one", thing


_LEADS: tuple[Callable[[random.Random, bool, Scene], _Lead | None], ...] = (
    _lead_beside, _lead_beside, _lead_beside, _lead_color, _lead_color, _lead_shape, _lead_where, _lead_there,
    _lead_count, _lead_count_shape,
)  # fmt: skip

_KNOWN = {"color": ("color",), "shape": ("shape",), "where": ("where",), "count": ("color",)}
"""What a lead has already told of its thing."""


def _of_it(rng: random.Random, held_out: bool, scene: Scene, thing: Thing, lead: str) -> _Asked | None:
    """A question about the thing that was spoken of."""
    if not single(scene, thing):
        return None
    options: list[tuple[str, dict[str, str], str, tuple[Thing, ...]]] = [
        ("color", {}, thing.color, (thing,)), ("color", {}, thing.color, (thing,)),
    ]  # fmt: skip
    if lead in ("count", "color", "where"):
        options.append(("shape", {}, thing.shape, (thing,)))
    place = place_in(scene, thing)
    if place is not None:
        options.append(("where", {}, place, (thing,)))
    said = thing.color if rng.random() < 0.5 else rng.choice([name for name in COLORS if name != thing.color])
    options.append(("is_color", {"color": said}, "yes" if said == thing.color else "no", (thing,)))
    for other in scene.things:
        if other is thing or not single(scene, other):
            continue
        y = refer(rng, scene, other)
        name = next((name for name in RELATIONS if plainly(thing, name, other)), None)
        if name is not None:
            towards = name.split(" ")[0]
            options.append(("where_from", {"y": y}, towards, (thing, other)))
            asked = name if rng.random() < 0.5 else rng.choice([one for one in RELATIONS if one != name])
            rel = RELATION[asked].say(rng, held_out)
            options.append(("is_beside", {"rel": rel, "y": y}, "yes" if asked == name else "no", (thing, other)))
    for name in RELATIONS:
        there = _only(scene, name, thing)
        if there is not None:
            rel = RELATION[name].say(rng, held_out)
            options.append(("beside", {"rel": rel}, noun(there.shape, there.color), (thing,)))
    known = _KNOWN.get(lead, ())
    kind, words, answer, about = rng.choice([option for option in options if option[0] not in known])
    return kind, FOLLOW[kind].say(rng, held_out, **words), answer, about


def _and_that(rng: random.Random, held_out: bool, scene: Scene, thing: Thing, lead: str) -> _Asked | None:
    """The same question of another thing."""
    others = [one for one in scene.things if one is not thing and single(scene, one)]
    if lead == "count_shape":
        shape = rng.choice([name for name in SHAPES if name != thing.shape])
        count = sum(one.shape == shape for one in scene.things)
        return "and_that", AND_THAT.say(rng, held_out, y=plural(shape)), NUMBERS[count], ()
    if lead not in ("color", "where") or not others:
        return None
    other = rng.choice(others)
    if lead == "where":
        place = place_in(scene, other)
        if place is None:
            return None
        return "and_that", AND_THAT.say(rng, held_out, y=refer(rng, scene, other)), place, (other,)
    if sum(one.shape == other.shape for one in scene.things) > 1:
        return None
    return "and_that", AND_THAT.say(rng, held_out, y=f"the {other.shape}"), other.color, (other,)
