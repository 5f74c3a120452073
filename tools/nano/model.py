"""Nano's sizes, and where its parts lie while it is made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch

from lightfusion_core.config import (
    Defaults,
    DiTConfig,
    FusionConfig,
    ModelConfig,
    SizeRule,
    TextConfig,
    VAEConfig,
    VisionConfig,
)
from lightfusion_core.config_json import config_from_dict, config_to_json

RUNS = Path("runs/nano")
"""Checkpoints and sheets of the training, out of git."""

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
"""Where training runs."""

SIZE = 128
"""The side of a picture in pixels."""

TOKENIZER = RUNS / "tokenizer.json"
VAE_EXPORT = RUNS / "export"


def nano_config(vae: VAEConfig | None = None) -> ModelConfig:
    """Nano's configuration; `vae` as its training exported it (its widths matter to nothing else)."""
    return ModelConfig(
        name="nano",
        text=TextConfig(
            vocab_size=832,
            hidden_size=192,
            intermediate_size=384,
            num_hidden_layers=6,
            num_attention_heads=6,
            num_key_value_heads=2,
            max_position_embeddings=512,
            mrope_section=(4, 6, 6),
        ),
        vision=VisionConfig(
            depth=4,
            hidden_size=128,
            intermediate_size=256,
            num_heads=4,
            out_hidden_size=192,
            fullatt_block_indexes=(0, 1, 2, 3),
        ),
        dit=DiTConfig(
            dim=192,
            num_layers=8,
            num_heads=6,
            ffn_dim=512,
            in_dim=16,
            out_dim=16,
            freq_dim=64,
            text_dim=64,
            text_len=16,
        ),
        fusion=FusionConfig(num_layers=7, hidden_size=192, num_attention_heads=6),
        vae=vae or _placeholder_vae(),
        vae_image=SizeRule(SIZE, SIZE // 2, 32),
        vit_image=SizeRule(140, 84, 28),
        defaults=Defaults(size=SIZE, max_size=2 * SIZE, steps=20, negative_prompt=""),
        tasks=("generate",),
        max_extent=8,
    )


def read_vae_config(folder: Path = VAE_EXPORT) -> VAEConfig:
    """The section that the VAE's training exported."""
    section = json.loads((folder / "vae_config.json").read_text())
    return config_from_dict(_with_vae(section)).vae


def _with_vae(section: dict) -> dict:
    return json.loads(config_to_json(replace(nano_config(), vae=_placeholder_vae()))) | {"vae_config": section}


def _placeholder_vae() -> VAEConfig:
    """Statistics that change nothing, until the VAE is trained."""
    zeros = (0.0,) * 16
    return VAEConfig(
        base_dim=12, decoder_base_dim=16, z_dim=16, mean=zeros, std=(1.0,) * 16,
        preview_factors=((0.0, 0.0, 0.0),) * 16, preview_bias=(0.0, 0.0, 0.0),
    )  # fmt: skip
