"""Samples of editing by instruction and of composing from reference pictures."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from .edit_wordings import ADD, ADD_BESIDE, MOVE, ONE, RECOLOR, REFERENCE, REMOVE, REPLACE, SET_BACKGROUND, SIDES, WAY
from .samples import ChainSample, EditSample, ReferenceSample
from .scenes import (
    RELATIONS,
    compose,
    fits,
    holds,
    only_of_color,
    only_of_shape,
    put,
    put_roomily,
    random_background,
    random_scene,
    random_size,
    random_thing,
    scatter,
)
from .wordings import RELATION, describe_background, noun, polish
from .world import COLORS, SHAPES, Scene, Thing


def sample_edit(rng: random.Random, kind: str, held_out: bool = False) -> EditSample:
    """An editing pair of one kind (of `EDITS`): source, instruction, target and what changes."""
    while True:
        sample = _the_one(rng, held_out) if kind == "the_one" else _EDITS[kind](rng, held_out, _source(rng))
        if sample is not None:
            return replace(sample, instruction=polish(rng, sample.instruction))


def sample_chain(rng: random.Random, length: int, held_out: bool = False) -> ChainSample:
    """So many edits in a row, none of the same kind as the one before; one to three things are always there."""
    edits: list[EditSample] = []
    scene = _source(rng)
    while len(edits) < length:
        kind = _other(rng, tuple(_EDITS), *(edit.kind for edit in edits[-1:]))
        if len(scene.things) == (1 if kind == "remove" else 3 if kind == "add" else 0):
            continue
        sample = edit_of(rng, kind, scene, held_out)
        # A thing made like another could no longer be named.
        if sample is None or len({(thing.shape, thing.color) for thing in sample.target.things}) < len(
            sample.target.things
        ):
            continue
        edits.append(replace(sample, instruction=polish(rng, sample.instruction)))
        scene = sample.target
    return ChainSample(tuple(edits))


def edit_of(rng: random.Random, kind: str, scene: Scene, held_out: bool = False) -> EditSample | None:
    """An edit of a given scene, of one kind (of `LINKS`); None where it cannot be had there."""
    return _EDITS[kind](rng, held_out, scene)


def sample_reference(rng: random.Random, kind: str, held_out: bool = False) -> ReferenceSample:
    """Two reference pictures, an instruction of one kind (of `REFERENCES`) and what it should give."""
    instruction = polish(rng, REFERENCE[kind].say(rng, held_out))
    first = random_scene(rng, 1)
    second = random_scene(rng, 1, plain=0.3)
    things = (first.things[0], second.things[0])
    # A reference that already is the answer would teach to copy it.
    alike = (things[0].shape, things[0].color) == (things[1].shape, things[1].color)
    if alike or first.background == second.background:
        return sample_reference(rng, kind, held_out)
    if kind == "both_objects":
        return ReferenceSample(kind, instruction, (first, second), Scene(compose(rng, things), first.background))
    giver, ground = (first, second) if kind == "object_on_background" else (second, first)
    target = Scene(giver.things, ground.background)
    if rng.random() < 0.5:
        ground = Scene((), ground.background)
    references = (giver, ground) if kind == "object_on_background" else (ground, giver)
    return ReferenceSample(kind, instruction, references, target)


def refer(rng: random.Random, scene: Scene, thing: Thing) -> str:
    """Words that mean this thing and no other of the scene, whose things differ in shape or in colour."""
    ways = [f"the {thing.color} {thing.shape}"]
    if only_of_shape(scene, thing):
        ways.append(f"the {thing.shape}")
    if only_of_color(scene, thing):
        ways.append(f"the {thing.color} object")
    return rng.choice(ways)


def _other(rng: random.Random, options: tuple[str, ...], *excluded: str) -> str:
    return rng.choice([option for option in options if option not in excluded])


def _with(scene: Scene, before: Thing, after: Thing | None) -> Scene:
    """The scene with one thing changed, or gone where `after` is None."""
    things = [after if thing is before else thing for thing in scene.things]
    return replace(scene, things=tuple(thing for thing in things if thing is not None))


def _recolored(rng: random.Random, thing: Thing) -> Thing:
    return replace(thing, color=_other(rng, tuple(COLORS), thing.color))


def _replaced(rng: random.Random, thing: Thing) -> Thing:
    changed = replace(thing, shape=_other(rng, SHAPES, thing.shape))
    return changed if rng.random() < 0.3 else replace(changed, color=rng.choice(tuple(COLORS)))


def _noun(thing: Thing, before: Thing) -> str:
    """The new thing's name; the colour goes unsaid where it stays, so that both ways of asking occur."""
    return noun(thing.shape, None if thing.color == before.color else thing.color)


def _source(rng: random.Random) -> Scene:
    return random_scene(rng, rng.choice((1, 2, 2, 3)))


def _recolor(rng: random.Random, held_out: bool, scene: Scene) -> EditSample | None:
    before = rng.choice(scene.things)
    after = _recolored(rng, before)
    text = RECOLOR.say(rng, held_out, x=refer(rng, scene, before), color=after.color)
    return EditSample("recolor", text, scene, _with(scene, before, after), before, after)


def _replace(rng: random.Random, held_out: bool, scene: Scene) -> EditSample | None:
    before = rng.choice(scene.things)
    after = _replaced(rng, before)
    text = REPLACE.say(rng, held_out, x=refer(rng, scene, before), y=_noun(after, before))
    return EditSample("replace", text, scene, _with(scene, before, after), before, after)


def _remove(rng: random.Random, held_out: bool, scene: Scene) -> EditSample | None:
    before = rng.choice(scene.things)
    text = REMOVE.say(rng, held_out, x=refer(rng, scene, before))
    return EditSample("remove", text, scene, _with(scene, before, None), before, None)


def _add(rng: random.Random, held_out: bool, scene: Scene) -> EditSample | None:
    thing = replace(random_thing(rng), size=random_size(rng, len(scene.things) + 1))
    after = put(rng, thing, scene.things)
    if after is None or any((after.shape, after.color) == (other.shape, other.color) for other in scene.things):
        return None
    y = noun(after.shape, after.color)
    anchor = rng.choice(scene.things)
    name = next((key for key in RELATIONS if plainly(after, key, anchor)), None)
    if name is None or rng.random() < 0.4:
        # Where nobody says where: where there is room
        after = put_roomily(rng, thing, scene.things) or after
        target = replace(scene, things=(*scene.things, after))
        return EditSample("add", ADD.say(rng, held_out, y=y), scene, target, None, after)
    target = replace(scene, things=(*scene.things, after))
    rel = RELATION[name].say(rng, held_out)
    text = ADD_BESIDE.say(rng, held_out, y=y, rel=rel, x=refer(rng, scene, anchor))
    return EditSample("add", text, scene, target, None, after, beside=(name, anchor))


def plainly(first: Thing, relation: str, second: Thing) -> bool:
    """Whether a relation holds so that nobody would argue."""
    ux, uy = RELATIONS[relation]
    dx, dy = first.x - second.x, first.y - second.y
    return dx * ux + dy * uy >= 0.25 and abs(dx * uy) + abs(dy * ux) <= 0.2


def _move(rng: random.Random, held_out: bool, scene: Scene) -> EditSample | None:
    before = rng.choice(scene.things)
    direction = rng.choice(tuple(RELATIONS))
    ux, uy = RELATIONS[direction]
    after = replace(before, x=before.x + 0.3 * ux, y=before.y + 0.3 * uy)
    if not fits(after, [thing for thing in scene.things if thing is not before]):
        return None
    text = MOVE.say(rng, held_out, x=refer(rng, scene, before), way=WAY[direction])
    return EditSample("move", text, scene, _with(scene, before, after), before, after, direction=direction)


def _background(rng: random.Random, held_out: bool, scene: Scene) -> EditSample | None:
    background = random_background(rng)
    if background == scene.background:
        return None
    text = SET_BACKGROUND.say(rng, held_out, bg=describe_background(background))
    return EditSample("background", text, scene, replace(scene, background=background), None, None)


def _the_one(rng: random.Random, held_out: bool) -> EditSample | None:
    """One of two things of the same shape, told from the other by where it stands."""
    first = random_thing(rng, 2)
    second = replace(first, size=random_size(rng, 2))
    if rng.random() < 0.5:
        second = _recolored(rng, second)
    things = [first, second]
    if rng.random() < 0.3:
        third = random_thing(rng, 3)
        if third.shape == first.shape:
            return None
        things.append(third)
    scene = Scene(scatter(rng, things), random_background(rng))
    before, other = scene.things[:2]
    direction = next((key for key in RELATIONS if holds((before.x, before.y), key, (other.x, other.y))), None)
    if (
        direction is None
        or abs((before.x - other.x) * RELATIONS[direction][0]) + abs((before.y - other.y) * RELATIONS[direction][1])
        < 0.25
    ):
        return None
    side, at = SIDES[direction]
    word = "one" if len(things) == 2 and rng.random() < 0.6 else first.shape
    x = ONE.say(rng, held_out, side=side, at=at, noun=word)
    change = rng.choice(("recolor", "replace", "remove"))
    if change == "recolor":
        after: Thing | None = _recolored(rng, before)
        assert after is not None
        text = RECOLOR.say(rng, held_out, x=x, color=after.color)
    elif change == "replace":
        after = _replaced(rng, before)
        text = REPLACE.say(rng, held_out, x=x, y=_noun(after, before))
    else:
        after = None
        text = REMOVE.say(rng, held_out, x=x)
    return EditSample("the_one", text, scene, _with(scene, before, after), before, after)


_EDITS: dict[str, Callable[[random.Random, bool, Scene], EditSample | None]] = {
    "recolor": _recolor,
    "replace": _replace,
    "add": _add,
    "remove": _remove,
    "move": _move,
    "background": _background,
}
"""Edits of a given scene; None where it cannot be had there. (`the_one` needs a scene of its own.)"""

LINKS = tuple(_EDITS)
"""The kinds of edits that a given scene can have."""
