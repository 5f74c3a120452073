"""Judges a picture against what was asked, by measuring its pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .measure import Found, Reading, read, to_pixels
from .samples import ChainSample, EditSample, PromptSample, ReferenceSample, Wanted
from .scenes import holds
from .wordings import PLACES
from .world import SIZES, Scene, Thing, coverage_of

__all__ = [
    "Found",
    "Reading",
    "judge_chain",
    "judge_edit",
    "judge_prompt",
    "judge_reference",
    "judge_scene",
    "outline_errors",
    "read",
    "share_changed",
    "share_worn",
]

_STILL = 0.08  # how far a thing that should stay may wander, as a part of the side
_MOVED = 0.12  # how far a moved thing must go at least
_GROWN = 1.45  # how many times larger or smaller a kept thing may become
_BORDER = 4  # pixels of 128 around the edited thing that still count as the thing: its antialiased rim

_Check = Callable[[Found], bool]
Picture = NDArray[np.generic]


def judge_prompt(sample: PromptSample, picture: Picture) -> bool:
    """Whether a picture (uint8 or float 0..1, (H, W, 3)) shows what the prompt asks for, and no other thing:
    counts exact, each colour on its own shape, relations by centres, the background where one is named."""
    reading = read(picture)
    if sample.background is not None and reading.background != sample.background:
        return False
    slots = [index for index, wanted in enumerate(sample.wanted) for _ in range(wanted.count)]
    for order in _matchings(reading.things, [_as_wanted(sample.wanted[index]) for index in slots]):
        first = dict(zip(slots, order, strict=True))
        if all(holds(first[item.first].centre, item.name, first[item.second].centre) for item in sample.relations):
            return True
    return False


def judge_scene(scene: Scene, picture: Picture, places: bool = True) -> bool:
    """Whether a picture shows exactly this scene; where its things stand matters only with `places`."""
    reading = read(picture)
    if reading.background != scene.background:
        return False
    checks = [_as_kept(thing) if places else _as_like(thing) for thing in scene.things]
    return next(_matchings(reading.things, checks), None) is not None


def judge_reference(sample: ReferenceSample, picture: Picture) -> bool:
    """Whether a composition has its things, wherever they stand, on the right background."""
    return judge_scene(sample.target, picture, places=False)


def judge_edit(sample: EditSample, source_picture: Picture, result: Picture) -> tuple[bool, float]:
    """Judge an edit.

    Args:
        sample: the edit with its truth.
        source_picture: what was edited, uint8 or float 0..1, (H, W, 3).
        result: what came out, of the same size.

    Returns:
        whether what was asked was done and every other thing is still there, and the mean absolute change outside
        the edited object (of the things, where the background was edited), as a part of full scale, 0..1.
    """
    done, outside = _judged(sample, result)
    change = np.abs(to_pixels(result) - to_pixels(source_picture)).mean(axis=2) / 255
    return done, float(change[outside].mean()) if outside.any() else 0.0


def share_changed(sample: EditSample, source_picture: Picture, result: Picture) -> float:
    """What part of the pixels outside of the edited object is not bit for bit what it was; see `judge_edit`."""
    outside = _judged(sample, result)[1]
    return float((result != source_picture).any(axis=2)[outside].mean()) if outside.any() else 0.0


def share_worn(sample: ChainSample, source_picture: Picture, results: Sequence[Picture]) -> float:
    """The same of the last of the pictures after each edit of a chain, outside of all that any edit was to change."""
    height, width = source_picture.shape[:2]
    region, before = np.zeros((height, width), bool), source_picture
    for edit, after in zip(sample.edits, results, strict=True):
        for thing, picture in ((edit.before, before), (edit.after, after)):
            for found in read(picture).things if thing is not None else ():
                if thing is not None and _is(found, thing):
                    region |= found.mask
        before = after
    outside = ~ndimage.binary_dilation(region, iterations=_border(height, width))
    return float((results[-1] != source_picture).any(axis=2)[outside].mean()) if outside.any() else 0.0


def judge_chain(sample: ChainSample, result: Picture) -> bool:
    """Whether a picture after all edits of a chain has the things and the background that they leave. Where the
    things stand does not count: what is added goes where there is room, and later edits begin there."""
    return judge_scene(sample.target, result, places=False)


def outline_errors(picture: Picture) -> dict[str, list[float]]:
    """The outline errors (see `Found`) of a picture's things, by their shapes."""
    errors: dict[str, list[float]] = {}
    for found in read(picture).things:
        if found.shape is not None:
            errors.setdefault(found.shape, []).append(found.outline_error)
    return errors


def _judged(sample: EditSample, result: Picture) -> tuple[bool, NDArray[np.bool_]]:
    """Whether an edit was done, and the pixels (H, W) that it should have left alone."""
    reading = read(result)
    checks = [_as_kept(thing) for thing in sample.source.things if thing is not sample.before]
    if sample.after is not None:
        checks.append(_as_edited(sample))
    matching = next(_matchings(reading.things, checks), None)
    done = matching is not None
    if sample.before is None and sample.after is None:
        done = done and reading.background == sample.target.background
    edited = matching[-1] if matching is not None and sample.after is not None else None
    return done, ~_may_change(sample, result.shape[0], result.shape[1], edited)


def _border(height: int, width: int) -> int:
    return max(1, round(_BORDER * min(width, height) / 128))


def _may_change(sample: EditSample, height: int, width: int, edited: Found | None) -> NDArray[np.bool_]:
    """The pixels of the edit, (H, W). Where the instruction leaves open where a thing goes (added or moved),
    its place in the result counts, not in the target."""
    border = _border(height, width)
    if sample.before is None and sample.after is None:
        kept = sum(coverage_of(thing, width, height) for thing in sample.source.things) > 0.5
        return ~ndimage.binary_erosion(kept, iterations=border)
    region = np.zeros((height, width), bool)
    for thing in (sample.before, sample.after):
        if thing is not None and (thing is sample.before or edited is None):
            region |= coverage_of(thing, width, height) > 0
    if edited is not None:
        region |= edited.mask
    return ndimage.binary_dilation(region, iterations=border)


def _matchings(things: Sequence[Found], checks: Sequence[_Check]) -> Iterator[list[Found]]:
    """Every order of all the things in which each passes its check."""
    if len(things) != len(checks):
        return
    passes = [[check(thing) for thing in things] for check in checks]
    for order in permutations(range(len(things))):
        if all(passes[slot][index] for slot, index in enumerate(order)):
            yield [things[index] for index in order]


def _as_wanted(wanted: Wanted) -> _Check:
    def check(found: Found) -> bool:
        return (
            found.shape == wanted.shape
            and found.color is not None
            and wanted.color in (None, found.color)
            and wanted.size in (None, found.size)
            and (wanted.place is None or _stands(found, wanted.place))
        )

    return check


def _stands(found: Found, place: str) -> bool:
    """Whether a thing is in the named part of the picture, with a little leeway at the thirds' borders."""
    if place == "in the center":
        return abs(found.x - 0.5) < 0.15 and abs(found.y - 0.5) < 0.15
    across, down = PLACES[place]
    return (found.x - 0.5) * across > 0.1 if across else (found.y - 0.5) * down > 0.1


def _is(found: Found, thing: Thing) -> bool:
    return (found.shape, found.color) == (thing.shape, thing.color)


def _near(found: Found, thing: Thing) -> bool:
    return abs(found.x - thing.x) <= _STILL and abs(found.y - thing.y) <= _STILL


def _as_like(thing: Thing) -> _Check:
    return lambda found: _is(found, thing)


def _as_kept(thing: Thing) -> _Check:
    def check(found: Found) -> bool:
        return _is(found, thing) and _near(found, thing) and 1 / _GROWN < found.radius / SIZES[thing.size] < _GROWN

    return check


def _as_edited(sample: EditSample) -> _Check:
    after, before = sample.after, sample.before
    assert after is not None

    def check(found: Found) -> bool:
        if not _is(found, after):
            return False
        if before is None:
            if sample.beside is None:
                return True
            relation, anchor = sample.beside
            return holds(found.centre, relation, (anchor.x, anchor.y))
        if sample.direction is None:
            return _near(found, after)
        dx, dy = found.x - before.x, found.y - before.y
        return holds(found.centre, sample.direction, (before.x, before.y)) and max(abs(dx), abs(dy)) >= _MOVED

    return check
