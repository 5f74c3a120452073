"""From what ships to the training's checkpoints and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lightfusion_core.pipeline import NANO
from tools.nano.export import export
from tools.nano.flow import new_generation
from tools.nano.model import RUNS, nano_config, read_vae_config
from tools.nano.train_generation import CHECKPOINT, INNER
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


def test_training_begins_with_its_weights(unpacked: Path) -> None:
    """At step 0, with optimisers that have seen nothing."""
    config = nano_config(read_vae_config())
    tower, mean = new_generation(config), new_generation(config)
    untrained = tower.blocks[0].ffn[0].weight.clone()
    optimizers = optimizers_of(tower, 0.001, INNER)
    training = Training(CHECKPOINT, tower, mean, optimizers, rate=0.001, plan=10, seed=0)
    assert training.step == 0
    assert not torch.equal(untrained, tower.blocks[0].ffn[0].weight)
    assert all(torch.equal(*pair) for pair in zip(tower.parameters(), mean.parameters(), strict=True))
    assert all(not optimizer.state for optimizer in optimizers)
