"""`lightfusion chat` in a terminal: a real pseudo-terminal, and this test as what draws on its screen."""

from __future__ import annotations

import os
import re
import select
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

fcntl, pty, termios = (
    pytest.importorskip(name, reason="there are no pseudo-terminals here") for name in ("fcntl", "pty", "termios")
)
TAB, ENTER, ALT_ENTER = "\t", "\r", "\x1b\r"
ASKED, PLAIN, SIXEL = "\x1b[c", "\x1b[?62;22c", "\x1b[?62;4;22c"
"""What a program asks a terminal, and the answers of one without and with pictures."""


class Terminal:
    """The other end of a program's terminal."""

    def __init__(self, end: int, answer: str) -> None:
        self.end, self.answer, self.shown, self.answered = end, answer, "", 0

    def type(self, keys: str) -> None:
        os.write(self.end, keys.encode())

    def until(self, pattern: str, seconds: float = 60) -> str:
        """All that was shown since the last time, once it matches."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.shown, re.DOTALL)):
            assert time.monotonic() < end, self.shown[-2000:]
            self._read()
        told, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        self.answered = 0
        return told

    def _read(self) -> None:
        if select.select([self.end], [], [], 0.1)[0]:
            self.shown += os.read(self.end, 65536).decode(errors="replace")
        while self.shown.count(ASKED) > self.answered:
            self.answered += 1
            self.type(self.answer)
        if "\x1b[6n" in self.shown:  # where the cursor is
            self.shown = self.shown.replace("\x1b[6n", "")
            self.type("\x1b[1;1R")


@contextmanager
def chat(folder: Path, answer: str) -> Iterator[Terminal]:
    """The program, up to its first prompt."""
    child, end = pty.fork()
    if child == 0:
        environment = {**os.environ, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1", "COLUMNS": "100", "LINES": "30"}
        command = ["-m", "lightfusion_core", "chat", "--model", str(folder), "--device", "cpu", "--steps", "2", "made"]
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 600, 1000))
        os.execve(sys.executable, [sys.executable, *command], environment)
    try:
        terminal = Terminal(end, answer)
        terminal.until("the conversation is kept in made")
        yield terminal
        terminal.type(f"/quit{ENTER}")
    finally:
        os.close(end)
        os.waitpid(child, 0)


@pytest.mark.slow
@pytest.mark.parametrize("answer", [pytest.param(SIXEL, id="sixel"), pytest.param(PLAIN, id="no pictures")])
def test_pictures_show_where_the_terminal_can(folder: Path, answer: str) -> None:
    with chat(folder, answer) as terminal:
        terminal.type(f"/draw a circle{ENTER}")
        told = terminal.until(r"made/turn-001\.png")
    assert ("\x1bP" in told) == (answer == SIXEL)
    assert "\u2580" not in told, "blocks of colour are no picture"


@pytest.mark.slow
def test_commands_and_files_are_completed_and_a_line_can_be_long(folder: Path) -> None:
    Image.new("RGB", (70, 60), "green").save("a photo of grass.png")
    with chat(folder, PLAIN) as terminal:
        terminal.type("/im")
        terminal.until("/image")  # offered below
        terminal.type(TAB)
        terminal.until("age")
        terminal.type(" a ph")
        terminal.until("a photo of grass.png")
        terminal.type(TAB)
        terminal.until("oto of grass.png")
        terminal.type(ENTER)
        terminal.until(r"> /image a photo of grass\.png.*>")
        terminal.type(f"/edit make it{ALT_ENTER}blue{ENTER}")
        terminal.until(r"made/turn-001\.png")
    assert Path("made/turn-001-given-1.png").exists()
    assert '"make it\\nblue"' in Path("made/conversation.json").read_text()
