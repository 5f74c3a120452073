"""How well a model follows prompts, edits and answers in the nano world, in the form of GenEval.

Every request is worded as no training ever worded it, and comes from the seed alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .judge import judge_edit, judge_prompt
from .prompts import EDITS, GENEVAL, QUESTIONS, sample_edit, sample_prompt, sample_question
from .samples import EditSample, PromptSample, QuestionSample
from .world import render

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..pipeline import LightFusion

Picture = NDArray[np.uint8]
_SIDE = 128
"""Of the pictures that are edited and asked about, in pixels."""
_SEEDS = 10_000
"""How far apart the pictures' seeds are between two seeds of the benchmark."""
_SHOWN = 8
"""Examples of each category on the sheet."""


class Artist(Protocol):
    """Who is examined. Pictures are uint8 (H, W, 3); picture k of a call is drawn with `seed` + k."""

    @property
    def tasks(self) -> Sequence[str]:
        """Some of "generate", "edit", "answer"."""

    def draw(self, prompts: Sequence[str], seed: int) -> Iterable[Picture]:
        """A picture for every prompt, in order."""

    def edit(self, asked: Sequence[tuple[Picture, str]], seed: int) -> Iterable[Picture]:
        """Every picture changed by its instruction."""

    def answer(self, asked: Sequence[tuple[Picture, str]]) -> Iterable[str]:
        """An answer to every question about its picture."""


class Engine:
    """A loaded model through its public methods, one request after another, with its own settings."""

    def __init__(self, model: LightFusion) -> None:
        self.model = model
        self.tasks: Sequence[str] = model.config.tasks

    def draw(self, prompts: Sequence[str], seed: int) -> Iterable[Picture]:
        for k, prompt in enumerate(prompts):
            yield _pixels(self.model.generate(prompt, seed=seed + k)[0])

    def edit(self, asked: Sequence[tuple[Picture, str]], seed: int) -> Iterable[Picture]:
        from PIL import Image

        for k, (picture, instruction) in enumerate(asked):
            yield _pixels(self.model.edit(Image.fromarray(picture), instruction, seed=seed + k)[0])

    def answer(self, asked: Sequence[tuple[Picture, str]]) -> Iterable[str]:
        from PIL import Image

        from ..understanding.answer import Decoding

        for picture, question in asked:
            decoding = Decoding(max_tokens=32)
            yield "".join(self.model.answer(question, [Image.fromarray(picture)], decoding=decoding)).strip()


def _pixels(drawn: Any) -> Picture:
    from ..images import to_pil

    return np.asarray(to_pil(drawn))


@dataclass
class Result:
    """One category: what was right, by kind, and a few examples.

    examples: pictures side by side, a caption, and whether it was right.
    """

    right: dict[str, list[bool]] = field(default_factory=dict)
    examples: list[tuple[Picture, str, bool]] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(map(len, self.right.values()))

    @property
    def share(self) -> float:
        return sum(map(sum, self.right.values())) / max(1, self.count)

    def add(self, kind: str, right: bool, pictures: Sequence[Picture], caption: str) -> None:
        self.right.setdefault(kind, []).append(right)
        if len(self.examples) < _SHOWN:
            self.examples.append((np.concatenate(pictures, axis=1), caption, right))


@dataclass
class Report:
    """The results of all categories; `change` has every edit's mean change outside of the edited object."""

    results: dict[str, Result] = field(default_factory=dict)
    change: list[float] = field(default_factory=list)

    def as_json(self) -> dict[str, dict[str, float | None]]:
        """Scores from 0 to 1; None where the model was not trained for the task."""

        def share(name: str) -> float | None:
            return round(self.results[name].share, 4) if name in self.results else None

        change = round(float(np.mean(self.change)), 5) if self.change else None
        return {
            "text_to_image": {name: share(name) for name in GENEVAL},
            "editing": {"edits_done": share("edits_done"), "mean_change_outside": change},
            "questions": {"questions_exact": share("questions_exact")},
        }

    def table(self) -> str:
        """All scores as lines of text, with the kinds of edits and questions below theirs."""
        lines = []
        for name, result in self.results.items():
            lines.append(f"{name.replace('_', ' '):<22} {result.share:5.3f}  of {result.count}")
            if len(result.right) > 1:
                kinds = (f"{kind.replace('_', ' ')} {np.mean(right):.2f}" for kind, right in result.right.items())
                lines.append("    " + ", ".join(kinds))
            if name == "edits_done":
                lines.append(f"{'mean change outside':<22} {np.mean(self.change):5.3f}")
        return "\n".join(lines)

    def tiles(self) -> list[tuple[Image, str]]:
        """The examples with captions, for a sheet of eight columns."""
        from PIL import Image

        return [
            (Image.fromarray(picture), caption if right else f"WRONG: {caption}")
            for result in self.results.values()
            for picture, caption, right in result.examples
        ]


def prompts_of(category: str, seed: int, count: int) -> list[PromptSample]:
    """Held-out prompts of one category."""
    rng = random.Random(f"bench {category} {seed}")
    return [sample_prompt(rng, category, held_out=True) for _ in range(count)]


def edits_of(seed: int, count: int) -> list[EditSample]:
    """Held-out edits, all kinds in turn."""
    rng = random.Random(f"bench edits {seed}")
    return [sample_edit(rng, EDITS[k % len(EDITS)], held_out=True) for k in range(count)]


def questions_of(seed: int, count: int) -> list[QuestionSample]:
    """Held-out questions, all kinds in turn."""
    rng = random.Random(f"bench questions {seed}")
    return [sample_question(rng, QUESTIONS[k % len(QUESTIONS)], held_out=True) for k in range(count)]


def run(artist: Artist, seed: int, count: int, on_phase: Callable[[str], None], on_done: Callable[[], None]) -> Report:
    """Examine an artist.

    Args:
        seed: of the requests and of the pictures.
        count: how many of each of the six categories, of edits and of questions.
        on_phase: told what comes next. on_done: called after each request.
    """
    report = Report()
    if "generate" in artist.tasks:
        for category in GENEVAL:
            on_phase(f"Drawing: {category.replace('_', ' ')}")
            _examine_drawing(artist, category, seed, count, report, on_done)
    if "edit" in artist.tasks:
        on_phase("Editing")
        _examine_editing(artist, seed, count, report, on_done)
    if "answer" in artist.tasks:
        on_phase("Asking")
        _examine_answers(artist, seed, count, report, on_done)
    return report


def _examine_drawing(
    artist: Artist, category: str, seed: int, count: int, report: Report, on_done: Callable[[], None]
) -> None:
    result = report.results[category] = Result()
    samples = prompts_of(category, seed, count)
    drawn = artist.draw([sample.prompt for sample in samples], seed * _SEEDS)
    for sample, picture in zip(samples, drawn, strict=True):
        result.add(category, judge_prompt(sample, picture), [picture], sample.prompt)
        on_done()


def _examine_editing(artist: Artist, seed: int, count: int, report: Report, on_done: Callable[[], None]) -> None:
    result = report.results["edits_done"] = Result()
    samples = edits_of(seed, count)
    asked = [(render(sample.source, _SIDE), sample.instruction) for sample in samples]
    for sample, (source, _), edited in zip(samples, asked, artist.edit(asked, seed * _SEEDS), strict=True):
        right, change = judge_edit(sample, source, edited)
        report.change.append(change)
        result.add(sample.kind, right, [source, edited], sample.instruction)
        on_done()


def _examine_answers(artist: Artist, seed: int, count: int, report: Report, on_done: Callable[[], None]) -> None:
    result = report.results["questions_exact"] = Result()
    samples = questions_of(seed, count)
    asked = [(render(sample.scene, _SIDE), sample.question) for sample in samples]
    for sample, (picture, _), answer in zip(samples, asked, artist.answer(asked), strict=True):
        result.add(sample.kind, answer == sample.answer, [picture], f"{sample.question} {answer}")
        on_done()
