"""What the generation side learns from where a GPU trains it: every request new.

On a CPU pictures are drawn and encoded once and kept (`drawings.py`). A GPU encodes them in no time, and learns so fast
that it would meet those of any store again and again; here other processes draw the pictures of the next steps.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightfusion_core.generation.tower import GenerationTower

from .ahead import drawn_ahead
from .drawings import OTHER_SIZES, Pictures, Requests, given, request
from .flow import Layout, chance, flow_loss
from .graphs import Captured, to_device
from .model import DEVICE, SIZE

LENGTHS = 64
"""Sequences are padded to a multiple of this, so that few shapes are to be recorded."""

Counts = Sequence[tuple[str, int]]
"""The tasks of a step, with how many requests of each."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Requests of one task as a process drew them: nothing is encoded yet.

    layout: of their tokens. targets: uint8 (B, H, W, 3). references: uint8 (n, H, W, 3), of all rows in order. worn:
    (n,) which of them shall go through the VAE before. clean: (B, slots) which reference each slot of a row shows as
    clean latents; n for an empty one. seen: (n,) those that are seen through the ViT in order, and any behind them.
    """

    task: str
    layout: Layout
    targets: Tensor
    references: Tensor
    worn: Tensor
    clean: Tensor
    seen: Tensor


class Stream(Dataset[list[Drawn]]):
    """The batches of every step, each the same whenever it is asked for.

    Args:
        counts_of: what a step learns.
        steps: how many there are.
        sides: those through which references are shown at all.
    """

    def __init__(
        self, requests: Requests, counts_of: Callable[[int], Counts], steps: int, seed: int, sides: tuple[str, ...]
    ) -> None:
        self.requests, self.counts_of, self.steps, self.seed, self.sides = requests, counts_of, steps, seed, sides

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> list[Drawn]:
        return [self._draw(f"{self.seed}/{step}/{k}", *one) for k, one in enumerate(self.counts_of(step))]

    def _draw(self, chance: str, task: str, count: int) -> Drawn:
        rng = random.Random(chance)
        if task == "sized":
            size = rng.choice(OTHER_SIZES)
            plain = [request("draw", rng) for _ in range(count)]
            made = [replace(one, target=replace(one.target, size=size)) for one in plain]
        else:
            size, made = (SIZE, SIZE), [request(task, rng) for _ in range(count)]
        left = [given(rng, one, self.sides) for one in made]
        shown = [len(one.references) for one in made]
        layout = self.requests.layout(
            [one.texts for one in left],
            [many if one.latents else 0 for many, one in zip(shown, left, strict=True)],
            [many if one.vit else 0 for many, one in zip(shown, left, strict=True)],
            self.requests.grid_of(size),
            LENGTHS,
        )
        ends = np.cumsum([0, *shown]).tolist()
        clean = torch.full((count, layout.slots), ends[-1])
        seen: list[int] = []
        for row, (start, end, one) in enumerate(zip(ends, ends[1:], left, strict=False)):
            if one.latents:
                clean[row, : end - start] = torch.arange(start, end)
            if one.vit:
                seen += range(start, end)
        references = [reference for one in made for reference in one.references]
        blank = np.empty((0, SIZE, SIZE, 3), np.uint8)
        return Drawn(
            task,
            layout,
            torch.from_numpy(np.stack([one.target.render() for one in made])),
            torch.from_numpy(np.stack([one.render() for one in references]) if references else blank),
            torch.tensor([one.worn for one in references], dtype=torch.bool),
            clean,
            torch.tensor([*seen, *[0] * (ends[-1] - len(seen))], dtype=torch.long),
        )

    def batches(self, first: int) -> Iterator[list[Drawn]]:
        """Those of the steps from `first` on, drawn ahead."""
        return drawn_ahead(self, range(first, self.steps))


@dataclass
class Lesson:
    """What a recorded step reads: tensors on the device; see `Drawn`, and `Context` for the rest.

    latents: (n + 1, C, 1, h, w) of the references, zeros last. features: (n, tokens, width). share: of the step's loss.
    """

    layout: Layout
    latents: Tensor | None
    clean: Tensor
    features: Tensor | None
    seen: Tensor
    target: Tensor
    noise: Tensor
    sigma: Tensor
    share: Tensor


class Recorded:
    """The steps of a generation tower, all but the optimiser's part recorded as CUDA graphs."""

    def __init__(self, tower: GenerationTower, requests: Requests, pictures: Pictures, shift: float) -> None:
        self.tower, self.requests, self.shift = tower, requests, shift
        self.encode, self.wear = Captured(pictures.encode), Captured(pictures.worn)
        self.look = Captured(self._look)
        self.learn = Captured(self._learn, tower.parameters())

    def __call__(self, drawn: Sequence[Drawn], rng: random.Random) -> dict[str, float]:
        """Leave the gradients of the mean loss of some batches in the tower; their losses."""
        found = [(one.task, self.learn(self._lesson(one, rng, 1 / len(drawn)))) for one in drawn]
        return {f"{task} loss": float(loss) for task, loss in found}

    def _lesson(self, drawn: Drawn, rng: random.Random, share: float) -> Lesson:
        targets, references, worn, clean, seen = (
            one.to(DEVICE) for one in (drawn.targets, drawn.references, drawn.worn, drawn.clean, drawn.seen)
        )
        target, latents, features = self.encode(targets), None, None
        if len(references):
            references = torch.where(worn[:, None, None, None], self.wear(references), references)
            if clean.shape[1]:
                encoded = self.encode(references)
                latents = torch.cat([encoded, torch.zeros_like(encoded[:1])])
            features = self.look(references)
        layout = to_device(drawn.layout, DEVICE)
        part = torch.tensor(share, device=DEVICE)
        return Lesson(layout, latents, clean, features, seen, target, *chance(rng, target, self.shift), part)

    def _look(self, references: Tensor) -> Tensor:
        with torch.autocast(DEVICE.type, torch.bfloat16):
            return self.requests.features(references)

    def _learn(self, lesson: Lesson) -> Tensor:
        with torch.autocast(DEVICE.type, torch.bfloat16):
            clean = None if lesson.latents is None else lesson.latents[lesson.clean]
            features = None if lesson.features is None else lesson.features[lesson.seen]
            context = self.requests.placed(lesson.layout, clean, features)
            loss = flow_loss(self.tower, context, lesson.target, lesson.noise, lesson.sigma)
        (loss * lesson.share).backward()
        return loss.detach()
