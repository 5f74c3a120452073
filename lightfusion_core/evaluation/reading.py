"""Reads what others wrote: JSON, lines of JSON and texts, row by row, each fault in one line.

A line says the file, the row, what was expected, what was found, and what to do. What comes out of a file becomes the
name of another only where it is a plain name.
"""

from __future__ import annotations

import json
import os
import stat
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..texts import parse_json, reason, shortened
from .benchmark import Item, Problem, Rows

_LARGEST = 200_000_000
"""Bytes of a file of prompts; the largest official one has three million."""
_LONGEST = 200
"""Bytes of a name."""


class BadRowError(Exception):
    """A row that cannot be used, and why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file: where it stands, and its fields."""

    where: str
    fields: dict[str, Any]

    def bad(self, expected: str, found: str, remedy: str) -> BadRowError:
        return BadRowError(f"{self.where}: expected {expected}, found {found}; {remedy}.")

    def value(self, name: str, kind: type | tuple[type, ...], what: str) -> Any:
        """A field of a kind. Raises BadRowError."""
        if name not in self.fields:
            there = ", ".join(map(str, list(self.fields)[:8])) or "none"
            raise self.bad(f"a field {name!r}", f"only {there}", "get the official file again, or add the field")
        value = self.fields[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.bad(f"{what} in {name!r}", shortened(value), "correct the row")
        return value

    def text(self, name: str) -> str:
        """A prompt: a text that is not empty and can be written as UTF-8. Raises BadRowError."""
        text = self.value(name, str, "a text")
        if not text.strip():
            raise self.bad(f"a prompt in {name!r}", "an empty text", "write one, or take the row out")
        return self.readable(text, name)

    def readable(self, text: str, name: str) -> str:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            found = f"half a character ({text[error.start]!a}) at place {error.start}"
            raise self.bad(f"whole characters in {name!r}", found, "save the file as UTF-8") from None
        return text

    def name(self, name: str) -> str:
        """A plain name, for a file or a folder; whole numbers too. Raises BadRowError."""
        value = self.value(name, (str, int), "a name")
        return self.plain(str(value), name)

    def plain(self, text: str, name: str) -> str:
        if not _is_plain(text):
            raise self.bad(f"a plain file name in {name!r}", shortened(text), "take out what a name cannot have")
        return text

    def picture(self, roots: Sequence[Path], name: str, relative: Any) -> Path:
        """A picture's file below the first of `roots` that has it. Raises BadRowError."""
        if not isinstance(relative, str) or not all(_is_plain(part) for part in relative.split("/")):
            raise self.bad(f"a picture's place below {roots[0]} in {name!r}", shortened(relative), "correct the row")
        for root in roots:
            if (root / relative).is_file():
                return (root / relative).absolute()
        raise self.bad(
            f"the picture {roots[0] / relative}",
            "no such file",
            "put the pictures there, or take the row out",
        )


def _is_plain(name: str) -> bool:
    """Whether a text names one file on any system, and no other place."""
    forbidden = any(c in '/\\:<>|"*?' or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name)
    short = len(name.encode("utf-8", "replace")) <= _LONGEST
    return bool(name) and not forbidden and short and name[0] not in ".~ " and name[-1] not in ". "


def each(rows: Iterator[Row | Problem], make: Callable[[Row], Item | None]) -> Rows:
    """Rows as items; None leaves a row out, a bad one is told, and so is a second one of the same id or file."""
    first: dict[str, str] = {}
    for row in rows:
        if isinstance(row, Problem):
            yield row
            continue
        try:
            item = make(row)
        except BadRowError as error:
            yield Problem(str(error))
            continue
        if item is None:
            continue
        names = [f"the id {shortened(item.id)}", *item.all_files()]
        taken = next((name for name in names if name in first), None)
        if taken is not None:
            yield Problem(
                f"{item.where}: expected a row of its own, found {taken} again, which is that of {first[taken]}; take "
                "one of them out."
            )
            continue
        first.update(dict.fromkeys(names, item.where))
        yield item


def content(file: Path, what: str = "a file of prompts") -> bytes:
    """The bytes of a file; `what` it is, for messages.

    Raises:
        InputError: it is not there, is no file, cannot be read, or is far too large.
    """
    try:
        found = os.stat(file)
        if not stat.S_ISREG(found.st_mode):  # to open a pipe is to wait until someone writes into it
            raise InputError(f"{file}: expected a file, found a folder, a pipe or a device; give the file itself.")
        if found.st_size > _LARGEST:
            raise InputError(f"{file}: expected {what}, found {found.st_size:,} bytes; get it again.")
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: expected {what}, found: {reason(error)}; check the path.") from None


def decoded(data: bytes) -> str:
    """UTF-8, with or without a byte order mark. Raises ValueError that says what was found."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte 0x{data[error.start]:02X} at place {error.start}") from None


def json_lines(file: Path) -> Iterator[Row | Problem]:
    """A row for every line of JSON; its fields have `"#"`, the line's number from 0. Empty lines are passed over.

    Raises:
        InputError: see `content`.
    """
    for number, line in enumerate(content(file).split(b"\n")):
        where = f"{file}, line {number + 1}"
        if not line.strip():
            continue
        try:
            fields = parse_json(decoded(line))
        except ValueError as error:
            yield Problem(f"{where}: expected a JSON object in UTF-8, found {reason(error)}; correct the line.")
            continue
        if not isinstance(fields, dict):
            yield Problem(f"{where}: expected a JSON object, found {shortened(fields)}; correct the line.")
            continue
        yield Row(where, {**fields, "#": number})


def json_rows(file: Path) -> Iterator[Row | Problem]:
    """A row for every object of a list, or for every value of an object, whose key the fields then have as `"#"`; of a
    list that is the number from 0.

    Raises:
        InputError: see `content`; no JSON, or neither a list nor an object of objects.
    """
    try:
        found = json.loads(decoded(content(file)), object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        what = "it is nested too deep" if isinstance(error, RecursionError) else reason(error)
        raise InputError(f"{file}: expected JSON in UTF-8, found: {what}; get the official file again.") from None
    if isinstance(found, _Pairs):
        listed: list[tuple[Any, Any]] = list(found.pairs)
    elif isinstance(found, list):
        listed = list(enumerate(found))
    else:
        raise InputError(f"{file}: expected a list or an object of rows, found {shortened(found)}; get it again.")
    for key, value in listed:
        where = f"{file}, row {key + 1 if isinstance(key, int) else shortened(key)}"
        if not isinstance(value, _Pairs):
            yield Problem(f"{where}: expected a JSON object, found {shortened(_unpaired(value))}; correct the row.")
            continue
        yield Row(where, {**_unpaired(value), "#": key})


class _Pairs:
    """A JSON object with all of its pairs: a dict would keep the last of two with one key, and say nothing."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs


def _unpaired(value: Any) -> Any:
    if isinstance(value, _Pairs):
        return {key: _unpaired(inner) for key, inner in value.pairs}
    return [_unpaired(inner) for inner in value] if isinstance(value, list) else value


def find(data: Path, names: Sequence[str], what: str) -> Path:
    """The first of `names` below a folder, or `data` itself where it is a file.

    Raises:
        InputError: none of them.
    """
    if data.is_file():
        return data
    for name in names:
        if (data / name).is_file():
            return data / name
    shown = " or ".join(dict.fromkeys(Path(name).name for name in names))
    raise InputError(f"{data}: expected {what} ({shown}), found no such file; download it into this folder.")
