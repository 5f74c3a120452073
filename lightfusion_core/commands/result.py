"""What a command leaves behind: files, and a few lines or one JSON object on stdout."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from ..errors import InputError, LightFusionError

_FOLDER = Path("output")


def targets(output: str | None, prompt: str, batch: int) -> list[Path]:
    """The files that a batch goes to: as named (-1, -2 ... for several), or in output/ after the prompt,
    beside what lies there already.

    Raises:
        InputError: a name that is not a PNG's.
    """
    if output is None or _is_folder(output):
        return _unused(_FOLDER if output is None else Path(output), prompt, batch)
    return _numbered(png_name(output), batch)


def check_output(output: str | None) -> None:
    """Refuse a place that pictures cannot be saved in, before they are drawn.

    Raises:
        InputError: a name that is not a PNG's, or a folder that cannot be written.
    """
    folder = _FOLDER if output is None else Path(output) if _is_folder(output) else png_name(output).parent
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"{folder}: expected a folder to save to, found that {there} is a file; choose another.")
    if not os.access(there, os.W_OK):
        raise InputError(f"{folder}: expected a folder to save to, found no permission to write; choose another.")


def _is_folder(output: str) -> bool:
    return output.endswith(("/", os.sep)) or Path(output).is_dir()


def png_name(name: str) -> Path:
    """A file name as a path. Raises InputError where it is not a PNG's."""
    path = Path(name)
    if path.suffix.lower() != ".png":
        raise InputError(f"{path}: pictures are saved as PNG, found {path.suffix or 'no ending'}; use a name in .png.")
    return path


def _numbered(path: Path, batch: int) -> list[Path]:
    if batch == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(1, batch + 1)]


def _unused(folder: Path, prompt: str, batch: int) -> list[Path]:
    slug = re.sub(r"[^\w]+", "-", prompt.lower()).strip("-_")[:40].rstrip("-_") or "picture"
    for number in count(1):
        files = _numbered(folder / (f"{slug}.png" if number == 1 else f"{slug}_{number}.png"), batch)
        if not any(file.exists() for file in files):
            return files
    raise AssertionError  # numbers do not end


def say(text: str, end: str = "\n") -> None:
    """Print on stdout at once.

    Raises:
        LightFusionError: stdout takes no more (a closed pipe, a full disk).
    """
    try:
        print(text, end=end, flush=True)
    except OSError as error:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (else the interpreter fails once more when it ends)
        raise LightFusionError(f"Standard output cannot be written: {error.strerror or error}.") from None


def tell(as_json: bool, files: Sequence[Path], result: Mapping[str, Any]) -> None:
    """Say what was made: the files' names a line each, or everything as JSON."""
    if as_json:
        say(json.dumps({"files": [str(file) for file in files], **result}))
    else:
        for file in files:
            say(str(file))
