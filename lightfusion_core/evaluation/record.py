"""What is kept beside a judged folder, and never in it: settings, versions, what is drawn from what, rows passed over.

Beside `OUT` that is `OUT.record/`:

settings.json: all that makes the pictures, and the versions of what drew them.
pictures.jsonl: a line an item: id, prompt, seeds, files, and the bytes of its references' files.
passed_over.txt: rows that the last run could not use; of a part `passed_over-1-of-4.txt`.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import InputError
from ..picture_files import write_whole
from ..texts import reason, shortened
from .benchmark import Item, Problem, seeds

_LIBRARIES = ("torch", "transformers", "diffusers", "safetensors", "tokenizers", "pillow")
_SAMPLES, _SAMPLE = 64, 1 << 16
"""Places that a weight file is looked at in, and the bytes there."""


class Record:
    """The record of a judged folder.

    Args:
        out: the judged folder; both are made when they are written to.
    """

    def __init__(self, out: str | Path) -> None:
        self.out = Path(os.path.abspath(out))
        self.folder = self.out.parent / f"{self.out.name}.record"
        self.staging = self.folder / "unfinished"

    def open(self, settings: Mapping[str, Any]) -> None:
        """Begin the record, or go on with one of the same settings.

        Raises:
            InputError: the folder was written under other settings, has files and no record, or has no place for one.
        """
        settings = json.loads(json.dumps(settings))
        found = self.settings()
        if found is None:
            self._require_empty()
        earlier = settings if found is None else found["settings"]
        versions = [] if found is None else found["versions"]
        before_all, now_all = _flat(earlier), _flat(settings)
        for name in sorted(before_all.keys() | now_all.keys()):
            before, now = before_all.get(name), now_all.get(name)
            if before != now:
                raise InputError(
                    f"{self.out}: expected the settings that it was written under, {name} {shortened(before)}, found "
                    f"{shortened(now)}; give the same, or another --out."
                )
        versions += [running] if (running := _versions()) not in versions else []
        self._write("settings.json", json.dumps({"settings": settings, "versions": versions}, indent=1) + "\n")

    def settings(self) -> dict[str, Any] | None:
        """What settings.json holds; None where there is none. Raises InputError for a damaged one."""
        file = self.folder / "settings.json"
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InputError(f"{file}: expected a record, found: {reason(error)}; name another --out.") from None
        if not isinstance(found, dict) or not all(
            isinstance(found.get(n), k) for n, k in (("settings", dict), ("versions", list))
        ):
            raise InputError(f"{file}: expected a record, found other JSON; name another --out.")
        return found

    def plan(self, benchmark: str, run_seed: int, items: Sequence[Item]) -> None:
        """Add items to what is drawn.

        Raises:
            InputError: one of them had another prompt, or references of other sizes, when it was planned before.
        """
        lines = self._planned()
        for item in items:
            line = {"id": item.id, "prompt": item.prompt, "seeds": seeds(run_seed, benchmark, item)}
            line["files"] = list(item.files)
            line["sources"] = [source.stat().st_size for source in item.sources if isinstance(source, Path)]
            before = lines.setdefault(item.id, line)
            if before != line:
                raise InputError(
                    f"{self.out}: expected the data that it was drawn from, found {item.id} with another prompt, "
                    f"other references or files ({item.where}); give the same data, or another --out."
                )
        self._write("pictures.jsonl", "".join(json.dumps(line) + "\n" for line in lines.values()))

    def pass_over(self, problems: Sequence[Problem], name: str) -> None:
        """Write down what was told of rows that could not be used, in place of what an earlier run told."""
        if problems or (self.folder / name).exists():
            self._write(name, "".join(f"{problem.line}\n" for problem in problems))

    def close(self) -> None:
        """All is there: remove what ended runs left unfinished."""
        shutil.rmtree(self.staging, ignore_errors=True)

    def _planned(self) -> dict[str, Any]:
        file = self.folder / "pictures.jsonl"
        try:
            lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            return {line["id"]: line for line in lines}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file}: expected a record, found it damaged ({error}); name another --out.") from None

    def _require_empty(self) -> None:
        if self.out.exists() and not self.out.is_dir():
            raise InputError(f"{self.out}: expected a folder to write to, found a file; name another --out.")
        if self.out.is_dir() and any(self.out.iterdir()):
            raise InputError(
                f"{self.out}: expected a new or an empty folder, or one with its record {self.folder.name} beside it, "
                "found files of unknown settings; name another --out."
            )
        if os.path.ismount(self.out):
            raise InputError(
                f"{self.out}: expected a folder beside which a record can lie, found the root of a drive; name a "
                "folder inside of it."
            )

    def _write(self, name: str, text: str) -> None:
        write_whole(self.folder / name, text.encode("ascii", "backslashreplace"), what="a record")


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings without objects inside of them: `sampling steps` and the like."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _flat(value, f"{prefix}{name} ") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _versions() -> dict[str, str]:
    """What runs here."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"lightfusion": __version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def fingerprint(files: Sequence[str | Path]) -> str:
    """A digest that tells weights from others wherever their files lie: of each file its size, its header and 64 of its
    places."""
    digest = hashlib.blake2b(digest_size=12)
    for file in map(Path, files):
        size = file.stat().st_size
        digest.update(size.to_bytes(8, "little"))
        with open(file, "rb") as opened:
            for k in range(_SAMPLES):
                opened.seek(max(0, size - _SAMPLE) * k // (_SAMPLES - 1))
                digest.update(opened.read(_SAMPLE))
    return digest.hexdigest()
