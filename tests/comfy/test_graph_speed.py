"""What the pack costs: at ComfyUI's start, and between a graph's request and the engine's own work."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from statistics import median
from subprocess import PIPE
from types import TracebackType

import pytest
from driving import run
from graphs import own_text_to_image
from host import PACK, Client, Server

pytestmark = [pytest.mark.comfy, pytest.mark.slow]
STEPS, RUNS = 20, 16


def test_import_is_short_on_every_start(server: Server, tmp_path: Path) -> None:
    """By ComfyUI's own clock, which it shows to the user in tenths; the machine may be busy at one of the starts."""
    seconds = []
    for start in range(5):
        with Server(server.checkout, tmp_path / str(start)) as other:
            seconds.append(other.import_seconds())
    print("seconds of five imports:", *seconds)
    assert median(seconds) < 0.2, seconds


class EngineAlone:
    """The same drawing by the engine, in a process of its own with the same threads and libraries."""

    def __init__(self, server: Server) -> None:
        script = Path(__file__).with_name("engine_alone.py")
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(PACK)}
        self.process = subprocess.Popen(
            [str(server.checkout.python), str(script), str(STEPS)], env=environment, text=True, stdin=PIPE, stdout=PIPE
        )

    def __enter__(self) -> EngineAlone:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.communicate()
        assert self.process.returncode == 0

    def seconds(self, seed: int) -> float:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(seed, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


def graph_seconds(client: Client, seed: int) -> float:
    """From the request to its end, with previews, progress and the saved file; only the seed is new."""
    started = time.perf_counter()
    run(client, own_text_to_image("nano (built in)", steps=STEPS, width=128, height=128, seed=seed))
    return time.perf_counter() - started


def test_graph_adds_little_to_the_engine(server: Server, client: Client) -> None:
    """In turns, since a shared machine is quick and slow by the minute; the quickest of the later runs on each side."""
    with EngineAlone(server) as alone:
        turns = [(alone.seconds(seed), graph_seconds(client, seed)) for seed in range(RUNS)]
    engine, graph = (min(seconds) for seconds in zip(*turns[1:], strict=True))
    print(f"{STEPS} steps: engine {engine:.3f} s, graph {graph:.3f} s, {graph / engine - 1:+.1%}")
    assert graph - engine < max(0.1, 0.05 * engine)
