"""Our objects beside the host's own of the same kind, in the host's own process."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import comfy.conds
import comfy.model_base
import comfy.model_patcher
import comfy.ops
import comfy.samplers
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
import comfy.supported_models_base
import torch
from harness import load, pack

sys.path.append(str(Path(__file__).resolve().parents[1]))
from contract.demands import demands
from contract.kinds import EXCUSED, KINDS
from contract.sources import read_library

_TINY_CLIP = {
    "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1, "vocab_size": 49408,
    "max_position_embeddings": 77, "hidden_act": "quick_gelu", "pad_token_id": 1, "eos_token_id": 49407,
}  # fmt: skip
_TINY_WAN = {"dim": 8, "ffn_dim": 8, "num_heads": 1, "num_layers": 1, "in_dim": 48, "out_dim": 48, "freq_dim": 8,
    "text_dim": 8, "image_model": "wan2.1", "model_type": "t2v"}  # fmt: skip
_OF_WAN = {"model.image_to_video", "latent format.latents_mean", "latent format.latents_std"}
"""What the host's video model has for itself."""


def _ours() -> dict[str, Any]:
    """Our object of every kind, as Load LightFusion and the sampling nodes make it."""
    model, clip, vae = load()
    guiding, net = pack("nodes.native.guiding"), model.model.diffusion_model
    guidance = pack("lightfusion_core.sampling.guidance").Guidance()
    return {
        "VAE": vae, "autoencoder": vae.first_stage_model, "CLIP": clip, "text encoder": clip.cond_stage_model,
        "tokenizer": clip.tokenizer, "model": model.model, "network": net, "patcher": model,
        "latent format": model.model.latent_format, "model config": model.model.model_config,
        "guider": guiding.DualGuider(model, guidance), "sampler": guiding.ExactSolver("unipc"),
        "condition": pack("nodes.native.conditioning").BranchCond(None),
        "scaled layers": pack("nodes.native.scaled").ScaledOperations,
        "scaled layer": pack("nodes.native.scaled").ScaledOperations.Linear(8, 8),
    }  # fmt: skip


def _theirs() -> dict[str, Any]:
    """The host's own, made by itself without weights."""
    settings = comfy.supported_models.WAN22_T2V(_TINY_WAN)
    settings.set_inference_dtype(torch.float32, None)
    model = settings.get_model({}, device="meta")
    cpu = torch.device("cpu")
    patcher = comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)
    target = comfy.supported_models_base.ClipTarget(comfy.sd1_clip.SD1Tokenizer, comfy.sd1_clip.SD1ClipModel)
    target.params = {"clip_model": comfy.sd1_clip.SDClipModel, "textmodel_json_config": _TINY_CLIP}
    return {
        "VAE": comfy.sd.VAE(sd={}), "CLIP": comfy.sd.CLIP(target), "model": model, "patcher": patcher,
        "latent format": model.latent_format, "model config": settings,
        "guider": comfy.samplers.CFGGuider(patcher), "sampler": comfy.samplers.Sampler(),
        "condition": comfy.conds.CONDConstant(None), "scaled layers": comfy.ops.manual_cast,
        "scaled layer": comfy.ops.manual_cast.Linear(8, 8),
    }  # fmt: skip


def _has(thing: Any, name: str) -> bool:
    return name in dir(thing)  # not hasattr: the host's model configs answer to every name


def check_what_the_hosts_objects_have_ours_have_too() -> list[str]:
    """Attributes of an instance, so those that a newer host sets as it makes one."""
    ours, looked, missing = _ours(), [], []
    for kind, theirs in _theirs().items():
        names = {name for name in vars(theirs) if f"{kind}.{name}" not in _OF_WAN}
        looked.append(f"{kind}: {len(names)}")
        missing += [f"{kind}.{name}" for name in sorted(names) if not _has(ours[kind], name)]
    assert not missing, missing
    return looked


def check_a_cloned_clip_has_all_of_it() -> list[str]:
    """LoRA loaders clone it into a plain one, and it must be whole then too."""
    _, clip, _ = load()
    names = sorted(vars(clip.clone()))
    assert names == sorted(vars(clip)), (names, sorted(vars(clip)))
    return names


def check_what_the_host_asks_of_objects_ours_answer() -> list[str]:
    """Every name that the running host's sources read of such an object, and every form in which they call it."""
    ours = _ours()
    filled = {kind.name for kind in KINDS if kind.filled}
    parents = {kind.name: _own_methods(type(ours[kind.name]), kind.parent) for kind in KINDS}
    asked = demands(read_library([Path(comfy.sd.__file__).parents[1]]), parents)
    assert len(asked) > 100, len(asked)
    unmet = []
    for demand in asked:
        thing = ours[demand.kind]
        if demand.key in EXCUSED or (demand.kind in filled and _is_filled(demand.name)):
            continue
        if not _has(thing, demand.name):
            unmet.append(f"{demand.key} ({demand.where})")
            continue
        name = "forward" if demand.name == "__call__" else demand.name
        for call in demand.calls:
            reason = call.fits(inspect.signature(getattr(thing, name)))
            if reason and f"{demand.key}{call}" not in EXCUSED:
                unmet.append(f"{demand.key}{call}: {reason} ({demand.where})")
    assert not unmet, unmet
    return [f"{len(asked)} demands"]


def check_the_prompt_worker_can_keep_them() -> str:
    """It looks at everything that a node returns for the models behind it."""
    tracker = getattr(comfy.model_patcher, "PromptModelTracker", None)
    if tracker is None:
        return "this host keeps no such list"
    kept = tracker()
    kept.start()
    kept.add(load())
    assert all(comfy.model_patcher.is_model_patcher_output(thing) for thing in load())
    kept.end()
    return "kept"


def _own_methods(kind: type, parent: str | None) -> set[str]:
    """The methods that our classes put in the place of their parent's."""
    ours = (
        each for each in kind.__mro__ if parent is not None and not each.__module__.startswith(("comfy.", "torch."))
    )
    return {name for each in ours for name, value in vars(each).items() if inspect.isfunction(value)}


def _is_filled(name: str) -> bool:
    """Whether one of our three patchers has more there than nothing."""
    model, clip, vae = load()
    return any(getattr(each, name, None) is not None for each in (model, clip.patcher, vae.patcher))
