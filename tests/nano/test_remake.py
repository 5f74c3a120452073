"""The whole recipe in one command: every stage in its turn, stopped and gone on with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lightfusion_core import LightFusion
from tools.comfyui import PACK
from tools.nano.remake import MODEL, SCORES, stages, to_do
from tools.nano.train_generation import CHECKPOINT as GENERATION
from tools.nano.train_vlm import CHECKPOINT as UNDERSTANDING

PLANS = (2, 3, 2)


def left(shipped: bool = False) -> list[str]:
    return [stage.module for stage in to_do(stages(shipped, PLANS, 8, 1))]


def trained(file: Path, steps: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"step": steps}, file)


def test_a_stage_is_over_when_the_next_one_has_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a VAE that trains on would change the latents under a generation side that learned them."""
    monkeypatch.chdir(tmp_path)
    assert left() == ["tokens", "train_vae", "train_vae", "train_vlm", "train_generation", "export", "evaluate"]
    assert left(shipped=True) == ["unpack", "train_vlm", "train_generation", "export", "evaluate"]
    trained(UNDERSTANDING, 1)
    assert left() == ["train_vlm", "train_generation", "export", "evaluate"]
    trained(GENERATION, 1)
    assert left() == ["train_generation", "export", "evaluate"]
    trained(GENERATION, 2)
    assert left() == ["export", "evaluate"]


@pytest.mark.slow
@pytest.mark.parametrize("shipped", [False, True])
def test_a_small_nano_is_made(shipped: bool, tmp_path: Path) -> None:
    """From nothing and from what ships, in a few steps: a folder that loads, and scores of every part."""
    command = [sys.executable, "-m", "tools.nano.remake", "--minutes", "3", "--plans", *map(str, PLANS)]
    command += ["--pictures", "8", "--count", "1", *(["--shipped"] if shipped else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PACK)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=560)
    model = LightFusion.load(tmp_path / MODEL, device="cpu")
    assert "converse" in model.config.tasks
    assert {"text_to_image", "editing", "talk"} <= set(json.loads((tmp_path / SCORES).read_text()))
