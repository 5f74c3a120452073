"""CONDITIONING that carries a LightFusion branch, and how it travels to the network.

The layer states do not go with the batch from step to step: a condition is a handle, and a batch of
conditions is the list of their handles.
"""

from __future__ import annotations

import weakref
from typing import Any

import comfy.conds
import comfy.model_patcher
from torch import Tensor

from ...lightfusion_core.conditioning import Branch
from ...lightfusion_core.errors import InputError
from .tokens import PromptTokens

KEY = "lightfusion"
"""The attribute that carries a branch on its tensor, and the name of the model condition made of it."""
ORIGIN = "lightfusion_origin"
"""The attribute that carries what a branch was encoded from."""


class Origin:
    """What a branch was encoded from: tokens, and the CLIP's patcher, weakly, since a CONDITIONING that is kept
    must not keep an understanding tower. A copy or a file of it knows the tokens alone."""

    def __init__(self, patcher: comfy.model_patcher.ModelPatcher | None, tokens: PromptTokens) -> None:
        self._patcher = (lambda: None) if patcher is None else weakref.ref(patcher)
        self.tokens = tokens

    @property
    def patcher(self) -> comfy.model_patcher.ModelPatcher:
        """The CLIP's patcher. Raises InputError where it is gone."""
        patcher = self._patcher()
        if patcher is None:
            raise InputError(
                "This text is to be encoded again with its reference latents, and the CLIP that encoded it is gone: "
                "run Load LightFusion again, or give the pictures to LightFusion Encode."
            )
        return patcher

    def __deepcopy__(self, memo: dict[int, Any]) -> Origin:
        return self

    def __reduce__(self) -> tuple[type[Origin], tuple[None, PromptTokens]]:
        return Origin, (None, self.tokens)


def to_tensor(branch: Branch, origin: Origin) -> Tensor:
    """A branch as the tensor of a CONDITIONING: the last layer's states, with the branch on it.

    It travels on the tensor and not in the dictionary beside it: some text encode nodes build that
    dictionary anew, and a node that joins or averages tensors is then found out.
    """
    states = [segment.hidden[-1] for segment in branch.segments]
    shown = (states[-1] if states else branch.markers[0, -1]).unsqueeze(0)
    setattr(shown, KEY, branch)
    setattr(shown, ORIGIN, origin)
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
            "averaged, scaled or zeroed: encode the prompt (an empty one, for a negative without words) with the CLIP "
            "of Load LightFusion and wire it straight in."
        )
    return branch


class BatchedBranches:
    """The branches of one call of the network, one for each chunk of its batch."""

    def __init__(self, branches: list[Branch | InputError]) -> None:
        self._branches = branches

    @property
    def branches(self) -> list[Branch]:
        """Them. Raises InputError where one cannot be used."""
        for branch in self._branches:
            if isinstance(branch, InputError):
                raise branch
        return self._branches  # type: ignore[return-value]  # none is an error


class BranchCond(comfy.conds.CONDConstant):
    """One branch as a model condition, or why it is none: only one that is read must be right, and without guidance
    a negative is not. Branches of any length batch together."""

    def can_concat(self, other: comfy.conds.CONDConstant) -> bool:
        return isinstance(other, BranchCond)

    def concat(self, others: list[BranchCond]) -> BatchedBranches:
        return BatchedBranches([self.cond, *(other.cond for other in others)])
