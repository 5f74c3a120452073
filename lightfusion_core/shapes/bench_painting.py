"""The part of the benchmark that draws at a mask, beyond a picture's edges, and at other sizes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .edit_wordings import ADD
from .edits import sample_edit
from .judge import judge_edit, judge_prompt, judge_scene
from .prompts import sample_prompt
from .samples import EditSample, PromptSample
from .scenes import random_scene
from .talk_wordings import BEYOND
from .wordings import noun, polish
from .world import PLAIN, Scene, Thing, render

SIDE = 128
"""Of the pictures that are painted in, in pixels."""
LARGE = (192, 256)
"""Sides of the larger pictures, in turns."""
CATEGORIES = ("at_a_mask", "beyond_the_edge", "larger")
_MASKED = ("recolor", "replace", "add", "remove")
_PROMPTS = ("single_object", "two_objects", "colors", "position", "color_attribution")
_MARGIN = 6  # pixels of 128 that a mask is larger than what changes
_ADDED = 64  # pixels beyond the right edge

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Painting:
    """A picture (H, W, 3), what is to be done, where: in a mask (H, W) or all over; and how many pixels to add at the
    left, the top, the right and the bottom."""

    picture: Picture
    instruction: str
    mask: NDArray[np.bool_] | None = None
    beyond: tuple[int, int, int, int] = (0, 0, 0, 0)


class Painter(Protocol):
    """Who is examined; see `bench.Artist`."""

    def draw(self, prompts: Sequence[str], seed: int, side: int | None = None) -> Iterable[Picture]: ...

    def paint(self, asked: Sequence[Painting], seed: int) -> Iterable[Picture]: ...


@dataclass(frozen=True, slots=True)
class Beyond:
    """A picture that goes on beyond its right edge. source: what is there; target: the whole, in its own coordinates;
    added: what is wanted in the new part, if anything."""

    instruction: str
    source: Scene
    target: Scene
    added: Thing | None


@dataclass(frozen=True, slots=True)
class Examined:
    """One request: its kind, whether it was right, the pictures to show, and what was said."""

    kind: str
    right: bool
    pictures: tuple[Picture, ...]
    caption: str


def masked_of(seed: int, count: int) -> list[EditSample]:
    """Held-out edits of one thing, all kinds that a mask suits in turn."""
    rng = random.Random(f"bench masks {seed}")
    return [sample_edit(rng, _MASKED[k % len(_MASKED)], held_out=True) for k in range(count)]


def mask_of(edit: EditSample) -> NDArray[np.bool_]:
    """A box (H, W) around what an edit changes."""
    rows, columns = np.nonzero(ndimage.binary_dilation(edit.mask(SIDE, SIDE), iterations=_MARGIN))
    box = np.zeros((SIDE, SIDE), bool)
    box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    return box


def beyond_of(seed: int, count: int) -> list[Beyond]:
    """Held-out wishes to go on beyond the right edge, with and without a new thing there, on plain backgrounds."""
    rng = random.Random(f"bench beyond {seed}")
    return [_beyond(rng, k % 2 == 0) for k in range(count)]


def larger_of(seed: int, count: int) -> list[PromptSample]:
    """Held-out prompts of GenEval's categories but counting."""
    rng = random.Random(f"bench larger {seed}")
    return [sample_prompt(rng, _PROMPTS[k % len(_PROMPTS)], held_out=True) for k in range(count)]


def _beyond(rng: random.Random, adds: bool) -> Beyond:
    ground, share = rng.choice(PLAIN), SIDE / (SIDE + _ADDED)
    source = Scene(random_scene(rng, rng.choice((1, 2))).things, ground)
    things = tuple(_at(thing, thing.x * share) for thing in source.things)
    if not adds:
        return Beyond(polish(rng, BEYOND.say(rng, True)), source, Scene(things, ground), None)
    new = random_scene(rng, 1).things[0]
    if any((new.shape, new.color) == (thing.shape, thing.color) for thing in things):
        return _beyond(rng, adds)
    new = Thing(new.shape, new.color, "small", (1 + share) / 2, 0.5)
    text = polish(rng, ADD.say(rng, True, y=noun(new.shape, new.color)))
    return Beyond(text, source, Scene((*things, new), ground), new)


def _at(thing: Thing, x: float) -> Thing:
    return Thing(thing.shape, thing.color, thing.size, x, thing.y)


def examined(painter: Painter, name: str, seed: int, count: int, first: int) -> Iterator[Examined]:
    """Every request of one of `CATEGORIES`; picture k is drawn with the seed `first` + k."""
    if name == "larger":
        yield from _larger(painter, seed, count, first)
    elif name == "at_a_mask":
        edits = masked_of(seed, count)
        asked = [Painting(render(one.source, SIDE), one.instruction, mask_of(one)) for one in edits]
        for edit, one, painted in zip(edits, asked, painter.paint(asked, first), strict=True):
            assert one.mask is not None
            right = judge_edit(edit, one.picture, painted)[0]
            right = right and np.array_equal(painted[~one.mask], one.picture[~one.mask])
            yield Examined(edit.kind, right, (one.picture, painted), edit.instruction)
    else:
        wishes = beyond_of(seed, count)
        asked = [Painting(render(one.source, SIDE), one.instruction, beyond=(0, 0, _ADDED, 0)) for one in wishes]
        for wish, painted in zip(wishes, painter.paint(asked, first), strict=True):
            right = painted.shape == (SIDE, SIDE + _ADDED, 3) and judge_scene(wish.target, painted, places=False)
            kind = "nothing new" if wish.added is None else "a thing"
            yield Examined(kind, right, (painted,), wish.instruction)


def _larger(painter: Painter, seed: int, count: int, first: int) -> Iterator[Examined]:
    samples = larger_of(seed, count)
    for turn, side in enumerate(LARGE):
        own = samples[turn :: len(LARGE)]
        drawn = painter.draw([one.prompt for one in own], first + turn * count, side)
        for sample, picture in zip(own, drawn, strict=True):
            right = picture.shape == (side, side, 3) and judge_prompt(sample, picture)
            yield Examined(f"{side} pixels", right, (picture[:: side // 64, :: side // 64],), sample.prompt)
