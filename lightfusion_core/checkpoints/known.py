"""What reading weights whole has shown of their files, remembered, so that a file is read for it once.

It lies in the user's cache folder (`$XDG_CACHE_HOME`, else `~/.cache`; `%LOCALAPPDATA%` on Windows) and may be
deleted at any time. A file is known by its path, size, times of change and place on the disk.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..unfinished import unfinished


def known(files: Iterable[Path], fact: str) -> Any:
    """What was remembered of these files under this name; None if nothing was, or if one has changed since."""
    table = _read()
    found = [_value(table, file, fact) for file in files]
    return found[0] if found and all(value == found[0] for value in found) else None


def remember(files: Iterable[Path], fact: str, value: bool) -> None:
    """Remember a fact of files; where the cache cannot be written, nothing is."""
    table = dict(_read())
    for file in files:
        with contextlib.suppress(OSError):
            key, state = str(file.resolve()), _state(file)
            entry = table.get(key)
            facts = entry.get("facts", {}) if isinstance(entry, dict) and entry.get("state") == state else {}
            table[key] = {"state": state, "facts": {**facts, fact: value}}
    with contextlib.suppress(OSError):
        _write({key: entry for key, entry in table.items() if os.path.exists(key)})


def _value(table: dict[str, Any], file: Path, fact: str) -> Any:
    try:
        entry = table[str(file.resolve())]
        return entry["facts"].get(fact) if entry["state"] == _state(file) else None
    except (KeyError, TypeError, AttributeError, OSError):
        return None


def _state(file: Path) -> list[int]:
    status = file.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _table_file() -> Path:
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "lightfusion" / "known.json"


_parsed: tuple[Any, dict[str, Any]] | None = None
"""The table as it was read last, and the path and state that its file had: every part of a model asks for it."""


def _read() -> dict[str, Any]:
    """The table; not to be written into."""
    global _parsed
    try:
        file = _table_file()
        seen = (file, _state(file))
        if _parsed is not None and _parsed[0] == seen:
            return _parsed[1]
        table = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # the last: no home folder
        return {}
    table = table if isinstance(table, dict) else {}
    _parsed = (seen, table)
    return table


def _write(table: dict[str, Any]) -> None:
    file = _table_file()
    with unfinished(file) as temporary:
        temporary.write_text(json.dumps(table), encoding="utf-8")
