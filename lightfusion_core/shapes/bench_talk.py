"""The part of the benchmark that talks: kinds of turns, questions that need an earlier turn, and rewritten prompts."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from .follow_ups import sample_follow_up
from .prompts import CATEGORIES as PROMPTS
from .prompts import sample_prompt
from .rewriting import judge_rewriting
from .samples import PromptSample
from .talks import KINDS, TalkSample, sample_turn
from .world import Scene

CATEGORIES = ("kind_of_turn", "follow_ups", "rewriting")


class Talker(Protocol):
    """Who is examined; see `bench.Artist`."""

    def kinds(self, asked: Sequence[TalkSample]) -> Iterable[str]: ...

    def reply(self, asked: Sequence[TalkSample]) -> Iterable[str]: ...

    def rewrite(self, prompts: Sequence[str]) -> Iterable[str]: ...


@dataclass(frozen=True, slots=True)
class Examined:
    """One request: its kind, whether it was right, the pictures that were seen, and what was said."""

    kind: str
    right: bool
    scenes: tuple[Scene, ...]
    caption: str


def turns_of(seed: int, count: int) -> list[TalkSample]:
    """Held-out sentences that ask for each kind of turn, as their right answers and kinds tell, after none to four
    turns."""
    rng = random.Random(f"bench turns {seed}")
    return [sample_turn(rng, KINDS[k % len(KINDS)], held_out=True) for k in range(count)]


def follow_ups_of(seed: int, count: int) -> list[TalkSample]:
    """Held-out questions that need an earlier turn."""
    rng = random.Random(f"bench follow-ups {seed}")
    return [sample_follow_up(rng, held_out=True) for _ in range(count)]


def rewritings_of(seed: int, count: int) -> list[PromptSample]:
    """Held-out prompts to rewrite, of all categories in turn."""
    rng = random.Random(f"bench rewriting {seed}")
    return [sample_prompt(rng, PROMPTS[k % len(PROMPTS)], held_out=True) for k in range(count)]


def examined(talker: Talker, name: str, seed: int, count: int) -> Iterator[Examined]:
    """Every request of one of `CATEGORIES`. A rewritten prompt is right if it keeps all that the prompt named and
    leaves no colour and no background open."""
    if name == "rewriting":
        prompts = rewritings_of(seed, count)
        for prompt, text in zip(prompts, talker.rewrite([one.prompt for one in prompts]), strict=True):
            right = all(judge_rewriting(prompt, text))
            yield Examined(prompt.category, right, (prompt.scene,), f"{prompt.prompt} - {text}")
        return
    samples = turns_of(seed, count) if name == "kind_of_turn" else follow_ups_of(seed, count)
    replies = talker.kinds(samples) if name == "kind_of_turn" else talker.reply(samples)
    for sample, reply in zip(samples, replies, strict=True):
        seen = (*(scene for said in sample.history for scene in said.scenes), *sample.given)
        yield Examined(sample.kind, reply == sample.answer, seen, f"{_heard(sample)} {reply}")


def _heard(sample: TalkSample) -> str:
    return " / ".join([said.text for said in sample.history if said.text] + [sample.sentence])
