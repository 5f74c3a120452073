"""Questions that need an earlier turn of a conversation, with their answers."""

from __future__ import annotations

import random
from collections.abc import Callable

from .edits import plainly, refer
from .question_wordings import ASK
from .questions import caption, place_in, single
from .scenes import RELATIONS, holds, only_of_color, only_of_shape
from .talk_wordings import AND_THAT, FOLLOW
from .talks import Talk, TalkSample, sample_talk
from .wordings import NUMBERS, RELATION, noun, plural, polish
from .world import COLORS, SHAPES, Scene, Thing

_Asked = tuple[str, str, str, tuple[Thing, ...]]
"""A question's kind, the question, its answer and the things that it means."""

_Option = tuple[str, dict[str, str], str, tuple[Thing, ...]]
"""The same before it is said: the words for its wording in the question's place."""

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


def _after_edit(rng: random.Random, talk: Talk, held_out: bool) -> _Asked | None:
    """What changed, and what did not."""
    edit, scene = talk.edit, talk.scene
    assert edit is not None and scene is not None
    before, after = edit.before, edit.after
    options: list[_Option] = [
        ("count_now", {}, NUMBERS[len(scene.things)], ()),
    ]
    if before is not None and after is not None and before.shape == after.shape and before.color != after.color:
        x = f"the {after.shape}"
        if only_of_shape(scene, after):
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
    if not only_of_shape(scene, thing):
        return None
    return "color", ASK["color"].say(rng, held_out, x=f"the {thing.shape}"), thing.color, thing


def _lead_shape(rng: random.Random, held_out: bool, scene: Scene) -> _Lead | None:
    thing = rng.choice(scene.things)
    if not only_of_color(scene, thing):
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
    if only_of_shape(scene, thing) and rng.random() < 0.5:
        words = noun(thing.shape)
    return "there", ASK["is_there"].say(rng, held_out, y=words), "yes", thing


def _lead_count(rng: random.Random, held_out: bool, scene: Scene) -> _Lead | None:
    thing = rng.choice(scene.things)
    if not only_of_color(scene, thing):
        return None
    return "count", ASK["count"].say(rng, held_out, noun=f"{thing.color} objects"), "one", thing


def _lead_count_shape(rng: random.Random, held_out: bool, scene: Scene) -> _Lead | None:
    thing = rng.choice(scene.things)
    if not only_of_shape(scene, thing):
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
    options: list[_Option] = [
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
    if not only_of_shape(scene, other):
        return None
    return "and_that", AND_THAT.say(rng, held_out, y=f"the {other.shape}"), other.color, (other,)
