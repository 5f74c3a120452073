"""Damage many model files, and say what came of it.

    python -m fuzz KIND COUNT [--first SEED]      (in tests/)

Batches run in children, so that one that ends a process is noticed. Exit status 1 where anything was wrong.
"""

from __future__ import annotations

import argparse
import os
import pickle
import sys
import tempfile
import traceback
from pathlib import Path

import torch

from .judging import KINDS, Figures, Judge

BATCH = 100


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("count", type=int)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as base:
        os.environ["XDG_CACHE_HOME"] = f"{base}/cache"
        judge, figures = Judge(Path(base)), Figures()
        end = options.first + options.count
        try:
            for first in range(options.first, end, BATCH):
                figures.add(_batch(judge, options.kind, range(first, min(first + BATCH, end))))
        except KeyboardInterrupt:  # what was done until then counts
            end = first
    done = end - options.first
    print(f"{done} of {options.kind}: {dict(figures.outcomes)}, the slowest {figures.slowest:.1f} s")
    print("\n".join(figures.wrong) or "nothing was wrong")
    return 1 if figures.wrong else 0


def _batch(judge: Judge, kind: str, seeds: range) -> Figures:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(judge.run(kind, seeds), pipe)
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
