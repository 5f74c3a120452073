"""What a checkpoint's shapes say of its configuration, where no config.json says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..config import PRESETS, ModelConfig, VAEConfig
from ..errors import CheckpointError, ConfigError

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Depths and widths as the shapes have them; 0 for what is not there."""

    blocks: int
    width: int
    fusion: int
    layers: int
    hidden: int

    @classmethod
    def of(cls, generation: Shapes, understanding: Shapes) -> Sizes:
        return cls(
            blocks=count(generation, "blocks."),
            width=_first(generation, "patch_embedding.weight"),
            fusion=count(generation, "mm_attn_layers."),
            layers=count(understanding, "model.language_model.layers."),
            hidden=_first(understanding, "model.language_model.norm.weight"),
        )

    def has_dit_of(self, config: ModelConfig) -> bool:
        return (self.blocks, self.width) == (config.dit.num_layers, config.dit.dim)

    def has_vlm_of(self, config: ModelConfig) -> bool:
        return (self.layers, self.hidden) == (config.text.num_hidden_layers, config.text.hidden_size)

    def __str__(self) -> str:
        return (
            f"{self.blocks} DiT blocks of width {self.width}, {self.fusion} fusion layers and {self.layers} VLM layers "
            f"of width {self.hidden}"
        )


def count(shapes: Shapes, prefix: str) -> int:
    """How many numbered children `prefix` has: layers, blocks."""
    heads = (name[len(prefix) :].partition(".")[0] for name in shapes if name.startswith(prefix))
    return max((int(head) for head in heads if head.isdecimal()), default=-1) + 1


def _first(shapes: Shapes, name: str) -> int:
    return (*shapes.get(name, ()), 0)[0]


def match_preset(path: Path, generation: Shapes, understanding: Shapes) -> ModelConfig:
    """The preset whose widths and depths these are; either side may be absent.

    Raises:
        CheckpointError: there is none; the message says what was found in `path`.
    """
    sizes = Sizes.of(generation, understanding)
    for preset in PRESETS.values():
        if (not generation or sizes.has_dit_of(preset)) and (not understanding or sizes.has_vlm_of(preset)):
            return _with_fusion(path, preset, sizes.fusion)
    raise CheckpointError(
        f"{path}: no LightFusion model is known with {sizes}: is this another model? If it is a new one, put its "
        "config.json beside the file."
    )


def _with_fusion(path: Path, preset: ModelConfig, layers: int) -> ModelConfig:
    """`preset` with this many fusion layers, as far as there are any."""
    if not layers:
        return preset
    try:
        return replace(preset, fusion=replace(preset.fusion, num_layers=layers))
    except ConfigError as error:
        raise CheckpointError(f"{path} is not complete: {error}") from None


def fit_vae(config: VAEConfig, shapes: Shapes) -> VAEConfig:
    """`config` with the widths, depth and patch that the VAE's shapes have (its statistics stay); as it is
    where they are no Wan2.2 VAE's: the strict check says what is missing.

    Raises:
        ConfigError: another number of latent channels than the model has.
    """
    ends = [f"encoder.down_blocks.{i}.resnets.0.conv2.weight" for i in range(len(config.dim_mult))]
    needed = ("encoder.conv_in.weight", "decoder.norm_out.gamma", "post_quant_conv.weight", *ends)
    if any(not shapes.get(name) or 0 in shapes[name] for name in needed):
        return config
    base, inputs = (*shapes["encoder.conv_in.weight"], 0)[:2]
    return replace(
        config,
        base_dim=base,
        decoder_base_dim=shapes["decoder.norm_out.gamma"][0] // config.dim_mult[0],
        z_dim=shapes["post_quant_conv.weight"][0],
        dim_mult=tuple(shapes[end][0] // base for end in ends),
        num_res_blocks=count(shapes, "encoder.down_blocks.0.resnets."),
        patch_size=max(1, round((inputs / 3) ** 0.5)),
    )
