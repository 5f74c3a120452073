"""The same requests as strangers write them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from .prompt_wordings import FRAME
from .prompts import sample_prompt
from .samples import GENEVAL, PromptSample
from .wordings import NUMBERS, Wording

BARE = Wording(("{x}",), ("{x}",))
"""No frame at all."""

_POLITE = Wording(
    train=("please draw me {x}", "draw {x} for me please", "would you please paint {x}?"),
    held=("could you please draw {x} for me?", "please show me {x}, thank you"),
)
_PHOTO = Wording(("a photo of {x}", "photo of {x}"), ("a photo of {x}", "a photograph of {x}"))


def _digits(text: str) -> str:
    words = {word: str(number) for number, word in enumerate(NUMBERS)}
    return " ".join(words.get(word.lower(), word) for word in text.split(" "))


def _without_articles(text: str) -> str:
    return " ".join(word for word in text.split(" ") if word not in ("a", "an"))


MANNERS: dict[str, tuple[Wording, Callable[[str], str]]] = {
    "capitals": (FRAME, lambda text: text.title()),
    "shouted": (FRAME, str.upper),
    "full_stop": (FRAME, lambda text: text[0].upper() + text[1:] + "."),
    "exclaimed": (BARE, lambda text: text + "!"),
    "digits": (BARE, _digits),
    "no_articles": (BARE, _without_articles),
    "photo": (_PHOTO, str),
    "polite": (_POLITE, str),
}
"""What is said around a prompt, and what becomes of the whole."""


def sample_manner(rng: random.Random, manner: str, held_out: bool = False) -> PromptSample:
    """A prompt of any of GenEval's categories in one of `MANNERS`; digits are for prompts that count."""
    frame, rewrite = MANNERS[manner]
    category = "counting" if manner == "digits" else rng.choice(GENEVAL)
    sample = sample_prompt(rng, category, held_out, frame=frame)
    return replace(sample, category=manner, prompt=rewrite(sample.prompt.rstrip(".")))
