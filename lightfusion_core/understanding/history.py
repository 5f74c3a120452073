"""What was said in a chat as a text that can be saved, shared and gone on with.

Its pictures stand in it by name: what they show, as a number. So the text stays short, and whoever has a picture can
give it again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import InputError
from ..texts import parse_json, shortened
from .chat import ASSISTANT, USER, Message

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["name_of", "read_history", "with_pictures", "written_history"]

_FORMAT, _VERSION = "lightfusion history", 1
_NAME = re.compile(r"[0-9a-f]{32}")

_Picture = TypeVar("_Picture")


def name_of(picture: Image) -> str:
    """The name of an RGB picture: 32 hexadecimal digits that its size and its pixels give."""
    size = "x".join(map(str, picture.size))
    return hashlib.sha256(f"{size} {picture.mode} ".encode() + picture.tobytes()).hexdigest()[:32]


def written_history(messages: Sequence[Message[str]]) -> str:
    """Messages, their pictures by name, as JSON."""
    said = [
        {"role": message.role, "text": message.text, "pictures": list(message.pictures)}
        if message.pictures
        else {"role": message.role, "text": message.text}
        for message in messages
    ]
    listed = {"format": _FORMAT, "version": _VERSION, "messages": said}
    return json.dumps(listed, indent=1, ensure_ascii=False)


def read_history(text: str) -> list[Message[str]]:
    """The messages of a history: questions and answers by turns. None of an empty text.

    Raises:
        InputError: it is no history, one of another version, or not whole.
    """
    if not text.strip():
        return []
    try:
        listed = parse_json(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        raise InputError(
            f"Expected a history as LightFusion writes it, found {shortened(text)}, which is no whole JSON; give all "
            "of the text that an answer came with."
        ) from None
    if not isinstance(listed, dict) or listed.get("format") != _FORMAT:
        raise InputError("Expected a history, found other JSON; give the text that an answer came with.")
    if listed.get("version") != _VERSION:
        raise InputError(
            f"Expected version {_VERSION} of a history, found {shortened(listed.get('version'))}; read it with the "
            "version that wrote it."
        )
    said = listed.get("messages")
    if not isinstance(said, list) or len(said) % 2:
        raise _damaged("it ends before an answer")
    return [_message(one, (USER, ASSISTANT)[k % 2], k + 1) for k, one in enumerate(said)]


def with_pictures(messages: Sequence[Message[str]], find: Callable[[str], _Picture | None]) -> list[Message[_Picture]]:
    """Messages with their pictures in the place of the names.

    Args:
        find: the picture of a name; None where it is not at hand.

    Raises:
        InputError: pictures are not at hand.
    """
    names = dict.fromkeys(name for message in messages for name in message.pictures)
    found = {name: picture for name in names if (picture := find(name)) is not None}
    if len(found) < len(names):
        raise InputError(
            f"The history speaks of {len(names)} pictures, and {len(names) - len(found)} of them are not at hand any "
            "more: give those pictures again, with the question or earlier in the chain."
        )
    return [
        Message(message.role, message.text, tuple(found[name] for name in message.pictures)) for message in messages
    ]


def _message(data: Any, role: str, number: int) -> Message[str]:
    if not isinstance(data, dict) or data.get("role") != role or not isinstance(data.get("text"), str):
        raise _damaged(f"its message {number} is none of the {role}")
    names = data.get("pictures", [])
    if not isinstance(names, list) or not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
        raise _damaged(f"its message {number} names pictures that cannot be")
    return Message(role, data["text"], tuple(names))


def _damaged(what: str) -> InputError:
    return InputError(f"Expected a whole history, found it damaged ({what}); copy it again.")
