"""What a run shows on its way: samples of what it would give, and a plot of its loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..images import grid, to_pil
from ..pipeline import LightFusion
from .data import Example
from .files import write_whole

_SMOOTH = 10
"""Points of the log whose mean is drawn."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A text, the (width, height) in pixels that it is drawn at, and the example whose references it speaks of."""

    text: str
    size: tuple[int, int]
    example: Example | None = None


def samples_of(examples: Sequence[Example], sizes: Sequence[tuple[int, int]], count: int) -> list[Sample]:
    """So many of the examples as samples, spread over all of them."""
    places = sorted({round(k * (len(examples) - 1) / max(1, count - 1)) for k in range(count)})
    return [Sample(examples[place].text, sizes[place], examples[place]) for place in places]


def draw_samples(model: LightFusion, samples: Sequence[Sample], seed: int) -> list[tuple[Image.Image, str]]:
    """A picture of each sample with its text; its references stand before it."""
    tiles = []
    for number, sample in enumerate(samples):
        example = sample.example
        given = [example.picture(path) for path in example.references] if example else []
        conditioning = model.encode(sample.text, given)
        latent = model.sample(conditioning, *sample.size, seed=seed + number)
        drawn = to_pil(model.decode(latent)[0])
        row = [*(one.resize(drawn.size) for one in given), drawn]
        tiles.append((grid(row, len(row)), sample.text))
    return tiles


def plot_loss(log: Sequence[tuple[int, float]], path: Path) -> bool:
    """Draw the loss over the steps as a PNG, with a running mean; False where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    if not log:
        return True
    steps, losses = zip(*log, strict=True)
    recent = [losses[max(0, end - _SMOOTH) : end] for end in range(1, len(losses) + 1)]
    smooth = [sum(some) / len(some) for some in recent]
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss", yscale="log")
    axes.plot(steps, losses, color="0.75", label="each ten steps")
    axes.plot(steps, smooth, color="C0", label="mean of the last hundred")
    axes.legend()
    write_whole(path, lambda part: figure.savefig(part, dpi=100, format="png"))
    return True
