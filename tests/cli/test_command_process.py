"""The command line in a process of its own: full disks, Ctrl-C, closed pipes, quick help."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from samples import heed_interrupts

ROOT = Path(__file__).resolve().parents[2]

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's limits and /proc")


def process(*arguments: object, **options) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "lightfusion_core", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def limit_files() -> None:
    """As on a disk with 4 KB left: the system refuses what goes beyond."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


@linux
@pytest.mark.slow
def test_a_full_disk_leaves_nothing_half_written(folder: Path, tmp_path: Path) -> None:
    arguments = ("generate", "a", "--model", folder, "--device", "cpu", "-o", "out/a.png", "--quiet")
    started = process(*arguments, preexec_fn=limit_files)
    out, err = started.communicate(timeout=120)
    assert (started.returncode, out) == (1, "")
    assert err.count("\n") == 1
    assert err.startswith("error: out/a.png: expected to save a picture")
    assert "free some space" in err
    assert list((tmp_path / "out").iterdir()) == []


@linux
def test_ctrl_c_cancels(folder: Path, tmp_path: Path) -> None:
    arguments = ("generate", "a", "--model", folder, "--device", "cpu", "--steps", 100_000, "-o", "a.png")
    started = process(*arguments, preexec_fn=heed_interrupts)
    time.sleep(0.2)
    deadline = time.monotonic() + 60
    while b"libtorch_cpu" not in Path(f"/proc/{started.pid}/maps").read_bytes() and time.monotonic() < deadline:
        time.sleep(0.2)  # the interpreter itself can be interrupted only once it runs our code
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert started.returncode == 130
    assert out == ""
    assert err.endswith("cancelled\n")
    assert "Traceback" not in err
    assert not (tmp_path / "a.png").exists()


def test_a_closed_pipe_is_an_error_in_one_line(folder: Path) -> None:
    started = process("ask", "hello", "--model", folder, "--device", "cpu", "--max-tokens", 100, "--quiet")
    started.stdout.close()
    assert started.wait(timeout=120) == 1
    assert started.stderr.read() == "error: Standard output cannot be written: Broken pipe.\n"
    started.stderr.close()


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    program = "import sys; from lightfusion_core.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    program += "print([n for n in ('torch', 'numpy', 'PIL', 'transformers', 'diffusers', 'rich') if n in sys.modules])"
    for arguments in (["--help"], ["edit", "--help"], ["--version"]):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        line = [sys.executable, "-c", program, *arguments]
        run = subprocess.run(line, capture_output=True, text=True, env=environment, check=True)
        assert run.stdout.endswith("[]\n")
        assert run.stderr == ""


@linux
@pytest.mark.slow
def test_no_error_lands_on_stdout_where_stderr_is_closed(folder: Path) -> None:
    """Guards scripts that read --json: print() writes to stdout where there is no stderr, and the next file that is
    opened gets its number."""
    for arguments, code in ((("generate", "a", "--steps", 0), 1), (("generate", "a", "--steps", "x"), 2)):
        line = (*arguments, "--model", folder, "--device", "cpu", "--json")
        started = process(*line, preexec_fn=lambda: os.close(2))
        assert started.communicate(timeout=120)[0] == ""
        assert started.returncode == code
    started = process("ask", "a", "--model", folder, "--max-tokens", 2, "--json", preexec_fn=lambda: os.close(2))
    assert set(json.loads(started.communicate(timeout=120)[0])) >= {"answer", "settings"}
