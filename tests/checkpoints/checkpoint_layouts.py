"""The goldens' tiny model rewritten into every layout that a file may have, and what tells two models apart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lightfusion_core import Guidance, LightFusion, Reference

DATA = Path(__file__).parents[1] / "golden" / "data"
FP8_MAX = 448.0

Tensors = dict[str, Tensor]


def golden() -> Tensors:
    """The tiny model under the authors' present names."""
    return load_file(DATA / "model.safetensors")


def golden_vae() -> Tensors:
    """The tiny VAE under Wan's original names."""
    return load_file(DATA / "vae.safetensors")


def config() -> dict:
    return json.loads((DATA / "config.json").read_text())


def write(folder: Path, files: Mapping[str, Tensors], metadata: Mapping[str, str] | None = None) -> Path:
    """A model folder with the tiny model's config.json and these files."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(DATA / "config.json", folder / "config.json")
    for name, tensors in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        # contiguous clones: the library refuses tensors that share memory
        save_file({k: v.contiguous().clone() for k, v in tensors.items()}, folder / name, dict(metadata or {}))
    return folder


def renamed(tensors: Tensors, rename: Callable[[str], str]) -> Tensors:
    return {rename(name): tensor for name, tensor in tensors.items()}


def understanding(tensors: Tensors) -> Tensors:
    """The VLM's tensors under transformers' present names."""
    start = "vision_language_model."
    return {n[len(start) :]: t for n, t in tensors.items() if n.startswith(start) and "mm_attn_layers" not in n}


def generation(tensors: Tensors) -> Tensors:
    """The rest, under Wan's original names with nothing in front."""
    found = {}
    for name, tensor in tensors.items():
        if "mm_attn_layers" in name:
            found[name[name.index("mm_attn_layers") :]] = tensor
        elif name.startswith("vgen_model"):
            found[name.removeprefix("vgen_model.")] = tensor
    return found


def older_fusion(name: str) -> str:
    if "mm_attn_layers" not in name:
        return name
    return name.replace("mm_attn_layers", "cross_attn_layers").replace(".mm_attn.", ".cross_attn.")


def older_transformers(name: str) -> str:
    """`visual.*`, `model.layers.*`, as the hub's files and ComfyUI's have it."""
    return name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")


def diffusers_wan(name: str) -> str:
    """A name of Wan's own to diffusers' (LightFusion's additions keep theirs)."""
    if name.startswith(("mm_attn", "vgen")):
        return name
    for old, new in (
        ("self_attn.", "attn1."),
        ("cross_attn.", "attn2."),
        ("norm3.", "norm2."),
        ("ffn.0.", "ffn.net.0.proj."),
        ("ffn.2.", "ffn.net.2."),
        ("head.modulation", "scale_shift_table"),
        (".modulation", ".scale_shift_table"),
        ("head.head.", "proj_out."),
        ("time_embedding.0.", "condition_embedder.time_embedder.linear_1."),
        ("time_embedding.2.", "condition_embedder.time_embedder.linear_2."),
        ("time_projection.1.", "condition_embedder.time_proj."),
        ("text_embedding.0.", "condition_embedder.text_embedder.linear_1."),
        ("text_embedding.2.", "condition_embedder.text_embedder.linear_2."),
    ):
        name = name.replace(old, new)
    if ".attn" in name:
        for letter in "qkv":
            name = name.replace(f".{letter}.", f".to_{letter}.")
        name = name.replace(".o.", ".to_out.0.")
    return name


def with_conv3d(tensors: Tensors) -> Tensors:
    """`patch_embedding` as the convolution that Wan's own files have: (out, channels, 1, 2, 2)."""
    linear = tensors["patch_embedding.weight"]
    return tensors | {"patch_embedding.weight": linear.unflatten(1, (1, 2, 2, 48)).permute(0, 4, 1, 2, 3)}


def linear_weights(tensors: Tensors) -> list[str]:
    """What a converter to fp8 takes: the matrices of linear layers, not embeddings and not the output."""
    spared = ("embed_tokens", "lm_head", "vgen_model_cross_att_context")
    return [n for n, t in tensors.items() if n.endswith(".weight") and t.ndim == 2 and not any(s in n for s in spared)]


def quantised(tensors: Tensors, scale_name: str) -> tuple[Tensors, Tensors]:
    """The model in scaled fp8 with its scales under `scale_name`, and the same numbers as float32."""
    stored, meant = dict(tensors), dict(tensors)
    for name in linear_weights(tensors):
        scale = tensors[name].abs().max().clamp(min=1e-12) / FP8_MAX
        stored[name] = (tensors[name] / scale).to(torch.float8_e4m3fn)
        stored[f"{name.removesuffix('.weight')}.{scale_name}"] = scale
        meant[name] = stored[name].float() * scale
    return stored, meant


def aligned(model: LightFusion) -> LightFusion:
    """The model with its weights moved out of the file: matrix kernels sum in an order that depends on the
    byte where a matrix starts (1e-6), so equal weights in two files need not give equal bits."""
    for module in (model.understanding, model.generation, model.vae):
        for parameter in module.parameters() if module is not None else ():
            parameter.data = parameter.data.clone()
    return model


def velocity(model: LightFusion) -> Tensor:
    """What the network answers to one request with a text, a reference and noise: it reads every weight
    but `lm_head` and the VAE's."""
    model = aligned(model)
    draw = torch.Generator().manual_seed(1)
    reference = Reference(torch.randn(3, 84, 112, generator=draw), torch.randn(1, 48, 1, 6, 8, generator=draw))
    conditioning = model.encode([500, 7, 300, 12, 501], [reference], negative_prompt=[500, 501], max_extent=4)
    guided = model.guided(conditioning, 96, 64, Guidance(text=3.0, image=2.0))
    return guided(torch.randn(1, 48, 1, 4, 6, generator=draw), 600)


def picture(model: LightFusion) -> Tensor:
    """What the VAE makes of one latent, and its latent of that."""
    decoded = aligned(model).decode(torch.randn(1, 48, 1, 4, 6, generator=torch.Generator().manual_seed(2)))
    return torch.cat([decoded.flatten(), model.vae.encode(decoded.permute(0, 3, 1, 2) * 2 - 1).flatten()])
