"""What training says beside the world's own wordings: loosened requests, and requests in plain words."""

from __future__ import annotations

import random
import re
from collections.abc import Collection
from typing import TypeAlias

from lightfusion_core.shapes.questions import caption
from lightfusion_core.shapes.rewriting import description
from lightfusion_core.shapes.samples import EditSample, PromptSample, ReferenceSample, Relation
from lightfusion_core.shapes.wordings import NUMBERS, background_phrase, listing, noun, plural
from lightfusion_core.shapes.world import COLORS, SHAPES, Scene, Thing

Sample: TypeAlias = PromptSample | EditSample | ReferenceSample

_LOOSE = {
    "the", "a", "an", "of", "in", "to", "is", "are", "there", "it", "me", "i", "that", "this", "does", "do", "can",
    "you", "please",
}  # fmt: skip
_FILLERS = (
    "please", "now", "so", "well", "then", "just", "here", "ok", "and", "say", "really", "kindly", "maybe", "simply",
    "again", "today", "hello", "thanks", "dear", "if possible", "for me", "as you can", "you know", "i think",
)  # fmt: skip
_OBJECTS = ("thing", "shape", "item", "figure", "one")
"""What an object is called too."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_MEANT = {
    *COLORS, *SHAPES, *map(plural, SHAPES), *NUMBERS,
    "what", "which", "where", "how", "many", "number", "count", "describe", "caption", "name", "say", "tell",
    "color", "colored", "shape", "object", "objects", "background", "picture", "image", "place", "part", "side",
    "thing", "things", "shapes",
    "is", "are", "does", "do", "can", "has", "would", "if", "yes", "no",
    "left", "right", "above", "below", "over", "under", "higher", "lower", "top", "bottom", "center", "light", "dark",
}  # fmt: skip
"""The words of a question that decide its answer."""

_LEANING = {
    "it", "they", "its", "their", "them", "that", "one", "now", "before", "after", "first", "still", "was", "did",
    "add", "added", "new", "remove", "removed", "gone", "there", "left", "same", "too", "and", "about", "instead",
    "without", "also", "another",
}  # fmt: skip
"""The words that lean on an earlier turn."""

_ASIDES = (
    "i want to know {x}", "do you know {x}", "can you say {x}", "look at the picture: {x}", "i ask you {x}",
    "here is a picture. {x}", "{x} answer please",
)  # fmt: skip


def asked(rng: random.Random, question: str) -> str:
    """A question as it is, or in a longer sentence, or with other words where none matters; and loosened."""
    if rng.random() < 0.2:
        question = rng.choice(_ASIDES).format(x=question)
    if rng.random() < 0.4:
        question = _reword(rng, question)
    return loosen(rng, question)


def asked_again(rng: random.Random, question: str) -> str:
    """A question that leans on an earlier turn, now and then in other words."""
    return loosen(rng, _reword(rng, question, _MEANT | _LEANING) if rng.random() < 0.3 else question)


def mumbled(rng: random.Random, kind: str, sentence: str) -> str:
    """A sentence that asks for a kind of turn, now and then with words of chance letters: what it asks for must be
    plain from the rest, as "xqk a red circle" is to draw, "xqk the circle blue" to edit, "what is the xqk?" to answer.
    """
    if rng.random() < 0.25:
        if kind != "edit":
            sentence = _reword(rng, sentence, _MEANT | _LEANING)
        elif not set(sentence.lower().split(" ")) & {"a", "an"}:  # what is added may be told by its verb alone
            sentence = _reword(rng, sentence, _MEANT | _LEANING | _LOOSE)
    return loosen(rng, sentence) if kind != "edit" else _filled(rng, sentence)


def _reword(rng: random.Random, question: str, meant: Collection[str] = _MEANT) -> str:
    """One or two words that decide nothing said otherwise, by words of chance letters."""
    words = question.split(" ")
    free = [index for index, word in enumerate(words) if word.lower().strip(".,?:") not in meant]
    for index in rng.sample(free, min(len(free), rng.randint(1, 2))):
        words[index] = _unknown(rng)
    return " ".join(words)


def _unknown(rng: random.Random) -> str:
    """A word that training never says."""
    return "".join(rng.choice(_LETTERS) for _ in range(rng.randint(2, 7)))


def loosen(rng: random.Random, text: str) -> str:
    """Now and then a small word gone or one too many, so that training leans on the words that matter; and objects that
    are called otherwise."""
    words = text.split(" ")
    if rng.random() < 0.3:
        name = rng.choice(_OBJECTS)
        words = [re.sub(r"^objects?\b", lambda found: name + "s" * found[0].endswith("s"), word) for word in words]
    if rng.random() < 0.2:
        loose = [index for index, word in enumerate(words) if word.lower() in _LOOSE]
        if loose and len(words) > 2:
            words.pop(rng.choice(loose))
    return _filled(rng, " ".join(words))


def _filled(rng: random.Random, text: str) -> str:
    """Now and then a word too many."""
    words = text.split(" ")
    if rng.random() < 0.25:
        # Half of the time a word of chance letters: a word that training never says must not weigh either.
        filler = rng.choice((rng.choice(_FILLERS), _unknown(rng)))
        words.insert(rng.randrange(len(words) + 1) if rng.random() < 0.75 else 0, filler)
    return " ".join(words)


def told(sample: Sample) -> str:
    """A request in plain words, the same for every wording of it."""
    if isinstance(sample, ReferenceSample):
        things = [noun(thing.shape, thing.color) for thing in sample.target.things]
        return f"{listing(things)} on {background_phrase(sample.target.background)}"
    if isinstance(sample, PromptSample):
        return _prompt(sample)
    if sample.before is None and sample.after is None:
        change = "background to " + background_phrase(sample.target.background)
    elif sample.direction is not None:
        change = f"{_name(sample.before)} {sample.direction}"
    else:
        change = f"{_name(sample.before)} to {_name(sample.after)}"
        if sample.beside:
            change += f" {sample.beside[0]} {_name(sample.beside[1])}"
    return f"{change}. {_scene(sample.target)}"


def thought(sample: Sample) -> str:
    """What nano thinks before it draws a request."""
    return description(sample) if isinstance(sample, PromptSample) else told(sample)


def _scene(scene: Scene) -> str:
    return caption(scene) if scene.things else f"nothing on {background_phrase(scene.background)}"


def _prompt(sample: PromptSample) -> str:
    parts = [noun(item.shape, item.color, item.size, item.count) for item in sample.wanted]
    if sample.relations:
        text = " and ".join(sorted(_related(item, parts) for item in sample.relations))
    else:
        text = listing(sorted(parts))
    places = [item.place for item in sample.wanted if item.place]
    text = " ".join([text, *places])
    return text if sample.background is None else f"{text} on {background_phrase(sample.background)}"


def _related(item: Relation, parts: list[str]) -> str:
    ends, name = (parts[item.first], parts[item.second]), item.name
    if name in ("right of", "below"):
        ends, name = ends[::-1], {"right of": "left of", "below": "above"}[name]
    return f"{ends[0]} {name} {ends[1]}"


def _name(thing: Thing | None) -> str:
    return "nothing" if thing is None else f"{thing.color} {thing.shape}"
