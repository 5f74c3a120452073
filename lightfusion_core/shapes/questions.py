"""Samples of questions about a picture, with their one right answer, and of captions."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from .edits import plainly, refer
from .question_wordings import ASK
from .samples import QuestionSample
from .scenes import (
    RELATIONS,
    arrange,
    only_of_color,
    only_of_shape,
    random_background,
    random_scene,
    random_thing,
    reach,
    relate,
    scatter,
)
from .wordings import NUMBERS, PLACES, RELATION, background_phrase, listing, noun, plural, polish
from .world import COLORS, PLAIN, SHAPES, Scene, Thing

TOWARDS = {"left of": "left", "right of": "right", "above": "above", "below": "below"}
"""The answer to where one thing is, seen from another."""

_Said = tuple[str, str, tuple[Thing, ...]]
"""A question, its answer, and the things that it names, as `QuestionSample` has them."""

_Draft = tuple[_Said, Scene]


def sample_question(rng: random.Random, kind: str, held_out: bool = False) -> QuestionSample:
    """A question of one kind (of `QUESTIONS`), its answer and the scene that it is about."""
    (question, answer, about), scene = rng.choice(_KINDS[kind])(rng, held_out)
    return QuestionSample(kind, polish(rng, question), answer, scene, about)


def question_about(rng: random.Random, scene: Scene, held_out: bool = False) -> QuestionSample | None:
    """A question about a given scene, where one of a randomly chosen kind can be asked of it."""
    kind, ask = rng.choice(_ABOUT)
    found = ask(rng, held_out, scene)
    return found and QuestionSample(kind, polish(rng, found[0]), found[1], scene, found[2])


def sample_caption(rng: random.Random, held_out: bool = False) -> QuestionSample:
    """The request for a caption and the caption: all things from left to right, then the background."""
    scene = random_scene(rng)
    return QuestionSample("caption", polish(rng, ASK["caption"].say(rng, held_out)), caption(scene), scene)


def caption(scene: Scene) -> str:
    """`a red circle and a blue star on a white background`."""
    things = sorted(scene.things, key=lambda thing: thing.x)
    return f"{listing([noun(thing.shape, thing.color) for thing in things])} on {background_phrase(scene.background)}"


def _what(rng: random.Random, held_out: bool) -> _Draft:
    scene = random_scene(rng, 1)
    thing = scene.things[0]
    return (ASK["what"].say(rng, held_out), noun(thing.shape, thing.color), (thing,)), scene


def _of_any(ask: Callable[[random.Random, bool, Scene], _Said | None]) -> Callable[..., _Draft]:
    """A question about some scene: the first of which it can be asked."""

    def draft(rng: random.Random, held_out: bool) -> _Draft:
        while True:
            scene = random_scene(rng)
            found = ask(rng, held_out, scene)
            if found is not None:
                return found, scene

    return draft


def _shape(rng: random.Random, held_out: bool, scene: Scene) -> _Said | None:
    thing = rng.choice(scene.things)
    if not only_of_color(scene, thing):
        return None
    return ASK["shape"].say(rng, held_out, color=thing.color), thing.shape, (thing,)


def _related(rng: random.Random) -> tuple[Scene, str]:
    """Two things, the first plainly in a relation to the second."""
    name = rng.choice(tuple(RELATIONS))
    shapes = rng.sample(SHAPES, 2)
    first, second = (replace(random_thing(rng, 2), shape=shape) for shape in shapes)
    return Scene(relate(rng, first, name, second), random_background(rng)), name


def _beside(rng: random.Random, held_out: bool) -> _Draft:
    scene, name = _related(rng)
    first, second = scene.things
    rel = RELATION[name].say(rng, held_out)
    question = ASK["beside"].say(rng, held_out, rel=rel, x=refer(rng, scene, second))
    return (question, noun(first.shape, first.color), (second,)), scene


def _color(rng: random.Random, held_out: bool, scene: Scene) -> _Said | None:
    thing = rng.choice(scene.things)
    if not only_of_shape(scene, thing):
        return None
    return ASK["color"].say(rng, held_out, x=f"the {thing.shape}"), thing.color, (thing,)


def _background_color(rng: random.Random, held_out: bool) -> _Draft:
    background = rng.choice(PLAIN)
    scene = replace(random_scene(rng), background=background)
    return (ASK["color"].say(rng, held_out, x="the background"), background.first, ()), scene


def _counted(rng: random.Random) -> tuple[Scene, str, int]:
    """A scene, a plural noun and how many there are of it: zero now and then."""
    count = rng.choice((1, 2, 3, 4))
    thing = replace(random_thing(rng, 3), size=rng.choice(("small", "medium")))
    extra = rng.randint(0, 4 - count) if rng.random() < 0.5 else 0
    others: list[Thing] = []
    while len(others) < extra:
        other = random_thing(rng, 4)
        if other.shape != thing.shape and other.color != thing.color:
            others.append(other)
    place = arrange if not others and count > 1 else scatter
    scene = Scene(place(rng, [thing] * count + others), random_background(rng))
    words = [
        (plural(thing.shape), count),
        (plural(thing.shape), count),
        (f"{thing.color} {plural(thing.shape)}", count),
        (f"{thing.color} objects", count),
        ("objects", count + extra),
    ]
    if rng.random() < 0.15:
        missing = rng.choice([shape for shape in SHAPES if all(shape != item.shape for item in scene.things)])
        words = [(plural(missing), 0)]
    return scene, *rng.choice(words)


def _count(rng: random.Random, held_out: bool) -> _Draft:
    scene, words, count = _counted(rng)
    return (ASK["count"].say(rng, held_out, noun=words), NUMBERS[count], ()), scene


def _count_of(rng: random.Random, held_out: bool, scene: Scene) -> _Said:
    thing = rng.choice(scene.things)
    shape = rng.choice(SHAPES) if rng.random() < 0.2 else thing.shape
    alike = sum(other.shape == shape for other in scene.things)
    colored = sum(other.color == thing.color for other in scene.things)
    words, count = rng.choice(
        ((plural(shape), alike), (f"{thing.color} objects", colored), ("objects", len(scene.things)))
    )
    return ASK["count"].say(rng, held_out, noun=words), NUMBERS[count], ()


def _where(rng: random.Random, held_out: bool) -> _Draft:
    thing = random_thing(rng)
    place = rng.choice(tuple(PLACES))
    room = reach(thing.size)
    spot = {-1: (room, max(room, 0.3)), 0: (0.43, 0.57), 1: (min(1 - room, 0.7), 1 - room)}
    x, y = (rng.uniform(*spot[third]) for third in PLACES[place])
    scene = Scene((replace(thing, x=x, y=y),), random_background(rng))
    return (ASK["where"].say(rng, held_out, x=refer(rng, scene, scene.things[0])), place, scene.things), scene


def _where_from(rng: random.Random, held_out: bool) -> _Draft:
    scene, name = _related(rng)
    first, second = scene.things
    return _ask_where_from(rng, held_out, scene, first, name, second), scene


def _ask_where_from(rng: random.Random, held_out: bool, scene: Scene, first: Thing, name: str, second: Thing) -> _Said:
    x, y = (refer(rng, scene, thing) for thing in (first, second))
    return ASK["where_from"].say(rng, held_out, x=x, y=y), TOWARDS[name], (first, second)


def _where_of(rng: random.Random, held_out: bool, scene: Scene) -> _Said | None:
    found = [(thing, place) for thing in scene.things if (place := place_in(scene, thing)) is not None]
    if not found:
        return None
    thing, place = rng.choice(found)
    return ASK["where"].say(rng, held_out, x=refer(rng, scene, thing)), place, (thing,)


def place_in(scene: Scene, thing: Thing) -> str | None:
    """The key of `PLACES` where a thing that can be named stands, if nobody would say another."""
    if not single(scene, thing):
        return None
    return next((name for name, thirds in PLACES.items() if _in_thirds(thing, *thirds)), None)


def _in_thirds(thing: Thing, across: int, down: int) -> bool:
    """Whether a thing is in this third of the picture both ways, so that no other place is meant."""
    return all((at < 0.35, 0.4 < at < 0.6, at > 0.65)[third + 1] for at, third in ((thing.x, across), (thing.y, down)))


def _related_in(rng: random.Random, scene: Scene) -> tuple[Thing, str, Thing] | None:
    """Two things of a scene, the first plainly in a relation to the second."""
    if len(scene.things) < 2:
        return None
    first, second = rng.sample(scene.things, 2)
    if not (single(scene, first) and single(scene, second)):
        return None
    name = next((name for name in RELATIONS if plainly(first, name, second)), None)
    return None if name is None else (first, name, second)


def single(scene: Scene, thing: Thing) -> bool:
    """Whether the scene has no other thing of this shape and colour."""
    return sum((thing.shape, thing.color) == (other.shape, other.color) for other in scene.things) == 1


def _where_from_of(rng: random.Random, held_out: bool, scene: Scene) -> _Said | None:
    found = _related_in(rng, scene)
    return found and _ask_where_from(rng, held_out, scene, *found)


def _is_beside_of(rng: random.Random, held_out: bool, scene: Scene) -> _Said | None:
    found = _related_in(rng, scene)
    return found and _ask_beside(rng, held_out, scene, *found)


def _is_there(rng: random.Random, held_out: bool, scene: Scene) -> _Said:
    thing = rng.choice(scene.things)
    shape, color = thing.shape, thing.color
    if rng.random() < 0.5:
        # Half of the wrong ones share a part with what is there: neither colour nor shape alone gives it away.
        shape, color = rng.choice(
            (
                (shape, rng.choice(tuple(COLORS))),
                (rng.choice(SHAPES), color),
                (rng.choice(SHAPES), rng.choice(tuple(COLORS))),
            )
        )
    present = any((shape, color) == (other.shape, other.color) for other in scene.things)
    question = ASK["is_there"].say(rng, held_out, y=noun(shape, color))
    return question, "yes" if present else "no", (thing,) if (shape, color) == (thing.shape, thing.color) else ()


def _is_color(rng: random.Random, held_out: bool, scene: Scene) -> _Said | None:
    thing = rng.choice(scene.things)
    if not only_of_shape(scene, thing):
        return None
    color = thing.color if rng.random() < 0.5 else rng.choice([name for name in COLORS if name != thing.color])
    words = ASK["is_color"].say(rng, held_out, x=f"the {thing.shape}", color=color)
    return words, "yes" if color == thing.color else "no", (thing,)


def _is_beside(rng: random.Random, held_out: bool) -> _Draft:
    scene, name = _related(rng)
    first, second = scene.things
    return _ask_beside(rng, held_out, scene, first, name, second), scene


def _ask_beside(rng: random.Random, held_out: bool, scene: Scene, first: Thing, name: str, second: Thing) -> _Said:
    asked = name if rng.random() < 0.5 else rng.choice([other for other in RELATIONS if other != name])
    x, y = (refer(rng, scene, thing) for thing in (first, second))
    rel = RELATION[asked].say(rng, held_out)
    return ASK["is_beside"].say(rng, held_out, x=x, y=y, rel=rel), "yes" if asked == name else "no", (first, second)


def _is_number(rng: random.Random, held_out: bool) -> _Draft:
    scene, words, count = _counted(rng)
    if count < 2:
        return _is_number(rng, held_out)
    asked = count if rng.random() < 0.5 else rng.choice([number for number in (2, 3, 4) if number != count])
    question = ASK["is_number"].say(rng, held_out, number=NUMBERS[asked], noun=words)
    return (question, "yes" if asked == count else "no", ()), scene


_KINDS: dict[str, tuple[Callable[[random.Random, bool], _Draft], ...]] = {
    "what": (_what, _of_any(_shape), _beside),
    "color": (_of_any(_color), _of_any(_color), _of_any(_color), _background_color),
    "count": (_count,),
    "where": (_where, _where_from),
    "yes_no": (_of_any(_is_there), _of_any(_is_color), _is_beside, _is_number),
}

_ABOUT = (
    ("what", _shape),
    ("color", _color),
    ("count", _count_of),
    ("where", _where_of),
    ("where", _where_from_of),
    ("where", _where_from_of),
    ("where", _where_from_of),
    ("yes_no", _is_there),
    ("yes_no", _is_color),
    ("yes_no", _is_beside_of),
    ("yes_no", _is_beside_of),
)
"""Relations more often than the rest: they are the hardest, and few scenes allow a question about them."""
