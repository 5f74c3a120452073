"""CONDITIONING that carries a LightFusion branch, and how it travels to the network.

The layer states do not go with the batch from step to step: a condition is a handle, and a batch of
conditions is the list of their handles.
"""

from __future__ import annotations

from typing import Any

import comfy.conds
from torch import Tensor

from ...lightfusion_core.conditioning import Branch
from ...lightfusion_core.errors import InputError

KEY = "lightfusion"
"""The attribute that carries a branch on its tensor, and the name of the model condition made of it."""


def to_tensor(branch: Branch) -> Tensor:
    """A branch as the tensor of a CONDITIONING: the last layer's states, with the branch on it.

    It travels on the tensor and not in the dictionary beside it: some text encode nodes build that
    dictionary anew, and a node that joins or averages tensors is then found out.
    """
    states = [segment.hidden[-1] for segment in branch.segments]
    shown = (states[-1] if states else branch.markers[0, -1]).unsqueeze(0)
    setattr(shown, KEY, branch)
    return shown


def branch_of(condition: dict[str, Any]) -> Branch:
    """The branch of one condition, as the host hands it to the model.

    Raises:
        InputError: the conditioning was made by another model's text encoder, or mixed from several.
    """
    branch = getattr(condition.get("cross_attn"), KEY, None)
    if branch is None:
        raise InputError(
            "A LightFusion model was given a conditioning that is not LightFusion's, or that a node has joined, "
            "averaged or zeroed: encode the prompt with the CLIP of Load LightFusion and wire it straight in."
        )
    return branch


class BatchedBranches:
    """The branches of one call of the network, one for each chunk of its batch."""

    def __init__(self, branches: list[Branch]) -> None:
        self.branches = branches


class BranchCond(comfy.conds.CONDConstant):
    """One branch as a model condition; branches of any length batch together."""

    def can_concat(self, other: comfy.conds.CONDConstant) -> bool:
        return isinstance(other, BranchCond)

    def concat(self, others: list[BranchCond]) -> BatchedBranches:
        return BatchedBranches([self.cond, *(other.cond for other in others)])
