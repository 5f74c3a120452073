"""One sampling run through ComfyUI's own machinery: its loading, previews, progress and cancel."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
from torch import Tensor

from ...lightfusion_core.errors import InputError
from ...lightfusion_core.sampling.loop import make_noise
from .shapes import as_pictures


def draw(
    guider: comfy.samplers.CFGGuider, sampler: comfy.samplers.Sampler, sigmas: Tensor, latent: dict[str, Any], seed: int
) -> dict[str, Any]:
    """Draw a LATENT from one; image k of the batch with seed + k.

    Raises:
        InputError: a latent of other channels than the model's, or a video's.
    """
    model = guider.model_patcher
    # what stock empty latents of newer ComfyUI say of their stride goes along; older ones neither say nor ask it
    stride = {key: latent[key] for key in latent if key.startswith("downscale_ratio")}
    samples = as_pictures(comfy.sample.fix_empty_latent_channels(model, as_pictures(latent["samples"]), **stride))
    channels = model.model.diffusion_model.config.dit.in_dim
    if samples.shape[1] != channels:
        raise InputError(
            f"This model's latents have {channels} channels, and the one given has the shape {tuple(samples.shape)}: "
            "take Empty LightFusion Latent, or encode a picture with this model's VAE."
        )
    places = latent.get("batch_index") or range(len(samples))
    noise = make_noise(samples.shape[1:], [seed + place for place in places])
    drawn = guider.sample(
        noise,
        samples,
        sampler,
        sigmas,
        denoise_mask=latent.get("noise_mask"),
        callback=latent_preview.prepare_callback(model, len(sigmas) - 1),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )
    rest = {key: value for key, value in latent.items() if key not in stride}
    return {**rest, "samples": drawn.to(comfy.model_management.intermediate_device())}
