"""LoRA on the generation side, by peft, under the names that ComfyUI's loaders want."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CapabilityError
from ..generation.tower import GenerationTower
from .files import write_tensors

LAYERS = re.compile(
    r"(blocks\.\d+\.((self_attn|cross_attn)\.[qkvo]|ffn\.[02])"
    r"|mm_attn_layers\.\d+\.mm_attn\.((k|v)_und|(q|k|v|o)_gen)_proj)"
)
"""What a LoRA changes: every matrix of blocks and fusion, but what writes into the understanding side."""
PREFIX = "diffusion_model."
RECORD = "lightfusion_training"
"""The entry of a file's metadata that holds the settings."""
_ADAPTER = "default"
_FROZEN = ("q_und_proj", "o_und_proj")


def add_lora(tower: GenerationTower, rank: int, alpha: float, seed: int) -> None:
    """Put a LoRA of this rank on a tower: it changes nothing yet. Its weights are float32 whatever the tower's are.

    Raises:
        CapabilityError: peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise needs_extra("peft") from None
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=LAYERS.pattern)
    with torch.random.fork_rng(devices=[]):
        inject_adapter_in_model(config, tower, _ADAPTER)
    draw = torch.Generator().manual_seed(seed)
    for module in _adapted(tower).values():
        down, up = module.lora_A[_ADAPTER], module.lora_B[_ADAPTER]
        if down.weight.is_meta:
            continue
        bound = 1 / math.sqrt(down.in_features)
        drawn = torch.empty(down.weight.shape).uniform_(-bound, bound, generator=draw)
        down.weight.data = drawn.to(down.weight.device)
        up.weight.data = torch.zeros(up.weight.shape, device=up.weight.device)


def train_everything(tower: GenerationTower) -> None:
    """Train all of a tower, but what writes into the understanding side."""
    for name, parameter in tower.named_parameters():
        parameter.requires_grad_(not any(part in name for part in _FROZEN))


def needs_extra(package: str) -> CapabilityError:
    """Why a training cannot start where a package is not installed."""
    return CapabilityError(
        f"To train takes {package}, which is not installed here: pip install 'comfyui-lightfusion[train]'."
    )


def lora_tensors(trained: Mapping[str, Tensor], alpha: float, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """A LoRA's trained tensors under the names of its file: `diffusion_model.LAYER.lora_A.weight` (rank, inputs),
    `.lora_B.weight` (outputs, rank) and `.alpha`."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in trained.items():
        layer, _, half = name.removesuffix(f".{_ADAPTER}.weight").rpartition(".")
        tensors[f"{PREFIX}{layer}.{half}.weight"] = tensor.to(dtype)
        tensors[f"{PREFIX}{layer}.alpha"] = torch.tensor(float(alpha))
    return tensors


def write_lora(
    path: Path, trained: Mapping[str, Tensor], alpha: float, settings: Mapping[str, Any], dtype: torch.dtype
) -> None:
    """Write a LoRA with the settings that it was trained with; raises as `write_whole`."""
    write_tensors(path, lora_tensors(trained, alpha, dtype), {RECORD: json.dumps(dict(settings))})


def lora_layers(tower: GenerationTower) -> dict[str, Any]:
    """The layers that a LoRA changes, by name."""
    return {name: module for name, module in tower.named_modules() if LAYERS.fullmatch(name)}


def _adapted(tower: nn.Module) -> dict[str, Any]:
    return {name: module for name, module in tower.named_modules() if hasattr(module, "lora_A")}
