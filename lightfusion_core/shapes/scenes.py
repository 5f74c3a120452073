"""Where things stand: random scenes in which nothing touches."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from .outlines import REACH
from .world import BACKGROUNDS, COLORS, PLAIN, SHAPES, SIZES, Background, Scene, Thing

GAP = 0.05
"""The least space between two things, as a part of the picture's side."""

USUAL_COLORS = {
    "circle": "orange", "square": "blue", "triangle": "green", "star": "yellow", "heart": "red", "cross": "purple",
}  # fmt: skip
"""What a prompt that names no colour gives."""

RELATIONS: dict[str, tuple[int, int]] = {
    "left of": (-1, 0),
    "right of": (1, 0),
    "above": (0, -1),
    "below": (0, 1),
}
"""A relation's direction from the second thing to the first, x right and y down."""

_CELLS: dict[int, tuple[tuple[float, float], ...]] = {
    1: ((0.5, 0.5),),
    2: ((0.26, 0.5), (0.74, 0.5)),
    3: ((0.26, 0.27), (0.74, 0.27), (0.5, 0.74)),
    4: ((0.26, 0.26), (0.74, 0.26), (0.26, 0.74), (0.74, 0.74)),
}
"""Where so many things stand in a composed picture."""


def reach(size: str) -> float:
    """The room that a thing of this size needs around its centre, as a part of the side."""
    return SIZES[size] * REACH


def only_of_shape(scene: Scene, thing: Thing) -> bool:
    """Whether "the star" means this thing of the scene and no other."""
    return sum(other.shape == thing.shape for other in scene.things) == 1


def only_of_color(scene: Scene, thing: Thing) -> bool:
    """Whether "the red object" means this thing of the scene and no other."""
    return sum(other.color == thing.color for other in scene.things) == 1


def holds(first: tuple[float, float], relation: str, second: tuple[float, float]) -> bool:
    """Whether the first centre stands in `relation` to the second: a tenth of the picture away or more,
    and within 60 degrees of the direction (as GenEval has it)."""
    dx, dy = first[0] - second[0], first[1] - second[1]
    ux, uy = RELATIONS[relation]
    along = dx * ux + dy * uy
    return along >= 0.10 and along >= 0.5 * (dx * dx + dy * dy) ** 0.5


def fits(thing: Thing, others: Sequence[Thing]) -> bool:
    """Whether a thing lies inside the picture and touches none of the others."""
    room = reach(thing.size)
    if not (room <= thing.x <= 1 - room and room <= thing.y <= 1 - room):
        return False
    return all(
        (thing.x - other.x) ** 2 + (thing.y - other.y) ** 2 >= (room + reach(other.size) + GAP) ** 2
        for other in others
        if other is not thing
    )


def put_roomily(rng: random.Random, thing: Thing, others: Sequence[Thing]) -> Thing | None:
    """As `put`, with much room around: the best of a few places."""
    found = [place for place in (put(rng, thing, others) for _ in range(8)) if place is not None]

    def room(place: Thing) -> float:
        return min((place.x - other.x) ** 2 + (place.y - other.y) ** 2 for other in others)

    return max(found, key=room, default=None)


def put(rng: random.Random, thing: Thing, others: Sequence[Thing], tries: int = 60) -> Thing | None:
    """The thing at a random free place beside the others, or None where none was found."""
    room = reach(thing.size)
    for _ in range(tries):
        moved = replace(thing, x=rng.uniform(room, 1 - room), y=rng.uniform(room, 1 - room))
        if fits(moved, others):
            return moved
    return None


def smaller(thing: Thing) -> Thing:
    """The thing one size smaller; a small one stays."""
    return replace(thing, size="medium" if thing.size == "large" else "small")


def scatter(rng: random.Random, things: Sequence[Thing]) -> tuple[Thing, ...]:
    """The same things at random free places; where it gets tight all become one size smaller."""
    things = list(things)
    while True:
        for _ in range(12):
            placed: list[Thing] = []
            for thing in things:
                found = put(rng, thing, placed)
                if found is None:
                    break
                placed.append(found)
            else:
                return tuple(placed)
        things = [smaller(thing) for thing in things]


def arrange(rng: random.Random, things: Sequence[Thing]) -> tuple[Thing, ...]:
    """Two to four things in a loose row, column or square: pictures that can be counted at a glance."""
    count = len(things)
    room = max(reach(thing.size) for thing in things)
    if count == 4 or (count == 3 and rng.random() < 0.4):
        cells = [(0.28, 0.28), (0.72, 0.28), (0.28, 0.72), (0.72, 0.72)]
        rng.shuffle(cells)
        cells = cells[:count]
    else:
        line = [(index + 0.5) / count for index in range(count)]
        cross = rng.uniform(0.3, 0.7)
        cells = [(at, cross) for at in line] if rng.random() < 0.5 else [(cross, at) for at in line]
    return _near(rng, things, cells, 0.07, 40, room) or scatter(rng, things)


def compose(rng: random.Random, things: Sequence[Thing]) -> tuple[Thing, ...]:
    """The same one to four things in reading order, loosely: one about the middle, two beside each other, three with
    the last below, four in a square. What is too large for that becomes smaller."""
    return _loosely(rng, things, _CELLS[len(things)])


def compose_related(rng: random.Random, first: Thing, relation: str, second: Thing) -> tuple[Thing, Thing]:
    """Two things at either side of the middle, the first in `relation` to the second."""
    ux, uy = RELATIONS[relation]
    one, other = _loosely(
        rng, (first, second), ((0.5 + 0.24 * ux, 0.5 + 0.24 * uy), (0.5 - 0.24 * ux, 0.5 - 0.24 * uy))
    )
    return one, other


def compose_around(
    rng: random.Random, first: Thing, relation: str, middle: Thing, third: Thing, other_relation: str
) -> tuple[Thing, Thing, Thing]:
    """Three things, the first and the third in different relations to the one in the middle."""
    offsets = (RELATIONS[relation], (0, 0), RELATIONS[other_relation])
    one, two, three = _loosely(rng, (first, middle, third), [(0.5 + 0.32 * ux, 0.5 + 0.32 * uy) for ux, uy in offsets])
    return one, two, three


def compose_sizes(rng: random.Random, first: Thing, second: Thing) -> tuple[Thing, Thing]:
    """Two things of named sizes side by side, which they keep: none becomes smaller to fit."""
    while True:
        things = compose(rng, (first, second))
        if [thing.size for thing in things] == [first.size, second.size]:
            return things[0], things[1]


def _loosely(rng: random.Random, things: Sequence[Thing], cells: Sequence[tuple[float, float]]) -> tuple[Thing, ...]:
    """Each thing near its cell; the fewer they are, the farther from it."""
    loose = {1: 0.15, 2: 0.08}.get(len(things), 0.05)
    while True:
        placed = _near(rng, things, cells, loose, 20)
        if placed is not None:
            return placed
        things = [smaller(thing) for thing in things]


def _near(
    rng: random.Random,
    things: Sequence[Thing],
    cells: Sequence[tuple[float, float]],
    loose: float,
    tries: int,
    room: float = 0.0,
) -> tuple[Thing, ...] | None:
    """Each thing up to `loose` from its cell and `room` from the edges, or None where they never fitted."""
    for _ in range(tries):
        placed = tuple(
            replace(
                thing,
                x=min(max(x + rng.uniform(-loose, loose), room), 1 - room),
                y=min(max(y + rng.uniform(-loose, loose), room), 1 - room),
            )
            for thing, (x, y) in zip(things, cells, strict=True)
        )
        if all(fits(thing, placed) for thing in placed):
            return placed
    return None


def relate(rng: random.Random, first: Thing, relation: str, second: Thing) -> tuple[Thing, Thing]:
    """Both things at random places, the first plainly in `relation` to the second; two that are too large for
    that both become one size smaller."""
    ux, uy = RELATIONS[relation]
    rooms = reach(first.size), reach(second.size)
    least, most = max(0.3, sum(rooms) + GAP), 1 - sum(rooms)
    if least > most:
        return relate(rng, smaller(first), relation, smaller(second))
    far = rng.uniform(least, most)
    near = rng.uniform(rooms[1], 1 - rooms[0] - far)  # from the edge that the second thing is nearer to
    across = rng.uniform(rooms[1], 1 - rooms[1])
    across_first = min(max(across + rng.uniform(-0.25, 0.25), rooms[0]), 1 - rooms[0])
    ends = (near + far, near) if ux + uy > 0 else (1 - near - far, 1 - near)
    if ux:
        return replace(first, x=ends[0], y=across_first), replace(second, x=ends[1], y=across)
    return replace(first, x=across_first, y=ends[0]), replace(second, x=across, y=ends[1])


def random_size(rng: random.Random, count: int) -> str:
    """A size that suits a picture of so many things."""
    choices = {1: ("medium", "large", "large"), 2: ("small", "medium", "medium", "large")}
    return rng.choice(choices.get(count, ("small", "medium")))


def usual_thing(shape: str, count: int) -> Thing:
    """A thing of which nothing but the shape is said, for a picture of `count` things."""
    return Thing(shape, USUAL_COLORS[shape], "large" if count == 1 else "medium", 0.5, 0.5)


def random_thing(rng: random.Random, count: int = 1) -> Thing:
    """A thing of random shape, colour and size, not yet placed, for a picture of `count` things."""
    return Thing(rng.choice(SHAPES), rng.choice(tuple(COLORS)), random_size(rng, count), 0.5, 0.5)


def random_things(rng: random.Random, count: int) -> tuple[Thing, ...]:
    """Unplaced things, no two alike in both shape and colour."""
    things: list[Thing] = []
    while len(things) < count:
        thing = random_thing(rng, count)
        if all((thing.shape, thing.color) != (other.shape, other.color) for other in things):
            things.append(thing)
    return tuple(things)


def random_background(rng: random.Random, plain: float = 0.5) -> Background:
    """White or another plain one with the probability `plain`, else any."""
    return rng.choice(PLAIN) if rng.random() < plain else rng.choice(BACKGROUNDS)


def random_scene(rng: random.Random, count: int | None = None, plain: float = 0.5) -> Scene:
    """A scene of `count` things, one to four where none is said."""
    things = random_things(rng, count or rng.choice((1, 1, 2, 2, 3, 4)))
    return Scene(scatter(rng, things), random_background(rng, plain))
