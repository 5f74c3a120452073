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
from ...lightfusion_core.conditioning import Branch, Conditioning
from ...lightfusion_core.config import ModelConfig
from ...lightfusion_core.errors import InputError
from ...lightfusion_core.generation.context import ContextBuilder
from ...lightfusion_core.understanding.answer import Answerer
from ...lightfusion_core.understanding.encoder import Encoder, digest
from ...lightfusion_core.understanding.tokenizer import Tokenizer
from ...lightfusion_core.understanding.tower import UnderstandingTower
from ...lightfusion_core.understanding.vision import Reference
from .conditioning import to_tensor
from .dtypes import Form, understanding_form
from .latents import ReferenceLatents
from .lora import UNDERSTANDING, reads_loras
from .scaled import ScaledOperations
from .telling import tell
from .tokens import PromptTokens, TextTokens
from .writing import ChosenByHost, list_ids


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
        self, checkpoint: Checkpoint, config: ModelConfig, tokenizer: Tokenizer, form: Form, coupled: bool
    ) -> None:
        super().__init__()
        self.config, self.dtypes = config, {form.dtype}
        offload_device = comfy.model_management.text_encoder_offload_device()
        self.tower = load_understanding(
            checkpoint, config, form.dtype, offload_device, ScaledOperations, fp8=form.fp8, as_stored=form.as_stored
        )
        self.encoder = Encoder(self.tower, config, (tokenizer.sov, tokenizer.eov), coupled)
        self.coupling = Coupling(self.tower)
        self.answers = Answerer(self.encoder, tokenizer, self.coupling.builder, tell)
        self.tokens = TextTokens(tokenizer, config)
        self.latents = ReferenceLatents(config.vae)
        self.kept: dict[Any, Conditioning] = {}
        self.completed: dict[Any, Branch] = {}
        self.encoded_with: object = None
        self.patchers: list[weakref.ref[comfy.model_patcher.ModelPatcher]] = []

    def set_clip_options(self, options: dict[str, Any]) -> None:
        """What a CLIP wishes of the encoding that comes. Raises InputError for a CLIP skip."""
        check_layer(options.get("layer"))

    def reset_clip_options(self) -> None:
        """Nothing is kept of `set_clip_options`."""

    def loaded_by(self, patcher: comfy.model_patcher.ModelPatcher | None) -> None:
        """Know whose weights, with which patches, are loaded; weakly, since the patcher owns this model. Where a clone
        is gone, the host takes what it loaded for its parent's."""
        self.patchers = []
        while patcher is not None:
            self.patchers.append(weakref.ref(patcher))
            patcher = patcher.parent

    @property
    def patcher(self) -> comfy.model_patcher.ModelPatcher | None:
        """Whose weights are loaded; None before any are."""
        return next((patcher for known in self.patchers if (patcher := known()) is not None), None)

    def encode(
        self,
        clip: comfy.sd.CLIP,
        texts: Sequence[Sequence[int]],
        references: Sequence[Reference],
        negative: Sequence[Sequence[int]],
    ) -> Conditioning:
        """A whole request, by the ids of its text segments, under the patches of this CLIP. The last two are kept, so
        that another seed, size or guidance encodes nothing, nor loads anything."""
        key = (clip.patcher.patches_uuid, tuple(map(tuple, texts)), tuple(map(tuple, negative)), digest(references))
        if key not in self.kept:
            clip.load_model()
            self._encode_with(clip.patcher)
            made = self.encoder.encode(texts, references, negative)
            _keep(self.kept, key, made.to(comfy.model_management.intermediate_device()), 2)
        return self.kept[key]

    def complete(self, patcher: comfy.model_patcher.ModelPatcher, tokens: PromptTokens) -> Branch:
        """A branch anew, with the references that came to it after it was encoded, under a CLIP's patches. The last
        are kept, so that another seed encodes nothing."""
        key = (patcher.patches_uuid, tuple(map(tuple, tokens.texts)), digest(tokens.references))
        if key not in self.completed or patcher.forced_hooks is not None:
            comfy.model_management.load_models_gpu([patcher])
            self._encode_with(patcher)
            _keep(self.completed, key, self._branch(tokens), 4)
        return self.completed[key]

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
        self._encode_with(clip.patcher)
        return self.answers

    def _encode_with(self, patcher: comfy.model_patcher.ModelPatcher | None) -> None:
        """Drop the prefixes that other weights made. Hooks change weights without a name for their state."""
        weights = None if patcher is None or patcher.forced_hooks is not None else patcher.patches_uuid
        if weights is None or weights != self.encoded_with:
            self.encoder.forget()
            self.answers.forget()
            self.encoded_with = weights

    def forget(self) -> None:
        """Drop what is kept between requests."""
        self.kept.clear()
        self.completed.clear()
        self.latents.kept.clear()
        self.encoder.forget()
        self.answers.forget()

    def encode_token_weights(self, tokens: PromptTokens) -> tuple[Tensor, None]:
        """One branch as a conditioning's tensor; there is no pooled output."""
        patcher = self.patcher
        self._encode_with(patcher)
        return to_tensor(self._branch(tokens), tokens, patcher), None

    def generate(self, tokens: PromptTokens, max_length: int = 256, **choice: Any) -> list[int]:
        """The ids of an answer, or of a text gone on with, as core's own text node has it written.

        Args:
            choice: how each token is chosen; see `ChosenByHost`.
        """
        self._encode_with(self.patcher)
        start = self.answers.chat if tokens.template else self.answers.go_on
        return list_ids(self.answers, *start(tokens.prompt, tokens.references), ChosenByHost(max_length, **choice))

    def _branch(self, tokens: PromptTokens) -> Branch:
        (branch,) = self.encoder.branches([(tokens.references, tokens.texts)])
        assert branch is not None  # what was asked for is there
        return branch


def check_layer(layer: int | None) -> None:
    """Raises InputError for a CLIP that is to stop before its last layer."""
    if layer not in (None, -1):
        raise InputError(
            "CLIPSetLastLayer has no meaning for LightFusion, which reads every layer of its text encoder: remove "
            "that node."
        )


def _keep(kept: dict[Any, Any], key: Any, value: Any, most: int) -> None:
    """Put in a value, and drop the oldest beyond `most`."""
    kept.pop(key, None)
    kept[key] = value
    while len(kept) > most:
        kept.pop(next(iter(kept)))


def load_clip(checkpoint: Checkpoint, config: ModelConfig, tokenizer: Tokenizer, coupled: bool) -> comfy.sd.CLIP:
    """The CLIP of a checkpoint, held as `understanding_form` says, whose errors it raises."""
    form = understanding_form(checkpoint)
    clip = comfy.sd.CLIP(no_init=True)
    clip.cond_stage_model = UnderstandingModel(checkpoint, config, tokenizer, form, coupled)
    clip.tokenizer = clip.cond_stage_model.tokens
    patcher = comfy.model_patcher.ModelPatcher(
        clip.cond_stage_model,
        load_device=comfy.model_management.text_encoder_device(),
        offload_device=comfy.model_management.text_encoder_offload_device(),
    )
    clip.patcher = reads_loras(patcher, UNDERSTANDING)
    clip.patcher.hook_mode = comfy.hooks.EnumHookMode.MinVram
    clip.patcher.is_clip = True
    clip.patcher.add_callback_with_key(comfy.patcher_extension.CallbacksMP.ON_LOAD, "lightfusion", _loaded)
    clip.layer_idx = None
    clip.use_clip_schedule = False
    clip.apply_hooks_to_conds = None
    clip.tokenizer_options = {}
    return clip


def _loaded(patcher: comfy.model_patcher.ModelPatcher, device: torch.device, *details: Any) -> None:
    """Note whose weights these are, and bring norms and rotary tables along: transformers' own modules use them where
    they lie, and the host leaves them behind when it loads a model in part."""
    patcher.model.loaded_by(patcher)
    for module in patcher.model.modules():
        if not hasattr(module, "comfy_cast_weights") and next(module.children(), None) is None:
            module.to(device)
