"""Put the trained parts together as the model that ships: bf16, in the authors' key names.

python -m tools.nano.export lightfusion_core/nano
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from .model import RUNS, TOKENIZER, VAE_EXPORT, nano_config, read_vae_config
from .train_generation import CHECKPOINT as GENERATION
from .train_vlm import CHECKPOINT as VLM


def authors_name(name: str) -> str:
    """The key of one of the engine's parameters in the authors' checkpoint layout."""
    if name.startswith("mm_attn_layers."):
        return f"vision_language_model.model.language_model.{name}"
    if name.startswith(("model.", "lm_head.")):
        return f"vision_language_model.{name}"
    return name if name.startswith("vgen_model_") else f"vgen_model.{name}"


def export(folder: Path, tasks: tuple[str, ...], vae_folder: Path = VAE_EXPORT) -> int:
    """Write a model folder with the VAE of `vae_folder`; the bytes of all its files."""
    folder.mkdir(parents=True, exist_ok=True)
    understanding = torch.load(VLM, weights_only=True)["tower"]
    generation = torch.load(GENERATION, weights_only=True)["mean"]
    tensors = {
        authors_name(name): tensor.to(torch.bfloat16).contiguous()
        for name, tensor in (understanding | generation).items()
        if "rotary" not in name
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    vae = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(vae_folder / "vae.safetensors").items()}
    save_file(vae, folder / "vae.safetensors", metadata={"format": "pt"})
    shutil.copyfile(TOKENIZER, folder / "tokenizer.json")
    (folder / "config.json").write_text(replace(nano_config(read_vae_config(vae_folder)), tasks=tasks).to_json())
    return sum(file.stat().st_size for file in folder.iterdir())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=RUNS / "model")
    parser.add_argument("--vae", type=Path, default=VAE_EXPORT, help="the VAE's export (default: %(default)s)")
    parser.add_argument("--tasks", nargs="+", default=["generate"])
    options = parser.parse_args()
    size = export(options.folder, tuple(options.tasks), options.vae)
    print(f"wrote {options.folder}, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
