"""From files to modules: built without allocation, then given the mapped weights (no second copy).

Loading is strict: every tensor that a module has must be there in its shape, and nothing else may be. A scaled fp8
weight stays as it is stored where the module's layer has a method `hold_scale`, and is multiplied out elsewhere;
such layers may also be given fp8 made here of other weights.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..errors import CheckpointError
from ..generation.layers import Attention, Layers, TorchLayers, attention
from ..generation.scaled import FP8, Fp8ProductLayers, ScaledLayers
from ..generation.tower import GenerationTower, keeps_float32
from ..generation.vae import ImageVAE
from ..understanding.tower import UnderstandingTower
from .checks import not_finite, require_fit
from .keys import UNUSED_IN_FROZEN
from .known import known, remember
from .quantise import quantise, scale_for, takes_fp8
from .reader import Checkpoint
from .values import first_not_finite, is_finite

_Module = TypeVar("_Module", bound=nn.Module)
_Tower = TypeVar("_Tower", bound=GenerationTower)
EMBEDDINGS = "model.language_model.embed_tokens.weight"


def is_coupled(checkpoint: Checkpoint) -> bool:
    """Whether fusion writes into the understanding stream: any `o_und_proj` that is not zero (rule B10)."""
    names = [name for name in checkpoint.names("generation") if name.endswith("mm_attn.o_und_proj.weight")]
    files = {checkpoint.entries["generation", name].file for name in names}
    coupled = known(files, "coupled")
    if coupled is None:
        coupled = any(bool(checkpoint.tensor("generation", name).any()) for name in names)
        remember(files, "coupled", coupled)
    return bool(coupled)


def build_understanding(
    config: ModelConfig, *, with_lm_head: bool = True, layers: Layers | None = None
) -> UnderstandingTower:
    """The understanding tower without weights."""
    with torch.device("meta"):
        return UnderstandingTower(config, layers=layers, with_lm_head=with_lm_head)


def build_generation(
    config: ModelConfig,
    *,
    coupled: bool,
    dtype: torch.dtype,
    layers: Layers = TorchLayers,
    attention: Attention = attention,
    kind: type[_Tower] = GenerationTower,  # type: ignore[assignment]  # no defaults for type variables
) -> _Tower:
    """The generation tower without weights, as `kind` of it."""
    with torch.device("meta"):
        return kind(config, coupled=coupled, dtype=dtype, layers=layers, attention=attention)


def load_understanding(
    checkpoint: Checkpoint,
    config: ModelConfig,
    dtype: torch.dtype,
    device: torch.device,
    layers: Layers | None = None,
    *,
    fp8: bool = False,
    as_stored: bool = False,
) -> UnderstandingTower:
    """The understanding tower of a checkpoint.

    Args:
        dtype: what it computes in.
        fp8: hold the language model's matrices in scaled fp8, which `layers` must have a `hold_scale` for.
        as_stored: hold matrices in the file's own dtype, from which `layers` must cast them at use.

    Raises:
        CheckpointError: see `fill`.
    """
    build = partial(build_understanding, config, with_lm_head="lm_head.weight" in checkpoint.names("understanding"))
    dtype_of = partial(understanding_dtype, dtype=dtype, fp8=fp8, as_stored=as_stored)
    tower = fill(build(layers=layers), checkpoint, "understanding", device, dtype_of, like=build())
    tower.restore_tables()
    return tower


def load_generation(
    checkpoint: Checkpoint,
    config: ModelConfig,
    dtype: torch.dtype,
    device: torch.device,
    layers: Layers = TorchLayers,
    attention: Attention = attention,
    kind: type[_Tower] = GenerationTower,  # type: ignore[assignment]  # no defaults for type variables
    *,
    fp8: bool = False,
    as_stored: bool = False,
) -> _Tower:
    """The generation tower of a checkpoint, frozen or coupled as its weights say.

    Args:
        dtype: what it computes in.
        fp8: hold the blocks' matrices in scaled fp8, which `layers` must have a `hold_scale` for.
        as_stored: hold them in the file's own dtype, from which `layers` must cast them at use.

    Raises:
        CheckpointError: see `fill`.
    """
    coupled = is_coupled(checkpoint)
    tower = build_generation(config, coupled=coupled, dtype=dtype, layers=layers, attention=attention, kind=kind)

    def dtype_of(name: str, stored: torch.dtype) -> torch.dtype:
        return stored if as_stored and not fp8 and takes_fp8("generation", name) else generation_dtype(name, dtype, fp8)

    like: GenerationTower = build_generation(config, coupled=coupled, dtype=dtype)
    return fill(tower, checkpoint, "generation", device, dtype_of, () if coupled else UNUSED_IN_FROZEN, like=like)


def layers_as_stored(checkpoint: Checkpoint, part: str, casting: bool = False) -> Layers:
    """What holds a tower's weights as the file has them: scaled fp8 is not widened.

    Args:
        casting: nor is anything else cast before it is used.
    """
    if checkpoint.is_scaled(part) and part == "generation":
        return Fp8ProductLayers  # a VLM's activations have outliers that an fp8 product would lose the rest to
    return ScaledLayers if casting or checkpoint.is_scaled(part) else TorchLayers


def understanding_dtype(
    name: str, stored: torch.dtype, dtype: torch.dtype, fp8: bool = False, as_stored: bool = False
) -> torch.dtype:
    """What a weight of the understanding tower is held in, where it computes in `dtype`. Of the embeddings a prompt
    reads a few rows: they stay as they are stored, unless that is in more than they are computed with."""
    if fp8 and takes_fp8("understanding", name):
        return FP8
    if as_stored and (takes_fp8("understanding", name) or name in (EMBEDDINGS, "lm_head.weight")):
        return stored
    if name == EMBEDDINGS and stored.itemsize in range(2, dtype.itemsize + 1):
        return stored
    return dtype


def generation_dtype(name: str, dtype: torch.dtype, fp8: bool = False) -> torch.dtype:
    """What a weight of the generation tower is held in, where it computes in `dtype`, or in scaled fp8 besides."""
    if keeps_float32(name):
        return torch.float32
    return FP8 if fp8 and takes_fp8("generation", name) else dtype


def build_vae(config: ModelConfig) -> ImageVAE:
    """The VAE without weights."""
    with torch.device("meta"):
        return ImageVAE(config.vae)


def load_vae(checkpoint: Checkpoint, config: ModelConfig, dtype: torch.dtype, device: torch.device) -> ImageVAE:
    """The VAE of a checkpoint. Raises CheckpointError."""
    vae = build_vae(config)
    fill(vae.model, checkpoint, "vae", device, lambda name, stored: dtype)
    return vae.eval().requires_grad_(False)


def fill(
    module: _Module,
    checkpoint: Checkpoint,
    part: str,
    device: torch.device,
    dtype_of: Callable[[str, torch.dtype], torch.dtype],
    ignored: tuple[str, ...] = (),
    like: nn.Module | None = None,
) -> _Module:
    """Give a module built without weights the checkpoint's, strictly.

    Args:
        dtype_of: what a tensor is held in, by its name and what it is stored in.
        like: the same module of torch's own layers, where a host's may have no weights before they are loaded.

    Raises:
        CheckpointError: tensors missing, unexpected, of another shape, stored in a form that is not known,
            or with NaN or infinity in them.
    """
    like = like or module
    require_fit(checkpoint, part, like, ignored)
    scaled = {f"{name}.weight": layer for name, layer in module.named_modules() if hasattr(layer, "hold_scale")}
    state, held = {}, {}
    for name in like.state_dict():
        tensor, scale = checkpoint.stored(part, name)
        wanted = held[name] = dtype_of(name, tensor.dtype)
        if scale is not None and tensor.dtype.itemsize == 1 and name in scaled:
            scaled[name].hold_scale(scale.to(device))
            state[name] = tensor.to(device)
        else:
            tensor = tensor if scale is None else tensor.float() * scale
            state[name] = _as_fp8(tensor, scaled[name], device) if wanted == FP8 else tensor.to(device, wanted)
        if checkpoint.mapped and state[name].data_ptr() == tensor.data_ptr():
            file = checkpoint.entries[part, name].file
            checkpoint.backing[file] = checkpoint.files[file]
    _check_values(checkpoint, part, state, held)
    left = module.load_state_dict(state, strict=False, assign=True)  # scales are set already, and are no part of it
    lost = [name for name in (*left.missing_keys, *left.unexpected_keys) if not name.endswith("scale_weight")]
    if lost:
        raise RuntimeError(f"The {part} part's layers did not take their weights (first: {lost[0]}).")
    return module.eval().requires_grad_(False)


def _as_fp8(tensor: Tensor, layer: Any, device: torch.device) -> Tensor:
    """A matrix in fp8 on the device; the layer is given its scale."""
    largest = float(tensor.abs().amax())
    scale = scale_for(largest) if math.isfinite(largest) else 1.0  # what is not finite is refused by the caller
    layer.hold_scale(torch.tensor(scale, device=device))
    return quantise(tensor, scale).to(device)


def _check_values(
    checkpoint: Checkpoint, part: str, state: Mapping[str, Tensor], held: Mapping[str, torch.dtype]
) -> None:
    """Refuse weights with NaN or infinity in them; files that were looked through before are not read for it again.

    Args:
        held: what each tensor was to be held in.
    """
    files = {entry.file for entry in checkpoint.part(part)}
    fact = (
        f"{part} finite as {hashlib.blake2b(repr(sorted(held.items(), key=str)).encode(), digest_size=8).hexdigest()}"
    )
    if known(files, fact):
        return
    name = first_not_finite(state)
    if name is not None:
        entry, (tensor, _) = checkpoint.entries[part, name], checkpoint.stored(part, name)
        if is_finite(tensor):
            raise CheckpointError(f"{entry.file}: {entry.name} holds numbers beyond {held[name]}: load it as bfloat16.")
        raise not_finite(entry)
    remember(files, fact, True)
