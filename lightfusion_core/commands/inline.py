"""Pictures in the terminal itself, where it can show them."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

_HEIGHT = 16
"""Rows of text that a picture takes at most."""


class Inline:
    """Asks the terminal once, by textual-image, whether it draws pictures (kitty's protocol, or sixel, as iTerm2 and
    others have it). Where it does not, or is none, nothing is shown, and a picture's file is its name."""

    def __init__(self) -> None:
        self._renderable = None
        if _is_screen() and find_spec("textual_image") is not None:
            found = import_module("textual_image.renderable")
            if found.Image in (found.TGPImage, found.SixelImage):
                self._renderable = found.Image

    def show(self, file: Path) -> None:
        """The picture of a file, in at most sixteen rows."""
        if self._renderable is None:
            return
        from rich.console import Console

        console = Console()
        rows = min(_HEIGHT, max(1, console.height - 2))
        console.print(self._renderable(str(file), width="auto", height=rows))


def _is_screen() -> bool:
    """Whether there is a terminal that answers and has a size."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.get_terminal_size(sys.stdout.fileno()).columns > 0
