"""The layout of the sequence against rules B3 to B7, counted token by token."""

from __future__ import annotations

import itertools

import pytest
import torch

from lightfusion_core.layout import (
    Split,
    TokenKind,
    fusion_mask,
    is_und,
    lengths,
    place,
    position_ids,
    split_indices,
    token_kinds,
    vlm_mask,
)

TEXT, VIT, CLEAN, NOISY = TokenKind.TEXT, TokenKind.VIT, TokenKind.CLEAN, TokenKind.NOISY

EDIT = [(CLEAN, 2, 3), (VIT, 3, 2), (TEXT, 1, 3), (NOISY, 1, 2)]
SEQUENCES = [
    [(TEXT, 1, 4), (NOISY, 2, 2)],
    EDIT,
    [(CLEAN, 1, 1), (VIT, 1, 4), (CLEAN, 4, 1), (VIT, 2, 2), (TEXT, 1, 2), (TEXT, 1, 1), (TEXT, 1, 3), (NOISY, 3, 1)],
    [(NOISY, 2, 3)],
    [(VIT, 2, 3), (TEXT, 1, 5)],
]


def tokens(contents: list[tuple[TokenKind, int, int]]) -> list[tuple[int, TokenKind, str, tuple[int, int, int]]]:
    """Every token as (split, kind of the split, "text" | "sov" | "eov" | "grid", position), rule by rule."""
    out, r = [], 0
    for index, (kind, rows, columns) in enumerate(contents):
        if kind is TEXT:
            for _ in range(columns):
                out.append((index, kind, "text", (r, r, r)))
                r += 1
            continue
        out.append((index, kind, "sov", (r, r, r)))
        for i, j in itertools.product(range(rows), range(columns)):
            out.append((index, kind, "grid", (r + 1, r + 1 + i, r + 1 + j)))
        end = r + 1 + max(rows, columns)
        out.append((index, kind, "eov", (end, end, end)))
        r = end + 1
    return out


def sees(one: int, other: int, sequence: list) -> bool:
    """Rule B7 for the token at index `one` looking at the one at `other`."""
    mine, theirs = sequence[one][0], sequence[other][0]
    if mine != theirs:
        return theirs < mine
    return other <= one if sequence[one][1] is TEXT else True


def test_positions_of_an_edit_written_out() -> None:
    """Guards rule B5 with numbers that a person counted."""
    wanted = [
        *[(0, 0, 0), (1, 1, 1), (1, 1, 2), (1, 1, 3), (1, 2, 1), (1, 2, 2), (1, 2, 3), (4, 4, 4)],  # clean 2x3
        *[(5, 5, 5), (6, 6, 6), (6, 6, 7), (6, 7, 6), (6, 7, 7), (6, 8, 6), (6, 8, 7), (9, 9, 9)],  # ViT 3x2
        *[(10, 10, 10), (11, 11, 11), (12, 12, 12)],
        *[(13, 13, 13), (14, 14, 14), (14, 14, 15), (16, 16, 16)],  # target 1x2
    ]
    assert position_ids(place(EDIT)).T.tolist() == [list(place) for place in wanted]


@pytest.mark.parametrize("contents", SEQUENCES)
def test_against_a_count_token_by_token(contents: list) -> None:
    """Guards positions, kinds, ownership and lengths of every sort of sequence."""
    splits, sequence = place(contents), tokens(contents)
    marker = {"sov": TokenKind.SOV, "eov": TokenKind.EOV}
    und = [not (kind in (CLEAN, NOISY) and role == "grid") for _, kind, role, _ in sequence]
    assert position_ids(splits).T.tolist() == [list(place) for *_, place in sequence]
    assert token_kinds(splits).tolist() == [int(marker.get(role, kind)) for _, kind, role, _ in sequence]
    assert split_indices(splits).tolist() == [index for index, *_ in sequence]
    assert is_und(splits).tolist() == und
    assert lengths(splits) == (sum(und), len(sequence), sequence[-1][3][0] + 1)
    und_positions = torch.cat([split.und_position_ids() for split in splits], dim=1)
    assert torch.equal(und_positions, position_ids(splits)[:, is_und(splits)])


@pytest.mark.parametrize("contents", SEQUENCES)
def test_masks_against_a_count_token_by_token(contents: list) -> None:
    """Guards rule B7: text causal, images both ways with both markers, nothing sees what comes later."""
    splits, sequence = place(contents), tokens(contents)
    wanted = [[sees(one, other, sequence) for other in range(len(sequence))] for one in range(len(sequence))]
    assert fusion_mask(splits).tolist() == wanted
    und = [index for index, owned in enumerate(is_und(splits).tolist()) if owned]
    assert vlm_mask(splits).tolist() == [[wanted[one][other] for other in und] for one in und]


def test_a_sequence_can_begin_anywhere() -> None:
    """Guards text that is placed behind a prefix: it moves, and nothing else changes."""
    here, there = place(EDIT), place(EDIT, start=100)
    assert torch.equal(position_ids(there), position_ids(here) + 100)
    assert torch.equal(fusion_mask(there), fusion_mask(here))


def test_markers_depend_on_the_extent_alone() -> None:
    """Guards what lets one marker pair serve every picture of an extent: 3x5, 5x3 and 1x5 share theirs."""
    shapes = [Split(NOISY, 7, *grid) for grid in ((3, 5), (5, 3), (1, 5), (5, 5))]
    assert {tuple(shape.und_position_ids().flatten().tolist()) for shape in shapes} == {(7, 13) * 3}
    assert Split(NOISY, 7, 4, 4).und_position_ids().tolist() != shapes[0].und_position_ids().tolist()


def test_an_empty_sequence_has_no_tokens() -> None:
    """Guards the branch without any text or image."""
    assert place([]) == []
    assert lengths([]) == (0, 0, 0)
