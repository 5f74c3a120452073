"""How much memory a drawing run takes beside the weights, foreseen from sizes alone.

Branches take turns in a room that holds, in every fusion layer, the keys and values of the references which they share,
of the longest of their texts, and of the picture. The texts of all are kept beside it, and the segments that those are
copied from as long as contexts are built. A step holds one block's activations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..config import ModelConfig


@dataclass(frozen=True, slots=True)
class DrawingMemory:
    """Bytes.

    context: keys and values of the context and of the target's markers, and those of the longest text once more, where
        it is read.
    room: those of the picture, which every step writes.
    segments: what the texts are copied from.
    step: what one call of the network makes besides.
    """

    context: int
    room: int
    segments: int
    step: int

    @property
    def peak(self) -> int:
        """The most at one time, where the segments are dropped before the first step."""
        return self.context + self.room + max(self.segments, self.step)


@dataclass(frozen=True, slots=True)
class BranchTokens:
    """Context tokens of branches that begin with the same references: those of the references, and the others of each
    branch."""

    shared: int
    own: Sequence[int]


def drawing_memory(
    config: ModelConfig, dtype: torch.dtype, rooms: Sequence[BranchTokens], tokens: int, rows: int
) -> DrawingMemory:
    """What drawing takes.

    Args:
        dtype: what the generation tower computes in.
        rooms: guidance branches by what they share.
        tokens: of a picture, on the generation side.
        rows: pictures times branches that one call of the network takes.
    """
    dit, fusion, width = config.dit, config.fusion, dtype.itemsize
    a_token = 2 * fusion.num_layers * fusion.hidden_size * width
    cross = 2 * dit.num_layers * dit.text_len * dit.dim * width
    texts = sum(sum(room.own) for room in rooms)
    markers = 2 * sum(len(room.own) + 1 for room in rooms)
    return DrawingMemory(
        context=cross + a_token * (texts + markers + sum(room.shared + max(room.own) for room in rooms)),
        room=a_token * tokens * len(rooms),
        segments=a_token * texts,
        step=rows * tokens * activation(config, dtype),
    )


def activation(config: ModelConfig, dtype: torch.dtype) -> int:
    """Bytes a token where a block holds most, around its feed-forward: the hidden numbers before and after the
    activation, five tensors of the float32 stream, and what goes in. (A fit to what runs take, see the notes.)"""
    width, dit = dtype.itemsize, config.dit
    return 2 * width * dit.ffn_dim + 5 * 4 * dit.dim + width * dit.dim
