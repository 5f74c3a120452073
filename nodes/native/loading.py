"""From names of files to MODEL, CLIP and VAE."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.sd
import comfy.text_encoders
import torch
from comfy.cli_args import args
from comfy.model_patcher import ModelPatcher

from ...lightfusion_core.checkpoints.generation_config import read_ends
from ...lightfusion_core.checkpoints.loader import is_coupled
from ...lightfusion_core.checkpoints.model import find_tokenizer, open_model, read_config, require_vocabulary
from ...lightfusion_core.checkpoints.reader import Checkpoint
from ...lightfusion_core.config import ModelConfig
from ...lightfusion_core.errors import CheckpointError
from ...lightfusion_core.pipeline import NANO
from ...lightfusion_core.understanding.tokenizer import Tokenizer
from .. import folders
from .clip import load_clip
from .conditioning import KEY
from .model import load_model
from .vae import LightFusionVAE, load_vae

_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "fp8_e4m3fn": torch.float8_e4m3fn}


@dataclass(frozen=True)
class Choice:
    """What a person chose in the loader; it can be loaded again."""

    model: str
    understanding: str
    vae: str
    weight_dtype: str

    def open(self) -> tuple[Checkpoint, ModelConfig]:
        """The checkpoint and its configuration. Raises CheckpointError."""
        checkpoint = open_model(
            NANO if self.model == folders.NANO else folders.model_path(self.model),
            understanding=folders.part_path(folders.UNDERSTANDING, self.understanding),
            vae=folders.part_path(folders.VAE, self.vae),
            mapped=not args.disable_mmap,
        )
        return checkpoint, read_config(checkpoint)


def load(
    model: str, understanding: str, vae: str, weight_dtype: str
) -> tuple[ModelPatcher, comfy.sd.CLIP, LightFusionVAE]:
    """MODEL, CLIP and VAE of what was chosen in the loader. Each names what loads it anew, as the host asks of a
    loader: where it needs weights that are held in another way, or on another device.

    Raises:
        CheckpointError: a file that is missing, broken, foreign or incomplete.
        InputError: a weight dtype that the device does not take.
    """
    choice = Choice(model, understanding, vae, weight_dtype)
    checkpoint, config = choice.open()
    if not checkpoint.names("vae"):
        raise CheckpointError(f"{checkpoint.path} holds no VAE: choose a Wan2.2 VAE of models/vae for it.")
    patcher = load_model(checkpoint, config, _DTYPES.get(weight_dtype))
    coupled = patcher.model.diffusion_model.coupled
    clip = _clip(checkpoint, config, coupled)
    if coupled:
        patcher.model.diffusion_model.couple(clip.cond_stage_model.tower)
        patcher.set_additional_models(KEY, [clip.patcher])
        clip.cond_stage_model.coupling.couple(patcher)
    autoencoder = load_vae(checkpoint, config)
    patcher.cached_patcher_init = (_model_again, (choice,))
    clip.patcher.cached_patcher_init = (_clip_again, (choice,))
    autoencoder.patcher.cached_patcher_init = (_vae_again, (choice,))
    return patcher, clip, autoencoder


def _clip(checkpoint: Checkpoint, config: ModelConfig, coupled: bool) -> comfy.sd.CLIP:
    file = find_tokenizer(checkpoint, None) or _shipped_tokenizer()
    tokenizer = Tokenizer(file, config.special_tokens, read_ends(checkpoint))
    require_vocabulary(tokenizer, config)
    return load_clip(checkpoint, config, tokenizer, coupled)


def _model_again(choice: Choice, disable_dynamic: bool = False) -> ModelPatcher:
    return load_model(*choice.open(), _DTYPES.get(choice.weight_dtype), dynamic=not disable_dynamic)


def _clip_again(choice: Choice, disable_dynamic: bool = False) -> ModelPatcher:
    checkpoint, config = choice.open()
    return _clip(checkpoint, config, is_coupled(checkpoint)).patcher


def _vae_again(choice: Choice, disable_dynamic: bool = False) -> ModelPatcher:
    return load_vae(*choice.open()).patcher


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
