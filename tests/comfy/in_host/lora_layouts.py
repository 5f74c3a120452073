"""One change of the generation tower, as each trainer and library writes it into a file."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Pairs: TypeAlias = dict[str, tuple[Tensor, Tensor]]
"""Up (rows, rank) and down (rank, columns) matrices by the layer's original name."""

_DIFFUSERS = (
    ("self_attn", "attn1"), ("cross_attn", "attn2"), (r"\.(q|k|v)$", r".to_\1"), (r"\.o$", ".to_out.0"),
    (r"ffn\.0", "ffn.net.0.proj"), (r"ffn\.2", "ffn.net.2"),
    (r"^time_embedding\.0", "condition_embedder.time_embedder.linear_1"),
    (r"^time_projection\.1", "condition_embedder.time_proj"), (r"^head\.head", "proj_out"),
)  # fmt: skip
_FASTVIDEO = (
    (r"attn1\.(to_[qkv])", r"\1"), (r"attn1\.to_out\.0", "to_out"), (r"attn2\.to_out\.0", "attn2.to_out"),
    (r"ffn\.net\.0\.proj", "ffn.fc_in"), (r"ffn\.net\.2", "ffn.fc_out"),
    (r"time_embedder\.linear_1", "time_embedder.mlp.fc_in"), ("time_proj$", "time_modulation.linear"),
)  # fmt: skip


def change(shapes: dict[str, tuple[int, ...]], rank: int = 4) -> Pairs:
    """A random change of attention, feed-forward, time embedding and head.

    Args:
        shapes: of every weight by its engine name.
    """
    draw = torch.Generator().manual_seed(5)
    layers = [
        name.removesuffix(".weight")
        for name, shape in shapes.items()
        if re.search(r"attn\.[qkvo]\.weight|ffn\.\d\.weight|^time_.*weight|^head\.head\.weight", name)
        and len(shape) == 2
    ]

    def matrices(rows: int, columns: int) -> tuple[Tensor, Tensor]:
        return 0.3 * torch.randn(rows, rank, generator=draw), 0.3 * torch.randn(rank, columns, generator=draw)

    return {layer: matrices(*shapes[f"{layer}.weight"]) for layer in layers if not layer.startswith("mm_attn")}


def diffusers(name: str) -> str:
    return _rewritten(name, _DIFFUSERS)


def fastvideo(name: str) -> str:
    return _rewritten(diffusers(name), _FASTVIDEO)


def _rewritten(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _same(name: str) -> str:
    return name


def _layout(
    prefix: str, form: Callable[[str], str], down: str, up: str, *, alpha: bool = False, flat: bool = False
) -> Callable[[Pairs], dict[str, Tensor]]:
    def written(pairs: Pairs) -> dict[str, Tensor]:
        tensors = {}
        for layer, (up_matrix, down_matrix) in pairs.items():
            name = prefix + (form(layer).replace(".", "_") if flat else form(layer))
            tensors[f"{name}{down}"], tensors[f"{name}{up}"] = down_matrix, up_matrix
            if alpha:
                tensors[f"{name}.alpha"] = torch.tensor(float(len(down_matrix)))
        return tensors

    return written


def _lokr(prefix: str, form: Callable[[str], str], flat: bool) -> Callable[[Pairs], dict[str, Tensor]]:
    """A Kronecker product with a one of size 1 is the low-rank product itself."""

    def written(pairs: Pairs) -> dict[str, Tensor]:
        tensors = {}
        for layer, (up, down) in pairs.items():
            name = prefix + (form(layer).replace(".", "_") if flat else form(layer))
            tensors |= {f"{name}.lokr_w1": torch.ones(1, 1), f"{name}.lokr_w2_a": up, f"{name}.lokr_w2_b": down}
        return tensors

    return written


_A, _B = ".lora_A.weight", ".lora_B.weight"
_DOWN, _UP = ".lora_down.weight", ".lora_up.weight"
REFERENCE = "ComfyUI, as Kijai's files"
LAYOUTS = {
    REFERENCE: _layout("diffusion_model.", _same, _DOWN, _UP, alpha=True),
    "ComfyUI, as diffusion-pipe and ai-toolkit": _layout("diffusion_model.", _same, _A, _B),
    "all-in-one": _layout("model.diffusion_model.", _same, _DOWN, _UP, alpha=True),
    "bare, as DiffSynth": _layout("", _same, ".lora_A.default.weight", ".lora_B.default.weight"),
    "bare, down and up": _layout("", _same, _DOWN, _UP, alpha=True),
    "DiffSynth's pipeline": _layout("pipe.dit.", _same, ".lora_A.default.weight", ".lora_B.default.weight"),
    "kohya, as musubi-tuner": _layout("lora_unet_", _same, _DOWN, _UP, alpha=True, flat=True),
    "kohya, as Wan-Fun": _layout("lora_unet__", _same, _DOWN, _UP, alpha=True, flat=True),
    "kohya with diffusers' names": _layout("lora_unet_", diffusers, _DOWN, _UP, alpha=True, flat=True),
    "diffusers": _layout("transformer.", diffusers, _A, _B),
    "diffusers, older": _layout("transformer.", diffusers, ".lora.down.weight", ".lora.up.weight"),
    "diffusers, oldest": _layout("transformer.", diffusers, ".lora_linear_layer.down.weight",
                                 ".lora_linear_layer.up.weight"),
    "diffusers with alpha, as OneTrainer": _layout("transformer.", diffusers, _DOWN, _UP, alpha=True),
    "bare diffusers, as FastVideo's extractor": _layout("", diffusers, _A, _B),
    "FastVideo's own modules": _layout("transformer.", fastvideo, ".lora_A", ".lora_B"),
    "PEFT": _layout("base_model.model.", _same, _A, _B),
    "PEFT with the adapter's name": _layout("base_model.model.", _same, ".lora_A.default.weight",
                                            ".lora_B.default.weight"),
    "PEFT of diffusers": _layout("base_model.model.", diffusers, _A, _B),
    "PEFT of a pipeline": _layout("base_model.model.transformer.", diffusers, _A, _B),
    "original names behind transformer": _layout("transformer.", _same, _A, _B),
    "the authors'": _layout("vgen_model.", _same, _A, _B),
    "PEFT of the authors'": _layout("base_model.model.vgen_model.", _same, ".lora_A.style.weight",
                                    ".lora_B.style.weight"),
    "LyCORIS": _layout("lycoris_", _same, _DOWN, _UP, alpha=True, flat=True),
    "LyCORIS of diffusers, as SimpleTuner": _layout("lycoris_", diffusers, _DOWN, _UP, alpha=True, flat=True),
    "LyCORIS' LoKr": _lokr("lycoris_", diffusers, flat=True),
    "LoKr behind transformer": _lokr("transformer.", diffusers, flat=False),
    "OneTrainer, flat": _layout("lora_transformer_", diffusers, _DOWN, _UP, alpha=True, flat=True),
    "OneTrainer, flat, original": _layout("lora_transformer_", _same, _DOWN, _UP, alpha=True, flat=True),
    "a compiled module": _layout("_orig_mod.", _same, _A, _B),
    "a distributed module": _layout("module.", diffusers, ".lora_A", ".lora_B"),
}  # fmt: skip
