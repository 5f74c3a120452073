"""`bench shapes`: how well a model draws, edits and answers in the world of nano."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from ..errors import InputError
from .console import progress
from .request import Drawing, describe_model, load
from .result import check_file, check_output, png_name

_COLUMNS, _MOST = 8, 10_000


def bench_shapes(arguments: Namespace) -> int:
    """`lightfusion bench shapes`: a table on stdout, a sheet of pictures, and the scores as JSON where asked for."""
    if find_spec("scipy") is None:
        raise InputError("Judging pictures of shapes needs scipy, which is not installed here: pip install scipy.")
    if not 1 <= arguments.count <= _MOST:
        raise InputError(f"A benchmark takes 1 to {_MOST:,} requests of each kind, found {arguments.count}.")
    from ..picture_files import save_png
    from ..shapes import PARTS
    from ..shapes.bench import Engine, examined, run
    from .sheet import contact_sheet

    drawing = Drawing(arguments)
    check_output(arguments.output)
    file, scores = png_name(arguments.output), arguments.json and Path(arguments.json)
    if scores:
        check_file(scores)
        if not scores.absolute().parent.is_dir():
            raise InputError(f"{scores}: expected a file in a folder that exists, found no {scores.parent}; make it.")
    model, _ = load(arguments)
    start = time.perf_counter()
    sampling, guidance = drawing.sampling(model.config), drawing.guidance(model.config)
    artist, parts = Engine(model, sampling, guidance), arguments.parts or PARTS
    total = len(examined(artist.tasks, parts)) * arguments.count
    with progress("Drawing", total, quiet=arguments.quiet) as bar:
        report = run(artist, arguments.seed, arguments.count, bar.phase, bar.advance, parts)
    print(report.table())
    print(artist.passes)
    settings = {"command": "bench shapes", "seed": arguments.seed, "count": arguments.count, "parts": [*parts]}
    passes = {"passes": artist.passes.as_dict()}
    settings |= passes | {"sampling": asdict(sampling), "guidance": asdict(guidance)}
    save_png(contact_sheet(report.tiles(), columns=_COLUMNS), file, settings | describe_model(arguments, model))
    print(f"{file}  {time.perf_counter() - start:.0f} s")
    if scores:
        scores.write_text(json.dumps(report.as_json(), indent=2) + "\n", encoding="utf-8")
        print(scores)
    return 0
