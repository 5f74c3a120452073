"""The tokenizer's normaliser: what says nothing is taken away, and nothing else."""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path

import pytest

from lightfusion_core.config import SpecialTokens
from lightfusion_core.shapes.manners import MANNERS, sample_manner
from lightfusion_core.understanding.answer import THINK_SYSTEM
from lightfusion_core.understanding.chat import CHAT_SYSTEM
from lightfusion_core.understanding.tokenizer import Tokenizer
from tools.nano.tokens import normalizer, texts, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokens") / "tokenizer.json"
    train_tokenizer(path, sentences=300)
    return Tokenizer(path, SpecialTokens())


def read(text: str) -> str:
    return normalizer().normalize_str(text)


@pytest.mark.parametrize(
    "written",
    [
        "A Red Circle.", "a red circle!", "A RED CIRCLE...", "  a red  circle ", "a\u00a0red circle", "a Red circle . ",
    ],
)  # fmt: skip
def test_what_is_written_alike_is_read_alike(tokenizer: Tokenizer, written: str) -> None:
    assert tokenizer.segment(written) == tokenizer.segment("a red circle")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("3 blue circles", "three blue circles"),
        ("2 stars, 1 heart and 4 crosses", "two stars, one heart and four crosses"),
        ("are there 3?", "are there three?"),
        ("What colour is it?", "what color is it?"),
        ("a coloured square on a light grey background", "a colored square on a light gray background"),
        ("in the centre of the picture.", "in the center of the picture"),
    ],
)
def test_spelling_and_numerals(written: str, meant: str) -> None:
    assert read(written) == meant


@pytest.mark.parametrize("text", ["is there a red circle?", "13 circles", "2.5", "a, b and c", "1,000", "3d", "a. b"])
def test_what_says_something_stays(text: str) -> None:
    assert read(text) == text


@pytest.mark.parametrize("text", ["\n", "user\n", "assistant\n", "a\nb", f"system\n{CHAT_SYSTEM}", THINK_SYSTEM, ""])
def test_the_template_stays(text: str) -> None:
    """Line breaks stand between its parts, and the system texts were trained with their capitals and stops."""
    assert read(text) == text


def test_plain_texts_stay_and_others_settle_at_once() -> None:
    """Of training's wordings none loses anything but capitals and full stops; what is normalised stays."""
    for text in islice(texts(200, 3), 900):
        if "helpful assistant" in text or "planning process" in text:
            continue
        assert read(text) == (text.lower().rstrip(".") if text.strip() else text)
        assert read(read(text)) == read(text)


def test_case_and_stops_do_not_change_a_prompt(tokenizer: Tokenizer) -> None:
    rng = random.Random(2)
    for manner in ("capitals", "shouted", "full_stop", "exclaimed"):
        assert manner in MANNERS
        for _ in range(20):
            prompt = sample_manner(rng, manner, held_out=True).prompt
            assert tokenizer.encode(prompt) == tokenizer.encode(prompt.lower().rstrip(".!"))


def test_it_is_kept_in_the_file(tokenizer: Tokenizer, tmp_path: Path) -> None:
    again = tmp_path / "tokenizer.json"
    tokenizer._backend.save(str(again))
    assert Tokenizer(again, SpecialTokens()).encode("3 Stars.") == tokenizer.encode("three stars")
