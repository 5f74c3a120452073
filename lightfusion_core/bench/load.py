"""Loading a model beside reading its bytes: from files in the page cache to the first velocity."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file

from ..checkpoints.loader import layers_as_stored, load_generation
from ..checkpoints.model import read_config
from ..checkpoints.reader import Checkpoint
from ..config import ModelConfig
from ..errors import CheckpointError
from ..generation.context import ContextBuilder
from ..generation.tower import GenerationTower
from ..sampling.guidance import OFF
from ..sampling.loop import GuidedVelocity
from .memory import PeakMemory
from .phases import weight_bytes
from .presets import random_generation
from .report import Report, Series, of_bytes, of_ratio, of_time, spread_dict
from .requests import Request
from .settings import OnRound, Settings, quiet
from .timing import Spread, Task, interleaved, ratio

_FIRST, _VELOCITY = "load to the first velocity", "a velocity of a loaded model"
_PICTURE = Request(side=2, prompt=8)
"""The first velocity's: so small that loading is what is measured."""


def measure(settings: Settings, on_round: OnRound = quiet) -> Report:
    """The generation tower of `settings.model`, or of random weights written to a temporary folder."""
    with _files(settings) as folder:
        return _measure(settings, folder, on_round)


def _measure(settings: Settings, path: Path, on_round: OnRound) -> Report:
    checkpoint = Checkpoint.open(path)
    config = settings.config if settings.model is None else read_config(checkpoint)
    files = sorted({entry.file for entry in checkpoint.part("generation")})
    if not files:
        raise CheckpointError(f"{path} has no generation tower, {checkpoint.describe()}: name a file that has one.")
    size = sum(file.stat().st_size for file in files)

    def read() -> list[bytes]:
        return [file.read_bytes() for file in files]

    layers = layers_as_stored(checkpoint, "generation")

    def load() -> GenerationTower:
        return load_generation(Checkpoint.open(path), config, settings.dtype, settings.device, layers)

    @torch.no_grad()
    def velocity(tower: GenerationTower) -> torch.Tensor:
        conditioning = _PICTURE.conditioning(config, settings.device, settings.dtype)
        builder = ContextBuilder(tower, settings.device)
        network = GuidedVelocity(tower, builder, conditioning, OFF, _PICTURE.side, _PICTURE.side)
        return network(_PICTURE.latent(config).to(settings.device), 999)

    tasks: dict[str, Task] = {"read the bytes": read, "load": load, _FIRST: lambda: velocity(load())}
    tasks[_VELOCITY] = partial(velocity, load())
    times = interleaved(tasks, settings.rounds, settings.device, on_round=lambda: on_round("load"))
    with PeakMemory(settings.device) as memory:
        tower = load()
    weights = weight_bytes(tower)
    report = Report(
        f"Loading {size / 1e9:.2f} GB, {config.name}", {**settings.as_dict(), "model": settings.model},
        ("what", "time (quartiles)", "times reading (quartiles)"), x_axis="what",
        notes=[f"Loading took {of_bytes(memory.rise)} of memory of its own for {of_bytes(weights)} of weights."],
    )  # fmt: skip
    bars = Series("seconds")
    for name in tasks:
        spread, slower = Spread.of(times[name]), ratio(times, name, "read the bytes")
        report.rows.append((name, of_time(spread), of_ratio(slower)))
        report.results[name] = {"seconds": spread_dict(spread), "ratio": slower.median}
        bars.add(name, spread)
    parts = zip(times[_FIRST], times[_VELOCITY], times["read the bytes"], strict=True)
    apart = Spread.of([(first - computed) / read_in for first, computed, read_in in parts])
    report.notes.append(f"Loading to the first velocity without computing it: {of_ratio(apart)} times reading.")
    report.results["without_computing"] = {"ratio": apart.median, "ratio_quartiles": [apart.low, apart.high]}
    report.results |= {"bytes": size, "memory": {"peak": memory.rise, "weights": weights}}
    report.series.append(bars)
    return report


@contextmanager
def _files(settings: Settings) -> Iterator[Path]:
    if settings.model is not None:
        yield Path(settings.model)
        return
    with tempfile.TemporaryDirectory(prefix="lightfusion-bench-") as folder:
        write_generation(settings.config, settings.dtype, Path(folder) / "generation.safetensors")
        yield Path(folder)


def write_generation(config: ModelConfig, dtype: torch.dtype, file: Path) -> None:
    """Random weights of a generation tower as a file."""
    save_file(random_generation(config, torch.device("cpu"), dtype).state_dict(), file)
