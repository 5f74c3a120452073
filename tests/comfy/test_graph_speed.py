"""What the pack costs: at ComfyUI's start, and between a graph's request and the engine's own work."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from statistics import median

import pytest
from driving import run
from graphs import own_text_to_image
from host import PACK, Client, Server

pytestmark = [pytest.mark.comfy, pytest.mark.slow]
STEPS, RUNS = 20, 8


def test_import_is_short_on_every_start(server: Server, tmp_path: Path) -> None:
    """By ComfyUI's own clock, which it shows to the user in tenths; the machine may be busy at one of the starts."""
    seconds = []
    for start in range(5):
        with Server(server.checkout, tmp_path / str(start)) as other:
            seconds.append(other.import_seconds())
    print("seconds of five imports:", *seconds)
    assert median(seconds) < 0.2, seconds


def engine_seconds(server: Server) -> list[float]:
    """The same drawing by the engine, in a process of its own with the same threads and libraries."""
    script = Path(__file__).with_name("engine_alone.py")
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(PACK)}
    command = [str(server.checkout.python), str(script), str(STEPS), str(RUNS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def graph_seconds(client: Client) -> list[float]:
    """From the request to its end, with previews, progress and the saved file; only the seed is new."""
    seconds = []
    for seed in range(RUNS):
        started = time.perf_counter()
        run(client, own_text_to_image("nano (built in)", steps=STEPS, width=128, height=128, seed=seed))
        seconds.append(time.perf_counter() - started)
    return seconds


def test_graph_adds_little_to_the_engine(server: Server, client: Client) -> None:
    """The quickest of the later runs on each side, since another process may take the machine for a while."""
    engine, graph = min(engine_seconds(server)[1:]), min(graph_seconds(client)[1:])
    print(f"{STEPS} steps: engine {engine:.3f} s, graph {graph:.3f} s, {graph / engine - 1:+.1%}")
    assert graph - engine < max(0.1, 0.05 * engine)
