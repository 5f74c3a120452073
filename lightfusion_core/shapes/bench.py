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

from . import PARTS, bench_painting, bench_talk
from .bench_painting import Painting
from .judge import judge_chain, judge_edit, judge_prompt, outline_errors
from .manners import MANNERS, sample_manner
from .prompts import (
    COMPOSITION,
    EDITS,
    GENEVAL,
    QUESTIONS,
    sample_chain,
    sample_edit,
    sample_prompt,
    sample_question,
)
from .samples import ChainSample, EditSample, PromptSample, QuestionSample
from .talks import TalkSample
from .world import Scene, render

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..conversation import Conversation
    from ..pipeline import LightFusion
    from ..sampling.guidance import Guidance
    from ..sampling.loop import Sampling

Picture = NDArray[np.uint8]
_SIDE = 128
"""Of the pictures that are edited and asked about, in pixels."""
_SEEDS = 10_000
"""How far apart the pictures' seeds are between two seeds of the benchmark."""
_SHOWN = 8
"""Examples of each category on the sheet."""
_LINKS = 5
"""How many edits a chain has."""

_TASKS = {"editing": "edit", "chains": "edit", "questions": "answer", "talk": "converse", "painting": "edit"}
"""The parts that need another task than "generate"."""


class Artist(Protocol):
    """Who is examined. Pictures are uint8 (H, W, 3); picture k of a call is drawn with `seed` + k."""

    @property
    def tasks(self) -> Sequence[str]:
        """Some of "generate", "edit", "answer", "converse"."""

    def draw(self, prompts: Sequence[str], seed: int, side: int | None = None) -> Iterable[Picture]:
        """A picture for every prompt, in order; of `side` by `side` pixels, or of the artist's own size."""

    def edit(self, asked: Sequence[tuple[Picture, str]], seed: int) -> Iterable[Picture]:
        """Every picture changed by its instruction."""

    def paint(self, asked: Sequence[Painting], seed: int) -> Iterable[Picture]:
        """Every picture changed at its mask, or with what is beyond its edges."""

    def answer(self, asked: Sequence[tuple[Picture, str]]) -> Iterable[str]:
        """An answer to every question about its picture."""

    def kinds(self, asked: Sequence[TalkSample]) -> Iterable[str]:
        """For every conversation, which kind of turn its last sentence asks for."""

    def reply(self, asked: Sequence[TalkSample]) -> Iterable[str]:
        """An answer to the last sentence of every conversation."""

    def rewrite(self, prompts: Sequence[str]) -> Iterable[str]:
        """Every prompt rewritten."""


class Engine:
    """A loaded model through its public methods, one request after another, with its own settings where none are
    given. `passes` counts what the requests cost."""

    def __init__(self, model: LightFusion, sampling: Sampling | None = None, guidance: Guidance | None = None) -> None:
        self.model, self.sampling, self.guidance = model, sampling, guidance
        from ..sampling.skipping import Passes

        self.passes = Passes()
        self.tasks: Sequence[str] = model.config.tasks

    def draw(self, prompts: Sequence[str], seed: int, side: int | None = None) -> Iterable[Picture]:
        for k, prompt in enumerate(prompts):
            yield _pixels(self.model.generate(prompt, seed=seed + k, width=side, height=side, **self._settings)[0])

    def edit(self, asked: Sequence[tuple[Picture, str]], seed: int) -> Iterable[Picture]:
        from PIL import Image

        for k, (picture, instruction) in enumerate(asked):
            image = Image.fromarray(picture)
            # as it is drawn: what the model leaves alone is a part of what is measured
            yield _pixels(self.model.edit(image, instruction, seed=seed + k, keep=False, **self._settings)[0])

    def paint(self, asked: Sequence[Painting], seed: int) -> Iterable[Picture]:
        import torch
        from PIL import Image

        for k, one in enumerate(asked):
            mask = None if one.mask is None else torch.from_numpy(one.mask).float()
            how = {"mask": mask, "outpaint": one.beyond, "seed": seed + k, **self._settings}
            yield _pixels(self.model.edit(Image.fromarray(one.picture), one.instruction, **how)[0])

    @property
    def _settings(self) -> dict[str, Any]:
        return {"sampling": self.sampling, "guidance": self.guidance, "passes": self.passes}

    def answer(self, asked: Sequence[tuple[Picture, str]]) -> Iterable[str]:
        from PIL import Image

        from ..understanding.answer import Decoding

        for picture, question in asked:
            decoding = Decoding(max_tokens=32)
            yield "".join(self.model.answer(question, [Image.fromarray(picture)], decoding=decoding)).strip()

    def kinds(self, asked: Sequence[TalkSample]) -> Iterable[str]:
        for sample in asked:
            found = self.conversation(sample).kinds_of(sample.sentence, pictures_of(sample.given))
            yield max(found, key=lambda kind: found[kind])

    def reply(self, asked: Sequence[TalkSample]) -> Iterable[str]:
        for sample in asked:
            yield self.conversation(sample).answer(sample.sentence, pictures_of(sample.given)).answer or ""

    def rewrite(self, prompts: Sequence[str]) -> Iterable[str]:
        for prompt in prompts:
            yield "".join(self.model.rewrite(prompt))

    def conversation(self, sample: TalkSample) -> Conversation:
        """A conversation that stands before the sample's sentence."""
        from ..conversation import ANSWER, DRAW, Conversation, Settings
        from ..understanding.answer import Decoding

        talk = Conversation(self.model, Settings(decoding=Decoding(max_tokens=48)))
        for asked, said in zip(sample.history[::2], sample.history[1::2], strict=True):
            (picture,) = pictures_of(said.scenes) or (None,)
            kind = ANSWER if picture is None else DRAW
            talk.add(kind, asked.text, pictures_of(asked.scenes), picture=picture, answer=said.text or None)
        return talk


def pictures_of(scenes: Sequence[Scene]) -> tuple[Image, ...]:
    from PIL import Image

    return tuple(Image.fromarray(render(scene, _SIDE)) for scene in scenes)


def _pixels(drawn: Any) -> Picture:
    from ..images import to_pil

    return np.asarray(to_pil(drawn))


@dataclass
class Result:
    """One category: what was right, by kind, and a few examples.

    examples: pictures side by side, a caption, and whether it was right. wrong: the captions of all that was not.
    """

    right: dict[str, list[bool]] = field(default_factory=dict)
    examples: list[tuple[Picture, str, bool]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(map(len, self.right.values()))

    @property
    def share(self) -> float:
        return sum(map(sum, self.right.values())) / max(1, self.count)

    def add(self, kind: str, right: bool, pictures: Sequence[Picture], caption: str) -> None:
        self.right.setdefault(kind, []).append(right)
        if not right:
            self.wrong.append(f"{kind}: {caption}")
        if len(self.examples) < _SHOWN:
            self.examples.append((np.concatenate(pictures, axis=1), caption, right))


@dataclass
class Report:
    """The results of all categories. `change` has every edit's mean change outside of the edited object, `outlines`
    the outline errors of what was drawn from prompts and is right, by shape, `worn` those of right chains' ends."""

    parts: Sequence[str] = PARTS
    results: dict[str, Result] = field(default_factory=dict)
    change: list[float] = field(default_factory=list)
    outlines: dict[str, list[float]] = field(default_factory=dict)
    worn: list[float] = field(default_factory=list)

    def as_json(self) -> dict[str, dict[str, float | None]]:
        """Scores from 0 to 1; None where the model was not trained for the task."""

        def share(name: str) -> float | None:
            return round(self.results[name].share, 4) if name in self.results else None

        def mean(values: Sequence[float]) -> float | None:
            return round(float(np.mean(values)), 5) if values else None

        drawn = [error for errors in self.outlines.values() for error in errors]
        every: dict[str, dict[str, float | None]] = {
            "text_to_image": {name: share(name) for name in GENEVAL},
            "composition": {name: share(name) for name in COMPOSITION},
            "manners": {"any_manner": share("any_manner")},
            "editing": {"edits_done": share("edits_done"), "mean_change_outside": mean(self.change)},
            "chains": {"five_edits_done": share("five_edits_done"), "outline_error_after": mean(self.worn)},
            "questions": {"questions_exact": share("questions_exact")},
            "talk": {name: share(name) for name in bench_talk.CATEGORIES},
            "painting": {name: share(name) for name in bench_painting.CATEGORIES},
        }
        if set(self.parts) & {"composition", "manners", "chains"}:
            every["outlines"] = {"outline_error": mean(drawn), "circle_error": mean(self.outlines.get("circle", ()))}
        return {part: figures for part, figures in every.items() if part in (*self.parts, "outlines")}

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
            if name == "five_edits_done" and self.worn:
                lines.append(f"{'outline error after':<22} {np.mean(self.worn):5.3f}")
        if self.outlines:
            every = [error for errors in self.outlines.values() for error in errors]
            lines.append(f"{'outline error drawn':<22} {np.mean(every):5.3f}  of {len(every)}")
            lines.append("    " + ", ".join(f"{shape} {np.mean(e):.3f}" for shape, e in sorted(self.outlines.items())))
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


def manners_of(seed: int, count: int) -> list[PromptSample]:
    """Held-out prompts of GenEval's categories, in all manners in turn."""
    rng = random.Random(f"bench manners {seed}")
    manners = tuple(MANNERS)
    return [sample_manner(rng, manners[k % len(manners)], held_out=True) for k in range(count)]


def chains_of(seed: int, count: int) -> list[ChainSample]:
    """Held-out chains of five edits."""
    rng = random.Random(f"bench chains {seed}")
    return [sample_chain(rng, _LINKS, held_out=True) for _ in range(count)]


def questions_of(seed: int, count: int) -> list[QuestionSample]:
    """Held-out questions, all kinds in turn."""
    rng = random.Random(f"bench questions {seed}")
    return [sample_question(rng, QUESTIONS[k % len(QUESTIONS)], held_out=True) for k in range(count)]


def examined(tasks: Sequence[str], parts: Sequence[str] = PARTS) -> list[str]:
    """The categories of requests in these parts that an artist of these tasks is given."""
    names = {
        "text_to_image": GENEVAL,
        "composition": COMPOSITION,
        "manners": ("any_manner",),
        "editing": ("edits_done",),
        "chains": ("five_edits_done",),
        "questions": ("questions_exact",),
        "talk": bench_talk.CATEGORIES,
        "painting": bench_painting.CATEGORIES,
    }
    return [name for part in parts if _TASKS.get(part, "generate") in tasks for name in names[part]]


def run(
    artist: Artist,
    seed: int,
    count: int,
    on_phase: Callable[[str], None],
    on_done: Callable[[], None],
    parts: Sequence[str] = PARTS,
) -> Report:
    """Examine an artist.

    Args:
        seed: of the requests and of the pictures.
        count: how many of each of the categories (see `examined`).
        on_phase: told what comes next. on_done: called after each request.
        parts: some of `PARTS`.
    """
    report = Report(parts)
    for name in examined(artist.tasks, parts):
        on_phase(name.replace("_", " ").capitalize())
        examine = _OTHERS.get(name)
        if examine is not None:
            examine(artist, seed, count, report, on_done)
        else:
            samples = manners_of(seed, count) if name == "any_manner" else prompts_of(name, seed, count)
            _examine_drawing(artist, name, samples, seed, report, on_done)
    return report


def _examine_drawing(
    artist: Artist,
    name: str,
    samples: Sequence[PromptSample],
    seed: int,
    report: Report,
    on_done: Callable[[], None],
) -> None:
    result = report.results[name] = Result()
    drawn = artist.draw([sample.prompt for sample in samples], seed * _SEEDS)
    for sample, picture in zip(samples, drawn, strict=True):
        right = judge_prompt(sample, picture)
        if right:
            for shape, errors in outline_errors(picture).items():
                report.outlines.setdefault(shape, []).extend(errors)
        result.add(sample.category, right, [picture], sample.prompt)
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


def _examine_chains(artist: Artist, seed: int, count: int, report: Report, on_done: Callable[[], None]) -> None:
    result = report.results["five_edits_done"] = Result()
    samples = chains_of(seed, count)
    sources = [render(sample.source, _SIDE) for sample in samples]
    pictures = sources
    for link in range(_LINKS):
        asked = [(picture, one.edits[link].instruction) for picture, one in zip(pictures, samples, strict=True)]
        pictures = list(artist.edit(asked, seed * _SEEDS + link * count))
    for sample, source, picture in zip(samples, sources, pictures, strict=True):
        right = judge_chain(sample, picture)
        if right:
            report.worn += [error for errors in outline_errors(picture).values() for error in errors]
        caption = ", ".join(edit.instruction for edit in sample.edits)
        result.add("five_edits_done", right, [source, picture], caption)
        on_done()


def _examine_answers(artist: Artist, seed: int, count: int, report: Report, on_done: Callable[[], None]) -> None:
    result = report.results["questions_exact"] = Result()
    samples = questions_of(seed, count)
    asked = [(render(sample.scene, _SIDE), sample.question) for sample in samples]
    for sample, (picture, _), answer in zip(samples, asked, artist.answer(asked), strict=True):
        result.add(sample.kind, answer == sample.answer, [picture], f"{sample.question} {answer}")
        on_done()


def _examine_talk(name: str) -> Callable[[Artist, int, int, Report, Callable[[], None]], None]:
    def examine(artist: Artist, seed: int, count: int, report: Report, on_done: Callable[[], None]) -> None:
        result = report.results[name] = Result()
        for one in bench_talk.examined(artist, name, seed, count):
            pictures = [render(scene, _SIDE) for scene in one.scenes] or [_blank()]
            result.add(one.kind, one.right, pictures, one.caption)
            on_done()

    return examine


def _examine_painting(name: str) -> Callable[[Artist, int, int, Report, Callable[[], None]], None]:
    def examine(artist: Artist, seed: int, count: int, report: Report, on_done: Callable[[], None]) -> None:
        result = report.results[name] = Result()
        for one in bench_painting.examined(artist, name, seed, count, seed * _SEEDS):
            result.add(one.kind, one.right, one.pictures, one.caption)
            on_done()

    return examine


def _blank() -> Picture:
    return np.full((_SIDE, _SIDE, 3), 255, np.uint8)


_OTHERS = {
    **{name: _examine_painting(name) for name in bench_painting.CATEGORIES},
    **{name: _examine_talk(name) for name in bench_talk.CATEGORIES},
    "edits_done": _examine_editing,
    "five_edits_done": _examine_chains,
    "questions_exact": _examine_answers,
}
"""How what is not drawn from a prompt alone is examined."""
