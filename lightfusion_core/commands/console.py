"""What the command line says on stderr: notes, and progress with rich, else with tqdm, else in plain lines."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

from ..texts import printable


def visible(text: str) -> str:
    """A text of one or more lines without what moves a terminal's cursor, clears it or turns its letters round."""
    return "\n".join(printable(line) for line in text.split("\n"))


def complain(text: str) -> None:
    """Say one line on stderr, where that can be written at all."""
    with suppress(OSError):
        print(printable(" ".join(text.split())), file=sys.stderr, flush=True)


def open_streams() -> None:
    """Put the null device in the place of standard streams that are closed: what is meant for them would go to another
    stream, or into the next file that is opened."""
    with suppress(OSError):
        while (lowest := os.open(os.devnull, os.O_RDWR)) < 3:
            pass
        os.close(lowest)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  (for as long as the process runs)


class Bar(Protocol):
    """The progress of one task."""

    def advance(self) -> None:
        """One unit is done."""

    def phase(self, title: str) -> None:
        """From here on the task does something else."""


@contextmanager
def progress(title: str, total: int | None = None, *, quiet: bool = False) -> Iterator[Bar]:
    """Show a task while the block runs; without `total` only that something happens. Nothing when quiet."""
    with _silent() if quiet else _kind()(printable(title), total) as bar:
        yield bar


def _kind() -> Callable:
    if find_spec("rich") is not None:
        return _rich
    return _plain if find_spec("tqdm") is None else _tqdm


class _Silent:
    def advance(self) -> None: ...

    def phase(self, title: str) -> None: ...


@contextmanager
def _silent() -> Iterator[Bar]:
    yield _Silent()


@contextmanager
def _rich(title: str, total: int | None) -> Iterator[Bar]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    counter = (BarColumn(), MofNCompleteColumn(), TextColumn("left:"), TimeRemainingColumn()) if total else ()
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), *counter, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task(title, total=total)

        class Rich(_Silent):
            def advance(self) -> None:
                shown.advance(task)

            def phase(self, title: str) -> None:
                shown.update(task, description=printable(title))

        yield Rich()


@contextmanager
def _tqdm(title: str, total: int | None) -> Iterator[Bar]:
    with import_module("tqdm").tqdm(desc=title, total=total, file=sys.stderr) as shown:

        class Tqdm(_Silent):
            def advance(self) -> None:
                shown.update()

            def phase(self, title: str) -> None:
                shown.set_description(title)

        yield Tqdm()


@contextmanager
def _plain(title: str, total: int | None) -> Iterator[Bar]:
    class Plain:
        """A line for each phase and for each tenth of the whole."""

        def __init__(self) -> None:
            self.done = 0

        def advance(self) -> None:
            self.done += 1
            if total and self.done * 10 // total > (self.done - 1) * 10 // total:
                print(f"  {self.done} of {total}", file=sys.stderr, flush=True)

        def phase(self, title: str) -> None:
            print(title, file=sys.stderr, flush=True)

    bar = Plain()
    bar.phase(title)
    yield bar


class _Notes(logging.Handler):
    """The engine's warnings as notes, on whatever stderr is when they come (progress bars replace it)."""

    def emit(self, record: logging.LogRecord) -> None:
        complain(f"note: {record.getMessage()}")


@contextmanager
def notes(quiet: bool) -> Iterator[None]:
    """Say the engine's warnings on stderr while the block runs, unless quiet; those of libraries are for programmers,
    and are not said."""
    logger, handler = logging.getLogger("lightfusion_core"), _Notes(logging.WARNING)
    if quiet:
        handler.setLevel(logging.CRITICAL)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
