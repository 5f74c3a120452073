"""The understanding tower as a ComfyUI CLIP, which the stock CLIPTextEncode accepts.

All behaviour lies in the model and the tokenizer that the CLIP holds: a subclass of CLIP would be lost
in the first LoRA loader, which clones it into a plain one.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import comfy.hooks
import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import comfy.sd
import torch
from torch import Tensor, nn

from ...lightfusion_core.checkpoints.loader import load_understanding
from ...lightfusion_core.checkpoints.reader import Checkpoint
from ...lightfusion_core.conditioning import Conditioning
from ...lightfusion_core.config import ModelConfig
from ...lightfusion_core.errors import InputError
from ...lightfusion_core.generation.context import ContextBuilder
from ...lightfusion_core.understanding.answer import Answerer
from ...lightfusion_core.understanding.encoder import Encoder, digest
from ...lightfusion_core.understanding.tokenizer import Tokenizer
from ...lightfusion_core.understanding.tower import UnderstandingTower
from ...lightfusion_core.understanding.vision import Reference
from .conditioning import to_tensor
from .latents import ReferenceLatents
from .lora import UNDERSTANDING, reads_loras
from .scaled import ScaledOperations


class TextTokens:
    """ComfyUI's name for what turns a prompt into tokens. Prompts are literal: no `(word:1.2)` weights."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **options: Any) -> list[int]:
        """The ids of one text segment (rule B2)."""
        return self.tokenizer.segment(text)

    def state_dict(self) -> dict[str, Tensor]:
        return {}


class Coupling:
    """The generation side of a coupled model, which a drawing context's text needs. A weak reference: the MODEL
    names the CLIP in turn, and a circle of both would outlive its last use."""

    generation: Callable[[], comfy.model_patcher.ModelPatcher | None] = staticmethod(lambda: None)

    def __init__(self, tower: UnderstandingTower) -> None:
        self.tower = tower

    def couple(self, generation: comfy.model_patcher.ModelPatcher) -> None:
        """Name the MODEL."""
        self.generation = weakref.ref(generation)

    def patcher(self) -> comfy.model_patcher.ModelPatcher:
        """The MODEL. Raises InputError where it is gone."""
        patcher = self.generation()
        if patcher is None:
            raise InputError(
                "In a coupled model this text needs the generation side, and its MODEL is gone: run Load LightFusion "
                'again, or ask in the manner "chat".'
            )
        return patcher

    def builder(self) -> ContextBuilder:
        """What runs the fusion, on weights that are loaded."""
        net = self.patcher().model.diffusion_model
        return ContextBuilder(net, comfy.model_management.get_torch_device(), self.tower)


class UnderstandingModel(nn.Module):
    """The understanding tower with the calls that a CLIP makes of its model."""

    def __init__(
        self, checkpoint: Checkpoint, config: ModelConfig, tokenizer: Tokenizer, dtype: torch.dtype, coupled: bool
    ) -> None:
        super().__init__()
        self.config, self.dtypes = config, {dtype}
        offload_device = comfy.model_management.text_encoder_offload_device()
        self.tower = load_understanding(checkpoint, config, dtype, offload_device, ScaledOperations)
        self.encoder = Encoder(self.tower, config, (tokenizer.sov, tokenizer.eov), coupled)
        self.coupling = Coupling(self.tower)
        self.answers = Answerer(self.encoder, tokenizer, self.coupling.builder)
        self.tokens = TextTokens(tokenizer)
        self.latents = ReferenceLatents(config.vae)
        self.kept: dict[Any, Conditioning] = {}
        self.encoded_with: object = None

    def set_clip_options(self, options: dict[str, Any]) -> None:
        """CLIP skip and the like have no meaning here."""

    def reset_clip_options(self) -> None:
        """See `set_clip_options`."""

    def encode(
        self, clip: comfy.sd.CLIP, texts: Sequence[str], references: Sequence[Reference], negative: Sequence[str]
    ) -> Conditioning:
        """A whole request, under the patches of this CLIP. The last two are kept, so that another seed, size or
        guidance encodes nothing, nor loads anything."""
        key = (clip.patcher.patches_uuid, tuple(texts), tuple(negative), digest(references))
        if key not in self.kept:
            ids = self.tokens.tokenize_with_weights
            clip.load_model()
            self._encode_with(clip.patcher.patches_uuid)
            made = self.encoder.encode([ids(text) for text in texts], references, [ids(text) for text in negative])
            self.kept[key] = made.to(comfy.model_management.intermediate_device())
            while len(self.kept) > 2:
                self.kept.pop(next(iter(self.kept)))
        return self.kept[key]

    def load(self, clip: comfy.sd.CLIP, with_generation: bool) -> Answerer:
        """What writes text, with the weights loaded that it needs: for a coupled model's drawing context
        (`with_generation`) those of the generation side too, without its LoRAs.

        Raises:
            InputError: the MODEL of a coupled model is gone.
        """
        if with_generation and self.encoder.coupled:
            comfy.model_management.load_models_gpu([clip.patcher, self.coupling.patcher()])
        else:
            clip.load_model()
        self._encode_with(clip.patcher.patches_uuid)
        return self.answers

    def _encode_with(self, weights: object) -> None:
        """Drop the prefixes that other weights made."""
        if weights != self.encoded_with:
            self.encoder.forget()
            self.answers.forget()
            self.encoded_with = weights

    def forget(self) -> None:
        """Drop what is kept between requests."""
        self.kept.clear()
        self.latents.kept.clear()
        self.encoder.forget()
        self.answers.forget()

    def encode_token_weights(self, tokens: list[int]) -> tuple[Tensor, None]:
        """One text segment as a conditioning's tensor; there is no pooled output."""
        return to_tensor(self.encoder.encode([tokens]).full), None


def load_clip(
    checkpoint: Checkpoint, config: ModelConfig, tokenizer: Tokenizer, dtype: torch.dtype, coupled: bool
) -> comfy.sd.CLIP:
    """The CLIP of a checkpoint."""
    clip = comfy.sd.CLIP(no_init=True)
    clip.cond_stage_model = UnderstandingModel(checkpoint, config, tokenizer, dtype, coupled)
    clip.tokenizer = clip.cond_stage_model.tokens
    patcher = comfy.model_patcher.ModelPatcher(
        clip.cond_stage_model,
        load_device=comfy.model_management.text_encoder_device(),
        offload_device=comfy.model_management.text_encoder_offload_device(),
    )
    clip.patcher = reads_loras(patcher, UNDERSTANDING)
    clip.patcher.hook_mode = comfy.hooks.EnumHookMode.MinVram
    clip.patcher.is_clip = True
    clip.patcher.add_callback_with_key(comfy.patcher_extension.CallbacksMP.ON_LOAD, "lightfusion", _load_small_parts)
    clip.layer_idx = None
    clip.use_clip_schedule = False
    clip.apply_hooks_to_conds = None
    clip.tokenizer_options = {}
    return clip


def _load_small_parts(patcher: comfy.model_patcher.ModelPatcher, device: torch.device, *details: Any) -> None:
    """Bring norms and rotary tables along: transformers' own modules use them where they lie, and the host
    leaves them behind when it loads a model in part."""
    for module in patcher.model.modules():
        if not hasattr(module, "comfy_cast_weights") and next(module.children(), None) is None:
            module.to(device)
