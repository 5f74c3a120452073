"""What the tensors of a LoRA do to one parameter: the shape they change, and the order of their columns.

A change is a mapping of kinds (`lora_names`) to tensors. Wan's patch embedding is a Conv3d, whose columns are ordered
(channel, patch row, patch column); here it is a Linear with the channel last (rule B14).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_PAIR = ("lora_up.weight", "lora_down.weight")
_HADAMARD = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
_WITH_COLUMNS = ("lora_down.weight", "hada_w1_b", "hada_w2_b", "diff", "set_weight")
_WHATEVER_THE_COLUMNS = ("lora_up.weight", "hada_w1_a", "hada_w2_a", "alpha", "oft_blocks", "rescale")


class ChangeError(Exception):
    """Why one change cannot be used; for whoever reads the file to name it."""


def changed_shape(change: Mapping[str, Tensor]) -> tuple[int, ...] | None:
    """The shape of the parameter that a change is for, its columns as one number; None where its kind does not say.

    Raises:
        ChangeError: half of a pair is missing, or the halves do not fit each other.
    """
    for kind in ("diff", "set_weight"):
        if kind in change:
            return tuple(change[kind].shape)
    for kinds in (_PAIR, _HADAMARD):
        if any(kind in change for kind in kinds):
            missing = [kind for kind in kinds if kind not in change]
            if missing:
                raise ChangeError(f"{missing[0]} is missing beside {next(kind for kind in kinds if kind in change)}")
            if any(kind in change for kind in ("lora_mid.weight", "hada_t1", "reshape_weight")):
                return None
            shapes = {_product(change[a], change[b]) for a, b in zip(kinds[::2], kinds[1::2], strict=True)}
            if len(shapes) > 1:
                raise ChangeError(f"its two products differ in shape: {sorted(shapes)}")
            return shapes.pop()
    if any(kind.startswith("lokr_") for kind in change) and "lokr_t2" not in change:
        (rows, columns), (rows_2, columns_2) = (tuple(_factor(change, name).shape) for name in ("w1", "w2"))
        return rows * rows_2, columns * columns_2
    return None


def has_conv_columns(change: Mapping[str, Tensor], channels: int) -> bool | None:
    """Whether a change of the patch embedding was made on a Conv3d: None where its shapes do not say. A kind of
    change without columns says no."""
    with_columns = [change[kind] for kind in _WITH_COLUMNS if kind in change]
    with_columns += [tensor for kind, tensor in change.items() if kind.startswith(("lokr_w2", "lora_mid", "hada_t"))]
    if any(tensor.ndim > 2 and tensor.shape[2:].numel() > 1 for tensor in with_columns):
        return True
    return None if with_columns and channels > 1 else False


def channel_last(change: Mapping[str, Tensor], channels: int) -> dict[str, Tensor]:
    """A change of a Conv3d patch embedding as one of our Linear: the same numbers, the columns in our order.

    LoRA, LoHa, differences and replacements keep their kind; a Kronecker product (LoKr) has no such columns and
    becomes the difference that it makes.

    Raises:
        ChangeError: a kind whose columns cannot be reordered (Tucker factors, GLoRA, a scale for each channel).
    """
    if any(kind.startswith("lokr_") for kind in change) and "lokr_t2" not in change:
        rank = next((change[kind].shape[0] for kind in ("lokr_w2_b", "lokr_w1_b") if kind in change), None)
        scale = float(change["alpha"]) / rank if rank and "alpha" in change else 1.0
        product = torch.kron(_factor(change, "w1").float(), _factor(change, "w2").float()) * scale
        kept = {kind: tensor for kind, tensor in change.items() if kind != "alpha" and not kind.startswith("lokr_")}
        return channel_last({**kept, "diff": product}, channels)
    made = {}
    for kind, tensor in change.items():
        if kind in _WITH_COLUMNS:
            made[kind] = tensor.flatten(1).unflatten(1, (channels, -1)).transpose(1, 2).flatten(1).contiguous()
        elif kind in _WHATEVER_THE_COLUMNS or (kind == "dora_scale" and tensor.shape[0] == tensor.numel()):
            made[kind] = tensor
        else:
            raise ChangeError(f"the columns of {kind} cannot be brought into this model's order")
    if "dora_scale" in made and "diff" in made:
        raise ChangeError("the columns of a LoKr with dora_scale cannot be brought into this model's order")
    return made


def _product(up: Tensor, down: Tensor) -> tuple[int, int]:
    up, down = up.flatten(1), down.flatten(1)
    if up.shape[1] != down.shape[0]:
        raise ChangeError(f"its factors {tuple(up.shape)} and {tuple(down.shape)} do not multiply")
    return up.shape[0], down.shape[1]


def _factor(change: Mapping[str, Tensor], name: str) -> Tensor:
    """One side of a Kronecker product, (rows, columns)."""
    if f"lokr_{name}" in change:
        return change[f"lokr_{name}"].flatten(1)
    try:
        a, b = change[f"lokr_{name}_a"].flatten(1), change[f"lokr_{name}_b"].flatten(1)
    except KeyError as error:
        raise ChangeError(f"{error.args[0]} is missing") from None
    _product(a, b)
    return a @ b
