"""Put the parts of the nano that ships where the stages of the training look for theirs, so that a stage can be run
anew, or gone on with, on a machine that has trained nothing.

    python -m tools.nano.unpack
    python -m tools.nano.train_generation
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from lightfusion_core.checkpoints.loader import load_generation, load_understanding
from lightfusion_core.checkpoints.reader import Checkpoint
from lightfusion_core.config_json import config_from_file
from lightfusion_core.generation.tower import GenerationTower
from lightfusion_core.pipeline import NANO

from .model import TOKENIZER, VAE_EXPORT
from .train_generation import CHECKPOINT as GENERATION
from .train_vlm import CHECKPOINT as UNDERSTANDING
from .train_vlm import Learner
from .training import begin


def unpack(folder: Path = NANO, generation: bool = True) -> None:
    """Write checkpoints of weights alone: a training that finds one begins with them, at step 0. The readouts of the
    understanding side's training do not ship and begin anew."""
    VAE_EXPORT.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "tokenizer.json", TOKENIZER)
    section = json.loads((folder / "config.json").read_text())["vae_config"]
    (VAE_EXPORT / "vae_config.json").write_text(json.dumps(section, indent=1))
    vae = {name: tensor.float() for name, tensor in load_file(folder / "vae.safetensors").items()}
    save_file(vae, VAE_EXPORT / "vae.safetensors")
    checkpoint, config = Checkpoint.open(folder), config_from_file(folder / "config.json")
    cpu = torch.device("cpu")
    learner = Learner(0)
    learner.tower.load_state_dict(load_understanding(checkpoint, config, torch.float32, cpu).state_dict())
    begin(UNDERSTANDING, learner.state_dict())
    if generation:
        tower: GenerationTower = load_generation(checkpoint, config, torch.float32, cpu)
        begin(GENERATION, tower.state_dict())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--without-generation", action="store_true", help="train the generation side from nothing")
    generation = not parser.parse_args().without_generation
    unpack(generation=generation)
    print("wrote", *(TOKENIZER, VAE_EXPORT, UNDERSTANDING), *([GENERATION] if generation else []))


if __name__ == "__main__":
    main()
