"""What nodes write into a CONDITIONING's dictionary: what the host reads, what this model reads, and what it refuses.

An entry that would change another model's picture and that this one never reads must not be passed over in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...lightfusion_core.errors import InputError
from .telling import tell

REFERENCES, CONCATENATED = "reference_latents", "concat_latent_image"
"""The entries that this model reads: latents of pictures (B, C, h, w), each a reference."""

_PICTURES = "give the picture to LightFusion Encode, as a reference"
_INPAINTING = "concat_mask"
_VIDEO = ("A node for video or audio models", "remove it: this model draws pictures")
_SDXL = ("A text node for SDXL", "use CLIPTextEncode or LightFusion Encode")
_REFUSED: dict[str, tuple[str, str]] = {
    "guidance": ("FluxGuidance", "remove it, and set the guidance on the sampler (cfg or text_guidance)"),
    "control": ("A ControlNet", f"remove it, and {_PICTURES}"),
    "gligen": ("GLIGEN", "remove it; for words in places use ConditioningSetArea or ConditioningSetMask"),
    "unclip_conditioning": ("unCLIPConditioning", f"remove it, and {_PICTURES}"),
    "clip_vision_output": ("A CLIP Vision's output", _PICTURES),
    "clip_vision_outputs": ("A CLIP Vision's output", _PICTURES),
    "concat_image": ("A node for upscale models", f"remove it, and {_PICTURES}"),
    "lq_latent": ("A node for upscale models", f"remove it, and {_PICTURES}"),
    "reference_latents_method": ("FluxKontextMultiReferenceLatentMethod", "remove it: this model has one order"),
    "reference_latents_text_embeds": ("TextEncodeZImageOmni", "use LightFusion Encode, with the same pictures"),
    "cross_attn_controlnet": ("CLIPTextEncodeControlnet", "remove it: there are no ControlNets for this model"),
    "stable_cascade_prior": ("A node of Stable Cascade", "wire the text's conditioning straight in"),
    **dict.fromkeys(("aesthetic_score", "crop_w", "crop_h", "target_width", "target_height"), _SDXL),
    **dict.fromkeys(
        (
            "audio_embed", "camera_conditions", "clip_vision_output_ref", "concat_mask_index", "conditioning_lyrics",
            "context_latents", "control_video", "driving_mask_28ch", "face_video_pixels", "fps", "frame_rate",
            "guide_attention_entries", "guiding_frame_index", "keyframe_idxs", "lyrics_strength", "minimax_keyframes",
            "minimax_refs", "pose_video_latent", "ref_audio", "reference_audio_timbre_latents", "reference_motion",
            "seconds_start", "seconds_total", "time_dim_concat", "time_dim_replace", "vace_frames", "vace_mask",
            "vace_strength",
        ),
        _VIDEO,
    ),
}  # fmt: skip

_OF_THE_HOST = frozenset(
    {
        "additional_models", "area", "clip_end_percent", "clip_start_percent", "control_apply_to_uncond", "cross_attn",
        "default", "denoise_mask", "device", "end_percent", "height", "hooks", "latent_image", "latent_shapes", "mask",
        "mask_strength", "model_conds", "noise", "pooled_output", "prompt_type", "seed", "set_area_to_bounds",
        "start_percent", "strength", "timestep_end", "timestep_start", "uuid", "width",
    }
)  # fmt: skip


def check_entries(condition: Mapping[str, Any]) -> None:
    """Refuse what is known to be another model's, and name what nobody knows.

    Raises:
        InputError: an entry that only another model reads.
    """
    unread = [
        name for name, value in condition.items()
        if value is not None and name not in _OF_THE_HOST and name not in (REFERENCES, CONCATENATED)
    ]  # fmt: skip
    for name in unread:
        if name in _REFUSED:
            node, remedy = _REFUSED[name]
            raise InputError(f"{node} ({name} in the conditioning) does not act on a LightFusion model: {remedy}.")
    if _INPAINTING in unread:
        unread.remove(_INPAINTING)
        tell("InpaintModelConditioning acts by its noise mask alone, since this is no model for inpainting.")
    if unread:
        tell(f"the conditioning carries {', '.join(sorted(unread))}, which this model does not read.")


def reference_latents(condition: Mapping[str, Any]) -> list[Any]:
    """The latents that nodes for edit models have put beside a text, in order. Those of inpainting show a picture
    with a hole, which this model would take for a picture of one."""
    latents = list(condition.get(REFERENCES) or ())
    concatenated = condition.get(CONCATENATED)
    return latents if concatenated is None or _INPAINTING in condition else [*latents, concatenated]
