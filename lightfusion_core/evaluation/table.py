"""Tables of scores beside the published rows: Markdown, CSV, and a plot."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..errors import InputError
from ..picture_files import write_whole
from .paper import TABLES, Figures, Table
from .scores import Scores

Models = Mapping[str, Sequence[Scores]]
"""Scores of each model, by its name."""


def markdown(models: Models) -> str:
    """A table for each benchmark that any model has scores of; these stand first, in bold."""
    return "\n\n".join(_markdown(name, table, models) for name, table in _shown(models))


def write_csv(models: Models, file: Path) -> None:
    """A line for each figure: benchmark, model, column, value, source. Raises InputError where it cannot be written."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("benchmark", "model", "column", "value", "source"))
    for name, table in _shown(models):
        for model, figures, source in _rows(name, table, models):
            for column, value in zip(table.columns, figures, strict=True):
                if value is not None:
                    writer.writerow((name, model, column, f"{value:.{table.digits}f}", source))
    write_whole(file, buffer.getvalue().encode("utf-8"), what="a table")


def write_plot(models: Models, file: Path) -> None:
    """The last column of every table as bars.

    Raises:
        CapabilityError: matplotlib is not installed. InputError: the file cannot be written.
    """
    from ..bench.report import plotting

    plt, shown = plotting(), list(_shown(models))
    heights = [1 + 0.28 * len(list(_rows(name, table, models))) for name, table in shown]
    figure, axes = plt.subplots(
        len(shown), 1, figsize=(7, sum(heights)), squeeze=False, height_ratios=heights, layout="constrained"
    )
    for axis, (name, table) in zip(axes[:, 0], shown, strict=True):
        rows = sorted(_rows(name, table, models), key=lambda row: row[1][-1] if row[1][-1] is not None else -1.0)
        rows = [row for row in rows if row[1][-1] is not None]
        values = [row[1][-1] for row in rows]
        colours = ["#c8502d" if row[2] == "" else "#8a94a6" for row in rows]
        bars = axis.barh([row[0].replace("$", r"\$") for row in rows], values, color=colours)
        axis.bar_label(bars, [f"{value:.{table.digits}f}" for value in values], padding=3, fontsize=8)
        axis.set_title(f"{table.title}: {table.columns[-1]}", loc="left", fontsize=10)
        axis.tick_params(labelsize=8)
        axis.margins(x=0.12)
        axis.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    try:
        figure.savefig(buffer, format=file.suffix.lstrip(".").lower() or "png", dpi=120)
    except ValueError as error:  # an ending that is no picture's
        raise InputError(f"{file}: {error}") from None
    finally:
        plt.close(figure)
    write_whole(file, buffer.getvalue(), what="a plot")


def _shown(models: Models) -> Iterator[tuple[str, Table]]:
    measured = {scores.benchmark for listed in models.values() for scores in listed}
    return ((name, table) for name, table in TABLES.items() if name in measured)


def _rows(name: str, table: Table, models: Models) -> Iterator[tuple[str, Figures, str]]:
    """Model, figures and source ("" for what was measured here)."""
    for model, listed in models.items():
        for scores in listed:
            if scores.benchmark == name:
                yield model, [scores.figures.get(column) for column in table.columns], ""
    for model, figures in table.rows.items():
        yield model, figures, table.source


def _markdown(name: str, table: Table, models: Models) -> str:
    lines = [f"**{table.title}**", "", _line(["model", *table.columns]), _line(["---", *["---:"] * len(table.columns)])]
    for model, figures, source in _rows(name, table, models):
        cells = ["" if value is None else f"{value:.{table.digits}f}" for value in figures]
        shown = model.replace("|", r"\|")
        lines.append(
            _line([shown, *cells] if source else [f"**{shown}**", *(f"**{cell}**" if cell else "" for cell in cells)])
        )
    counts = [
        f"{model}: {scores.count} figures read" + (f", none of {', '.join(scores.missing)}" if scores.missing else "")
        for model, listed in models.items()
        for scores in listed
        if scores.benchmark == name
    ]
    return "\n".join([*lines, "", f"{'; '.join(counts)}. Published: {table.source}."])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
