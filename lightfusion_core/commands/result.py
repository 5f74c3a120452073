"""What a command leaves behind: files, and a few lines or one JSON object on stdout."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, LightFusionError
from ..texts import reason
from .console import visible

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..stored import Stored

_FOLDER = Path("output")


def deliver(
    output: str | None, prompt: str, pictures: Sequence[Image | Stored], parameters: Sequence[Mapping[str, Any]]
) -> list[Path]:
    """Save a batch with its parameters: as named (-1, -2 ... for several), or in output/ after the prompt, beside what
    lies there already and what other runs save meanwhile. Gives the files.

    Raises:
        InputError: a name that is not a PNG's, or a place that cannot be written.
    """
    if output is not None and not _is_folder(output):
        files = _numbered(png_name(output), len(pictures))
        _save(files, pictures, parameters)
        return files
    for files in _names(_FOLDER if output is None else Path(output), prompt, len(pictures)):
        if not any(file.exists() for file in files) and _save(files, pictures, parameters, new=True):
            return files
    raise AssertionError  # names do not end


def _save(
    files: Sequence[Path],
    pictures: Sequence[Image | Stored],
    parameters: Sequence[Mapping[str, Any]],
    new: bool = False,
) -> bool:
    """Save all, or with `new` none where a name is taken by then."""
    from ..picture_files import save_png

    saved: list[Path] = []
    for file, picture, settings in zip(files, pictures, parameters, strict=True):
        try:
            save_png(picture, file, settings, new)
        except FileExistsError:
            for mine in saved:
                mine.unlink(missing_ok=True)
            return False
        saved.append(file)
    return True


def check_output(output: str | None, batch: int = 1) -> None:
    """Refuse a place that pictures cannot be saved in, before they are drawn.

    Raises:
        InputError: a name that is not a PNG's or is taken by what is no file, or a folder that cannot be written.
    """
    if output is None or _is_folder(output):
        _check_folder(_FOLDER if output is None else Path(output))
    else:
        check_file(_numbered(png_name(output), batch)[-1])


def check_file(file: Path) -> None:
    """Refuse a name that a file cannot be written to, before there is anything to write; its folder may be missing.

    Raises:
        InputError: a folder or a device, a name that is too long, or a folder that cannot be written.
    """
    _check_folder(file.parent)
    try:
        if stat.S_ISREG(os.stat(file).st_mode):
            return
        found = "a folder or device; add a file name"
    except FileNotFoundError:
        return
    except OSError as error:
        found = f"{error.strerror}; choose another name"
    raise InputError(f"{file}: expected a file name to save to, found {found}.")


def _check_folder(folder: Path) -> None:
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    except OSError as error:
        raise InputError(f"{folder}: expected a folder to save to, found: {error.strerror}; choose another.") from None
    if not there.is_dir():
        raise InputError(f"{folder}: expected a folder to save to, found that {there} is a file; choose another.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: expected a folder to save to, found no permission to write; choose another.")


def _is_folder(output: str) -> bool:
    return output.endswith(("/", os.sep)) or os.path.isdir(output)


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


def _names(folder: Path, prompt: str, batch: int) -> Iterator[list[Path]]:
    """The names after a prompt: word-word.png, word-word_2.png and so on."""
    slug = re.sub(r"[^\w]+", "-", prompt.lower()).strip("-_")[:40].rstrip("-_") or "picture"
    for number in count(1):
        yield _numbered(folder / (f"{slug}.png" if number == 1 else f"{slug}_{number}.png"), batch)


def say(text: str, end: str = "\n", exact: bool = False) -> None:
    """Print on stdout at once, without control characters; `exact` where a program reads it and no terminal shows it.

    Raises:
        LightFusionError: stdout takes no more (a closed pipe, a full disk).
    """
    try:
        print(text if exact and not sys.stdout.isatty() else visible(text), end=end, flush=True)
    except OSError as error:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (else the interpreter fails once more when it ends)
        raise LightFusionError(f"Standard output cannot be written: {reason(error)}.") from None


def tell(as_json: bool, files: Sequence[Path], result: Mapping[str, Any]) -> None:
    """Say what was made: the files' names a line each, or everything as JSON."""
    if as_json:
        say(json.dumps({"files": [str(file) for file in files], **result}))
    else:
        for file in files:
            say(str(file), exact=True)
