"""No damaged model and no command line ends in a traceback, a hang, a crash, or what is wrong without a word.

Each seed's damage or line is its own: what fails is run again with `python -m fuzz KIND 1 --first SEED` in tests/.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .__main__ import COMMANDS
from .command_lines import KINDS as KINDS_OF_LINES
from .judging import KINDS, Judge

TESTS = Path(__file__).parents[1]

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's privileges and signals")


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
    said = _sound(kind, str(count))
    assert "'taken'" in said
    assert "'refused'" in said


@linux
def test_a_few_command_lines() -> None:
    assert "done" in _sound(COMMANDS, "8", "--user")


@linux
@pytest.mark.slow
@pytest.mark.parametrize("user", [(), ("--user",)], ids=["as who runs this", "as a normal user"])
def test_many_command_lines(user: tuple[str, ...]) -> None:
    said = _sound(COMMANDS, "1000", *user)
    for kind in KINDS_OF_LINES:
        assert f"'{kind} done'" in said
        assert f"'{kind} refused'" in said


def _sound(*arguments: str) -> str:
    """What a run says in which nothing is wrong."""
    command = [sys.executable, "-m", "fuzz", *arguments]
    done = subprocess.run(command, cwd=TESTS, env=_environment(), capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "panicked" not in done.stderr
    return done.stdout


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(TESTS.parent), "OMP_NUM_THREADS": "1"}
