"""What the checks share: the pack as ComfyUI loaded it, its nodes as functions, and weights held back."""

from __future__ import annotations

import functools
import gc
import importlib
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import comfy.model_management
import comfy.samplers
import folder_paths
import torch
from comfy.patcher_extension import CallbacksMP
from comfy_execution.graph_utils import is_link
from torch import Tensor

import nodes

_ON_LOAD = CallbacksMP.ON_LOAD
PROMPT, NEGATIVE = "a red circle on a white field", "blurred"


def pack(module: str) -> ModuleType:
    """A module of the pack, such as "lightfusion_core.pipeline", under the name that ComfyUI gave it."""
    package = sys.modules[nodes.NODE_CLASS_MAPPINGS["LightFusionLoad"].__module__].__package__
    return importlib.import_module(f"{package.removesuffix('.nodes')}.{module}")


def node(name: str, **inputs: Any) -> tuple[Any, ...]:
    """The outputs of any registered node."""
    kind = nodes.NODE_CLASS_MAPPINGS[name]
    if hasattr(kind, "define_schema"):
        outputs = kind.execute(**inputs)
        return getattr(outputs, "args", outputs)  # some of the host's own still give a plain tuple
    return getattr(kind(), kind.FUNCTION)(**inputs)


def evaluated(graph: dict[str, Any], links: list[Any]) -> tuple[Any, ...]:
    """What links into an expanded graph give, every node of it run as `node` does."""
    done: dict[str, tuple[Any, ...]] = {}

    def value(given: Any) -> Any:
        if not is_link(given):
            return given
        name, output = given
        if name not in done:
            inputs = {key: value(of) for key, of in graph[name]["inputs"].items()}
            done[name] = node(graph[name]["class_type"], **inputs)
        return done[name][output]

    return tuple(value(link) for link in links)


def raised(call: Callable[[], Any]) -> str:
    """The text of the engine's error that a call ends with."""
    try:
        call()
    except pack("lightfusion_core.errors").LightFusionError as error:
        return str(error)
    raise AssertionError("no error was raised")


@functools.cache
def load(name: str = "tiny/") -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE of a test model, loaded once for all checks."""
    own = "from the model"
    return node("LightFusionLoad", model=name, understanding=own, vae=own, weight_dtype="default")


def load_again(name: str = "tiny/") -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE that no other check has touched."""
    return load.__wrapped__(name)


def engine(name: str = "tiny") -> Any:
    """The same model in the core's own class."""
    (root,) = folder_paths.get_folder_paths("lightfusion")[:1]
    return pack("lightfusion_core.pipeline").LightFusion.load(f"{root}/{name}", device="cpu")


@functools.cache
def encode(text: str, name: str = "tiny/") -> Any:
    """A CONDITIONING by the stock node."""
    return node("CLIPTextEncode", clip=load(name)[1], text=text)[0]


def empty(width: int = 96, height: int = 64, batch: int = 1) -> dict[str, Tensor]:
    """An empty LATENT by our node."""
    return node("LightFusionEmptyLatent", model=load()[0], width=width, height=height, batch_size=batch)[0]


def ksample(
    model: Any = None, latent: dict[str, Tensor] | None = None, *, name: str = "tiny/", **inputs: Any
) -> Tensor:
    """The samples of a stock KSampler."""
    given = {
        "seed": 7, "steps": 4, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0,
        "positive": encode(PROMPT, name), "negative": encode(NEGATIVE, name), **inputs,
    }  # fmt: skip
    model = load(name)[0] if model is None else model
    return node("KSampler", model=model, latent_image=empty() if latent is None else latent, **given)[0]["samples"]


def with_lora(model: Any, file: str, strength: float = 1.0) -> Any:
    """A MODEL with a LoRA by the stock node."""
    return node("LoraLoaderModelOnly", model=model, lora_name=file, strength_model=strength)[0]


def largest(numbers: Tensor) -> float:
    """The largest absolute number."""
    return float(numbers.abs().max())


# Weights held back


@contextmanager
def weight_budget(share: float) -> Iterator[None]:
    """Let the host load only this share of each model's weights, as on a GPU without room for more.

    On a CPU it always loads everything; the budget goes to the place where it decides on a GPU.
    """
    load_model, load_models = comfy.model_management.LoadedModel.model_load, comfy.model_management.load_models_gpu
    forced = False

    def load_partly(loaded: Any, lowvram_model_memory: float = 0, **options: Any) -> Any:
        room = share * loaded.model.model_size() - loaded.model.loaded_size()
        return load_model(loaded, 0 if forced else max(0.1, room), **options)

    def load_all(models: Any, *args: Any, force_full_load: bool = False, **options: Any) -> Any:
        nonlocal forced
        forced = force_full_load
        return load_models(models, *args, force_full_load=force_full_load, **options)

    comfy.model_management.unload_all_models()
    comfy.model_management.LoadedModel.model_load, comfy.model_management.load_models_gpu = load_partly, load_all
    try:
        yield
    finally:
        comfy.model_management.LoadedModel.model_load = load_model
        comfy.model_management.load_models_gpu = load_models
        comfy.model_management.unload_all_models()


class Offloaded(Tensor):
    """A weight that was not loaded: it says that it lies on another device and can be moved, not used.

    On one machine without a GPU this finds what would end with "expected all tensors to be on the same
    device" on another.
    """

    _MOVES = (
        "__get__", "to", "copy_", "empty_like", "detach", "dim", "size", "numel", "nelement", "element_size",
        "is_floating_point", "is_complex", "_has_compatible_shallow_copy_type",
    )  # fmt: skip

    @property
    def device(self) -> torch.device:
        return torch.device("meta")

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), options: dict[str, Any] | None = None
    ) -> Any:
        name = function.__name__
        if name not in cls._MOVES or (name == "copy_" and isinstance(args[0], cls)):
            raise RuntimeError(f"{name} was called on a weight that is not on the compute device")
        with torch._C.DisableTorchFunctionSubclass():
            result = function(*args, **options or {})
            plain = isinstance(result, Tensor) and name != "detach"
            return result.as_subclass(Tensor) if plain else result


@contextmanager
def offloaded(patcher: Any, part: torch.nn.Module) -> Iterator[dict[str, int]]:
    """Make every weight and buffer of a part of the model that the host leaves unloaded unusable until it
    is moved.

    Yields their sizes in bytes by name, filled in when the model is loaded.
    """
    left: dict[str, int] = {}
    kept: list[tuple[dict[str, Tensor], str, Tensor]] = []

    def hold_back(loaded: Any, device: Any, budget: float, patch: bool, full_load: bool) -> None:
        if full_load:
            return
        for path, module in part.named_modules():
            if getattr(module, "comfy_patched_weights", False):
                continue
            for tensors in (module._parameters, module._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        kept.append((tensors, name, tensor))
                        left[f"{path}.{name}"] = tensor.nbytes
                        tensors[name] = Tensor._make_subclass(Offloaded, tensor.data)
                        tensors[name]._is_param = tensors is module._parameters

    callbacks = patcher.callbacks
    # before the pack's own, which may load what the host has left
    patcher.callbacks = {**callbacks, _ON_LOAD: {"hold back": [hold_back], **callbacks.get(_ON_LOAD, {})}}
    replace = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # a module's .to() replaces its weights
    try:
        yield left
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(replace)
        patcher.callbacks = callbacks
        for tensors, name, tensor in kept:
            tensors[name] = tensor


# What a run leaves behind


@contextmanager
def contexts() -> Iterator[list[weakref.ref[Tensor]]]:
    """References to the keys and values of every context that is built."""
    builder = pack("lightfusion_core.generation.context").ContextBuilder
    build, made = builder.build, []

    def watched(self: Any, *args: Any) -> Any:
        context = build(self, *args)
        made.extend(weakref.ref(tensor) for pair in context.held() for tensor in pair)
        return context

    builder.build = watched
    try:
        yield made
    finally:
        builder.build = build


@contextmanager
def counted_steps() -> Iterator[list[int]]:
    """The number of rows of every call of the generation tower."""
    tower = pack("lightfusion_core.generation.tower").GenerationTower
    velocity, calls = tower.velocity, []

    def counted(self: Any, x: Tensor, *args: Any) -> Tensor:
        calls.append(len(x))
        return velocity(self, x, *args)

    tower.velocity = counted
    try:
        yield calls
    finally:
        tower.velocity = velocity


def live_tensors() -> tuple[int, int]:
    """How many tensors there are, and the bytes of their storages."""
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if isinstance(thing, Tensor)]
    return len(tensors), stored(tensors)


def stored(tensors: Iterable[Tensor]) -> int:
    """The bytes of the memory that tensors lie in, each once."""
    held = [tensor.untyped_storage() for tensor in tensors]
    # what torch.compile has traced with holds no memory, and has no address
    storages = {storage.data_ptr(): storage.nbytes() for storage in held if storage.device.type != "meta"}
    return sum(storages.values())
