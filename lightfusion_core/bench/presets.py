"""Models of any size with random weights, made in place: speed does not depend on what the numbers are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..checkpoints.loader import build_generation, build_understanding, build_vae, generation_dtype
from ..config import PRESETS as PUBLISHED
from ..config import Defaults, DiTConfig, FusionConfig, ModelConfig, SizeRule, TextConfig, VAEConfig, VisionConfig
from ..config_json import config_from_file
from ..errors import InputError
from ..generation.tower import GenerationTower
from ..generation.vae import ImageVAE
from ..pipeline import NANO
from ..understanding.tower import UnderstandingTower

_Module = TypeVar("_Module", bound=nn.Module)
_POOL = 4_194_301  # a prime, so that no row of a matrix repeats another

# One eighth of the large model in every direction: a step takes seconds on two cores
BENCH = ModelConfig(
    name="bench",
    text=TextConfig(
        vocab_size=2048,
        hidden_size=1024,
        intermediate_size=5376,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=2,
    ),
    vision=VisionConfig(
        depth=8, hidden_size=320, intermediate_size=864, num_heads=4, out_hidden_size=1024,
        fullatt_block_indexes=(1, 3, 5, 7),
    ),
    dit=DiTConfig(dim=1024, num_layers=8, num_heads=8, ffn_dim=4736, text_dim=1024),
    fusion=FusionConfig(num_layers=7, hidden_size=1024, num_attention_heads=8),
    vae=VAEConfig(base_dim=40, decoder_base_dim=64),
)  # fmt: skip

# Small enough for a test
TINY = ModelConfig(
    name="tiny",
    text=TextConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        mrope_section=(4, 6, 6),
    ),
    vision=VisionConfig(
        depth=1, hidden_size=32, intermediate_size=48, num_heads=2, out_hidden_size=64, fullatt_block_indexes=(0,)
    ),
    dit=DiTConfig(dim=64, num_layers=3, num_heads=2, ffn_dim=96, freq_dim=32, text_dim=32, text_len=16),
    fusion=FusionConfig(num_layers=2, hidden_size=64, num_attention_heads=2),
    vae=VAEConfig(base_dim=4, decoder_base_dim=4),
    vae_image=SizeRule(128, 64, 32),
    vit_image=SizeRule(112, 56, 28),
    defaults=Defaults(size=128, max_size=512, steps=2),
    max_extent=8,
)

PRESETS = (*PUBLISHED, "bench", "nano", "tiny")


def preset(name: str) -> ModelConfig:
    """The configuration of a preset. Raises InputError for one that is not there."""
    if name not in PRESETS:
        raise InputError(f"There is no preset {name!r}: choose one of {', '.join(PRESETS)}.")
    if name == "nano":
        return config_from_file(Path(NANO) / "config.json")
    return {**PUBLISHED, "bench": BENCH, "tiny": TINY}[name]


def special_ids(config: ModelConfig) -> tuple[int, int, int, int]:
    """bos, eos, sov, eov of a model without a tokenizer, all inside of its vocabulary."""
    last = config.text.vocab_size
    return last - 4, last - 3, last - 2, last - 1


def random_generation(config: ModelConfig, device: torch.device, dtype: torch.dtype) -> GenerationTower:
    """A frozen generation tower."""
    tower: GenerationTower = build_generation(config, coupled=False, dtype=dtype)
    return _fill(tower, device, partial(generation_dtype, dtype=dtype))


def random_understanding(config: ModelConfig, device: torch.device, dtype: torch.dtype) -> UnderstandingTower:
    """An understanding tower without the output projection, which drawing never reads."""
    tower = _fill(build_understanding(config, with_lm_head=False), device, lambda name: dtype)
    tower.restore_tables()
    return tower


def random_vae(config: ModelConfig, device: torch.device, dtype: torch.dtype) -> ImageVAE:
    """A VAE."""
    vae = build_vae(config)
    _fill(vae.model, device, lambda name: dtype)
    return vae.eval().requires_grad_(False)


def random_state(module: nn.Module, device: torch.device, dtype_of: Callable[[str], torch.dtype]) -> dict[str, Tensor]:
    """Values for every tensor of a module, scaled so that activations keep their size."""
    pool = torch.randn(_POOL, generator=torch.Generator().manual_seed(0)).to(device)
    return {name: _values(name, tensor.shape, dtype_of(name), pool) for name, tensor in module.state_dict().items()}


def _fill(module: _Module, device: torch.device, dtype_of: Callable[[str], torch.dtype]) -> _Module:
    module.load_state_dict(random_state(module, device, dtype_of), assign=True)
    return module.eval().requires_grad_(False)


def _values(name: str, shape: torch.Size, dtype: torch.dtype, pool: Tensor) -> Tensor:
    is_gain = ("norm" in name or "ln_q" in name or name.endswith("gamma")) and not name.endswith("bias")
    scale, shift = 0.1, 1.0 if is_gain else 0.0
    if "modulation" in name or "scale_shift_table" in name:
        scale = 0.3
    elif len(shape) > 1 and not is_gain:
        scale = shape[1:].numel() ** -0.5
    values = torch.empty(shape, dtype=dtype, device=pool.device)
    for piece in values.view(-1).split(_POOL):
        piece.copy_(pool[: len(piece)] * scale + shift)
    return values
