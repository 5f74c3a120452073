"""Packages as wheels: gathered where there is a network, unpacked for one run where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = Path(__file__).parents[2] / ".wheels"
WANTED = ("diffusers>=0.36,<0.40", "importlib_metadata")
"""What machines with torch and transformers often lack, all of pure Python."""


def gather() -> int:
    """Download the wheels; returns the exit code."""
    FOLDER.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-d", str(FOLDER), *WANTED]
    return subprocess.run(command, check=False).returncode


@contextmanager
def unpacked() -> Iterator[dict[str, str]]:
    """An environment for a process that sees the wheels behind what is installed."""
    with tempfile.TemporaryDirectory() as folder:
        for wheel in sorted(FOLDER.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
        root = str(Path(__file__).parents[2])
        given = os.environ.get("PYTHONPATH")
        path = os.pathsep.join([root, given] if given else [root])
        yield {**os.environ, "PYTHONPATH": path, "LIGHTFUSION_WHEELS": folder}
