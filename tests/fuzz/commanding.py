"""Run seeded command lines in children, with the privileges of root or as a normal user, and say what came of them."""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import shutil
import signal
import stat
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from random import Random

from PIL import Image
from tiny import write_model

from lightfusion_core.cli import main

from .command_lines import as_shown, command_line, furnish
from .judging import SECONDS, SMALL, WAITED, Figures

_CONFIG = replace(SMALL, max_extent=64)
_TRACEBACK = 99
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Commander:
    """One small model that every line may use, and a newly furnished folder for each line.

    user: without the privileges of root, where this is root.
    """

    def __init__(self, base: Path, user: bool) -> None:
        self.base, self.user = base, user and os.geteuid() == 0
        self.model = write_model(base / "model", _CONFIG)
        self.wanted = _state(self.model)

    def run(self, seeds: range) -> Figures:
        """The lines of these seeds."""
        figures = Figures()
        for seed in seeds:
            place = self.base / f"run {seed}"
            place.mkdir()
            furnish(place, self.model)
            kind, line, typed = command_line(Random(f"command {seed}"), self.model)
            before, start = _files(place), _spent()
            try:
                code, wrong = self._judge(kind, line, typed, place, before)
            finally:
                (place / "shut").chmod(0o700)
                shutil.rmtree(place)
            if _state(self.model) != self.wanted:
                wrong.append("the model's files are not what they were")
                shutil.rmtree(self.model)
                write_model(self.model, _CONFIG)
            figures.slowest = max(figures.slowest, _spent() - start)
            figures.outcomes[f"{kind} {'done' if code == 0 else 'refused'}"] += 1
            figures.wrong += [f"command {seed}: {as_shown(line)}: {text}" for text in wrong]
        return figures

    def _judge(
        self, kind: str, line: list[str], typed: str, place: Path, before: set[str]
    ) -> tuple[int | None, list[str]]:
        code, out, err = self._ended(line, typed, place)
        if code is None:
            return None, [f"takes more than {SECONDS} s of the processor, or {WAITED} s"]
        wrong = []
        if code not in (0, 1, 2) or "Traceback" in err:
            wrong.append(f"ends with {code}: {err[-300:]}")
        if found := _CONTROL.search(err.replace("\r", "") + ("" if kind in ("ask", "chat") else out)):
            wrong.append(f"says {found[0]!r}")  # answers come as they are where a program reads them
        errors = [said for said in err.splitlines() if said.startswith("error: ")]
        report = kind == "inspect" and code == 1 and out
        if kind != "chat" and (code in (1, 2)) != (len(errors) == 1) and not report:
            wrong.append(f"ends with {code} and says {err[-300:]!r}")
        if errors and not errors[0].endswith((".", ")")) and code == 1:
            wrong.append(f"says {errors[0]!r}")
        if code != 0 and out and kind in ("generate", "edit", "convert", "plan", "demo"):
            wrong.append(f"ends with {code} and prints {out[:100]!r}")
        new = _files(place) - before
        if left := [name for name in new if any(part[:1] == "." for part in name.split("/")) and name[-4:] != ".png"]:
            wrong.append(f"leaves {left}")
        if code != 0 and new and kind not in _GO_ON:
            wrong.append(f"ends with {code} and leaves {sorted(new)}")
        if code == 0 and kind in ("generate", "edit"):
            wrong += _faults_of_pictures(line, out, place)
        if code == 0 and kind in ("generate", "edit", "ask", "inspect", "convert", "plan") and "--json" in line:
            wrong += _faults_of_json(out)
        return code, wrong

    def _ended(self, line: list[str], typed: str, place: Path) -> tuple[int | None, str, str]:
        """(exit code, stdout, stderr) of a line in a child; no code where it took too long."""
        said = [self.base / name for name in ("in", "out", "err")]
        said[0].write_text(typed, encoding="utf-8", errors="surrogatepass")
        child = os.fork()
        if child == 0:
            try:
                for number, (path, flags) in enumerate(zip(said, (os.O_RDONLY, _NEW, _NEW), strict=True)):
                    os.dup2(os.open(path, flags), number)
                os.chdir(place)
                resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
                os.environ["HOME"] = str(place)
                if self.user:
                    _lay_down_privileges()
                os._exit(_run(line))
            finally:
                os._exit(_TRACEBACK)
        status = _awaited(child)
        out, err = (path.read_text(encoding="utf-8", errors="replace") for path in said[1:])
        return (None if status is None else os.waitstatus_to_exitcode(status)), out, err


_GO_ON = ("chat", "bench step", "bench shapes", "train", "evaluate geneval")
"""What keeps of its work what was done when it ended."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def _lay_down_privileges() -> None:
    """What root may do beyond the owner of its files: from here on rights count, as they do for a normal user, and the
    interpreter can be read wherever it lies."""
    header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()  # version 3 of capset(2)
    if ctypes.CDLL(None, use_errno=True).capset(header, nothing):
        raise OSError(ctypes.get_errno(), "capset")


def _run(line: list[str]) -> int:
    """As the console script does it."""
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode) for number, mode in enumerate("rww"))
    try:
        return main(line)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else _TRACEBACK
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        return _TRACEBACK
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _awaited(child: int) -> int | None:
    end = time.monotonic() + WAITED
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            out_of_time = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
            return None if out_of_time else status
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _faults_of_pictures(line: list[str], out: str, place: Path) -> list[str]:
    if "--plan" in line:
        return []
    try:
        names = json.loads(out)["files"] if "--json" in line else out.splitlines()
    except (ValueError, KeyError) as error:
        return [f"prints {out[:200]!r}: {error}"]
    wrong = [] if names else ["names no picture"]
    for name in names:
        try:
            with Image.open(place / name) as picture:
                picture.load()
        except Exception as error:
            if "\u202e" not in name and "?" not in name:  # what is not shown cannot be read back
                wrong.append(f"names {name!r}: {error}")
    return wrong


def _faults_of_json(out: str) -> list[str]:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        json.loads(out, parse_constant=refuse)
    except ValueError as error:
        return [f"prints {out[:200]!r}: {error}"]
    return []


def _files(place: Path) -> set[str]:
    """Every file below a folder, links unfollowed."""
    return {os.path.relpath(os.path.join(at, name), place) for at, _, names in os.walk(place) for name in names}


def _state(folder: Path) -> list[tuple[str, int, int, int]]:
    return sorted(
        (str(path), path.stat().st_size, path.stat().st_mtime_ns, stat.S_IMODE(path.stat().st_mode))
        for path in folder.iterdir()
    )


def _spent() -> float:
    """Seconds of the processor that ended children took."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
