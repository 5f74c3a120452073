"""Draws a benchmark: rows out of its data, pictures into the folder that its judge reads.

Each item is drawn by itself with seeds of its own, and each file is written beside the folder and gets its name in one
step: a run that ended anywhere goes on to the same bytes, and so do runs side by side.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..batch import Renderer, left_over, render
from ..errors import InputError
from ..images import grid
from ..picture_files import image_of, plain_png, write_whole
from .benchmark import Benchmark, Item, Options, Problem, seeds
from .parquet import embedded
from .record import Record

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..batch import Row

log = logging.getLogger(__name__)

_PNG = b"\x89PNG\r\n\x1a\n"
_TOLD = 20
"""Rows that are told one by one; passed_over.txt has all."""


class Exporter(Renderer):
    """Draws rows into a judged folder: pictures without anything but their pixels, and what belongs to them.

    Args:
        staging: where files are written until they are whole.
        enlarged: see `Published`.
        arguments: `Renderer`'s.
    """

    def __init__(self, *, staging: str, enlarged: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.staging = Path(staging)
        if enlarged:
            rule = self.model.config.vae_image
            self.model.config = replace(self.model.config, vae_image=replace(rule, min=rule.max))

    def save(self, row: Row, pictures: Sequence[Image], thought: str | None) -> None:
        texts = dict(row["texts"])
        if thought is not None:
            texts[row["thought"]] = thought
        for file, text in texts.items():
            write_whole(Path(file), text.encode("utf-8", "replace"), staging=self.staging, what="a text")
        drawn = [grid(pictures, row["columns"])] if row["columns"] else pictures
        for file, picture in zip(row["files"], drawn, strict=True):
            write_whole(Path(file), plain_png(picture), staging=self.staging)


@dataclass(frozen=True, slots=True)
class Share:
    """Which of the items a run draws: the first `limit`, and of those each `of`-th from `number` (1 to `of`)."""

    limit: int | None = None
    number: int = 1
    of: int = 1


@dataclass(slots=True)
class Export:
    """A run of a benchmark.

    settings: all that makes the pictures, for the record. arguments: the `Exporter`'s. thinks: before it draws.
    made: makes the data, where there are none.
    items, problems, failed: what is to be drawn, what was told, and the ids of items that could not be drawn.
    """

    benchmark: Benchmark
    data: Path
    record: Record
    options: Options
    seed: int
    thinks: bool
    settings: dict[str, Any]
    arguments: dict[str, Any]
    share: Share = field(default_factory=Share)
    made: Callable[[Record, Options], Path] | None = None
    items: list[Item] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)

    @property
    def passed_over(self) -> Path:
        """The file of the rows that could not be used."""
        part = "" if self.share.of == 1 else f"-{self.share.number}-of-{self.share.of}"
        return self.record.folder / f"passed_over{part}.txt"

    def prepare(self) -> list[Row]:
        """Read the data, begin the record, and give the rows that are to be drawn.

        Raises:
            InputError: data that are not there or not the benchmark's, no row that can be used, or see `Record`.
        """
        if self.made is not None:
            self.record.open(self.settings)
            self.data = self.made(self.record, self.options)
        for found in islice(self._told(), self.share.limit):
            self.items.append(found)
        if not self.items:
            raise InputError(
                f"{self.data}: expected rows of {self.benchmark.title}, found none that can be used; get it again."
            )
        self.record.open(self.settings)
        self.record.plan(self.benchmark.name, self.seed, self.items)
        mine = self.items[self.share.number - 1 :: self.share.of]
        rows = [self._row(index, item) for index, item in enumerate(mine)]
        rows = self._with_sources(mine, rows)
        self.record.pass_over(self.problems, self.passed_over.name)
        return rows

    def draw(self, rows: Sequence[Row], workers: int = 0, gpus: float = 0.0) -> Iterator[Row]:
        """Draw what is not there, and give each row as it is done; what is refused stands among `problems`."""
        for done in render(left_over(rows), workers=workers, gpus=gpus, kind=Exporter, **self.arguments):
            if done["error"]:
                self.failed.add(done["id"])
                self._tell(Problem(f"{done['where']}: not drawn: {done['error']}"))
            yield done
        self.record.pass_over(self.problems, self.passed_over.name)

    def finish(self) -> int:
        """Write what the judge reads beside the pictures, where all are there that can be; gives how many are not."""
        there = [item for item in self.items if all((self.record.out / file).exists() for file in item.needed())]
        known = {item.id for item in there} | self.failed
        lacking = sum(item.id not in known for item in self.items)
        if not lacking:
            if self.benchmark.finish is not None and there:
                self.benchmark.finish(self.record.out, self.record, there)
            self.record.close()
        return lacking

    def _told(self) -> Iterator[Item]:
        for found in self.benchmark.read(self.data, self.options):
            if isinstance(found, Problem):
                self._tell(found)
            else:
                yield found

    def _tell(self, problem: Problem) -> None:
        self.problems.append(problem)
        if len(self.problems) <= _TOLD:
            log.warning("%s", problem.line)
        elif len(self.problems) == _TOLD + 1:
            log.warning("More rows are passed over: %s has all.", self.passed_over)

    def _row(self, index: int, item: Item) -> Row:
        out = self.record.out
        row: Row = {
            "index": index,
            "id": item.id,
            "prompt": item.prompt,
            "seeds": seeds(self.seed, self.benchmark.name, item),
            "files": [str(out / name) for name in item.files],
            "texts": {str(out / name): text for name, text in item.texts.items()},
            "columns": item.columns,
            "where": item.where,
        }
        if item.sources:
            row["pictures"] = [str(source) for source in item.sources]
        if self.thinks:
            thoughts = self.record.folder / "thoughts" / f"{item.id}.txt"
            row["thought"] = str(thoughts if item.thought is None else out / item.thought)
        return row

    def _with_sources(self, items: Sequence[Item], rows: Sequence[Row]) -> list[Row]:
        """The rows with references that are files: those that stand inside of others, or that the judge wants to see,
        are written first."""
        places: dict[str, Path] = {}
        for item in items:
            if item.source_file is not None:
                places[item.id] = self.record.out / item.source_file
            elif item.sources and not isinstance(item.sources[0], Path):
                places[item.id] = self.record.folder / "sources" / f"{item.id}.png"
        missing = [item for item in items if item.id in places and not places[item.id].exists()]
        for item, data in _first_sources(missing):
            problem = data if isinstance(data, Problem) else self._keep(item, data, places[item.id])
            if problem is not None:
                self._tell(problem)
                self.failed.add(item.id)
        return [
            row | ({"pictures": [str(places[item.id])]} if item.id in places else {})
            for item, row in zip(items, rows, strict=True)
            if item.id not in self.failed
        ]

    def _keep(self, item: Item, data: bytes, place: Path) -> Problem | None:
        """Write a source picture as a PNG, bit for bit where it is one."""
        try:
            picture = image_of(data, item.where)
        except InputError as error:
            return Problem(str(error))
        write_whole(place, data if data.startswith(_PNG) else plain_png(picture), staging=self.record.staging)
        return None


def _first_sources(items: Sequence[Item]) -> Iterator[tuple[Item, bytes | Problem]]:
    for item in items:
        if isinstance(item.sources[0], Path):
            try:
                yield item, item.sources[0].read_bytes()
            except OSError as error:
                yield item, Problem(f"{item.where}: expected a picture, found: {error.strerror}; check the file.")
    yield from embedded(items)
