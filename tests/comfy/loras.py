"""LoRAs for test models, as files that people download have them."""

from __future__ import annotations

import torch
from torch import Tensor

from lightfusion_core.checkpoints.model import open_model, read_config
from lightfusion_core.config import DiTConfig
from lightfusion_core.pipeline import NANO


def nano_lora() -> dict[str, Tensor]:
    """A LoRA for the model that ships with the pack."""
    return wan_lora(read_config(open_model(NANO)).dit)


def wan_lora(dit: DiTConfig) -> dict[str, Tensor]:
    """A LoRA under the names that published Wan files have: low-rank pairs with alpha for the linear
    layers, differences for biases and norms."""
    draw, tensors = torch.Generator().manual_seed(1), {}

    def change(*shape: int) -> Tensor:
        return 0.2 * torch.randn(shape, generator=draw)

    def linear(name: str, inputs: int, outputs: int) -> None:
        tensors[f"diffusion_model.{name}.lora_down.weight"] = change(4, inputs)
        tensors[f"diffusion_model.{name}.lora_up.weight"] = change(outputs, 4)
        tensors[f"diffusion_model.{name}.alpha"] = torch.tensor(4.0)
        tensors[f"diffusion_model.{name}.diff_b"] = change(outputs)

    for i in range(dit.num_layers):
        for part in ("self_attn", "cross_attn"):
            for name in "qkvo":
                linear(f"blocks.{i}.{part}.{name}", dit.dim, dit.dim)
            for name in "qk":
                tensors[f"diffusion_model.blocks.{i}.{part}.norm_{name}.diff"] = change(dit.dim)
        linear(f"blocks.{i}.ffn.0", dit.dim, dit.ffn_dim)
        linear(f"blocks.{i}.ffn.2", dit.ffn_dim, dit.dim)
        tensors[f"diffusion_model.blocks.{i}.norm3.diff"] = change(dit.dim)
        tensors[f"diffusion_model.blocks.{i}.norm3.diff_b"] = change(dit.dim)
    linear("text_embedding.0", dit.text_dim, dit.dim)
    linear("time_embedding.2", dit.dim, dit.dim)
    linear("time_projection.1", dit.dim, 6 * dit.dim)
    linear("head.head", dit.dim, dit.out_dim * dit.patch_size**2)
    return tensors
