"""A thousand mixed requests, some cancelled and some failing: memory, threads and open files stay what they were."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
@pytest.mark.parametrize("kind", ["frozen", "coupled"])
def test_a_thousand_requests_leave_nothing(kind: str, tmp_path: Path) -> None:
    """In a process of its own. The first hundred fill what is kept, such as the last prompts' prefixes."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(TESTS.parent), str(TESTS))), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(TESTS / "long_running.py"), kind, str(tmp_path), "1000"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    states = json.loads(done.stdout.splitlines()[-1])
    print(*states, sep="\n")
    first, last = states[0], states[-1]
    assert last["megabytes"] - first["megabytes"] < 16
    assert last["threads"] == first["threads"]
    assert last["files"] == first["files"]
