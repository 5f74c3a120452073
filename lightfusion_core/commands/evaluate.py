"""`evaluate`: the paper's benchmarks drawn as their judges read them, judged results as the paper's tables."""

from __future__ import annotations

import os
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .console import Bar, progress
from .evaluation_request import export_of
from .result import check_file, say

if TYPE_CHECKING:
    from ..batch import Row
    from ..evaluation.export import Export


def evaluate(arguments: Namespace) -> int:
    """`lightfusion evaluate BENCHMARK`: 0 when every row was drawn, 1 when some were passed over."""
    from ..evaluation import benchmark_named
    from ..evaluation.benchmark import Judging

    start = time.perf_counter()
    with progress("Reading the data", quiet=arguments.quiet):
        export = export_of(arguments, benchmark_named(arguments.benchmark))
        rows = export.prepare()
    with progress("Drawing", len(rows), quiet=arguments.quiet) as bar:
        drawn = sum(not row["error"] for row in _counted(export, rows, arguments, bar))
    lacking, record = export.finish(), export.record
    pictures = sum(item.pictures for item in export.items)
    say(f"{record.out}: {_rows(len(export.items))}, {pictures} pictures; {_rows(drawn)} drawn now, "
        f"{time.perf_counter() - start:.0f} s; settings in {record.folder}")  # fmt: skip
    if export.problems:
        say(f"{_rows(len(export.problems))} passed over: {export.passed_over}")
    if lacking:
        say(f"{_rows(lacking)} left to other shards or runs; once all are there, run this without --shard.")
    else:
        judging = Judging(record.out, record, export.data, export.settings["width"] or 0)
        say("\n".join(["What to run next:", *export.benchmark.judge(judging)]))
    return 1 if export.problems else 0


def judge(arguments: Namespace) -> int:
    """`lightfusion evaluate judge FOLDER`: verdicts on pictures of nano's world."""
    _require_scipy()
    from ..evaluation.shapes import folders, judged, verdicts

    out = Path(arguments.folder)
    with progress("Judging", len(folders(out)), quiet=arguments.quiet) as bar:
        lines = list(verdicts(out, bar.advance))
    say(f"{sum(line['correct'] for line in lines)} of {len(lines)} right: {judged(out, lines)}")
    return 0


def table(arguments: Namespace) -> int:
    """`lightfusion evaluate table RESULTS...`: Markdown on stdout, a CSV and a plot where asked for."""
    from ..evaluation.scores import read_scores
    from ..evaluation.table import markdown, write_csv, write_plot

    files = [Path(name) for name in (arguments.csv, arguments.plot) if name]
    for file in files:
        check_file(file)
    of_model: dict[str, list[Path]] = {}
    for given_as in arguments.results:
        label, path = _labelled(given_as)
        of_model.setdefault(label, []).append(path)
    models = {label: read_scores(paths) for label, paths in of_model.items()}
    say(markdown(models))
    if arguments.csv:
        write_csv(models, Path(arguments.csv))
    if arguments.plot:
        write_plot(models, Path(arguments.plot))
    return 0


def _rows(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"


def _counted(export: Export, rows: Sequence[Row], arguments: Namespace, bar: Bar) -> Iterator[Row]:
    """The rows as they are drawn; what was there before moves the bar at once."""
    from ..batch import left_over

    for _ in range(len(rows) - len(left_over(rows))):
        bar.advance()
    for done in export.draw(rows, arguments.workers, arguments.gpus):
        bar.advance()
        yield done


def _labelled(given_as: str) -> tuple[str, Path]:
    """A model's name and a path out of `[NAME=]PATH`; what exists as it stands is a path."""
    name, equals, path = given_as.partition("=")
    if equals and name and os.sep not in name and not os.path.exists(given_as):
        return name, Path(os.path.expanduser(path))
    return "this run", Path(given_as)


def _require_scipy() -> None:
    if find_spec("scipy") is None:
        raise InputError("Judging pictures of shapes needs scipy, which is not installed here: pip install scipy.")
