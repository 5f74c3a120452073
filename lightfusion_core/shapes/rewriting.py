"""Rewritten prompts: what a prompt says with all that it left open, and a judge of what a model wrote."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise, permutations

from .edit_wordings import REFERENCE, WAY
from .samples import EditSample, PromptSample, ReferenceSample, Wanted
from .scenes import RELATIONS
from .wordings import NUMBERS, background_phrase, describe_background, listing, noun, plural
from .world import BACKGROUNDS, COLORS, SHAPES, SIZES, Background

_INVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
_SINGULAR = {plural(shape): shape for shape in SHAPES}
_COUNTS = {"a": 1, "an": 1} | {word: number for number, word in enumerate(NUMBERS)}
_BACKGROUNDS = {background_phrase(background) for background in BACKGROUNDS}

_PHRASE = re.compile(
    rf"\b(?P<the>the )?(?P<count>{'|'.join(_COUNTS)})?\s*(?P<size>{'|'.join(SIZES)})?\s*"
    rf"(?P<color>{'|'.join(COLORS)})?\s*"
    rf"(?P<shape>{'|'.join((*_SINGULAR, *SHAPES))})\b"
)


def description(sample: PromptSample) -> str:
    """A prompt with everything that it left open: sizes, colours, a place or an order, the background."""
    parts, slot = [], 0
    for wanted in sample.wanted:
        thing = sample.scene.things[slot]
        slot += wanted.count
        parts.append(noun(wanted.shape, wanted.color or thing.color, wanted.size or thing.size, wanted.count))
    if len(sample.relations) == 2:
        first, second = sample.relations
        middle = sample.wanted[first.second].shape
        text = f"{parts[0]} {first.name} {parts[1]} and {parts[2]} {second.name} the {middle}"
    elif sample.relations:
        (item,) = sample.relations
        text = f"{parts[item.first]} {item.name} {parts[item.second]}"
    elif [wanted.count for wanted in sample.wanted] == [1]:
        text = f"{parts[0]} {sample.wanted[0].place or 'in the center'}"
    elif [wanted.count for wanted in sample.wanted] == [1, 1]:
        text = f"{parts[0]} left of {parts[1]}"  # as two things stand where nobody says how
    else:
        text = listing(parts)
    return f"{text} on {background_phrase(sample.background or Background())}"


def edit_description(sample: EditSample | ReferenceSample) -> str:
    """An instruction with its things' full names, which speaks of the pictures by their order."""
    if isinstance(sample, ReferenceSample):
        return REFERENCE[sample.kind].train[0]
    before, after = sample.before, sample.after
    if before is None and after is None:
        change = f"change the background to {describe_background(sample.target.background)}"
    elif before is None:
        assert after is not None
        change = f"add {noun(after.shape, after.color)}"
        if sample.beside is not None:
            change += f" {sample.beside[0]} the {sample.beside[1].color} {sample.beside[1].shape}"
    else:
        x = f"the {before.color} {before.shape}"
        if after is None:
            change = f"remove {x}"
        elif sample.direction is not None:
            change = f"move {x} {WAY[sample.direction]}"
        elif before.shape == after.shape:
            change = f"make {x} {after.color}"
        else:
            change = f"replace {x} with {noun(after.shape, after.color)}"
    return f"in the first picture, {change}"


def judge_rewriting(sample: PromptSample, text: str) -> tuple[bool, bool]:
    """Whether a rewritten prompt keeps everything that the prompt named, and nothing else beside; and whether it says
    each thing's colour and the background, which the prompt may have left open."""
    text = text.lower()
    found = [match for match in _PHRASE.finditer(text) if not match["the"]]
    things = [_wanted(match) for match in found]
    kept = _all_there(sample.wanted, things)
    kept = kept and all(wanted.place is None or wanted.place in text for wanted in sample.wanted)
    said = _relations(text)
    for item in sample.relations:
        first, second = (sample.wanted[index].shape for index in (item.first, item.second))
        kept = kept and bool({(first, item.name, second), (second, _INVERSE[item.name], first)} & said)
    if sample.background is not None:
        kept = kept and background_phrase(sample.background) in text
    filled = all(thing.color is not None for thing in things) and any(phrase in text for phrase in _BACKGROUNDS)
    return kept, filled


def _wanted(match: re.Match[str]) -> Wanted:
    shape = _SINGULAR.get(match["shape"], match["shape"])
    return Wanted(_COUNTS.get(match["count"] or "a", 1), shape, match["color"], match["size"])


def _all_there(wanted: Sequence[Wanted], things: Sequence[Wanted]) -> bool:
    """Whether the things are those that are wanted, in some order."""

    def fits(one: Wanted, thing: Wanted) -> bool:
        return (
            (one.count, one.shape) == (thing.count, thing.shape)
            and one.color in (None, thing.color)
            and one.size in (None, thing.size)
        )

    return len(things) == len(wanted) and any(all(map(fits, wanted, order)) for order in permutations(things))


def _relations(text: str) -> set[tuple[str, str, str]]:
    """Every relation that a text says, by the shapes at its ends."""
    matches = list(_PHRASE.finditer(text))
    shapes = [_SINGULAR.get(match["shape"], match["shape"]) for match in matches]
    between = [text[one.end() : other.start()] for one, other in pairwise(matches)]
    return {
        (shapes[index], name, shapes[index + 1])
        for index, words in enumerate(between)
        for name in RELATIONS
        if words.strip() == name
    }
