"""Histories of chats as texts."""

from __future__ import annotations

import pytest
from PIL import Image

from lightfusion_core.errors import InputError
from lightfusion_core.understanding.chat import ASSISTANT, USER, Message
from lightfusion_core.understanding.history import name_of, read_history, with_pictures, written_history

PICTURES = [Image.new("RGB", size, colour) for size, colour in (((6, 4), "red"), ((4, 6), "red"), ((6, 4), "blue"))]
NAMES = [name_of(picture) for picture in PICTURES]
SAID = [
    Message(USER, 'what is "it"?\n\u56fe', (NAMES[0], NAMES[1])),
    Message(ASSISTANT, ""),
    Message(USER, "and this?", (NAMES[2], NAMES[0])),
    Message(ASSISTANT, "a star"),
]


def plain(messages: list[Message]) -> list[tuple]:
    return [(message.role, message.text, message.pictures) for message in messages]


def test_a_history_is_read_as_it_was_written() -> None:
    text = written_history(SAID)
    assert plain(read_history(text)) == plain(SAID)
    assert "\u56fe" in text, "a person cannot read it"
    assert read_history(written_history([])) == read_history(" \n") == []


def test_names_are_of_what_pictures_show() -> None:
    """A picture that was saved and loaded has its name; one of other sides or colours has not."""
    assert len(set(NAMES)) == 3
    assert name_of(PICTURES[0].copy()) == NAMES[0]


def test_pictures_take_their_places() -> None:
    found = with_pictures(SAID, dict(zip(NAMES, PICTURES, strict=True)).get)
    assert [message.pictures for message in found] == [tuple(PICTURES[:2]), (), (PICTURES[2], PICTURES[0]), ()]


def test_pictures_that_are_not_at_hand_are_counted() -> None:
    with pytest.raises(InputError, match="speaks of 3 pictures, and 2 of them are not at hand"):
        with_pictures(SAID, {NAMES[1]: PICTURES[1]}.get)


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda text: text[:-3],
        lambda text: "what is it?",
        lambda text: "[" * 100_000,
        lambda text: "null",
        lambda text: text.replace("lightfusion history", "another"),
        lambda text: text.replace('"version": 1', '"version": "1"'),
        lambda text: text.replace("messages", "turns"),
        lambda text: text.replace('"user"', '"assistant"'),
        lambda text: text.replace('"text": "a star"', '"text": 3'),
        lambda text: text.replace(NAMES[2], "../../etc/passwd"),
        lambda text: text.replace(f'"{NAMES[2]}"', "{}"),
        lambda text: written_history(SAID[:3]),
        lambda text: "\ud800",
    ],
)
def test_what_is_no_history_is_refused_in_a_sentence(spoilt: object) -> None:
    with pytest.raises(InputError, match="history") as caught:
        read_history(spoilt(written_history(SAID)))
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)
