"""LoRA files of every layout, through ComfyUI's own LoRA nodes.

For each name that the host gives a model's weights it asks its kinds of adapters whether a file has it, and hands what
they answer to the model's patcher. It knows Wan's original names alone. So a kind of ours answers once more, at a name
that no other model has, with the whole file; our patcher reads it by `lora_names`, adds what the host did not find,
brings the patch embedding's columns into order, and says what does not fit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import comfy.lora
import comfy.weight_adapter
import torch
from comfy.patcher_extension import CallbacksMP
from torch import Tensor

from ...lightfusion_core.checkpoints.lora_changes import ChangeError, changed_shape, channel_last, has_conv_columns
from ...lightfusion_core.checkpoints.lora_names import change, is_authors, is_diffusers, split
from ...lightfusion_core.errors import InputError
from .telling import take_back, tell

PATCH_EMBEDDING = "patch_embedding.weight"
_PLAIN = ("diff", "set_weight")
_BESIDE = {"alpha", "dora_scale", "rescale", "reshape_weight"}
"""Kinds that change nothing by themselves."""
_AWAY = {
    "understanding": "a layer of the understanding side, wire its CLIP through Load LoRA too",
    "generation": "a layer of the generation side, wire its MODEL through Load LoRA too",
}
_REMEDY = "Take a LoRA for LightFusion, for Wan2.2-TI2V-5B, or for the Qwen2.5-VL of this size."


@dataclass(frozen=True)
class Side:
    """One of the two towers, as the host's loaders see it.

    part: its name in `lora_names`.
    prefix: what the host's model has before the tower's own names.
    asked: names of parameters that no other model has. At them the host is given the whole file; at more than one,
        since a file may change one of them in a way that takes our answer's place.
    known_to_host: the host's own table of names for a model.
    """

    part: str
    prefix: str
    asked: tuple[str, ...]
    known_to_host: Callable[[Any], dict[str, str]]


GENERATION = Side(
    "generation",
    "diffusion_model.",
    ("diffusion_model.vgen_model_cross_att_context", "diffusion_model.mm_attn_layers.0.mm_attn.q_gen_proj.bias"),
    lambda model: comfy.lora.model_lora_keys_unet(model, {}),
)
UNDERSTANDING = Side(
    "understanding",
    "tower.",
    ("text_encoders.tower.model.visual.patch_embed.proj", "text_encoders.tower.model.visual.merger.ln_q"),
    lambda model: comfy.lora.model_lora_keys_clip(model, {}),
)


class LoraFile:
    """A whole LoRA file on its way through the host's loader to our patcher."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors
        self.changes: dict[str, dict[str, dict[str, Tensor]]] = {GENERATION.part: {}, UNDERSTANDING.part: {}}
        self.keys: dict[tuple[str, str], str] = {}
        self.loaded_keys: set[str] = set()
        self.twice: tuple[str, str] | None = None
        foreign: dict[str, str] = {}
        for key, tensor in tensors.items():
            found = change(key)
            if found is None:
                foreign.setdefault(split(key)[0], key)
                continue
            kinds = self.changes[found.part].setdefault(found.parameter, {})
            first = self.keys.setdefault((found.part, found.parameter), key)
            if found.kind in kinds:
                self.twice = (first, key)
            one_column = found.kind == "dora_scale" and tensor.ndim == 1  # as PEFT saves it
            kinds[found.kind] = tensor[:, None] if one_column else tensor
            self.loaded_keys.add(key)
        self.foreign = list(foreign.values())

    def has_conv_columns(self, channels: int) -> bool:
        """Whether this file's patch embedding is a Conv3d's. Raises InputError where nothing tells."""
        shapes_say = has_conv_columns(self.changes[GENERATION.part][PATCH_EMBEDDING], channels)
        if shapes_say is not None:
            return shapes_say
        key = self.keys[GENERATION.part, PATCH_EMBEDDING]
        if any(map(is_authors, self.tensors)):
            return False
        if any(map(is_diffusers, self.tensors)):
            return True
        raise InputError(
            f"This LoRA's {key} is flat, and nothing in the file tells the order of its columns: Wan has the channel "
            "first there, LightFusion has it last. Take the layer out of the file; or, if it was trained on "
            "LightFusion, name it vgen_model.patch_embedding."
        )


class _WholeFile(comfy.weight_adapter.WeightAdapterBase):
    """Our entry in the host's list of kinds of adapters, which it asks in turn for each name of a weight."""

    name = "lightfusion"
    asked = frozenset(GENERATION.asked + UNDERSTANDING.asked)

    @classmethod
    def load(cls, x: str, lora: dict[str, Tensor], *options: Any, **named: Any) -> LoraFile | None:
        """The whole file at a name that only LightFusion has; None at any other."""
        return LoraFile(lora) if x in cls.asked else None


comfy.weight_adapter.adapters.append(_WholeFile)


def reads_loras(patcher: Any, side: Side) -> Any:
    """The patcher with the LoRA reading of one side, which its clones keep."""
    if not isinstance(patcher, _ReadsLoras):
        patcher.__class__ = _reading(type(patcher), side)
        patcher.callbacks.setdefault(CallbacksMP.ON_LOAD, {})["lightfusion_lora"] = [_patch_the_rest]
    return patcher


def _patch_the_rest(patcher: Any, device: torch.device, *details: Any) -> None:
    """Patch what the host leaves out as it loads: parameters beside layers (modulation, the learned context), and
    layers that are not of its own classes where it loads only a part."""
    dynamic = getattr(patcher, "is_dynamic", bool)()
    for key in patcher.patches:
        owner = patcher.model.get_submodule(key.rpartition(".")[0])
        # A dynamic patcher backs up such a layer's weights unpatched, and restores them before it loads again
        if not hasattr(owner, "comfy_cast_weights") and (dynamic or key not in patcher.backup):
            patcher.patch_weight_to_device(key, device_to=device)


@functools.cache
def _reading(kind: type, side: Side) -> type:
    """A patcher class of the host's with our reading of LoRAs: the host has more than one, and chooses at its start."""
    return type(f"LightFusion{kind.__name__}", (_ReadsLoras, kind), {"side": side})


class _ReadsLoras:
    """What our patchers do with patches that come from a LoRA file."""

    side: Side

    def clone(self, *args: Any, **options: Any) -> Any:
        """A clone that reads LoRAs too: the host makes some of a class of its own."""
        return reads_loras(super().clone(*args, **options), self.side)

    def add_patches(self, patches: dict[Any, Any], strength_patch: float = 1.0, strength_model: float = 1.0) -> Any:
        """As the host's, with every layout of a LoRA file.

        Raises:
            InputError: nothing in the file fits, or a layer cannot be read without a guess.
        """
        added = set(_files(patches))
        for read in _read(self, patches, elsewhere=False):
            added.update(super().add_patches(read, strength_patch, strength_model))
        return list(added)

    def add_hook_patches(
        self, hook: Any, patches: dict[Any, Any], strength_patch: float = 1.0, strength_model: float = 1.0
    ) -> Any:
        """As `add_patches`, for a LoRA that only some conditions bring along."""
        other = hook.strength_clip if self.side is GENERATION else hook.strength_model
        added = set(_files(patches))
        for read in _read(self, patches, elsewhere=other != 0):
            added.update(super().add_hook_patches(hook, read, strength_patch, strength_model))
        return list(added)


def _read(patcher: Any, patches: dict[Any, Any], elsewhere: bool) -> list[dict[Any, Any]]:
    """Patches as the host's loader gave them, with a whole file among them read; to be added one after the other.
    `elsewhere`: the file goes to the other side too, by another way."""
    side: Side = patcher.side
    files = _files(patches)
    own = [file for key, file in files.items() if key.startswith(side.prefix)]
    if not own:
        return [patches]
    both = len(own) < len(files)
    reading = _Reading(own[0], side, patcher.model)
    reading.report(elsewhere or both, says_foreign=side is GENERATION or not both)
    return reading.patches({key: patch for key, patch in patches.items() if key not in files})


def _files(patches: Mapping[Any, Any]) -> dict[str, LoraFile]:
    """The host's answers that are whole files, by the weights that they stand at."""
    return {key: file for key, file in patches.items() if isinstance(file, LoraFile)}


class _Reading:
    """One file on one model: what fits, and what does not with its reason."""

    def __init__(self, file: LoraFile, side: Side, model: Any) -> None:
        if file.twice:
            raise InputError(
                f"This LoRA has two names for one weight, {file.twice[0]} and {file.twice[1]}: keep one of them."
            )
        self.file, self.side, self.model = file, side, model
        self.shapes = {
            key.removeprefix(side.prefix): tensor.shape
            for key, tensor in model.state_dict().items()
            if key.startswith(side.prefix)
        }
        self.reordered = False
        self.fitting: dict[str, dict[str, Tensor]] = {}
        self.misfits: list[str] = []
        for parameter, kinds in file.changes[side.part].items():
            try:
                self.fitting[parameter] = self._fitted(parameter, kinds)
            except _MisfitError as misfit:
                self.misfits.append(f"{file.keys[side.part, parameter]}: {misfit}")

    def _fitted(self, parameter: str, kinds: dict[str, Tensor]) -> dict[str, Tensor]:
        """A change as this model takes it."""
        if parameter not in self.shapes:
            raise _MisfitError(f"this model has no {parameter}")
        if kinds.keys() <= _BESIDE:
            raise _MisfitError("the file has nothing to change it by")
        shape = tuple(self.shapes[parameter])
        try:
            if parameter == PATCH_EMBEDDING:
                kinds = self._in_order(kinds)
            changed = changed_shape(kinds)
        except ChangeError as error:
            raise _MisfitError(str(error)) from None
        if changed is not None and len(changed) < len(shape):
            shape = (shape[0], prod(shape[1:]))  # a convolution's columns as one number
        if changed not in (None, shape):
            raise _MisfitError(f"it changes {_times(changed)} numbers, where this model has {_times(shape)}")
        return kinds

    def _in_order(self, kinds: dict[str, Tensor]) -> dict[str, Tensor]:
        channels = self.model.diffusion_model.config.dit.in_dim
        self.reordered = self.file.has_conv_columns(channels)
        return channel_last(kinds, channels) if self.reordered else kinds

    def report(self, elsewhere: bool, says_foreign: bool) -> None:
        """Say on the running node what does not act.

        Args:
            elsewhere: the file goes to the other side too, which tells of its own layers.
            says_foreign: whether to tell of layers that no side knows.

        Raises:
            InputError: nothing acts.
        """
        if says_foreign:  # the first or only one to speak of this file
            take_back()
        (other,) = [part for part in self.file.changes if part != self.side.part]
        away = [] if elsewhere else [self.file.keys[other, parameter] for parameter in self.file.changes[other]]
        missed = [
            *self.misfits,
            *(f"{key}: {_AWAY[other]}" for key in away),
            *(f"{key}: LightFusion knows no layer of this name" for key in self.file.foreign if says_foreign),
        ]
        total = len(self.fitting) + len(missed)
        if not self.fitting and not (elsewhere and self.file.changes[other]):
            first = f" ({missed[0]})" if missed else ""
            raise InputError(f"This LoRA changes nothing here: 0 of its {total} layers fit{first}. {_REMEDY}")
        if missed:
            tell(f"Of this LoRA's {total} layers {len(self.fitting)} act and {len(missed)} do not ({missed[0]}).")

    def patches(self, given: dict[Any, Any]) -> list[dict[Any, Any]]:
        """What to add, in the place of what the host found (`given`).

        Raises:
            InputError: something else adds the patch embedding in the file's own order.
        """
        prefix, changes = self.side.prefix, self.file.changes[self.side.part]
        # Bypass mode, and packs that choose layers, take away what the host found and use it their own way
        taken = self._found_by_host() - set(given)
        if self.reordered and prefix + PATCH_EMBEDDING in taken:
            raise InputError(
                f"This LoRA's {self.file.keys[self.side.part, PATCH_EMBEDDING]} is a Conv3d's, whose columns must be "
                "reordered for this model; in bypass mode they cannot be: take Load LoRA without bypass."
            )
        others = {key: patch for key, patch in given.items() if not _names(key, prefix, changes)}
        ours = [self._made(lambda kind: kind not in _PLAIN), self._made(lambda kind: kind in _PLAIN)]
        return [others, *({key: patch for key, patch in made.items() if key not in taken} for made in ours)]

    def _made(self, wanted: Callable[[str], bool]) -> dict[str, Any]:
        """The host's patches of the changes that fit. Differences come apart from what multiplies: the host would
        keep one of the two where a layer has both."""
        tensors = {
            f"{parameter}.{kind}": tensor
            for parameter, kinds in self.fitting.items()
            for kind, tensor in kinds.items()
            if wanted(kind)
        }
        return comfy.lora.load_lora(tensors, {name: self.side.prefix + name for name in self.fitting}, False)

    def _found_by_host(self) -> set[str]:
        found = comfy.lora.load_lora(dict(self.file.tensors), self.side.known_to_host(self.model), False)
        return {key for key, patch in found.items() if not isinstance(patch, LoraFile)}


class _MisfitError(Exception):
    """Why one change of a file does not fit."""


def _names(key: Any, prefix: str, changes: Mapping[str, Any]) -> bool:
    return isinstance(key, str) and key.startswith(prefix) and key.removeprefix(prefix) in changes


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
