"""Texts that come out of files: read, and made fit to be shown."""

from __future__ import annotations

import json
import unicodedata
from reprlib import Repr
from typing import Any

_SHOWN = Repr()
_SHOWN.maxlevel, _SHOWN.maxlist, _SHOWN.maxtuple, _SHOWN.maxdict = 2, 4, 4, 4
_SHOWN.maxstring = _SHOWN.maxlong = _SHOWN.maxother = 80

_ACTING = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of what is not seen and acts: control and direction, half characters, line ends."""


def printable(text: str) -> str:
    """`text` with what would act on a terminal or a log, instead of being seen there, as escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _escaped(character) if unicodedata.category(character) in _ACTING else character for character in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def shortened(value: object) -> str:
    """A value in a message, however long or deep it is."""
    return _SHOWN.repr(value)


def reason(error: Exception) -> str:
    """What the system or a library says of an error, to stand in a sentence: without its own full stop."""
    return printable(str(getattr(error, "strerror", None) or error)).rstrip(".")


def first_line(error: BaseException) -> str:
    """The first line of what a library says of an error, or else its kind, to stand in a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(":.")


def parse_json(content: bytes | str) -> Any:
    """JSON, with or without a byte order mark.

    Raises:
        ValueError: whatever is wrong with it, depth too.
    """
    try:
        return json.loads(content.decode("utf-8-sig") if isinstance(content, bytes) else content)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
