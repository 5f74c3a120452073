"""From names of files to MODEL, CLIP and VAE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.text_encoders
import torch

from ...lightfusion_core.checkpoints.model import open_model, read_config, tokenizer_file
from ...lightfusion_core.errors import CheckpointError
from ...lightfusion_core.pipeline import NANO
from ...lightfusion_core.understanding.tokenizer import Tokenizer
from .. import folders
from .clip import load_clip
from .conditioning import KEY
from .model import load_model
from .vae import load_vae

_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "fp8_e4m3fn": torch.float8_e4m3fn}


def load(model: str, understanding: str, vae: str, weight_dtype: str) -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE.

    Raises:
        CheckpointError: a file that is missing, broken, foreign or incomplete.
        InputError: a weight dtype that the device does not take.
    """
    checkpoint = open_model(
        NANO if model == folders.NANO else folders.model_path(model),
        understanding=folders.part_path(folders.UNDERSTANDING, understanding),
        vae=folders.part_path(folders.VAE, vae),
    )
    config = read_config(checkpoint)
    if not checkpoint.names("vae"):
        raise CheckpointError(f"{checkpoint.path} holds no VAE: choose a Wan2.2 VAE of models/vae for it.")
    text_device = comfy.model_management.text_encoder_device()
    text_dtype = torch.float32 if comfy.model_management.is_device_cpu(text_device) else torch.bfloat16
    file = tokenizer_file(checkpoint, None) or _shipped_tokenizer()
    patcher = load_model(checkpoint, config, _DTYPES.get(weight_dtype))
    coupled = patcher.model.diffusion_model.coupled
    clip = load_clip(checkpoint, config, Tokenizer(file, config.special_tokens), text_dtype, coupled)
    if coupled:
        patcher.model.diffusion_model.couple(clip.cond_stage_model.tower)
        patcher.set_additional_models(KEY, [clip.patcher])
        clip.cond_stage_model.coupling.couple(patcher)
    return patcher, clip, load_vae(checkpoint, config)


def describe(model: str, parts: tuple[Any, Any, Any]) -> dict[str, Any]:
    """What a badge on the node says of loaded parts; the bytes are those of all weights."""
    patcher, clip, vae = parts
    net = patcher.model.diffusion_model
    return {
        "name": net.config.name,
        "bytes": sum(part.model_size() for part in (patcher, clip.patcher, vae.patcher)),
        "dtype": str(net.blocks[0].self_attn.q.weight.dtype).removeprefix("torch."),
        "coupled": net.coupled,
        "nano": model == folders.NANO,
    }


def _shipped_tokenizer() -> Path:
    """The Qwen2.5 tokenizer that ComfyUI brings, for files without one."""
    return Path(comfy.text_encoders.__path__[0], "qwen25_tokenizer")
