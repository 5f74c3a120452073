"""Every layout that people have of the 7B+5B model, as files of holes at full size."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from lightfusion_core.checkpoints.keys import published
from lightfusion_core.checkpoints.loader import build_generation, build_understanding, build_vae
from lightfusion_core.checkpoints.quantise import takes_fp8
from lightfusion_core.config import ModelConfig
from lightfusion_core.config_json import config_to_json

from .sparse import Blank, Blanks, blank, write, write_shards

CONFIG = ModelConfig()
_SCALE = Blank((), "F32")


@dataclass(frozen=True)
class Layout:
    """One row of the table: what it is called, what makes its files, and what it is opened with.

    make: writes into a folder and returns the arguments of `LightFusion.load`.
    """

    name: str
    make: Callable[[Path], dict[str, Path]]


def _understanding() -> Blanks:
    return blank(build_understanding(CONFIG).state_dict(), torch.bfloat16)


def _generation() -> Blanks:
    return blank(build_generation(CONFIG, coupled=True, dtype=torch.bfloat16).state_dict(), torch.bfloat16)


def _vae() -> Blanks:
    return blank(build_vae(CONFIG).model.state_dict(), torch.float32)


def _authors(older: bool = False) -> Blanks:
    """Both towers in one, under the authors' names (rule B28)."""
    found = {f"vision_language_model.{name}": tensor for name, tensor in _understanding().items()}
    for name, tensor in _generation().items():
        if name.startswith("mm_attn_layers."):
            if older:
                name = name.replace("mm_attn_layers", "cross_attn_layers").replace(".mm_attn.", ".cross_attn.")
            found[f"vision_language_model.model.language_model.{name}"] = tensor
        else:
            found[name if name.startswith("vgen_model") else f"vgen_model.{name}"] = tensor
    return found


def _in(dtype: str, tensors: Blanks) -> Blanks:
    return {name: Blank(tensor.shape, dtype) for name, tensor in tensors.items()}


def _vae_of_wan() -> Blanks:
    depth = CONFIG.vae.num_res_blocks
    return {published("vae", name, depth): tensor for name, tensor in _vae().items()}


def _qwen(older: bool = True) -> Blanks:
    depth = CONFIG.vae.num_res_blocks
    return {published("understanding", name, depth) if older else name: t for name, t in _understanding().items()}


def _qwen_fp8() -> Blanks:
    """ComfyUI's `qwen_2.5_vl_7b_fp8_scaled`: every linear weight of both halves in fp8, a scale beside each."""
    found: Blanks = {"scaled_fp8": Blank((0,), "F8_E4M3")}
    for name, tensor in _qwen().items():
        spared = len(tensor.shape) != 2 or re.search(r"embed_tokens|lm_head|norm", name)
        found[name] = tensor if spared else Blank(tensor.shape, "F8_E4M3")
        if not spared:
            found[f"{name.removesuffix('.weight')}.scale_weight"] = _SCALE
    return found


def _converted(fp8: bool) -> dict[str, Blanks]:
    """What `lightfusion convert` writes, with a scale beside each weight in fp8."""
    generation = {
        name: tensor
        for name, tensor in _generation().items()
        if not name.endswith(("q_und_proj.weight", "q_und_proj.bias", "o_und_proj.weight"))
    }
    files = {
        "generation.safetensors": ("generation", generation),
        "understanding.safetensors": ("understanding", _qwen()),
    }
    made = {"vae.safetensors": _in("BF16", _vae_of_wan())}
    engine_names = dict(zip(_qwen(), _understanding(), strict=True))
    for file, (part, tensors) in files.items():
        found: Blanks = {"scaled_fp8": Blank((0,), "F8_E4M3")} if fp8 else {}
        for name, tensor in tensors.items():
            own = engine_names.get(name, name) if part == "understanding" else name
            quantised = fp8 and takes_fp8(part, own)
            found[name] = Blank(tensor.shape, "F8_E4M3") if quantised else tensor
            if quantised:
                found[f"{name.removesuffix('.weight')}.scale_weight"] = _SCALE
        made[file] = found
    return made


def _with_config(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config_to_json(CONFIG), encoding="utf-8")
    return folder


def _one_file(tensors: Callable[[], Blanks]) -> Callable[[Path], dict[str, Path]]:
    def make(folder: Path) -> dict[str, Path]:
        folder.mkdir(parents=True)
        write(folder / "vae.safetensors", _vae_of_wan())
        return {"model": write(folder / "model.safetensors", tensors()), "vae": folder / "vae.safetensors"}

    return make


def _shards(folder: Path) -> dict[str, Path]:
    folder.mkdir(parents=True)
    return {"model": write_shards(folder, _authors()), "vae": write(folder / "vae.safetensors", _vae_of_wan())}


def _parts(qwen: Callable[[], Blanks], vae: Callable[[], Blanks]) -> Callable[[Path], dict[str, Path]]:
    """Our generation side with an understanding side and a VAE from elsewhere."""

    def make(folder: Path) -> dict[str, Path]:
        _with_config(folder)
        write(folder / "generation.safetensors", _converted(False)["generation.safetensors"])
        others = folder.with_name(f"{folder.name} elsewhere")
        others.mkdir()
        return {
            "model": folder,
            "understanding": write(others / "qwen.safetensors", qwen()),
            "vae": write(others / "vae.safetensors", vae()),
        }

    return make


def _folder(fp8: bool) -> Callable[[Path], dict[str, Path]]:
    def make(folder: Path) -> dict[str, Path]:
        for file, tensors in _converted(fp8).items():
            scales = {name: torch.ones(()) for name, tensor in tensors.items() if tensor is _SCALE}
            write(_with_config(folder) / file, tensors, scales)
        return {"model": folder}

    return make


LAYOUTS = (
    Layout("authors' checkpoint, one file, bf16", _one_file(_authors)),
    Layout("authors' checkpoint, one file, older names", _one_file(lambda: _authors(older=True))),
    Layout("authors' checkpoint, one file, float32", _one_file(lambda: _in("F32", _authors()))),
    Layout("authors' checkpoint, shards, bf16", _shards),
    Layout("stock Qwen2.5-VL-7B, Wan's VAE", _parts(_qwen, _vae_of_wan)),
    Layout("Qwen2.5-VL-7B of newer transformers, diffusers' VAE", _parts(lambda: _qwen(older=False), _vae)),
    Layout(
        "ComfyUI's scaled fp8 Qwen2.5-VL-7B, ComfyUI's VAE",
        _parts(_qwen_fp8, lambda: {f"first_stage_model.{name}": tensor for name, tensor in _vae_of_wan().items()}),
    ),
    Layout("converted, bf16", _folder(False)),
    Layout("converted, fp8", _folder(True)),
)
