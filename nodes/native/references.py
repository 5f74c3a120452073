"""Reference latents that nodes for edit models put beside a text: the text is encoded again with them.

The understanding tower sees where a picture lies in the sequence (rule B4), so they cannot be added to states that are
made. It runs before the sampling's models are loaded, and once for a text and its references.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from ...lightfusion_core.conditioning import Branch
from ...lightfusion_core.config import ModelConfig
from ...lightfusion_core.errors import InputError
from ...lightfusion_core.understanding.vision import Reference
from .conditioning import KEY, branch_of, carried_by
from .entries import check_entries, reference_latents
from .shapes import as_pictures, in_tokens
from .training import ordinary_branch


def read_conditions(executor: Any, *args: Any, **options: Any) -> Tensor:
    """A wrapper around a whole run: each condition's branch, or why it has none, goes with it.

    Raises:
        InputError: a positive one that cannot be used; any other may never be read.
    """
    guider: comfy.samplers.CFGGuider = executor.class_obj
    for name, conditions in guider.conds.items():
        for condition in conditions:
            condition[KEY] = read(condition, guider.model_patcher.model)
            if name == "positive" and isinstance(condition[KEY], InputError):
                raise condition[KEY]
    return executor(*args, **options)


def read(condition: dict[str, Any], model: Any) -> Branch | InputError:
    """The branch of a condition of a LightFusionModel, or why it cannot be used."""
    try:
        branch = branch_of(condition)
        check_entries(condition)
        latents = reference_latents(condition)
        branch = _with_latents(condition["cross_attn"], latents, model) if latents else branch
        return ordinary_branch(branch) if torch.is_grad_enabled() else branch
    except InputError as error:
        return error


def _with_latents(conditioning: Tensor, latents: Sequence[Tensor], model: Any) -> Branch:
    origin = carried_by(conditioning)
    given = [frame for latent in latents for frame in normalised(latent, model)]
    references = paired(origin.tokens.references, given)
    patcher = origin.patcher
    return patcher.model.complete(patcher, replace(origin.tokens, references=references))


def paired(references: Sequence[Reference], latents: Sequence[Tensor]) -> tuple[Reference, ...]:
    """References with latents (1, C, 1, h, w): pictures that have none take the first ones, in order, and each of the
    others is a reference without pixels for the VLM."""
    waiting = list(latents)
    seen = [
        replace(reference, latent=waiting.pop(0)) if reference.latent is None and waiting else reference
        for reference in references
    ]
    return *seen, *(Reference(latent=latent) for latent in waiting)


def normalised(latent: Tensor, model: Any) -> list[Tensor]:
    """Each frame of a LATENT's samples as a reference's latent (1, C, 1, h, w) float32, padded to whole tokens.

    Raises:
        InputError: pictures, latents of another model, or larger than what this one takes.
    """
    config: ModelConfig = model.diffusion_model.config
    if latent.ndim == 4 and latent.shape[-1] in (3, 4) and latent.shape[1] != config.vae.z_dim:
        raise InputError(
            "A node hands pictures over where this model reads latents, as another kind of model wants them: give the "
            "pictures to LightFusion Encode."
        )
    patch = config.dit.patch_size
    frames = in_tokens(model.process_latent_in(as_pictures(latent).float().cpu()), patch)
    tokens = max(frames.shape[-2:]) // patch
    if tokens > config.max_extent:
        raise InputError(
            f"A reference latent is of a picture of {tokens * config.token_size} pixels, and this model takes up to "
            f"{config.extent}: make the picture smaller before VAE Encode, or give it to LightFusion Encode, which "
            "does."
        )
    return list(frames.split(1))
