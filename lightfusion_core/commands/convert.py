"""`convert`: a checkpoint into the parts that drawing needs, and what that costs."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from .console import progress
from .result import say

if TYPE_CHECKING:
    from ..checkpoints.convert import Converter

_SMALL = 1 << 30
"""Up to so many bytes both models are loaded and compared unasked."""


def convert(arguments: Namespace) -> int:
    """`lightfusion convert SOURCE TARGET`."""
    start = time.perf_counter()
    with progress(f"Reading {arguments.source}", quiet=arguments.quiet):
        from ..checkpoints.convert import Converter
        from ..pipeline import NANO

        converter = Converter(
            NANO if arguments.source == "nano" else arguments.source,
            arguments.target,
            dtype=arguments.dtype,
            understanding=arguments.understanding,
            others={"understanding": arguments.understanding_from, "vae": arguments.vae},
            tokenizer=arguments.tokenizer,
            force=arguments.force,
            measure=arguments.measure,
        )
    with progress("Converting", converter.tensors, quiet=arguments.quiet) as bar:
        done = converter.run(lambda name: bar.advance())
        bar.phase("Converted")
    errors = _drawn_errors(arguments, converter)
    if arguments.json:
        drawn = {"velocity_errors": {str(timestep): error for timestep, error in errors.items()}}
        say(json.dumps(done.as_dict() | drawn | {"seconds": round(time.perf_counter() - start, 3)}))
        return 0
    say(str(done))
    if errors:
        said = ", ".join(f"{error:.1e} at timestep {timestep}" for timestep, error in errors.items())
        say(f"\nError of what is drawn (velocity of one request against float32): {said}")
    return 0


def _drawn_errors(arguments: Namespace, converter: Converter) -> dict[int, float]:
    """Relative errors of the velocity by timestep; none for a large model unless they are asked for, nor where no
    understanding side is at hand."""
    checkpoint = converter.checkpoint
    size = sum(file.stat().st_size for file in checkpoint.used_files())
    if not checkpoint.names("understanding") or not (arguments.check or size <= _SMALL):
        return {}
    source: dict[str, Any] = {
        "model": checkpoint.path,
        "understanding": arguments.understanding_from,
        "vae": arguments.vae,
        "tokenizer": arguments.tokenizer,
    }
    target: dict[str, Any] = {"model": converter.target, "tokenizer": arguments.tokenizer}
    if converter.understanding == "drop":
        target["understanding"] = arguments.understanding_from or checkpoint.path
    with progress("Comparing what both draw", quiet=arguments.quiet):
        from ..fidelity import compare_velocity

        return compare_velocity(source, target)
