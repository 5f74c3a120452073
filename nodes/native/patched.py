"""What other nodes did to a MODEL, looked at once before it samples: refused, or said, where it cannot act."""

from __future__ import annotations

from typing import Any

import comfy.model_patcher
import comfy.patcher_extension
import comfy.samplers
import comfy.utils
import torch
from torch import Tensor

from ...lightfusion_core.errors import InputError
from ...lightfusion_core.sampling.schedule import Schedule
from .compiling import compile_blocks
from .idle import idle_nodes
from .telling import take_back, tell
from .training import prepare_training

SCHEDULE = "lightfusion_schedule"
"""The attribute that carries an exact schedule on its SIGMAS, and its name in a run's transformer options."""

_SAMPLING = "model_sampling"
_WRAPPERS_OF_OTHER_MODELS = {"hidream_o1_patch_seam_smoothing": "HiDreamO1PatchSeamSmoothing"}
"""Wrappers around the network that count in another model's pixels, and the nodes that set them."""


def prepare(executor: Any, noise: Tensor, latent: Tensor, sampler: Any, sigmas: Tensor, *rest: Any, **more: Any) -> Any:
    """A wrapper around a sampling run: checks the patched MODEL, and keeps the exact schedule of sigmas that the host
    is about to move to another device."""
    take_back()
    guider = executor.class_obj
    check_objects(guider.model_patcher)
    schedule: Schedule | None = getattr(sigmas, SCHEDULE, None)
    check_sampling(guider.model_patcher, exact=schedule is not None)
    if torch.is_grad_enabled():  # a training, which hands over its pictures' numbers as sigmas
        prepare_training(guider.model_patcher.model.diffusion_model)
    else:
        check_levels(sigmas)
    check_windows(guider.model_options)
    check_wrappers(guider.model_options)
    for kind in idle_nodes():
        tell(f"{kind}: no effect on this model. It changes layers that only U-Nets have: bypass the node.")
    guider.model_options = compile_blocks(guider.model_patcher.model, guider.model_options)
    if schedule is not None:
        guider.model_options = comfy.model_patcher.create_model_options_clone(guider.model_options)
        guider.model_options.setdefault("transformer_options", {})[SCHEDULE] = schedule
    return executor(noise, latent, sampler, sigmas, *rest, **more)


def check_levels(sigmas: Tensor) -> None:
    """Refuse noise levels that are not a flow's. Raises InputError."""
    if sigmas.numel() and float(sigmas.max()) > 1 + 1e-5:
        raise InputError(
            f"These sigmas go up to {float(sigmas.max()):.4g}, and the noise levels of a LightFusion model run from 1 "
            "down to 0: take the sigmas of LightFusion Scheduler, or of BasicScheduler."
        )


def check_windows(model_options: dict[str, Any]) -> None:
    """Refuse to draw window by window: what was a video's time is a picture's height here. Raises InputError."""
    if model_options.get("context_handler") is not None:
        raise InputError(
            "A node splits the drawing into context windows, as for a long video, and a LightFusion model draws "
            "pictures: remove that node."
        )


def check_wrappers(model_options: dict[str, Any]) -> None:
    """Refuse what moves the picture as another model's patches lie. Raises InputError."""
    wrappers = model_options.get("transformer_options", {}).get("wrappers", {})
    for name in wrappers.get(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, {}):
        if name in _WRAPPERS_OF_OTHER_MODELS:
            raise InputError(
                f"{_WRAPPERS_OF_OTHER_MODELS[name]} counts in another model's pixels, where a LightFusion model draws "
                "latents: bypass it."
            )


def check_objects(patcher: comfy.model_patcher.ModelPatcher) -> None:
    """Refuse patches of parts that this model does not have. Raises InputError."""
    for name in patcher.object_patches:
        try:
            comfy.utils.get_attr(patcher.model, name)
        except AttributeError:
            raise InputError(
                f"A node patches the MODEL's {name}, which a LightFusion model does not have: it was made for another "
                "kind of model, so bypass it."
            ) from None


def check_sampling(patcher: comfy.model_patcher.ModelPatcher, exact: bool) -> None:
    """Look at what a ModelSampling node made of the MODEL; `exact`: its sigmas are LightFusion's own.

    Raises:
        InputError: the noise is to be taken off in another way than a flow model's.
    """
    if _SAMPLING not in patcher.object_patches:
        return
    sampling = patcher.object_patches[_SAMPLING]
    sigma, x, velocity = torch.tensor([0.5]), torch.full((1, 1, 1, 1), 3.0), torch.ones(1, 1, 1, 1)
    scaled = float(sampling.calculate_input(sigma, x))
    denoised = float(sampling.calculate_denoised(sigma, velocity, x))
    if (scaled, denoised) != (3.0, 2.5):
        raise InputError(
            "A ModelSampling node tells the MODEL to predict something else than a flow's velocity, which ruins every "
            "picture of a LightFusion model: bypass it. ModelSamplingSD3 changes the shift."
        )
    if exact and getattr(sampling, "shift", own := patcher.model.model_config.sampling_settings["shift"]) != own:
        tell(
            f"The shift {sampling.shift:g} of a ModelSampling node is not used, since LightFusion Sampler and "
            "LightFusion Scheduler have a shift of their own: set it there."
        )
    if exact and getattr(sampling, "noise_scale", 1.0) != 1.0:
        tell(
            f"The noise scale {sampling.noise_scale:g} of a node is not used by LightFusion's own sigmas and solvers: "
            "take KSampler for it, or bypass it."
        )
