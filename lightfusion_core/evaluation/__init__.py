"""The paper's benchmarks: from their official prompt files to the folders that their judges read, and from the judges'
result files to the paper's tables.

One file a benchmark: what its data look like, what is drawn, what goes where, what judges it. `export.py` draws,
`record.py` keeps beside the judged folder under which settings, `scores.py` and `paper.py` make the tables.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .benchmark import Benchmark

BENCHMARKS = {
    "geneval": "GenEval: objects, counts, colours and places; four pictures a prompt",
    "dpg": "DPG-Bench: long prompts; a grid of four pictures a prompt",
    "gedit": "GEdit-Bench: edits by users' instructions, in English and Chinese",
    "imgedit": "ImgEdit-Bench: single edits of nine types",
    "kris": "KRIS-Bench: edits that take knowledge, some of several pictures; the model thinks first",
    "rise": "RISEBench: edits that take reasoning; the model thinks first",
    "wise": "WISE: prompts that take knowledge of the world",
    "intelligent": "IntelligentBench: questions about pictures answered by pictures; the model thinks first",
    "shapes": "nano's own world in GenEval's form, which this program judges itself",
}
"""Names, each a module with its `BENCHMARK`, and what they are."""


def benchmark_named(name: str) -> Benchmark:
    """A benchmark by its name in `BENCHMARKS`."""
    return import_module(f".{name}", __name__).BENCHMARK
