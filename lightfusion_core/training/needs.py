"""What a training takes of memory, and of operations a step, before it starts.

Nothing is guessed of the network: a tower of the model's widths without numbers (torch's meta device) makes one step,
and what that step would keep for its way back is counted, as are its matrix products.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from ..checkpoints.loader import build_generation, generation_dtype
from ..checkpoints.report import readable_bytes
from ..conditioning import Branch, Segment
from ..config import ModelConfig
from ..errors import DeviceMemoryError
from ..generation.tower import GenerationTower
from ..images import resized_size
from ..layout import Split, TokenKind, place
from ..picture_files import picture_size
from ..understanding.tokenizer import Tokenizer
from .adapters import add_lora, lora_layers, train_everything
from .data import Example
from .draws import Shown
from .settings import Settings
from .trainee import Row, Trainee, recompute_blocks

_STATES = {"adamw": 8, "adamw8bit": 2}
"""Bytes of optimiser state a parameter."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of one row of a batch: tokens of its text, the picture's (rows, columns) of tokens, and those of its
    references for the generation side and for the ViT."""

    text: int
    target: tuple[int, int]
    clean: tuple[tuple[int, int], ...] = ()
    vit: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, example: Example, size: tuple[int, int], tokenizer: Tokenizer, config: ModelConfig) -> Shape:
        """Of an example whose picture is learned at `size` (width, height) in pixels."""
        given = [picture_size(path) for path in example.references]
        token, seen = config.token_size, config.vision.token_size
        return cls(
            len(tokenizer.segment(example.text)),
            _grid(size, token),
            tuple(_grid(resized_size(*one, config.vae_image), token) for one in given),
            tuple(_grid(resized_size(*one, config.vit_image), seen) for one in given),
        )

    @property
    def tokens(self) -> int:
        """Tokens of all pictures and texts."""
        return self.text + sum(rows * columns for rows, columns in (self.target, *self.clean, *self.vit))

    def encoded(self, shown: Shown, config: ModelConfig, dtype: torch.dtype) -> int:
        """Bytes of the states that the understanding side makes of a row."""
        tokens = 2 + self.text * shown.text + 2 * sum(shown.latents)
        tokens += sum(
            (rows * columns + 2) for (rows, columns), there in zip(self.vit, shown.vits, strict=True) if there
        )
        return tokens * config.text.num_hidden_layers * config.text.hidden_size * dtype.itemsize


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes on the device, by part, and operations.

    weights: of the generation side. others: of the parts that stay beside it. trained: what is trained, where that is
    not among the weights. operations: floating point operations of one step, recomputed ones too.
    """

    weights: int
    others: int
    trained: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    operations: int
    parameters: int

    @property
    def checkpoint(self) -> int:
        """Bytes of a checkpoint on disk."""
        return 4 * self.parameters + self.optimizer + self.average

    @property
    def memory(self) -> int:
        """All bytes together."""
        return sum(getattr(self, field.name) for field in fields(self) if field.name not in _NO_BYTES)

    def parts(self) -> dict[str, int]:
        """The bytes of each part that takes any."""
        every = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in _NO_BYTES}
        return {name: size for name, size in every.items() if size}

    def require(self, free: float, device: str) -> None:
        """Refuse what does not fit into `free` bytes. Raises DeviceMemoryError."""
        if self.memory > free:
            listed = ", ".join(f"{name} {readable_bytes(size)}" for name, size in self.parts().items())
            raise DeviceMemoryError(
                f"This training takes {readable_bytes(self.memory)} on {device} ({listed}), and "
                f"{readable_bytes(max(0, int(free)))} are free: train a LoRA of a low rank, recompute blocks, run "
                "fewer rows at once, learn smaller pictures, or take a larger device."
            )


def _grid(size: tuple[int, int], token: int) -> tuple[int, int]:
    return size[1] // token, size[0] // token


_NO_BYTES = ("operations", "parameters")


def training_needs(config: ModelConfig, settings: Settings, dtype: torch.dtype, shape: Shape, others: int = 0) -> Needs:
    """What a training takes.

    Args:
        dtype: what the generation side computes in. A training of all of it holds its weights in float32 whatever that
            is, and casts them at use.
        shape: of the largest row.
        others: bytes of the model's other parts that stay on the device.
    """
    lora = settings.rank > 0
    kept, operations = _one_row(config, settings, dtype, shape)
    rows = settings.batch if settings.at_once is None else min(settings.batch, settings.at_once)
    tower: GenerationTower = build_generation(config, coupled=False, dtype=dtype)
    sizes = {name: parameter.numel() for name, parameter in tower.named_parameters()}
    width = {name: generation_dtype(name, dtype).itemsize for name in sizes}
    if lora:
        count = sum(settings.rank * sum(layer.weight.shape) for layer in lora_layers(tower).values())
        weights = sum(sizes[name] * width[name] for name in sizes)
    else:
        count = sum(sizes.values())
        weights = sum(sizes[name] * (4 + (width[name] if width[name] < 4 else 0)) for name in sizes)
    return Needs(
        weights=weights,
        others=others,
        trained=4 * count if lora else 0,
        gradients=4 * count,
        optimizer=_STATES[settings.optimizer] * count,
        average=4 * count if settings.ema else 0,
        activations=kept * rows,
        operations=operations * settings.batch,
        parameters=count,
    )


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a matrix product: what a step can reach at most."""
    side = 4096 if device.type == "cuda" else 512
    a = torch.linspace(-1, 1, side * side, device=device).view(side, side).to(dtype)
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        float((a @ a)[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def _one_row(config: ModelConfig, settings: Settings, dtype: torch.dtype, shape: Shape) -> tuple[int, int]:
    """Bytes that one pass keeps for its way back, beside what it recomputes; operations of both ways.

    Layers are alike, so towers of two and of three tell what one of any depth takes.
    """
    depth = max(2, config.dit.num_layers)
    counted = [_counted(_shallow(config, layers), settings, dtype, shape, settings.recompute) for layers in (2, 3)]
    kept, operations = (two + (depth - 2) * (three - two) for two, three in zip(*counted, strict=True))
    if settings.recompute:
        whole = [_counted(_shallow(config, layers), settings, dtype, shape, False)[0] for layers in (2, 3)]
        inside = whole[1] - whole[0] - (counted[1][0] - counted[0][0])
        tokens = sum(rows * columns for rows, columns in (shape.target, *shape.clean))
        kept += depth * tokens * config.dit.dim * 4 + inside  # each block's stream, and one block's inside
    return kept, operations


def _shallow(config: ModelConfig, layers: int) -> ModelConfig:
    return replace(
        config,
        text=replace(config.text, num_hidden_layers=layers),
        dit=replace(config.dit, num_layers=layers),
        fusion=replace(config.fusion, num_layers=layers - 1),
    )


def _counted(
    config: ModelConfig, settings: Settings, dtype: torch.dtype, shape: Shape, recompute: bool
) -> tuple[int, int]:
    attended: list[int] = []

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        attended.append(4 * q.numel() * k.shape[2])
        return _Attention.apply(q, k, v)

    tower: GenerationTower = build_generation(config, coupled=False, dtype=dtype, attention=attention)
    for name, parameter in tower.named_parameters():
        parameter.data = parameter.data.to(generation_dtype(name, dtype))
    tower.requires_grad_(False)
    if settings.rank:
        add_lora(tower, settings.rank, settings.scale, 0)
    else:
        train_everything(tower)
    if recompute:
        recompute_blocks(tower)
    own = {parameter.untyped_storage()._cdata for parameter in tower.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    row = _row(config, dtype, shape)
    with FlopCounterMode(display=False) as counter:
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = Trainee(tower)([row]).sum()
        size = sum(kept.values())
        loss.backward()
    # of an attention the way back takes two and a half times as much; one that is computed twice is counted twice
    return size, counter.get_total_flops() + round(3.5 * sum(attended))


class _Attention(torch.autograd.Function):
    """The shapes of fused attention, which keeps its inputs and its output, and no scores."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = torch.empty_like(q)
        ctx.save_for_backward(q, k, v, out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        q, k, v, _ = ctx.saved_tensors
        return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def _row(config: ModelConfig, dtype: torch.dtype, shape: Shape) -> Row:
    """A row of these sizes without numbers."""

    def latent(grid: tuple[int, int]) -> Tensor:
        patch = config.dit.patch_size
        return torch.empty(1, config.dit.in_dim, 1, grid[0] * patch, grid[1] * patch, device="meta")

    def states(tokens: int) -> Tensor:
        text = config.text
        return torch.empty(text.num_hidden_layers, tokens, text.hidden_size, device="meta", dtype=dtype)

    contents: list[tuple[TokenKind, int, int]] = []
    for clean, vit in zip(shape.clean, shape.vit, strict=True):
        contents += [(TokenKind.CLEAN, *clean), (TokenKind.VIT, *vit)]
    splits: list[Split] = place([*contents, (TokenKind.TEXT, 1, shape.text)])
    segments = tuple(
        Segment(split, states(split.und_length), latent((split.rows, split.columns)) if split.is_generated else None)
        for split in splits
    )
    markers = states(2).expand(max(shape.target), -1, -1, -1)
    return Row(Branch(segments, markers), latent(shape.target), latent(shape.target), 0.5)
