"""Changes of a Conv3d patch embedding, against the convolution's own weight changed and brought over."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightfusion_core.checkpoints.lora_changes import ChangeError, changed_shape, channel_last, has_conv_columns

ROWS, CHANNELS, PATCH, RANK = 12, 6, 2, 3
COLUMNS = CHANNELS * PATCH * PATCH
DRAW = torch.Generator().manual_seed(0)


def _draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=DRAW)


def _linear(conv: Tensor) -> Tensor:
    """A convolution's weight (rows, C, 1, p, p) as rule B14 has it: the channel moved last."""
    return conv.permute(0, 2, 3, 4, 1).flatten(1)


def _product(change: dict[str, Tensor]) -> Tensor:
    """What a change adds, by the formula of its kind."""
    if "diff" in change:
        return change["diff"]
    if "lora_up.weight" in change:
        up, down = change["lora_up.weight"].flatten(1), change["lora_down.weight"].flatten(1)
        return up @ down * float(change["alpha"]) / RANK
    return (change["hada_w1_a"] @ change["hada_w1_b"]) * (change["hada_w2_a"] @ change["hada_w2_b"])


def _changes() -> dict[str, tuple[dict[str, Tensor], Tensor]]:
    """A change of each kind, and what it adds to the convolution's weight."""
    conv = (CHANNELS, 1, PATCH, PATCH)
    up, down = _draw(ROWS, RANK, 1, 1, 1), _draw(RANK, *conv)
    a1, b1, a2, b2 = _draw(ROWS, RANK), _draw(RANK, COLUMNS), _draw(ROWS, RANK), _draw(RANK, COLUMNS)
    w1, w2 = _draw(4, 2), _draw(3, 3, 1, PATCH, PATCH)
    left, right = _draw(3, RANK), _draw(RANK, 3 * PATCH * PATCH)
    whole = _draw(ROWS, *conv)
    alpha = torch.tensor(1.5)
    product = (up.flatten(1) @ down.flatten(1) * 0.5).unflatten(1, conv)
    kronecker = torch.einsum("ab,cdefg->acbdefg", w1, w2).reshape(ROWS, *conv)
    low = torch.kron(w1, left @ right * 0.5).unflatten(1, conv)
    return {
        "LoRA": ({"lora_up.weight": up, "lora_down.weight": down, "alpha": alpha}, product),
        "flat LoRA": (
            {"lora_up.weight": up.flatten(1), "lora_down.weight": down.flatten(1), "alpha": alpha}, product,
        ),
        "LoHa": (
            {"hada_w1_a": a1, "hada_w1_b": b1, "hada_w2_a": a2, "hada_w2_b": b2},
            ((a1 @ b1) * (a2 @ b2)).unflatten(1, conv),
        ),
        "LoKr": ({"lokr_w1": w1, "lokr_w2": w2, "alpha": alpha}, kronecker),
        "low-rank LoKr": ({"lokr_w1": w1, "lokr_w2_a": left, "lokr_w2_b": right, "alpha": alpha}, low),
        "diff": ({"diff": whole}, whole),
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(_changes()))
def test_reordered_change_adds_what_the_convolution_would(kind: str) -> None:
    """In the wrong order the numbers are all there, and every one in the wrong place."""
    change, added = _changes()[kind]
    made = channel_last(change, CHANNELS)
    torch.testing.assert_close(_product(made), _linear(added))
    assert changed_shape(made) == (ROWS, COLUMNS)


@pytest.mark.parametrize("kind", list(_changes()))
def test_shape_is_told_before_anything_is_applied(kind: str) -> None:
    change, added = _changes()[kind]
    shape = changed_shape(change)
    assert shape == (tuple(added.shape) if kind == "diff" else (ROWS, COLUMNS))


def test_convolutions_tell_themselves_where_they_can() -> None:
    """A flat matrix may be either's; a bias or a rotation of the rows has no columns."""
    found = {kind: has_conv_columns(change, CHANNELS) for kind, (change, _) in _changes().items()}
    flat = {"flat LoRA": None, "LoHa": None, "low-rank LoKr": None}
    assert found == {"LoRA": True, "LoKr": True, "diff": True, **flat}
    assert has_conv_columns({"oft_blocks": _draw(3, 4, 4)}, CHANNELS) is False
    one_by_one = {"lora_down.weight": _draw(RANK, COLUMNS, 1, 1), "lora_up.weight": _draw(ROWS, RANK, 1, 1)}
    assert has_conv_columns(one_by_one, CHANNELS) is None


@pytest.mark.parametrize(
    "change",
    [
        {"lora_up.weight": _draw(ROWS, RANK), "lora_down.weight": _draw(RANK, CHANNELS, 1, 1, 1),
         "lora_mid.weight": _draw(RANK, RANK, 1, PATCH, PATCH)},
        {"diff": _draw(ROWS, CHANNELS, 1, PATCH, PATCH), "dora_scale": _draw(1, CHANNELS, 1, 1, 1)},
        {"a1.weight": _draw(RANK, ROWS)},
        {"lokr_w1": _draw(4, 2), "lokr_w2": _draw(3, 3, 1, PATCH, PATCH), "dora_scale": _draw(ROWS, 1)},
    ],
)  # fmt: skip
def test_what_cannot_be_reordered_is_refused(change: dict[str, Tensor]) -> None:
    with pytest.raises(ChangeError, match="cannot be brought"):
        channel_last(change, CHANNELS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lora_up.weight": _draw(4, 2)}, "lora_down.weight is missing"),
        ({"lora_down.weight": _draw(2, 4)}, "lora_up.weight is missing"),
        ({"lora_up.weight": _draw(4, 2), "lora_down.weight": _draw(3, 4)}, "do not multiply"),
        ({"lokr_w1": _draw(4, 2)}, "lokr_w2_a is missing"),
        ({"hada_w1_a": _draw(4, 2), "hada_w1_b": _draw(2, 4), "hada_w2_a": _draw(4, 2), "hada_w2_b": _draw(2, 5)},
         "differ in shape"),
    ],
)  # fmt: skip
def test_broken_change_says_what_is_wrong(change: dict[str, Tensor], words: str) -> None:
    with pytest.raises(ChangeError, match=words):
        changed_shape(change)
