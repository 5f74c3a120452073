"""Ends a process group with the process that started it, however that one ends: a killed test run leaves no server.

Python alone, and no signal that one system has and another has not: a process of its own holds a pipe's other end.
"""

from __future__ import annotations

import subprocess
import sys

_WATCH = "import os, signal, sys; sys.stdin.read(1) or os.killpg(int(sys.argv[1]), signal.SIGKILL)"


class Lifeline:
    """Watches over a process that leads a group (`start_new_session`), until it is let go."""

    def __init__(self, group: int) -> None:
        self._watch = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WATCH, str(group)], stdin=subprocess.PIPE, start_new_session=True
        )

    def let_go(self) -> None:
        """The group has ended, or is to go on; its number is not used any more."""
        self._watch.communicate(b".")
