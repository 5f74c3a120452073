"""No damage to a model's files ends in a traceback, a hang, a crash, or a model that is wrong without a word.

Each seed's damage is its own: what fails is run again with `python -m fuzz KIND 1 --first SEED` in tests/.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .judging import KINDS, Judge

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    return Judge(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_few(judge: Judge, kind: str) -> None:
    """One of each mutation."""
    figures = judge.run(kind, range(len(KINDS[kind][1])))
    assert not figures.wrong, "\n".join(figures.wrong)
    assert sum(figures.outcomes.values()) == len(KINDS[kind][1])


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), [("safetensors", 5000), ("config", 1000), ("tokenizer", 1000)])
def test_many(kind: str, count: int) -> None:
    command = [sys.executable, "-m", "fuzz", kind, str(count)]
    done = subprocess.run(command, cwd=TESTS, env=_environment(), capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "'taken'" in done.stdout
    assert "'refused'" in done.stdout
    assert "panicked" not in done.stderr


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(TESTS.parent), "OMP_NUM_THREADS": "1"}
