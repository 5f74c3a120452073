"""Segments on their way through the VLM's layers: which go through a layer in one call, and what each of them sees.

Segments attend to the keys and values of those before. One call a layer for many segments reads the layer's weights
once for all of them, and starts its kernels once; what they do not see of each other is masked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..conditioning import Segment
from ..config import TextConfig
from ..layout import Split
from .tower import KeyValue, UnderstandingTower

_THROWN_AWAY = 0.25
"""At most this share of a pack's work is scores under its mask."""


@dataclass(frozen=True, eq=False, slots=True)
class Memory:
    """The VLM's keys and values of so many tokens, of each layer that they have passed."""

    tokens: int
    layers: list[KeyValue] = field(default_factory=list)


@dataclass(frozen=True, eq=False, slots=True)
class Prefix:
    """Segments, and the VLM's keys and values of all of them in parts (none for a coupled model, whose states
    need the generation tower too)."""

    segments: tuple[Segment, ...] = ()
    parts: tuple[Memory, ...] = ()

    @property
    def next_start(self) -> int:
        return self.segments[-1].split.next_start if self.segments else 0

    @property
    def memory(self) -> list[KeyValue]:
        """The keys and values (1, kv heads, tokens, head_dim) of each layer, concatenated as they are asked for."""
        return [_joined(layer) for layer in zip(*(part.layers for part in self.parts), strict=True)]

    @property
    def seen(self) -> int:
        """How many tokens it has."""
        return sum(part.tokens for part in self.parts)

    def ending(self) -> Prefix:
        """Its last segment alone, behind the memory of all in one part: what a text that grows goes on from."""
        return Prefix(self.segments[-1:], (Memory(self.seen, self.memory),) if self.parts else ())

    def finished(self) -> Prefix:
        """Itself; of a `Pass` the prefix that it came to be."""
        return self


class Pass:
    """One segment on its way through the VLM's layers, behind a prefix that may be on its way too.

    states: (layers, n, width), the raw output of every layer that it has passed.
    """

    states: Tensor

    def __init__(
        self,
        before: Prefix | Pass,
        split: Split,
        hidden: Tensor,
        own: Tensor,
        positions: Tensor,
        latent: Tensor | None = None,
    ) -> None:
        """`own` (n, n) bool, on the CPU: which of its own tokens each sees, beside the whole prefix."""
        self.before, self.split, self.latent = before, split, latent
        self.hidden, self.own, self.positions = hidden, own, positions
        self.made = Memory(len(own))
        self.parts: tuple[Memory, ...] = (*before.parts, self.made)
        self._finished: Prefix | None = None

    @property
    def next_start(self) -> int:
        return self.split.next_start

    def sees(self, part: Memory) -> Tensor:
        """Which of a part's tokens each of its own sees, (n, tokens) bool."""
        if part is self.made:
            return self.own
        return torch.full((len(self.own), part.tokens), part in self.parts)

    def take(self, index: int, layers: int, hidden: Tensor, made: KeyValue) -> None:
        """Keep what layer `index` of so many made of it."""
        if index == 0:
            self.states = hidden.new_empty(layers, *hidden.shape[1:])
        self.states[index] = hidden[0]  # not as a list of all, which would be held twice at the end
        self.made.layers.append(made)

    def finished(self) -> Prefix:
        """The prefix with this segment behind it, after all layers; the same one each time."""
        if self._finished is None:
            segment = Segment(self.split, self.states, self.latent)
            self._finished = Prefix((*self.before.finished().segments, segment), self.parts)
        return self._finished


class Pack:
    """Passes that go through a layer in one call, behind what others have run before."""

    def __init__(self, tower: UnderstandingTower, passes: Sequence[Pass]) -> None:
        self.tower, self.passes, self.depth = tower, passes, tower.num_layers
        self.past, own = _parts(passes)
        rows = [torch.cat([one.sees(part) for part in (*self.past, *own)], dim=1) for one in passes]
        self.mask = torch.cat(rows).to(tower.device)
        self.hidden = torch.cat([one.hidden for one in passes], dim=1)
        self.rotary = tower.rotary(torch.cat([one.positions for one in passes], dim=1))
        self.sizes = [part.tokens for part in own]

    def layer(self, index: int) -> None:
        """Run the next layer; what is before the pack has run it already."""
        past = _joined([part.layers[index] for part in self.past]) if self.past else None
        self.hidden, own = self.tower.layer(index, self.hidden, self.rotary, self.mask, past)
        parts = (_split(self.hidden, self.sizes, 1), *(_split(made, self.sizes, 2) for made in own))
        for one, state, k, v in zip(self.passes, *parts, strict=True):
            one.take(index, self.depth, state, (k, v))


def packed(tower: UnderstandingTower, passes: Sequence[Pass]) -> list[Pack]:
    """Passes in as few packs as throw no more than a quarter of their work away.

    A pack's attention holds each of its tokens against all others, seen or not. A layer of the 7B multiplies 233
    million times for a token and 7,168 times for each that it is held against: a quarter is over 10,000 tokens unseen.
    """
    packs: list[list[Pass]] = []
    for one in passes:
        if packs and thrown_away([*packs[-1], one], tower.config.text) <= _THROWN_AWAY:
            packs[-1].append(one)
        else:
            packs.append([one])
    return [Pack(tower, each) for each in packs]


def thrown_away(passes: Sequence[Pass], text: TextConfig) -> float:
    """The share of a layer's multiplications for these passes in one pack that the mask throws away."""
    past, own = _parts(passes)
    rows = sum(part.tokens for part in own)
    pairs = rows * (sum(part.tokens for part in past) + rows)
    seen = sum(one.made.tokens * sum(part.tokens for part in one.parts) for one in passes)
    kv = text.num_key_value_heads * text.head_dim
    weights = text.hidden_size * (2 * text.hidden_size + 2 * kv + 3 * text.intermediate_size)
    return 2 * text.hidden_size * (pairs - seen) / (rows * weights + 2 * text.hidden_size * pairs)


def _parts(passes: Sequence[Pass]) -> tuple[list[Memory], list[Memory]]:
    """What passes see that others have run, each once and in order; and what they make themselves."""
    own = [one.made for one in passes]
    return [part for part in dict.fromkeys(part for one in passes for part in one.parts) if part not in own], own


def _split(whole: Tensor, sizes: list[int], dim: int) -> Sequence[Tensor]:
    """Views of a tensor's parts; itself where there is one, as for each token of an answer."""
    return (whole,) if len(sizes) == 1 else whole.split(sizes, dim)


def _joined(pairs: Iterable[KeyValue]) -> KeyValue:
    """Keys and values behind one another."""
    keys, values = zip(*pairs, strict=True)
    return (keys[0], values[0]) if len(keys) == 1 else (torch.cat(keys, dim=2), torch.cat(values, dim=2))
