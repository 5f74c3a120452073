"""What a host may put into a step: attention of its own, another call in a block's place.

A step without hooks costs nothing more and runs what it always ran.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .layers import Attention
from .rope import Rope

BlockAttention = tuple[Attention, Attention]
"""One block's self-attention and cross-attention."""

RunBlock = Callable[[Tensor, Tensor, Rope, BlockAttention], Tensor]
"""block(stream (B, N, D), modulation (1, 6, D), rope, attention) -> stream."""


class StepHooks:
    """A host's part in a step. As it stands here it changes nothing; a host overrides what it needs.

    Args:
        attention: the tower's own attention.
    """

    def __init__(self, attention: Attention) -> None:
        self.attention = attention

    def block(self, layer: int, stream: Tensor, modulation: Tensor, rope: Rope, run: RunBlock) -> Tensor:
        """The stream (B, N, D) after block `layer`, which `run` runs."""
        return run(stream, modulation, rope, self.block_attention(layer))

    def block_attention(self, layer: int) -> BlockAttention:
        """The attention inside of block `layer`."""
        return self.attention, self.attention

    def fusion_attention(self, layer: int) -> Attention:
        """The attention of fusion layer `layer`, called once for every row."""
        return self.attention

    def fused(self, layer: int, attended: Tensor) -> Tensor:
        """What fusion layer `layer` adds, given its attention's output (B, H, N, head_dim) of all rows."""
        return attended
