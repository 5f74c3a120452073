"""What a measurement leaves behind: a table on the terminal, JSON, a plot."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..errors import CapabilityError, InputError
from .timing import Spread


@dataclass(slots=True)
class Series:
    """One curve or group of bars: (x, y, first quartile, third quartile) each."""

    name: str
    points: list[tuple[Any, float, float, float]] = field(default_factory=list)

    def add(self, x: Any, y: Spread | float) -> None:
        self.points.append((x, y.median, y.low, y.high) if isinstance(y, Spread) else (x, y, y, y))


@dataclass(slots=True)
class Report:
    """One measurement's result.

    columns, rows: the table. results: the JSON's own keys, beside what every report tells. series: the plot,
    lines where x is a number and bars where it is a name. notes: lines below the table.
    """

    title: str
    settings: Mapping[str, Any]
    columns: Sequence[str]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)
    series: list[Series] = field(default_factory=list)
    x_axis: str = ""
    y_axis: str = "seconds"
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            **self.results,
            "title": self.title,
            "settings": dict(self.settings),
            "machine": machine(),
            "table": {"columns": list(self.columns), "rows": [list(row) for row in self.rows]},
            "notes": self.notes,
            "version": __version__,
        }

    def write_json(self, path: str) -> None:
        """Write `as_dict`. Raises InputError where the file cannot be written."""
        _written(path, lambda file: file.write_text(json.dumps(self.as_dict(), indent=1) + "\n", encoding="utf-8"))

    def write_plot(self, path: str) -> None:
        """Draw the series into a picture file.

        Raises:
            CapabilityError: matplotlib is not installed. InputError: the file cannot be written.
        """
        pyplot = plotting()
        figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
        for index, series in enumerate(self.series):
            xs, ys, lows, highs = zip(*series.points, strict=True)
            errors = [[y - low for y, low in zip(ys, lows, strict=True)],
                      [high - y for y, high in zip(ys, highs, strict=True)]]  # fmt: skip
            if isinstance(xs[0], str):
                width = 0.8 / len(self.series)
                places = [place + index * width for place in range(len(xs))]
                axes.bar(places, ys, width, yerr=errors, capsize=3, label=series.name)
                axes.set_xticks(range(len(xs)), xs)
            else:
                axes.errorbar(xs, ys, yerr=errors, capsize=3, marker="o", label=series.name)
        axes.set(title=self.title, xlabel=self.x_axis, ylabel=self.y_axis)
        axes.set_ylim(bottom=0)
        axes.legend()
        try:
            _written(path, figure.savefig)
        except ValueError as error:  # an ending that matplotlib does not know
            raise InputError(f"{path}: {error}") from None
        finally:
            pyplot.close(figure)

    def __str__(self) -> str:
        """The table in plain text, for terminals without rich."""
        widths = [max(len(row[i]) for row in (self.columns, *self.rows)) for i in range(len(self.columns))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                 for row in (self.columns, *self.rows)]  # fmt: skip
        return "\n".join([self.title, *lines, *self.notes])


def plotting() -> Any:
    """matplotlib's pyplot without a window. Raises CapabilityError where it is not installed."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise CapabilityError("A plot needs matplotlib: pip install matplotlib, or leave --plot out.") from None
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _written(path: str, write: Any) -> None:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write(Path(path))
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}): name another file.") from None


def machine() -> dict[str, Any]:
    """What ran the measurement."""
    found: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if hasattr(os, "getloadavg"):
        found["load"] = round(os.getloadavg()[0], 2)
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def of_time(spread: Spread) -> str:
    """Seconds with quartiles, in a unit that reads well."""
    scale, unit = (1, "s") if spread.median >= 1 else (1000, "ms")
    digits = 3 if unit == "s" else 1
    low, median, high = (f"{value * scale:.{digits}f}" for value in (spread.low, spread.median, spread.high))
    return f"{median} {unit} ({low} to {high})"


def of_ratio(spread: Spread) -> str:
    """A ratio with quartiles."""
    return f"{spread.median:.3f} ({spread.low:.3f} to {spread.high:.3f})"


def of_bytes(count: float) -> str:
    """Bytes in MB or GB (powers of ten)."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def spread_dict(spread: Spread) -> dict[str, float]:
    """A spread as JSON has it."""
    return {"median": spread.median, "first_quartile": spread.low, "third_quartile": spread.high,
            "count": spread.count}  # fmt: skip
