"""Random LightFusion models for tests: any size, written as the authors' files, loaded as users load them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lightfusion_core import LightFusion
from lightfusion_core.checkpoints.loader import build_generation, build_understanding
from lightfusion_core.config import (
    Defaults,
    DiTConfig,
    FusionConfig,
    ModelConfig,
    SizeRule,
    SpecialTokens,
    TextConfig,
    VAEConfig,
    VisionConfig,
)
from lightfusion_core.config_json import config_to_json
from lightfusion_core.generation.vae import ImageVAE

CONFIG = ModelConfig(
    name="tiny",
    text=TextConfig(
        vocab_size=512,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        mrope_section=(4, 6, 6),
    ),
    vision=VisionConfig(
        depth=2, hidden_size=64, intermediate_size=96, num_heads=4, out_hidden_size=128, fullatt_block_indexes=(1,)
    ),
    dit=DiTConfig(dim=96, num_layers=6, num_heads=3, ffn_dim=192, freq_dim=64, text_dim=48, text_len=16),
    fusion=FusionConfig(num_layers=5, hidden_size=96, num_attention_heads=3),
    vae=VAEConfig(base_dim=8, decoder_base_dim=8),
    special_tokens=SpecialTokens(
        bos_token_id=500, eos_token_id=501, sov_token_id=502, eov_token_id=503, newline_token_ids=(10,)
    ),
    vae_image=SizeRule(128, 64, 32),
    vit_image=SizeRule(112, 56, 28),
    defaults=Defaults(size=64, max_size=512, steps=4, negative_prompt="blurred"),
    max_extent=6,
)
"""The goldens' sizes, with a small VAE, small pictures, and few positions."""

SPECIAL = {"<|im_start|>": 500, "<|im_end|>": 501, "<|vision_start|>": 502, "<|vision_end|>": 503}


def write_model(
    folder: Path,
    config: ModelConfig = CONFIG,
    *,
    coupled: bool = False,
    vae: bool = True,
    tokenizer: bool = True,
    lm_head: bool = True,
    seed: int = 0,
) -> Path:
    """A model folder with random weights; frozen (`o_und_proj` zero) unless `coupled`. Returns `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = torch.Generator().manual_seed(seed)
    (folder / "config.json").write_text(config_to_json(config), encoding="utf-8")
    understanding = build_understanding(config, with_lm_head=lm_head)
    generation = build_generation(config, coupled=True, dtype=torch.float32)  # the authors' files hold und queries too
    weights = {f"vision_language_model.{name}": t for name, t in random_weights(understanding, draw).items()}
    for name, tensor in random_weights(generation, draw).items():
        if name.endswith("o_und_proj.weight") and not coupled:
            tensor = torch.zeros_like(tensor)
        weights[_authors_name(name)] = tensor
    save_file(weights, folder / "model.safetensors")
    if vae:
        with torch.device("meta"):
            model = ImageVAE(config.vae).model
        save_file(random_weights(model, draw), folder / "vae.safetensors")
    if tokenizer:
        write_tokenizer(folder / "tokenizer.json")
    return folder


def make_model(folder: Path, config: ModelConfig = CONFIG, **parts: bool | int) -> LightFusion:
    """`write_model`, loaded on the CPU."""
    return LightFusion.load(write_model(folder, config, **parts), device="cpu")


def _authors_name(name: str) -> str:
    if name.startswith("mm_attn_layers."):
        return f"vision_language_model.model.language_model.{name}"
    return name if name == "vgen_model_cross_att_context" else f"vgen_model.{name}"


def random_weights(module: nn.Module, draw: torch.Generator) -> dict[str, Tensor]:
    """Values for every tensor of a module, scaled so that activations keep their size."""
    return {name: _values(name, tuple(tensor.shape), draw) for name, tensor in module.state_dict().items()}


def _values(name: str, shape: tuple[int, ...], draw: torch.Generator) -> Tensor:
    noise = torch.randn(shape, generator=draw)
    if name.endswith("modulation"):
        return 0.3 * noise
    if name.endswith("bias"):
        return 0.1 * noise
    if "norm" in name or "ln_q" in name or name.endswith("gamma"):
        return 1 + 0.15 * noise
    if "embed_tokens" in name or name == "vgen_model_cross_att_context":
        return 0.7 * noise
    return noise / noise[0].numel() ** 0.5


def write_tokenizer(path: Path) -> None:
    """A byte-level tokenizer without merges, so an id below 256 is a byte; the special tokens have the
    goldens' ids, and every other id up to 511 is a word that only a model can write."""
    from tokenizers.pre_tokenizers import ByteLevel

    vocabulary = {character: byte for byte, character in enumerate(_byte_characters(ByteLevel.alphabet()))}
    vocabulary |= {f"\u0120w{i}": i for i in range(256, 512) if i not in SPECIAL.values()}
    vocabulary |= SPECIAL
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    flags = {"special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    parts = {
        "version": "1.0",
        "added_tokens": [{"id": i, "content": token, **flags} for token, i in SPECIAL.items()],
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }
    path.write_text(json.dumps(parts), encoding="utf-8")


def _byte_characters(alphabet: list[str]) -> list[str]:
    """The character that stands for each byte: itself where it is printable, else one from 256 on, in order."""
    printable = {ord(character) for character in alphabet if ord(character) < 256}
    spare = iter(range(256, 512))
    return [chr(byte if byte in printable else next(spare)) for byte in range(256)]
