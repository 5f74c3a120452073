"""From what ships to the training's checkpoints and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from lightfusion_core.pipeline import NANO
from tools.nano import train_generation, train_vlm
from tools.nano.export import export
from tools.nano.flow import new_generation
from tools.nano.model import RUNS, nano_config, read_vae_config
from tools.nano.training import Training, optimizers_of
from tools.nano.unpack import unpack


@pytest.fixture
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose runs/nano has the parts of the nano that ships."""
    monkeypatch.chdir(tmp_path)
    unpack()
    return tmp_path / RUNS


def test_what_ships_comes_back(unpacked: Path) -> None:
    """Bit by bit: no tensor is lost, renamed or rounded again."""
    tasks = json.loads((NANO / "config.json").read_text())["tasks"]
    export(unpacked / "again", tuple(tasks))
    for file in ("model.safetensors", "vae.safetensors"):
        shipped, again = load_file(NANO / file), load_file(unpacked / "again" / file)
        assert shipped.keys() == again.keys()
        assert all(torch.equal(shipped[name], again[name]) for name in shipped)
    for file in ("config.json", "tokenizer.json"):
        assert json.loads((NANO / file).read_text()) == json.loads((unpacked / "again" / file).read_text())


SIDES: dict[str, tuple[ModuleType, Callable[[], nn.Module], str]] = {
    "understanding": (
        train_vlm,
        lambda: train_vlm.Learner(0),
        "tower.model.language_model.layers.0.mlp.up_proj.weight",
    ),
    "generation": (train_generation, lambda: new_generation(nano_config(read_vae_config())), "blocks.0.ffn.0.weight"),
}
"""Of each side the stage, an untrained module, and a weight that ships."""


@pytest.mark.parametrize("side", SIDES)
def test_training_begins_with_its_weights(side: str, unpacked: Path) -> None:
    """At step 0, with optimisers that have seen nothing."""
    stage, new, weight = SIDES[side]
    module, mean = new(), new()
    untrained = module.get_parameter(weight).clone()
    optimizers = optimizers_of(module, 0.001, stage.INNER)
    training = Training(stage.CHECKPOINT, module, mean, optimizers, rate=0.001, plan=10, seed=0)
    assert training.step == 0
    assert not torch.equal(untrained, module.get_parameter(weight))
    assert all(torch.equal(*pair) for pair in zip(module.parameters(), mean.parameters(), strict=True))
    assert all(not optimizer.state for optimizer in optimizers)
