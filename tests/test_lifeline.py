"""A server or browser of a test run ends with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="this system has no process groups")

ROOT = Path(__file__).resolve().parents[1]
STARTER = """
import subprocess, sys, time
from tools.lifeline import Lifeline
server = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
lifeline = Lifeline(server.pid)
print(server.pid, flush=True)
if sys.argv[1:] == ["let go"]:
    lifeline.let_go()
else:
    time.sleep(60)
"""


def test_a_killed_run_leaves_no_server() -> None:
    """SIGKILL, which no handler of the run's own sees."""
    with _starter() as run:
        server = int(run.stdout.readline())
        assert _lives(server)
        run.kill()
    assert _ends(server)


def test_what_was_let_go_goes_on() -> None:
    """Guards a later process of the same number."""
    with _starter("let go") as run:
        server = int(run.stdout.readline())
    assert _lives(server)
    os.killpg(server, 9)


def _starter(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", STARTER, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _ends(process: int) -> bool:
    end = time.monotonic() + 30
    while time.monotonic() < end and _lives(process):
        time.sleep(0.05)
    return not _lives(process)


def _lives(process: int) -> bool:
    """Whether it runs; one that ended and that nobody has asked for its status does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
    return state.stdout.strip()[:1] not in ("", "Z")
