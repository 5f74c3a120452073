"""How much memory a drawing run takes beside the weights, foreseen from sizes alone.

Every branch holds keys and values of its own for the whole of its context and for the picture, in every fusion layer;
the segments that they are copied from are held as well while contexts are built. A step holds one block's activations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..config import ModelConfig


@dataclass(frozen=True, slots=True)
class DrawingMemory:
    """Bytes.

    context: keys and values of the context and of the target's markers. room: those of the picture, which every step
    writes. segments: what the context is copied from. step: what one call of the network makes besides.
    """

    context: int
    room: int
    segments: int
    step: int

    @property
    def peak(self) -> int:
        """The most at one time, where the segments are dropped before the first step."""
        return self.context + max(self.segments, self.room + self.step)


def drawing_memory(
    config: ModelConfig, dtype: torch.dtype, branches: Sequence[int], tokens: int, rows: int, segments: int
) -> DrawingMemory:
    """What drawing takes.

    Args:
        dtype: what the generation tower computes in.
        branches: context tokens of each guidance branch.
        tokens: of a picture, on the generation side.
        rows: pictures times branches that one call of the network takes.
        segments: context tokens of all branches, those that they share counted once.
    """
    dit, fusion, width = config.dit, config.fusion, dtype.itemsize
    a_token = 2 * fusion.num_layers * fusion.hidden_size * width
    cross = 2 * dit.num_layers * dit.text_len * dit.dim * width
    return DrawingMemory(
        context=cross + a_token * sum(branch + 2 for branch in branches),
        room=a_token * tokens * len(branches),
        segments=a_token * segments,
        step=rows * tokens * activation(config, dtype),
    )


def activation(config: ModelConfig, dtype: torch.dtype) -> int:
    """Bytes a token where a block holds most, around its feed-forward: the hidden numbers before and after the
    activation, five tensors of the float32 stream, and what goes in. (A fit to what runs take, see the notes.)"""
    width, dit = dtype.itemsize, config.dit
    return 2 * width * dit.ffn_dim + 5 * 4 * dit.dim + width * dit.dim
