"""What a benchmark is: its rows as items, the published settings, what judges it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import THINK_GUIDANCE

if TYPE_CHECKING:
    from .record import Record


@dataclass(frozen=True, slots=True)
class Embedded:
    """A picture inside of a parquet file: its row there (from 0), its column, and its place in a list."""

    file: Path
    row: int
    column: str
    place: int | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One row of a benchmark. Files are relative to the judged folder.

    id: its name among the benchmark's rows; its seeds come from it, so they depend on no order.
    where: the file and the row that it comes from, for messages.
    sources: its reference pictures, in order.
    files: of its pictures; with `columns`, one file of all of them, so many side by side.
    pictures: how many there are.
    texts: other files of the judged folder, with their content.
    source_file: where the judge wants the first reference.
    thought: where the thought goes in the judged folder; None where its form has no place for it.
    """

    id: str
    where: str
    prompt: str
    files: Sequence[str]
    sources: Sequence[Path | Embedded] = ()
    pictures: int = 1
    columns: int = 0
    texts: Mapping[str, str] = field(default_factory=dict)
    source_file: str | None = None
    thought: str | None = None

    def needed(self) -> list[str]:
        """The pictures in the judged folder without which it is not done."""
        return [*self.files, *([] if self.source_file is None else [self.source_file])]

    def all_files(self) -> list[str]:
        """Every file of the judged folder that may be its."""
        return [*self.needed(), *self.texts, *([] if self.thought is None else [self.thought])]


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that is passed over, and why, in one line."""

    line: str


Rows = Iterator["Item | Problem"]


@dataclass(frozen=True, slots=True)
class Options:
    """What a reader is asked for beside its folder. pictures: of a prompt. language: of the instructions; None takes
    all. seed, count: of prompts that are made here."""

    pictures: int = 1
    language: str | None = None
    seed: int = 0
    count: int = 100


@dataclass(frozen=True, slots=True)
class Published:
    """The settings of the published run.

    seed: of the run. sampling, guidance: fields of `Sampling` and `Guidance`; empty for the model's own.
    pictures: of a prompt. thinks: whether the model thinks first, greedily, in at most `max_tokens`.
    enlarged: references are shown to the generation side with their longer side at the rule's largest (KRIS-Bench).
    """

    seed: int
    sampling: Mapping[str, Any]
    guidance: Mapping[str, Any]
    pictures: int = 1
    thinks: bool = False
    max_tokens: int = 2048
    enlarged: bool = False


_SAMPLING = {"steps": 50, "shift": 4.0}
BASE = {"text": 3.0, "image": 1.0}
"""The guidance of the base model's published runs."""
DRAWN = Published(42, _SAMPLING, BASE, pictures=4)
"""The base model's text to image: GenEval, DPG-Bench."""
EDITED = Published(42, _SAMPLING, BASE)
"""The base model's edits: GEdit-Bench, ImgEdit-Bench."""
THOUGHT_OVER = Published(43, _SAMPLING, THINK_GUIDANCE, thinks=True)
"""The think variant's edits: RISEBench, IntelligentBench."""


@dataclass(frozen=True, slots=True)
class Judging:
    """What a judge is told: the judged folder, its record, the data, and the side of a picture in pixels."""

    out: Path
    record: Record
    data: Path
    side: int


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark.

    edits: whether its rows have reference pictures.
    read: its rows out of a folder or file. judge: what to run next, in lines.
    finish: makes what the judge reads beside the pictures, once all are there: of the judged folder, its record and the
        items. made: makes the data where none are given, in the record.
    """

    name: str
    title: str
    published: Published
    edits: bool
    read: Callable[[Path, Options], Rows]
    judge: Callable[[Judging], list[str]]
    finish: Callable[[Path, Record, Sequence[Item]], None] | None = None
    made: Callable[[Record, Options], Path] | None = None


def seeds(run_seed: int, benchmark: str, item: Item) -> list[int]:
    """The seeds of an item's pictures, 0 to 2^63 - 1: from the run's seed, the benchmark's name and the item's id."""
    return [
        int.from_bytes(
            hashlib.blake2b(f"{run_seed}\0{benchmark}\0{item.id}\0{k}".encode(), digest_size=8).digest(), "big"
        )
        % 2**63
        for k in range(item.pictures)
    ]
