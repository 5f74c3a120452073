"""Lines that a person writes, or that come through a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

_PROMPT = "> "


def lines(history: Path) -> Iterator[str]:
    """What is said, until the input ends; a line that ends in a backslash goes on in the next one.

    In a terminal with prompt_toolkit it can be edited, and earlier lines, which stand in the file `history`, come back.
    """
    ask = _asked(history) if sys.stdin.isatty() else _piped
    begun = ""
    while True:
        try:
            line = ask()
        except EOFError:
            break
        if line.endswith("\\"):
            begun += line[:-1] + "\n"
            continue
        if (begun + line).strip():
            yield (begun + line).strip()
        begun = ""
    if begun.strip():
        yield begun.strip()


def _piped() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


def _asked(history: Path) -> Callable[[], str]:
    if find_spec("prompt_toolkit") is None:
        return lambda: input(_PROMPT)
    toolkit, kept = import_module("prompt_toolkit"), import_module("prompt_toolkit.history")
    history.parent.mkdir(parents=True, exist_ok=True)
    session = toolkit.PromptSession(history=kept.FileHistory(str(history)))
    return lambda: session.prompt(_PROMPT)
