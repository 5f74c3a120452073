"""The host's torch.compile of a MODEL, turned from the whole network to its blocks.

TorchCompileModel compiles a network as one. LightFusion's reads a run's context, whose objects and lengths are new
with every prompt, so that it would be traced and compiled again for each. Its blocks see tensors of the picture's size
alone: all of them share one graph, which stays for all prompts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import comfy.model_patcher
import comfy.utils
import torch
from comfy.model_base import BaseModel
from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers import torch_compile as host

from .hooks import patched_inside
from .telling import tell

NETWORK = "diffusion_model"
_SIDES = ("gen_queries_keys_values", "add_to_gen")
"""What a fusion layer does before and after its attention."""
_RECORDING = ("cudagraphs", "reduce-overhead", "max-autotune")
"""Backends and modes that record on the GPU: a block's result would be written over by the next block's."""

_made: WeakKeyDictionary[BaseModel, dict[str, dict[str, Callable[..., Any]]]] = WeakKeyDictionary()
"""Of each model what was compiled, by the settings: a run that finds it there compiles nothing."""


def compile_blocks(model: BaseModel, model_options: dict[str, Any]) -> dict[str, Any]:
    """Model options under which the blocks are compiled where the whole network was to be; else as they came.

    What patches are called inside of blocks for, such as an attention override, is another function at every step:
    with them the network runs uncompiled, and the node says so.
    """
    options = model_options.get("transformer_options", {})
    found = options.get("wrappers", {}).get(WrappersMP.APPLY_MODEL, {}).get(host.COMPILE_KEY, ())
    settings = model_options.get(host.TORCH_COMPILE_KWARGS, {})
    if {settings.get("backend"), settings.get("mode")}.intersection(_RECORDING):
        return model_options
    if not any(NETWORK in _compiled_by(wrapper) for wrapper in found):
        return model_options
    changed = comfy.model_patcher.create_model_options_clone(model_options)
    wrappers = changed["transformer_options"]["wrappers"][WrappersMP.APPLY_MODEL]
    if patched_inside(options):
        tell("TorchCompileModel: no effect beside nodes that patch attention or blocks, so the model runs uncompiled.")
        del wrappers[host.COMPILE_KEY]
    else:
        wrappers[host.COMPILE_KEY] = [_putting_in(_blocks_compiled(model, settings))]
    return changed


def _compiled_by(wrapper: Callable[..., Any]) -> dict[str, Any]:
    """The parts, by name, that a wrapper of the host's puts in compiled; another node may have chosen blocks itself."""
    return inspect.getclosurevars(wrapper).nonlocals.get("compiled_module_dict", {})


def _blocks_compiled(model: BaseModel, settings: dict[str, Any]) -> dict[str, Callable[..., Any]]:
    made = _made.setdefault(model, {})
    key = repr(settings)
    if key not in made:
        parts = {name: comfy.utils.get_attr(model, name) for name in _parts(model)}
        made[key] = {name: torch.compile(part, **settings) for name, part in parts.items()}
    return made[key]


def _putting_in(compiled: dict[str, Callable[..., Any]]) -> Callable[..., Any]:
    """The host's wrapper that puts compiled parts in for a call. It puts methods back as attributes of their own layer,
    which would hold the layer's memory until a garbage collection: they are taken away again."""
    put_in = host.apply_torch_compile_factory(compiled)

    def wrapper(executor: Any, *args: Any, **more: Any) -> Any:
        try:
            return put_in(executor, *args, **more)
        finally:
            for layer in getattr(executor.class_obj, NETWORK).mm_attn_layers:
                for side in _SIDES:
                    vars(layer).pop(side, None)

    return wrapper


def _parts(model: BaseModel) -> Iterator[str]:
    """What is compiled, each by itself: blocks, and either side of the fusion layers' attention."""
    network = getattr(model, NETWORK)
    for index in range(len(network.blocks)):
        yield f"{NETWORK}.blocks.{index}"
    for index in range(len(network.mm_attn_layers)):
        yield from (f"{NETWORK}.mm_attn_layers.{index}.{side}" for side in _SIDES)
