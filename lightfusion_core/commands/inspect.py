"""`inspect`: what a model file is, and what is wrong with it."""

from __future__ import annotations

import json
from argparse import Namespace

from .console import progress
from .result import say


def inspect(arguments: Namespace) -> int:
    """`lightfusion inspect FILE`; 1 where something is missing, unexpected, damaged or unknown."""
    with progress(f"Reading {arguments.file}", quiet=arguments.quiet or arguments.json):
        from ..checkpoints.report import inspect as report_on
        from ..pipeline import NANO

        report = report_on(NANO if arguments.file == "nano" else arguments.file)
    say(json.dumps(report.as_dict()) if arguments.json else str(report))
    return 0 if report.is_sound else 1
