"""The pack under ComfyUI's dynamic VRAM, which newer hosts turn on for NVIDIA cards.

No card is needed for its first half: where it is on, the host's layers start without weights. (Bringing them to a
device piece by piece, its second half, the host does on a card alone.)
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
import torch
from harness import ksample, load_again, node, pack, raised
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

try:
    from comfy import memory_management
except ImportError:  # older hosts
    memory_management = None

OWN = "from the model"
DTYPES = ("default", "bfloat16", "float32", "fp8_e4m3fn")


@contextmanager
def dynamic_vram() -> Iterator[bool]:
    """Load as with dynamic VRAM on; yields False where this host knows none. One version has it on Windows alone."""
    if not hasattr(memory_management, "aimdo_enabled"):
        yield False
        return
    before = (memory_management.aimdo_enabled, comfy.model_management.WINDOWS)
    memory_management.aimdo_enabled = comfy.model_management.WINDOWS = True
    try:
        yield True
    finally:
        memory_management.aimdo_enabled, comfy.model_management.WINDOWS = before


def check_dynamic_vram_loads_what_draws_the_same() -> dict[str, Any]:
    """Every weight dtype of both kinds of model; a strict comparison with the host's layers found all weights
    unexpected, since they had none yet."""
    found: dict[str, Any] = {}
    for name in ("tiny/", "coupled/"):
        for dtype in DTYPES:
            plain = _parts(name, dtype)
            with dynamic_vram() as known:
                parts = _parts(name, dtype)
            found["known"] = known
            for part in (parts[0].model.diffusion_model, parts[1].cond_stage_model, parts[2].first_stage_model):
                empty = [path for path, layer in part.named_modules() if isinstance(layer, nn.Linear | nn.Embedding)
                         and (layer.weight is None or layer.weight.is_meta)]  # fmt: skip
                assert not empty, f"{name} {dtype}: {len(empty)} layers have no weight, first {empty[0]}"
            assert torch.equal(_drawn(parts), _drawn(plain)), f"{name} {dtype}: another picture"
    return found


def check_dynamic_vram_stays_strict() -> dict[str, str]:
    """The host's own way of loading leaves what is missing at zero."""
    (root,) = folder_paths.get_folder_paths("lightfusion")[:1]
    folder, said = Path(folder_paths.get_temp_directory()) / "incomplete", {}
    folder.mkdir(parents=True, exist_ok=True)
    for file in Path(root, "tiny").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    whole = load_file(folder / "model.safetensors")
    name = next(name for name in whole if name.endswith("blocks.0.self_attn.q.weight"))
    changes = {
        "missing": {key: value for key, value in whole.items() if key != name},
        "unexpected": {**whole, name.replace("self_attn.q", "self_attn.extra"): whole[name].clone()},
        "of another shape": {**whole, name: whole[name][:-1].clone()},
    }
    files, models = pack("lightfusion_core.checkpoints.model"), pack("nodes.native.model")
    for wanted, tensors in changes.items():
        save_file(tensors, folder / "model.safetensors")
        checkpoint = files.open_model(folder)
        load = functools.partial(models.load_model, checkpoint, files.read_config(checkpoint), None)
        with dynamic_vram():
            said[wanted] = raised(load)
        assert wanted in said[wanted], said
    return said


def check_loaded_again_draws_the_same() -> dict[str, Any]:
    """Newer hosts make a copy that is not dynamic for TorchCompileModel, hooks and training, and one for each further
    card: through what the loader names on each patcher, on weights that no patch has touched."""
    for name in ("tiny/", "coupled/"):
        parts = load_again(name)
        wanted = ksample(parts[0], name=name)
        fresh = []
        for patcher in (parts[0], parts[1].patcher, parts[2].patcher):
            make, arguments = patcher.cached_patcher_init
            fresh.append(make(*arguments, disable_dynamic=True))
            assert type(fresh[-1].model) is type(patcher.model)
            assert fresh[-1].model is not patcher.model
            mine, theirs = fresh[-1].model.state_dict(), patcher.model.state_dict()
            assert mine.keys() == theirs.keys()
            assert all(torch.equal(mine[key], theirs[key]) for key in mine)
        if "model_override" in type(parts[0]).clone.__code__.co_varnames:
            override = (fresh[0].model, ({}, {}, {}, set()))
            clone = parts[0].clone(model_override=override)
            assert torch.equal(ksample(clone, name=name), wanted), name
    return {}


def _parts(name: str, dtype: str) -> tuple[Any, Any, Any]:
    return node("LightFusionLoad", model=name, understanding=OWN, vae=OWN, weight_dtype=dtype)


def _drawn(parts: tuple[Any, Any, Any]) -> Tensor:
    """A decoded picture by these three parts alone."""
    model, clip, vae = parts
    positive, negative = (node("CLIPTextEncode", clip=clip, text=text)[0] for text in ("a red circle", ""))
    samples = ksample(model, steps=2, positive=positive, negative=negative)
    return node("VAEDecode", samples={"samples": samples}, vae=vae)[0]
