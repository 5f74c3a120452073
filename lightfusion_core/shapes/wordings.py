"""How things are said, apart for training and held out for evaluation: the words that prompts, edits, questions and
talks share. Each of these has a module of its own."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from .world import Background

NUMBERS = ("zero", "one", "two", "three", "four", "five")

PLACES: dict[str, tuple[int, int]] = {
    "on the left side": (-1, 0),
    "on the right side": (1, 0),
    "at the top": (0, -1),
    "at the bottom": (0, 1),
    "in the center": (0, 0),
}
"""Where in the picture, with the third of it that is meant (x, y; -1 the first, 1 the last)."""


@dataclass(frozen=True, slots=True)
class Wording:
    """Templates for one thing to say: some to train on, others to evaluate with."""

    train: tuple[str, ...]
    held: tuple[str, ...]

    def say(self, rng: random.Random, held_out: bool, **words: str) -> str:
        return rng.choice(self.held if held_out else self.train).format(**words)


RELATION = {
    "left of": Wording(
        ("left of", "to the left of", "on the left of", "at the left of", "to the left side of", "further left than"),
        ("on the left side of", "to the left of"),
    ),
    "right of": Wording(
        (
            "right of",
            "to the right of",
            "on the right of",
            "at the right of",
            "to the right side of",
            "further right than",
        ),
        ("on the right side of", "to the right of"),
    ),
    "above": Wording(("above", "above", "over", "higher than", "further up than"), ("above",)),
    "below": Wording(("below", "below", "under", "lower than", "further down than"), ("below",)),
}


def article(word: str) -> str:
    """`a` or `an`, as the word that follows needs."""
    return "an" if word[0] in "aeiou" else "a"


def plural(shape: str) -> str:
    return shape + ("es" if shape.endswith("s") else "s")


def noun(shape: str, color: str | None = None, size: str | None = None, count: int = 1) -> str:
    """`a large red circle`, `three red circles`."""
    words = [word for word in (size, color) if word] + [shape if count == 1 else plural(shape)]
    return " ".join([article(words[0]) if count == 1 else NUMBERS[count], *words])


def listing(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def describe_background(background: Background) -> str:
    """What the background is, without an article where it is plain: `light blue`, `vertical light blue stripes`."""
    if background.kind == "plain":
        return background.first
    if background.kind == "stripes":
        return f"{background.axis} {background.first} stripes"
    if background.axis == "vertical":
        return f"a gradient from {background.first} at the top to {background.second} at the bottom"
    return f"a gradient from {background.first} on the left to {background.second} on the right"


def background_phrase(background: Background) -> str:
    """The background as a noun: `a light blue background`, `vertical light blue stripes`."""
    words = describe_background(background)
    return f"a {words} background" if background.kind == "plain" else words


def polish(rng: random.Random, text: str) -> str:
    """Now and then a capital and a full stop, as people write."""
    if rng.random() < 0.2:
        text = text[0].upper() + text[1:]
    if rng.random() < 0.15 and text[-1] not in ".?":
        text += "."
    return text
