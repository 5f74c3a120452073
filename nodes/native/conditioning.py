"""CONDITIONING that carries a LightFusion branch, and how it travels to the network.

The layer states do not go with the batch from step to step: a condition is a handle, and a batch of
conditions is the list of their handles.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import Any

import comfy.conds
import comfy.model_patcher
from torch import Tensor

from ...lightfusion_core.conditioning import Branch
from ...lightfusion_core.errors import InputError
from .portable import as_plain, from_plain
from .tokens import PromptTokens

KEY = "lightfusion"
"""The attribute that carries a branch on its tensor, and the name of the model condition made of it."""


class Carried:
    """A branch, and what it was encoded from: tokens, and the CLIP's patcher, weakly, since a CONDITIONING that is kept
    must not keep an understanding tower. A copy is the same; a file holds plain data, and no patcher."""

    def __init__(
        self, branch: Branch, tokens: PromptTokens, patcher: comfy.model_patcher.ModelPatcher | None = None
    ) -> None:
        self.branch, self.tokens = branch, tokens
        self._patcher = (lambda: None) if patcher is None else weakref.ref(patcher)

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

    def __deepcopy__(self, memo: dict[int, Any]) -> Carried:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return OrderedDict, (), None, None, iter(as_plain(self.branch, self.tokens).items())


def to_tensor(branch: Branch, tokens: PromptTokens, patcher: comfy.model_patcher.ModelPatcher | None = None) -> Tensor:
    """A branch as the tensor of a CONDITIONING: the last layer's states, with the branch on it.

    It travels on the tensor and not in the dictionary beside it: some text encode nodes build that
    dictionary anew, and a node that joins or averages tensors is then found out.

    Args:
        tokens, patcher: what it was encoded from.
    """
    states = [segment.hidden[-1] for segment in branch.segments]
    shown = (states[-1] if states else branch.markers[0, -1]).unsqueeze(0).clone()  # a node may write into it
    setattr(shown, KEY, Carried(branch, tokens, patcher))
    return shown


def carried_by(conditioning: Tensor | None) -> Carried:
    """What the tensor of a CONDITIONING carries.

    Raises:
        InputError: it was made by another model's text encoder, or mixed from several.
    """
    carried = getattr(conditioning, KEY, None)
    if carried is None:
        raise InputError(
            "A LightFusion model was given a conditioning that is not LightFusion's, or that a node has joined, "
            "averaged, scaled or zeroed: encode the prompt (an empty one, for a negative without words) with the CLIP "
            "of Load LightFusion and wire it straight in."
        )
    if not isinstance(carried, Carried):  # plain data out of a file
        carried = Carried(*from_plain(carried))
        setattr(conditioning, KEY, carried)  # once: a branch is known by its identity
    return carried


def branch_of(condition: dict[str, Any]) -> Branch:
    """The branch of one condition, as the host hands it to the model. Raises InputError; see `carried_by`."""
    return carried_by(condition.get("cross_attn")).branch


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
