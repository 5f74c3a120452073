"""CONDITIONING that carries a LightFusion branch, and how it travels to the network.

The layer states do not go with the batch from step to step: a condition is a handle, and a batch of
conditions is the list of their handles.
"""

from __future__ import annotations

from typing import Any

import comfy.conds

from ...lightfusion_core.conditioning import Branch
from ...lightfusion_core.errors import InputError

KEY = "lightfusion"


def to_conditioning(branch: Branch) -> list[list[Any]]:
    """A branch as ComfyUI's CONDITIONING; its tensor is the last layer's states, for who looks at shapes."""
    states = [segment.hidden[-1] for segment in branch.segments]
    shown = states[-1].unsqueeze(0) if states else branch.markers[0, -1:].float()
    return [[shown, {"pooled_output": None, KEY: branch}]]


def branch_of(condition: dict[str, Any]) -> Branch:
    """The branch of one condition.

    Raises:
        InputError: the conditioning was made by another model's text encoder.
    """
    branch = condition.get(KEY)
    if branch is None:
        raise InputError(
            "A LightFusion model was given another model's conditioning: encode the prompt with the CLIP of Load "
            "LightFusion."
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
