"""The layout of the sequence: splits, their positions, and who may attend to whom (rules B3 to B7).

A sequence is a list of splits. A text split is its tokens; an image split is a start marker, a grid of
tokens in row-major order, and an end marker. This file is pure integers: it knows no weights, and the
masks that it can draw are for reading and testing (the towers attend without materialised masks where
they can).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class TokenKind(IntEnum):
    """What one token of the unified sequence is."""

    TEXT = 0
    SOV = 1
    EOV = 2
    VIT = 3
    CLEAN = 4
    NOISY = 5


@dataclass(frozen=True, slots=True)
class Split:
    """One run of tokens that share an attention rule.

    `kind` is the kind of its content (TEXT, VIT, CLEAN or NOISY), `start` the position id where it
    begins, and (`rows`, `columns`) its grid; a text of n tokens has the grid (1, n).
    """

    kind: TokenKind
    start: int
    rows: int
    columns: int

    @property
    def is_text(self) -> bool:
        return self.kind is TokenKind.TEXT

    @property
    def is_generated(self) -> bool:
        """True where the content belongs to the generation tower, and only the markers to the VLM."""
        return self.kind in (TokenKind.CLEAN, TokenKind.NOISY)

    @property
    def extent(self) -> int:
        return max(self.rows, self.columns)

    @property
    def length(self) -> int:
        """Tokens in unified order, markers included."""
        return self.rows * self.columns + (0 if self.is_text else 2)

    @property
    def und_length(self) -> int:
        """Tokens of this split that belong to the VLM."""
        return 2 if self.is_generated else self.length

    @property
    def next_start(self) -> int:
        """The first position id after this split (rule B5)."""
        return self.start + (self.columns if self.is_text else 2 + self.extent)

    def position_ids(self) -> Tensor:
        """Position ids (3, length) int64: time, height, width (rule B5)."""
        import torch

        if self.is_text:
            return torch.arange(self.start, self.start + self.columns).expand(3, -1).clone()
        grid = torch.full((3, self.rows, self.columns), self.start + 1)
        grid[1] += torch.arange(self.rows)[:, None]
        grid[2] += torch.arange(self.columns)
        markers = torch.tensor([[self.start], [self.next_start - 1]]).unsqueeze(1).expand(2, 3, 1)
        return torch.cat([markers[0], grid.flatten(1), markers[1]], dim=1)

    def und_position_ids(self) -> Tensor:
        """Position ids (3, und_length) of the tokens that belong to the VLM."""
        positions = self.position_ids()
        return positions[:, [0, -1]] if self.is_generated else positions

    def kinds(self) -> list[TokenKind]:
        """The kind of every token, in unified order."""
        content = [self.kind] * (self.rows * self.columns)
        return content if self.is_text else [TokenKind.SOV, *content, TokenKind.EOV]


def place(contents: Sequence[tuple[TokenKind, int, int]], start: int = 0) -> list[Split]:
    """Lay out (kind, rows, columns) one after another from position `start`."""
    splits: list[Split] = []
    for kind, rows, columns in contents:
        splits.append(Split(kind, splits[-1].next_start if splits else start, rows, columns))
    return splits


def position_ids(splits: Sequence[Split]) -> Tensor:
    """Position ids (3, tokens) int64 of a whole sequence, in unified order."""
    import torch

    return torch.cat([split.position_ids() for split in splits], dim=1)


def token_kinds(splits: Sequence[Split]) -> Tensor:
    """TokenKind values (tokens,) int64, in unified order."""
    import torch

    return torch.tensor([int(kind) for split in splits for kind in split.kinds()])


def split_indices(splits: Sequence[Split]) -> Tensor:
    """For every token (tokens,) the index of its split."""
    import torch

    return torch.repeat_interleave(torch.tensor([split.length for split in splits]))


def is_und(splits: Sequence[Split]) -> Tensor:
    """True (tokens,) where a token belongs to the VLM (rule B6)."""
    kinds = token_kinds(splits)
    return (kinds != TokenKind.CLEAN) & (kinds != TokenKind.NOISY)


def fusion_mask(splits: Sequence[Split]) -> Tensor:
    """Attention mask (tokens, tokens) bool; True: the row may attend to the column (rule B7)."""
    import torch

    index = split_indices(splits)
    order = torch.arange(len(index))
    causal = token_kinds(splits) == TokenKind.TEXT
    own = (index[:, None] == index) & (~causal[:, None] | (order[:, None] >= order))
    return (index[:, None] > index) | own


def vlm_mask(splits: Sequence[Split]) -> Tensor:
    """`fusion_mask` between the tokens of the VLM alone."""
    und = is_und(splits)
    return fusion_mask(splits)[und][:, und]


def lengths(splits: Sequence[Split]) -> tuple[int, int, int]:
    """(tokens of the VLM, all tokens, next position id) of a sequence."""
    return (
        sum(split.und_length for split in splits),
        sum(split.length for split in splits),
        splits[-1].next_start if splits else 0,
    )
