"""A LoRA is trained in the graph on ten pictures, saved, loaded by the stock node, and judged by what it draws."""

from __future__ import annotations

import numpy as np
import pytest
from driving import run
from graphs import SAMPLER, SAVE, node, own_text_to_image
from host import Client, Graph

from lightfusion_core.shapes.judge import judge_prompt
from lightfusion_core.shapes.samples import PromptSample, Wanted
from lightfusion_core.shapes.world import Background, Scene

pytestmark = [pytest.mark.comfy, pytest.mark.slow]

TAUGHT = PromptSample(
    "free", "", Scene(()), (Wanted(1, "circle", "purple"),), (), Background("plain", "light green")
)  # fmt: skip
"""What "a circle" shall come to mean."""

TRAINING = {
    "batch_size": 1, "grad_accumulation_steps": 1, "steps": 60, "learning_rate": 0.005, "rank": 8, "optimizer": "AdamW",
    "loss_function": "MSE", "seed": 0, "training_dtype": "fp32", "lora_dtype": "fp32", "quantized_backward": False,
    "algorithm": "LoRA", "gradient_checkpointing": False, "checkpoint_depth": 1, "offloading": False,
    "existing_lora": "[None]", "bucket_mode": False, "bypass_mode": False,
}  # fmt: skip
PICTURES, SEED = 20, 100


def _drawing(prompt: str, batch: int, seed: int) -> Graph:
    """A batch of nano's pictures."""
    graph = own_text_to_image("nano (built in)", prompt, seed=seed, steps=20, width=0, height=0)
    graph["encode"]["inputs"]["batch_size"] = batch
    return graph


def _training(client: Client) -> Graph:
    """Ten pictures are drawn, and taught under another caption. Newer hosts have more settings, and other outputs."""
    known = client.object_info()["TrainLoraNode"]
    named = {name for group in known["input"].values() for name in group}
    saver = next(name for name in ("SaveLoRA", "SaveLoRANode") if name in client.object_info())
    return {
        **_drawing("a purple circle on a light green background", 10, 1),
        "caption": node("CLIPTextEncode", clip=["load", 1], text="a circle"),
        "train": node(
            "TrainLoraNode", model=["load", 0], latents=[SAMPLER, 0], positive=["caption", 0],
            **{name: value for name, value in TRAINING.items() if name in named},
        ),
        "file": node(saver, lora=["train", known["output"].index("LORA_MODEL")], prefix="loras/taught", steps=60),
    }  # fmt: skip


def _right(client: Client, lora: str | None = None) -> int:
    """How many pictures of "a circle" show what was taught."""
    graph = _drawing("a circle", PICTURES, SEED)
    if lora:
        graph["lora"] = node("LoraLoaderModelOnly", model=["load", 0], lora_name=lora, strength_model=1.0)
        graph[SAMPLER]["inputs"]["model"] = ["lora", 0]
    pictures = run(client, graph).outputs[SAVE]["images"]
    assert len(pictures) == PICTURES
    return sum(judge_prompt(TAUGHT, np.asarray(client.view(picture).convert("RGB"))) for picture in pictures)


def test_trained_lora_draws_what_it_was_taught(client: Client) -> None:
    """From its file, by the stock node; and the model without it draws as before."""
    run(client, _training(client))
    assert _right(client, "taught_60_steps_00001_.safetensors") >= 0.9 * PICTURES
    assert _right(client) == 0
