"""What a person sees of a LoRA that does not act, on the node that loads it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from graphs import LORA, text_to_image
from host import Client
from safetensors.torch import load_file, save_file

pytestmark = pytest.mark.comfy


def _graph(lora: str) -> dict[str, object]:
    graph = text_to_image(lora=1.0, steps=1)
    graph["lora"]["inputs"]["lora_name"] = lora
    return graph


def test_lora_of_another_model_is_an_error_on_its_node(client: Client, model_folders: Path) -> None:
    """It drew the plain picture, and only the log knew."""
    save_file({"double_blocks.0.img_attn.qkv.diff": torch.ones(4, 4)}, model_folders / "loras" / "flux.safetensors")
    failure = client.run(_graph("flux.safetensors")).failure
    assert failure is not None and failure.node == "lora"
    assert "0 of its 1 layers" in failure.message
    assert "double_blocks.0.img_attn.qkv.diff" in failure.message


def test_lora_that_acts_in_part_shows_it_on_its_node(client: Client, model_folders: Path) -> None:
    """A warning that is in the log alone reaches nobody in a browser."""
    tensors = load_file(model_folders / "loras" / LORA)
    tensors |= {"diffusion_model.blocks.0.cross_attn.k_img.lora_down.weight": torch.ones(4, 96)}
    save_file(tensors, model_folders / "loras" / "partly.safetensors")
    result = client.run(_graph("partly.safetensors"))
    assert result.status == "success", str(result.failure)
    (text,) = result.texts("lora")
    assert "k_img" in text and "1 do not" in text
    whole = client.run(_graph(LORA))
    assert whole.texts("lora") == [""], "the editor still shows what was said of another file"
    assert client.run(_graph(LORA)).texts("lora") == []
