"""Damage many model files, or run many odd command lines, and say what came of it.

    python -m fuzz KIND COUNT [--first SEED] [--user]      (in tests/)

Batches run in children, so that one that ends a process is noticed. Exit status 1 where anything was wrong.
"""

from __future__ import annotations

import argparse
import os
import pickle
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from .commanding import Commander
from .judging import KINDS, Figures, Judge

BATCH = 100
COMMANDS = "commands"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=(*KINDS, COMMANDS))
    parser.add_argument("count", type=int)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--user", action="store_true", help="run command lines as a normal user")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as base:
        os.environ["XDG_CACHE_HOME"] = f"{base}/cache"
        run, figures = _runner(options.kind, Path(base), options.user), Figures()
        end = options.first + options.count
        try:
            for first in range(options.first, end, BATCH):
                figures.add(_batch(run, options.kind, range(first, min(first + BATCH, end))))
        except KeyboardInterrupt:  # what was done until then counts
            end = first
    done = end - options.first
    print(f"{done} of {options.kind}: {dict(figures.outcomes)}, the slowest {figures.slowest:.1f} s")
    print("\n".join(figures.wrong) or "nothing was wrong")
    return 1 if figures.wrong else 0


def _runner(kind: str, base: Path, user: bool) -> Callable[[range], Figures]:
    return Commander(base, user).run if kind == COMMANDS else partial(Judge(base).run, kind)


def _batch(run: Callable[[range], Figures], kind: str, seeds: range) -> Figures:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(run(seeds), pipe)
        except BaseException:
            traceback.print_exc()
            os._exit(1)  # and never on in what is the parent's
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if status:
        return Figures(wrong=[f"{kind} {seeds}: the process ended with {os.waitstatus_to_exitcode(status)}"])
    return pickle.loads(said)


if __name__ == "__main__":
    sys.exit(main())
