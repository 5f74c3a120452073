"""A LoRA of `lightfusion train` in a graph: the stock loader, and a judge of what is drawn."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from driving import run
from graphs import SAMPLER, SAVE, node, own_text_to_image
from host import Client

from lightfusion_core.cli import main

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from lessons import is_moon, write_moons

pytestmark = [pytest.mark.comfy, pytest.mark.slow]

for _package in ("accelerate", "peft"):
    pytest.importorskip(_package, reason=f"a training takes {_package}")
PICTURES = 20


@pytest.fixture(scope="session")
def moon_lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What nano learns of ten pictures of green moons."""
    folder = tmp_path_factory.mktemp("moons")
    write_moons(folder / "data")
    settings = ["--steps", "400", "--batch", "10", "--rate", "1e-3", "--rank", "8", "--ema", "0.98"]
    more = ["--sample-every", "0", "--quiet", "--device", "cpu"]
    assert main(["train", str(folder / "data"), "-o", str(folder / "run"), *settings, *more]) == 0
    return folder / "run" / "lora.safetensors"


def test_the_stock_loader_draws_what_was_taught(client: Client, model_folders: Path, moon_lora: Path) -> None:
    """And the model without it does not. (How many of a hundred are right is told by `tests/training` without a host;
    that both draw the same, by `in_host/check_trained_lora.py`.)"""
    shutil.copyfile(moon_lora, model_folders / "loras" / "moon.safetensors")
    graph = own_text_to_image("nano (built in)", "a green moon", seed=300, steps=20, width=0, height=0)
    graph["encode"]["inputs"]["batch_size"] = PICTURES

    def moons() -> int:
        pictures = run(client, graph).outputs[SAVE]["images"]
        assert len(pictures) == PICTURES
        return sum(is_moon(np.asarray(client.view(picture).convert("RGB"))) for picture in pictures)

    assert moons() == 0
    graph["lora"] = node("LoraLoaderModelOnly", model=["load", 0], lora_name="moon.safetensors", strength_model=1.0)
    graph[SAMPLER]["inputs"]["model"] = ["lora", 0]
    found = moons()
    print(f"{found} of {PICTURES} moons")
    assert found >= 0.75 * PICTURES
