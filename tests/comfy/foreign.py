"""A tiny random model that is not LightFusion, as files that ComfyUI's stock loaders read.

A Stable Diffusion 3 of two blocks: ComfyUI takes every size but the width of a head from the file. Its VAE is
the tiny autoencoder that stands in for one, whose sizes are fixed and small.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

MODEL, VAE = "tiny_sd3.safetensors", "taesd3"
STRIDE = 8
"""Pixels to a latent position; a picture's sides are cut to a multiple of it."""

_CHANNELS, _WIDTH, _PATCH, _SIDE = 16, 128, 2, 16
_ENCODER = ("in", "block", "half", *["block"] * 3, "half", *["block"] * 3, "half", *["block"] * 3, "out")
_DECODER = ("clamp", "in", "relu", *(["block"] * 3 + ["double", "plain"]) * 3, "block", "out")

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def write_foreign(models: Path, context: int) -> None:
    """Write the model, for conditionings of this width, into a `models` folder."""
    draw = torch.Generator().manual_seed(2)
    files = {
        f"diffusion_models/{MODEL}": _diffusion(context),
        f"vae_approx/{VAE}_encoder.safetensors": _convolutions(_ENCODER, 3, _CHANNELS),
        f"vae_approx/{VAE}_decoder.safetensors": _convolutions(_DECODER, _CHANNELS, 3),
    }
    for name, shapes in files.items():
        (models / name).parent.mkdir(exist_ok=True)
        save_file({key: _values(shape, draw) for key, shape in shapes}, models / name)


def _values(shape: tuple[int, ...], draw: torch.Generator) -> Tensor:
    """Scaled so that activations keep their size; biases are small."""
    noise = torch.randn(shape, generator=draw)
    return 0.1 * noise if len(shape) == 1 else noise / noise[0].numel() ** 0.5


def _linear(name: str, outputs: int, inputs: int) -> Shapes:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _diffusion(context: int) -> Shapes:
    yield "pos_embed", (1, _SIDE * _SIDE, _WIDTH)
    yield "x_embedder.proj.weight", (_WIDTH, _CHANNELS, _PATCH, _PATCH)
    yield "x_embedder.proj.bias", (_WIDTH,)
    yield from _linear("t_embedder.mlp.0", _WIDTH, 256)
    yield from _linear("t_embedder.mlp.2", _WIDTH, _WIDTH)
    yield from _linear("context_embedder", _WIDTH, context)
    for block in ("0.context_block", "0.x_block", "1.context_block", "1.x_block"):
        name, last = f"joint_blocks.{block}", block == "1.context_block"  # its text is read no more
        yield from _linear(f"{name}.attn.qkv", 3 * _WIDTH, _WIDTH)
        yield from _linear(f"{name}.adaLN_modulation.1", (2 if last else 6) * _WIDTH, _WIDTH)
        if not last:
            yield from _linear(f"{name}.attn.proj", _WIDTH, _WIDTH)
            yield from _linear(f"{name}.mlp.fc1", 4 * _WIDTH, _WIDTH)
            yield from _linear(f"{name}.mlp.fc2", _WIDTH, 4 * _WIDTH)
    yield from _linear("final_layer.adaLN_modulation.1", 2 * _WIDTH, _WIDTH)
    yield from _linear("final_layer.linear", _CHANNELS * _PATCH**2, _WIDTH)


def _convolutions(layers: tuple[str, ...], inputs: int, outputs: int, width: int = 64) -> Shapes:
    for place, layer in enumerate(layers):
        if layer in ("in", "out"):
            into, out = (inputs, width) if layer == "in" else (width, outputs)
            yield f"{place}.weight", (out, into, 3, 3)
            yield f"{place}.bias", (out,)
        elif layer in ("half", "plain"):
            yield f"{place}.weight", (width, width, 3, 3)
        elif layer == "block":
            for part in (0, 2, 4):
                yield f"{place}.conv.{part}.weight", (width, width, 3, 3)
                yield f"{place}.conv.{part}.bias", (width,)
