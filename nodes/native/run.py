"""One sampling run through ComfyUI's own machinery: its loading, previews, progress and cancel."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.samplers
import comfy.utils
import latent_preview
from torch import Tensor

from ...lightfusion_core.errors import InputError
from ...lightfusion_core.sampling.loop import make_noise


def draw(
    guider: comfy.samplers.CFGGuider, sampler: comfy.samplers.Sampler, sigmas: Tensor, latent: dict[str, Any], seed: int
) -> dict[str, Any]:
    """Draw a LATENT from one; image k of the batch with seed + k.

    Raises:
        InputError: a latent of other channels than the model's.
    """
    model, samples = guider.model_patcher, latent["samples"]
    channels = model.model.diffusion_model.config.dit.in_dim
    if samples.ndim != 5 or samples.shape[1] != channels:
        raise InputError(
            f"This model's latents have {channels} channels and five dimensions, and the one given has the shape "
            f"{tuple(samples.shape)}: take Empty LightFusion Latent, or encode a picture with this model's VAE."
        )
    mask = latent.get("noise_mask")
    if mask is not None and mask.ndim < 5:  # of a flat one the host would take the batch for time
        mask = mask.reshape(-1, 1, 1, *mask.shape[-2:])
    places = latent.get("batch_index") or range(len(samples))
    noise = make_noise(samples.shape[1:], [seed + place for place in places])
    drawn = guider.sample(
        noise,
        samples,
        sampler,
        sigmas,
        denoise_mask=mask,
        callback=latent_preview.prepare_callback(model, len(sigmas) - 1),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )
    return {**latent, "samples": drawn.to(comfy.model_management.intermediate_device())}
