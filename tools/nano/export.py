"""Put the trained parts together as the model that ships: bf16, in the authors' key names, with its card.

python -m tools.nano.export lightfusion_core/nano --scores runs/nano/scores.json
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from .model import RUNS, TOKENIZER, VAE_EXPORT, nano_config, read_vae_config
from .train_generation import CHECKPOINT as GENERATION
from .train_vlm import load_tower

TASKS = ("generate", "edit", "answer")
_CARD = """# nano

A LightFusion of {millions:.0f} million parameters for trying the pack, for its example workflows and its tests. It
draws, edits and describes pictures of one to four coloured shapes (circle, square, triangle, star, heart, cross) on
plain, striped or gradient backgrounds, at 128 pixels, on a CPU in seconds. It knows nothing else of the world.

It has the large model's code path and checkpoint layout, and weights of its own: nothing in it comes from
LightFusion's, Qwen's or Wan's weights. It was trained from nothing on pictures that code draws, stage by stage, as the
paper trains the large model; `tools/nano/README.md` in the repository has the recipe, its time and its ablations.

## Scores

Of `lightfusion bench shapes`, on requests and wordings that training never saw:

| what | score |
|---|---|
{scores}

## Limits

- English in the wordings of its world, up to four things, six shapes, eight colours.
- Best at 128x128; other sizes up to 256 are drawn, but it was not trained on them.
- A small thing's outline may be soft, and a crowded picture may lose or merge one.
"""


def authors_name(name: str) -> str:
    """The key of one of the engine's parameters in the authors' checkpoint layout."""
    if name.startswith("mm_attn_layers."):
        return f"vision_language_model.model.language_model.{name}"
    if name.startswith(("model.", "lm_head.")):
        return f"vision_language_model.{name}"
    return name if name.startswith("vgen_model_") else f"vgen_model.{name}"


def export(
    folder: Path,
    tasks: tuple[str, ...] = TASKS,
    vae_folder: Path = VAE_EXPORT,
    scores: Mapping[str, Mapping[str, float | None]] | None = None,
) -> int:
    """Write a model folder; the bytes of all its files. `scores` as `lightfusion bench shapes --json` has them."""
    folder.mkdir(parents=True, exist_ok=True)
    understanding = load_tower().state_dict()
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
    count = sum(tensor.numel() for part in (tensors, vae) for tensor in part.values())
    (folder / "README.md").write_text(_CARD.format(millions=count / 1e6, scores=_table(scores or {})))
    return sum(file.stat().st_size for file in folder.iterdir())


def _table(scores: Mapping[str, Mapping[str, float | None]]) -> str:
    found = [(name, value) for part in scores.values() for name, value in part.items() if value is not None]
    return "\n".join(f"| {name.replace('_', ' ')} | {value:.3f} |" for name, value in found) or "| not measured | |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=RUNS / "model")
    parser.add_argument("--vae", type=Path, default=VAE_EXPORT, help="the VAE's export (default: %(default)s)")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--scores", type=Path, help="JSON that `lightfusion bench shapes` wrote, for the card")
    options = parser.parse_args()
    scores = json.loads(options.scores.read_text()) if options.scores else None
    size = export(options.folder, tuple(options.tasks), options.vae, scores)
    print(f"wrote {options.folder}, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
