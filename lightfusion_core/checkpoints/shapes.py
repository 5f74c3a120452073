"""What a checkpoint's shapes say of its configuration, where no config.json says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..config import PRESETS, ModelConfig, VAEConfig
from ..errors import CheckpointError

Shapes = Mapping[str, tuple[int, ...]]


def count(shapes: Shapes, prefix: str) -> int:
    """How many numbered children `prefix` has: layers, blocks."""
    numbers = [int(name[len(prefix) :].split(".")[0]) for name in shapes if name.startswith(prefix)]
    return max(numbers, default=-1) + 1


def match_preset(generation: Shapes, understanding: Shapes) -> ModelConfig:
    """The preset whose widths and depths these are.

    Raises:
        CheckpointError: there is none; the message says what was found.
    """
    blocks = count(generation, "blocks.")
    width = generation.get("patch_embedding.weight", (0, 0))[0]
    fusion = count(generation, "mm_attn_layers.")
    layers = count(understanding, "model.language_model.layers.")
    hidden = understanding.get("model.language_model.norm.weight", (0,))[0]
    for preset in PRESETS.values():
        same_dit = (preset.dit.num_layers, preset.dit.dim) == (blocks, width)
        same_vlm = not understanding or (preset.text.num_hidden_layers, preset.text.hidden_size) == (layers, hidden)
        if same_dit and same_vlm:
            return replace(preset, fusion=replace(preset.fusion, num_layers=fusion)) if fusion else preset
    raise CheckpointError(
        f"No LightFusion model is known with {blocks} DiT blocks of width {width}, {fusion} fusion layers and {layers} "
        f"VLM layers of width {hidden}: put its config.json beside the file if it is a new one."
    )


def fit_vae(config: VAEConfig, shapes: Shapes) -> VAEConfig:
    """`config` with the widths, depth and patch that the VAE's shapes have (its statistics stay)."""
    try:
        base, inputs = shapes["encoder.conv_in.weight"][:2]
        ends = [shapes[f"encoder.down_blocks.{i}.resnets.0.conv2.weight"][0] for i in range(len(config.dim_mult))]
        decoder_base = shapes["decoder.norm_out.gamma"][0]
        z_dim = shapes["post_quant_conv.weight"][0]
    except KeyError:
        return config  # not a whole VAE: the strict check says what is missing
    return replace(
        config,
        base_dim=base,
        decoder_base_dim=decoder_base // config.dim_mult[0],
        z_dim=z_dim,
        dim_mult=tuple(end // base for end in ends),
        num_res_blocks=count(shapes, "encoder.down_blocks.0.resnets."),
        patch_size=round((inputs / 3) ** 0.5),
    )
