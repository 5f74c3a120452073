"""Where things stand in the pictures that training learns from."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest

from lightfusion_core.shapes.prompts import CATEGORIES, sample_prompt
from lightfusion_core.shapes.scenes import (
    RELATIONS,
    USUAL_COLORS,
    compose,
    compose_related,
    fits,
    holds,
    put,
    put_roomily,
    usual_thing,
)
from lightfusion_core.shapes.world import SHAPES, SIZES


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_composed_things_stand_apart_in_reading_order(count: int, size: str) -> None:
    rng = random.Random(0)
    for _ in range(50):
        shapes = [rng.choice(SHAPES) for _ in range(count)]
        things = compose(rng, [replace(usual_thing(shape, count), size=size) for shape in shapes])
        assert [thing.shape for thing in things] == shapes
        assert all(fits(thing, things) for thing in things)
        for first, second in pairwise(things):
            assert second.x - first.x > 0.2 or second.y - first.y > 0.2


@pytest.mark.parametrize("relation", RELATIONS)
def test_related_things_are_related(relation: str) -> None:
    rng = random.Random(1)
    for _ in range(50):
        pair = [usual_thing(shape, 2) for shape in rng.sample(SHAPES, 2)]
        first, second = compose_related(rng, pair[0], relation, pair[1])
        assert fits(first, [second]) and fits(second, [first])
        assert holds((first.x, first.y), relation, (second.x, second.y))


@pytest.mark.parametrize("category", CATEGORIES)
def test_what_a_prompt_leaves_open_is_as_usual(category: str) -> None:
    rng = random.Random(2)
    for _ in range(100):
        sample = sample_prompt(rng, category)
        uncolored = {wanted.shape for wanted in sample.wanted if wanted.color is None}
        found = [thing for thing in sample.scene.things if thing.shape in uncolored]
        assert all(thing.color == USUAL_COLORS[thing.shape] for thing in found)


def test_where_there_is_room_is_farther_from_the_others() -> None:
    def distance(place) -> float:
        rng = random.Random(3)
        others = [replace(usual_thing("circle", 2), x=0.3, y=0.3)]
        found = [place(rng, usual_thing("star", 2), others) for _ in range(100)]
        return sum((thing.x - 0.3) ** 2 + (thing.y - 0.3) ** 2 for thing in found) / len(found)

    assert distance(put_roomily) > 1.3 * distance(put)
