"""`bench`: what the machine makes of the engine, as a table, JSON and a plot."""

from __future__ import annotations

import os
from argparse import Namespace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .console import progress
from .request import device_of
from .result import check_file, say

if TYPE_CHECKING:
    from ..bench.report import Report
    from ..bench.settings import Settings

SUBJECTS = {
    "step": "a step of the generation tower beside a plain Wan transformer's",
    "cache": "an edit's step with caches beside a joint forward without",
    "phases": "understanding, context, step and VAE times",
    "memory": "the peak memory of each phase",
    "load": "loading a model beside reading its bytes",
    "scaling": "a step's time by resolution, references, batch and branches",
    "fp8": "the errors of fp8 layer by layer, with a scale for each matrix and for each row",
    "gpu": "a whole picture on a GPU: time, share of the matmul rate, memory",
}
"""Every measurement: a module of `bench/` with `measure(settings, on_round)`, and what it shows."""

_LIMITS = (
    ("rounds", 1, 1000),
    ("threads", 1, 4 * (os.cpu_count() or 1)),  # of more, some systems end the process
    ("prompt", 3, 1_000_000),
    ("size", 1, 1_000_000),
)


def bench(arguments: Namespace) -> int:
    """`lightfusion bench SUBJECT`."""
    with progress("Preparing", quiet=arguments.quiet) as bar:
        subject = import_module(f"..bench.{arguments.subject}", __package__)
        settings = settings_of(arguments)

        def on_round(what: str) -> None:
            bar.phase(what)
            bar.advance()

        report: Report = subject.measure(settings, on_round)
    show(report)
    if arguments.json:
        report.write_json(arguments.json)
    if arguments.plot:
        report.write_plot(arguments.plot)
    return 0


def settings_of(arguments: Namespace) -> Settings:
    """The arguments as what measurements take.

    Raises:
        InputError: a preset, device or number that cannot be used. CapabilityError: --plot without matplotlib.
    """
    import torch

    from ..bench.presets import preset
    from ..bench.report import plotting
    from ..bench.settings import Settings
    from ..pipeline import default_device

    for name, least, most in _LIMITS:
        value = getattr(arguments, name)
        if value is not None and not least <= value <= most:
            raise InputError(f"--{name} must be between {least} and {most:,}, found {value}.")
    for report in (arguments.json, arguments.plot):
        if report:
            check_file(Path(report))
    if arguments.plot:
        plotting()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    config = preset(arguments.preset)
    device = device_of(arguments.device) if arguments.device else torch.device(default_device())
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    side = config.rounded(arguments.size or config.defaults.size) // config.token_size
    if side > config.max_extent:
        raise InputError(f"The preset {config.name} draws up to {config.extent} pixels a side, found {arguments.size}.")
    return Settings(
        config,
        device,
        getattr(torch, arguments.dtype) if arguments.dtype else dtype,
        arguments.rounds,
        side,
        arguments.prompt,
        arguments.compile,
        getattr(arguments, "model", None),
    )


def show(report: Report) -> None:
    """Print a report's table, with rich where it is there."""
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        say(str(report))
        return
    table = Table(title=report.title, title_justify="left")
    for index, column in enumerate(report.columns):
        table.add_column(column, justify="right" if index else "left", overflow="fold")
    for row in report.rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:  # a file or a pipe has no width, and rich takes 80
        console = Console(width=120)
    console.print(table)
    for note in report.notes:
        console.print(note, markup=False, highlight=False)
