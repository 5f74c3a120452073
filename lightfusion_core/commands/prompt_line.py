"""Lines that a person writes, or that come through a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_PROMPT = "> "


def lines(history: Path, commands: Mapping[str, bool]) -> Iterator[str]:
    """What is said, until the input ends; a line that ends in a backslash goes on in the next one.

    In a terminal with prompt_toolkit it can be edited, in several lines too (Alt and Enter); earlier ones, which stand
    in the file `history`, come back, and commands and names of files are completed.

    Args:
        commands: what a line may begin with, and whether the name of a file follows.
    """
    ask = _asked(history, commands) if sys.stdin.isatty() else _piped
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


def _asked(history: Path, commands: Mapping[str, bool]) -> Callable[[], str]:
    if find_spec("prompt_toolkit") is None:
        return lambda: input(_PROMPT)
    toolkit, kept = import_module("prompt_toolkit"), import_module("prompt_toolkit.history")
    history.parent.mkdir(parents=True, exist_ok=True)
    session = toolkit.PromptSession(
        history=kept.FileHistory(str(history)), completer=_completer(commands), key_bindings=_keys()
    )
    return lambda: session.prompt(_PROMPT)


def _completer(commands: Mapping[str, bool]) -> Any:
    """Commands at the beginning of a line, and files behind those that take one."""
    completion, document = import_module("prompt_toolkit.completion"), import_module("prompt_toolkit.document")
    names, files = completion.WordCompleter(list(commands), WORD=True), completion.PathCompleter()

    class Completer(completion.Completer):  # type: ignore[name-defined]  # the library may be missing
        def get_completions(self, written: Any, event: Any) -> Iterator[Any]:
            name, space, rest = written.text_before_cursor.partition(" ")
            if not space:
                yield from names.get_completions(written, event)
            elif commands.get(name):
                yield from files.get_completions(document.Document(rest), event)

    return Completer()


def _keys() -> Any:
    """Alt and Enter begin a new line instead of sending."""
    bindings = import_module("prompt_toolkit.key_binding").KeyBindings()

    @bindings.add("escape", "enter")
    def new_line(event: Any) -> None:
        event.current_buffer.insert_text("\n")

    return bindings
