"""One sample of each task, with the structured truth that the judge holds a result against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .world import Background, Scene, Thing, coverage_of

GENEVAL = ("single_object", "two_objects", "counting", "colors", "position", "color_attribution")
COMPOSITION = ("several_things", "three_related", "sizes")
CATEGORIES = (*GENEVAL, *COMPOSITION, "free")
EDITS = ("recolor", "replace", "add", "remove", "move", "background", "the_one")
REFERENCES = ("object_on_background", "background_of_first", "both_objects")
QUESTIONS = ("what", "color", "count", "where", "yes_no")


@dataclass(frozen=True, slots=True)
class Wanted:
    """`count` things that a prompt asks for; None leaves an attribute open. `place` is a key of `PLACES`."""

    count: int
    shape: str
    color: str | None = None
    size: str | None = None
    place: str | None = None


@dataclass(frozen=True, slots=True)
class Relation:
    """The thing of `wanted[first]` stands `name` (a key of `scenes.RELATIONS`) the thing of `wanted[second]`."""

    first: int
    name: str
    second: int


@dataclass(frozen=True, slots=True)
class PromptSample:
    """Text to image. A right picture shows what is wanted and nothing else; `scene` is one of them.
    Where the prompt names no background, `background` is None (and `scene` has white)."""

    category: str
    prompt: str
    scene: Scene
    wanted: tuple[Wanted, ...]
    relations: tuple[Relation, ...] = ()
    background: Background | None = None


@dataclass(frozen=True, slots=True)
class EditSample:
    """An edit by instruction. `before` is the source's thing that changes (None: added), `after` the target's
    (None: removed); both None for the background. `beside` is where an added thing must stand: a relation and the
    source's thing that it names. `direction` is where a moved thing must go: a key of `scenes.RELATIONS`."""

    kind: str
    instruction: str
    source: Scene
    target: Scene
    before: Thing | None
    after: Thing | None
    beside: tuple[str, Thing] | None = None
    direction: str | None = None

    def mask(self, width: int = 128, height: int = 128) -> NDArray[np.bool_]:
        """The pixels that may change, (H, W): the changing thing before and after, or all but the things."""
        if self.before is None and self.after is None:
            kept = np.zeros((height, width), bool)
            for thing in self.source.things:
                kept |= coverage_of(thing, width, height) > 0
            return ~ndimage.binary_erosion(kept, iterations=2)
        changed = np.zeros((height, width), bool)
        for changing in (self.before, self.after):
            if changing is not None:
                changed |= coverage_of(changing, width, height) > 0
        return ndimage.binary_dilation(changed, iterations=3)


@dataclass(frozen=True, slots=True)
class ChainSample:
    """Edits one after another, each of what the one before should give."""

    edits: tuple[EditSample, ...]

    @property
    def source(self) -> Scene:
        return self.edits[0].source

    @property
    def target(self) -> Scene:
        return self.edits[-1].target


@dataclass(frozen=True, slots=True)
class ReferenceSample:
    """A picture made from what two reference pictures show."""

    kind: str
    instruction: str
    references: tuple[Scene, ...]
    target: Scene


@dataclass(frozen=True, slots=True)
class QuestionSample:
    """A question about a picture, or the request for a caption (kind `caption`), with its one right answer."""

    kind: str
    question: str
    answer: str
    scene: Scene
    about: tuple[Thing, ...] = ()
    """The things of the scene that the question names: what it asks about, then what that is compared with."""
