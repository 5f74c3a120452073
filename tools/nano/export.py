"""Put the trained parts together as the model that ships: bf16, in the authors' key names, with its card.

python -m tools.nano.export lightfusion_core/nano --scores runs/nano/seed_1.json
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

from lightfusion_core.checkpoints.keys import authors_name
from lightfusion_core.config_json import config_to_json

from .model import RUNS, TOKENIZER, VAE_EXPORT, nano_config, read_vae_config
from .train_generation import CHECKPOINT as GENERATION
from .train_vlm import load_tower

TASKS = ("generate", "edit", "answer", "converse")
Scores = Mapping[str, Mapping[str, float | None]]
"""The figures of one run, as `lightfusion bench shapes --json` writes them."""
_CARD = Path(__file__).with_name("card.md")
"""The model card, with places for the model's size and scores."""


def export(
    folder: Path,
    tasks: tuple[str, ...] = TASKS,
    vae_folder: Path = VAE_EXPORT,
    scores: Mapping[str, Scores] | None = None,
) -> int:
    """Write a model folder; the bytes of all its files. `scores`: a column's name to one run's figures."""
    folder.mkdir(parents=True, exist_ok=True)
    understanding = load_tower().state_dict()
    generation = torch.load(GENERATION, weights_only=True, map_location="cpu")["mean"]
    tensors = {
        authors_name(name): tensor.to(torch.bfloat16).contiguous()
        for name, tensor in (understanding | generation).items()
        if "rotary" not in name
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    vae = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(vae_folder / "vae.safetensors").items()}
    save_file(vae, folder / "vae.safetensors", metadata={"format": "pt"})
    shutil.copyfile(TOKENIZER, folder / "tokenizer.json")
    (folder / "config.json").write_text(config_to_json(replace(nano_config(read_vae_config(vae_folder)), tasks=tasks)))
    count = sum(tensor.numel() for part in (tensors, vae) for tensor in part.values())
    size = sum(file.stat().st_size for file in folder.iterdir() if file.name != "README.md")
    card = _CARD.read_text().format(millions=count / 1e6, megabytes=size / 1e6, scores=_table(scores or {}))
    (folder / "README.md").write_text(card)
    return size + len(card.encode())


def _table(scores: Mapping[str, Scores]) -> str:
    if not scores:
        return "Not measured."
    first = next(iter(scores.values()))
    lines = [" | ".join(["| what", *scores]) + " |", "|---|" + "---|" * len(scores)]
    for part, figures in first.items():
        for name in figures:
            values = (run[part][name] for run in scores.values())
            cells = ("" if value is None else f"{value:.3f}" for value in values)
            lines.append(" | ".join([f"| {name.replace('_', ' ')}", *cells]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=RUNS / "model")
    parser.add_argument("--vae", type=Path, default=VAE_EXPORT, help="the VAE's export (default: %(default)s)")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument(
        "--scores", type=Path, nargs="+", default=[], metavar="FILE",
        help="what `lightfusion bench shapes --json` wrote, for the card: a column each, named as the file",
    )  # fmt: skip
    options = parser.parse_args()
    scores = {file.stem.replace("_", " "): json.loads(file.read_text()) for file in options.scores}
    size = export(options.folder, tuple(options.tasks), options.vae, scores)
    print(f"wrote {options.folder}, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
