"""What the understanding side's training asks of inner states, beside foreseeing text.

Linear readouts that training throws away. Each vision token tells what stands in its part of the
picture, and in the language model's first layers where that part is (the vision tower knows only
distances). The end marker of a picture tells what is in it altogether, and where each thing is: answers are
read off that marker, and without the places in it, which of two things is left of the other is never learned,
although it is known that they stand side by side. The end of a question tells where the things are that it
names. The markers of the picture to come tell, layer by layer, what it shall show: so a request's meaning is
gathered early, where the first fusion layers can read it.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightfusion_core.shapes.samples import EditSample, PromptSample, ReferenceSample
from lightfusion_core.shapes.scenes import RELATIONS
from lightfusion_core.shapes.wordings import PLACES
from lightfusion_core.shapes.world import BACKGROUNDS, COLORS, SHAPES, SIZES, Background, Scene, Thing

GRID = 5
"""Merged vision tokens along a picture's side."""

LAYERS = (1, 2, 3, 4, 5)
"""Whose output is read for the picture to come."""

PLACE_LAYERS, SUMMARY_LAYERS, NAMED_LAYERS = (0, 1, 2), (1, 2, 3), (2, 3, 4)

_OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
_CELL = {"shape": 1 + len(SHAPES), "color": 1 + len(COLORS), "size": 1 + len(SIZES)}
_WORDS = {"shape": SHAPES, "color": tuple(COLORS), "size": tuple(SIZES)}
_DIGEST = {
    "count": (len(SHAPES) * (1 + len(COLORS)), 5),
    "relation": (len(SHAPES), 1 + len(RELATIONS)),
    "size": (len(SHAPES), 1 + len(SIZES)),
    "place": (1, 1 + len(PLACES)),
    "background": (1, 1 + len(BACKGROUNDS)),
    "cell_shape": (GRID**2, _CELL["shape"]),
    "cell_color": (GRID**2, _CELL["color"]),
    "changed": (1, 1 + GRID**2),
}
_COUNTS = len(SHAPES) * (1 + len(COLORS)) + len(SHAPES) + len(COLORS) + 1
_FEATURES = len(SHAPES) + len(COLORS)
UNKNOWN = -100
"""A label that counts for nothing."""


def place_of(thing: Thing) -> tuple[int, int]:
    """The row and the column of the grid where a thing has its centre."""
    return int(thing.y * GRID), int(thing.x * GRID)


def cell_of(thing: Thing) -> int:
    """The same, counted row by row."""
    row, column = place_of(thing)
    return row * GRID + column


def cells(scene: Scene) -> dict[str, np.ndarray]:
    """For every cell of the grid what thing has its centre there, 0 for none; and the background (1,)."""
    found = {name: np.zeros(GRID**2, np.int64) for name in _CELL}
    for thing in scene.things:
        for name, words in _WORDS.items():
            found[name][cell_of(thing)] = 1 + words.index(getattr(thing, name))
    return found | {"background": np.full(GRID**2, BACKGROUNDS.index(scene.background))}


def summary(scene: Scene) -> np.ndarray:
    """How many things of every kind, of every shape, of every colour and in all (counts,)."""
    kinds, shapes, colors = np.zeros(len(SHAPES) * (1 + len(COLORS))), np.zeros(len(SHAPES)), np.zeros(len(COLORS))
    for thing in scene.things:
        kinds[_kind(thing.shape, thing.color)] += 1
        shapes[SHAPES.index(thing.shape)] += 1
        colors[tuple(COLORS).index(thing.color)] += 1
    return np.concatenate([kinds, shapes, colors, [len(scene.things)]]).astype(np.int64)


def whereabouts(scene: Scene) -> np.ndarray:
    """The row and the column of the grid where the one thing of every shape, and of every colour, is: (shapes and
    colours, 2); UNKNOWN where there is none or more than one."""
    found = []
    for name, words in (("shape", SHAPES), ("color", tuple(COLORS))):
        for word in words:
            things = [thing for thing in scene.things if getattr(thing, name) == word]
            found.append(place_of(things[0]) if len(things) == 1 else (UNKNOWN, UNKNOWN))
    return np.array(found)


def digest(sample: PromptSample | EditSample | ReferenceSample) -> dict[str, np.ndarray]:
    """What a request asks for, one label for each number that the markers' readout foretells."""
    found = {name: np.full(count, UNKNOWN, np.int64) for name, (count, _) in _DIGEST.items()}
    found["count"] = np.zeros_like(found["count"])
    if isinstance(sample, PromptSample):
        _prompt(sample, found)
        return found
    _background(sample.target.background, found)
    for thing in sample.target.things:
        found["count"][_kind(thing.shape, thing.color)] += 1
    if isinstance(sample, EditSample):
        before = sample.before
        found["changed"][:] = 0 if before is None else 1 + cell_of(before)
    certain = sample.kind != "add" if isinstance(sample, EditSample) else sample.kind != "both_objects"
    if certain:
        layout = cells(sample.target)
        found["cell_shape"], found["cell_color"] = layout["shape"], layout["color"]
    return found


def _prompt(sample: PromptSample, found: dict[str, np.ndarray]) -> None:
    for name in ("relation", "size", "place"):
        found[name][:] = 0
    for wanted in sample.wanted:
        found["count"][_kind(wanted.shape, wanted.color)] += wanted.count
        if wanted.size:
            found["size"][SHAPES.index(wanted.shape)] = 1 + tuple(SIZES).index(wanted.size)
        if wanted.place:
            found["place"][:] = 1 + tuple(PLACES).index(wanted.place)
    names = tuple(RELATIONS)
    for item in sample.relations:
        first, second = (SHAPES.index(sample.wanted[index].shape) for index in (item.first, item.second))
        for shape, name in ((first, item.name), (second, _OPPOSITE[item.name])):
            # What stands in relation to two others has no one answer.
            found["relation"][shape] = UNKNOWN if found["relation"][shape] else 1 + names.index(name)
    _background(sample.background, found)


def _background(background: Background | None, found: dict[str, np.ndarray]) -> None:
    found["background"][:] = 0 if background is None else 1 + BACKGROUNDS.index(background)


def _kind(shape: str, color: str | None) -> int:
    return SHAPES.index(shape) * (1 + len(COLORS)) + (0 if color is None else 1 + tuple(COLORS).index(color))


class Readouts(nn.Module):
    """The linear layers of both readouts, for states of `width` numbers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cells = nn.Linear(width, sum(_CELL.values()) + len(BACKGROUNDS))
        total = sum(count * classes for count, classes in _DIGEST.values())
        self.digest = nn.ModuleList(nn.Linear(2 * width, total) for _ in LAYERS)
        self.place = nn.ModuleList(nn.Linear(width, 2 * GRID) for _ in PLACE_LAYERS)
        self.summary = nn.ModuleList(nn.Linear(width, _COUNTS * 5) for _ in SUMMARY_LAYERS)
        self.whereabouts = nn.ModuleList(nn.Linear(width, _FEATURES * 2 * GRID) for _ in SUMMARY_LAYERS)
        self.named = nn.ModuleList(nn.Linear(width, 2 * 2 * GRID) for _ in NAMED_LAYERS)
        for layer in (self.cells, *self.digest, *self.place, *self.summary, *self.whereabouts, *self.named):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def cell_loss(self, features: Tensor, scenes: list[Scene]) -> tuple[Tensor, float]:
        """Of ViT features (pictures, tokens, width), and the share of things whose shape is known."""
        wanted = [cells(scene) for scene in scenes]
        parts = self.cells(_normal(features)).float().split([*_CELL.values(), len(BACKGROUNDS)], dim=-1)
        loss, right = torch.zeros((), device=features.device), 0.0
        for name, scores in zip((*_CELL, "background"), parts, strict=True):
            labels = torch.from_numpy(np.stack([one[name] for one in wanted])).to(scores.device)
            each = F.cross_entropy(scores.transpose(1, 2), labels, reduction="none")
            loss = loss + (each.mean() if name == "background" else each.sum(1).mean() / 4)
            if name == "shape":
                right = float((scores.argmax(-1) == labels)[labels > 0].float().mean())
        return loss, right

    def picture_loss(self, states: list[Tensor], seen: Tensor, scenes: list[Scene]) -> tuple[Tensor, dict[str, float]]:
        """Of the pictures' tokens, `seen` (B, n), and of their end markers in every layer's states (B, n, width);
        and the shares of counts above none and of places that the last layer read knows."""
        place = torch.arange(GRID**2, device=seen.device).repeat(len(scenes))
        loss, right = torch.zeros((), device=seen.device), {}
        for head, layer in zip(self.place, PLACE_LAYERS, strict=True):
            row, column = head(_normal(states[layer][seen])).float().chunk(2, dim=-1)
            loss = loss + (F.cross_entropy(row, place // GRID) + F.cross_entropy(column, place % GRID)) / 2
        ends = F.pad(seen[:, :-1], (1, 0)) & ~seen
        counts = torch.from_numpy(np.stack([summary(scene) for scene in scenes])).to(seen.device)
        places = torch.from_numpy(np.stack([whereabouts(scene) for scene in scenes])).flatten(1).to(seen.device)
        for counting, placing, layer in zip(self.summary, self.whereabouts, SUMMARY_LAYERS, strict=True):
            end = _normal(states[layer][ends])
            for name, head, labels, least in (("counts", counting, counts, 1), ("places", placing, places, 0)):
                scores = head(end).float().unflatten(-1, (labels.shape[1], -1))
                total = F.cross_entropy(scores.flatten(0, 1), labels.flatten(), ignore_index=UNKNOWN, reduction="sum")
                loss = loss + total / len(scenes) / 5
                right[f"{name} seen"] = float((scores.argmax(-1) == labels)[labels >= least].float().mean())
        return loss / len(SUMMARY_LAYERS), right

    def named_loss(
        self, states: list[Tensor], at: tuple[Tensor, Tensor], about: list[tuple[Thing, ...]]
    ) -> tuple[Tensor, float]:
        """Of the questions' ends at (row, column) in every layer's states (B, n, width): the row and the column of
        the grid where each of up to two named things is; and the share that the last layer read knows."""
        blank = (UNKNOWN, UNKNOWN)
        labels = torch.tensor([(*map(place_of, things), blank, blank)[:2] for things in about]).flatten()
        labels = labels.to(states[0].device)
        loss, right = torch.zeros((), device=labels.device), 0.0
        for head, layer in zip(self.named, NAMED_LAYERS, strict=True):
            scores = head(_normal(states[layer][at])).float().unflatten(-1, (4, GRID)).flatten(0, 1)
            loss = loss + F.cross_entropy(scores, labels, ignore_index=UNKNOWN)
            right = float((scores.argmax(-1) == labels)[labels >= 0].float().mean())
        return loss / len(NAMED_LAYERS), right

    def digest_loss(self, states: list[Tensor], at: Tensor, samples: list) -> tuple[Tensor, float]:
        """Of the markers at `at` (B, 2) in every layer's states (B, n, width), and the share of counts above
        none that the last layer knows."""
        wanted = [digest(sample) for sample in samples]
        labels = {name: torch.from_numpy(np.stack([one[name] for one in wanted])).to(at.device) for name in _DIGEST}
        rows = torch.arange(len(at), device=at.device)[:, None]
        loss, right = torch.zeros((), device=at.device), 0.0
        for head, layer in zip(self.digest, LAYERS, strict=True):
            scores = head(_normal(states[layer][rows, at]).flatten(1)).float()
            at_number = 0
            for name, (count, classes) in _DIGEST.items():
                part = scores[:, at_number : at_number + count * classes].unflatten(1, (count, classes))
                at_number += count * classes
                total = F.cross_entropy(
                    part.flatten(0, 1), labels[name].flatten(), ignore_index=UNKNOWN, reduction="sum"
                )
                loss = loss + total / (len(at) * len(LAYERS))
                if name == "count":
                    right = float((part.argmax(-1) == labels[name])[labels[name] > 0].float().mean())
        return loss, right


def _normal(states: Tensor) -> Tensor:
    """Without their scale, as fusion's own norm reads them."""
    return F.rms_norm(states.float(), states.shape[-1:])
