"""What fp8 costs in numbers: scales of one number a matrix, as files have them, beside one for each row.

By row means a scale for each output of a weight and one for each token of what comes in, as torch's `_scaled_mm` and
others' kernels take them. Errors are relative, of norms; the nano preset is measured with nano's own weights.
"""

from __future__ import annotations

import re
from statistics import median

import torch
from torch import Tensor, nn

from ..checkpoints.quantise import LARGEST, quantise, scale_for, takes_fp8
from ..generation.context import ContextBuilder
from ..generation.tower import GenerationTower
from ..pipeline import NANO, LightFusion
from ..sampling.guidance import Guidance
from ..sampling.loop import GuidedVelocity
from .presets import random_generation
from .report import Report
from .requests import Request
from .settings import OnRound, Settings, quiet

_TIMESTEP = 600
_KINDS = {
    "q, k, v": r"self_attn\.[qkv]$", "self-attention's output": r"self_attn\.o$", "cross-attention": r"cross_attn\.",
    "feed-forward, first": r"ffn\.0$", "feed-forward, second": r"ffn\.2$", "fusion": r"mm_attn\.", "all": "",
}  # fmt: skip


def measure(settings: Settings, on_round: OnRound = quiet) -> Report:
    """The errors of every quantised layer in one step, by kind of layer: medians, and the largest of the products."""
    columns = ("layer", "weight", "by row", "input", "by row", "product", "by row", "largest", "by row")
    report = Report(f"Relative errors of fp8, {settings.config.name}", settings.as_dict(), columns)
    found = _errors(settings)
    on_round("layers")
    for kind, pattern in _KINDS.items():
        own = [errors for name, errors in found.items() if re.search(pattern, name)]
        if own:
            middle = [median(errors[k] for errors in own) for k in range(6)]
            largest = [max(errors[k] for errors in own) for k in (4, 5)]
            report.rows.append((kind, *(f"{value:.2%}" for value in (*middle, *largest))))
            report.results[kind] = {"median": middle, "largest_product": largest, "layers": len(own)}
    return report


def _errors(settings: Settings) -> dict[str, list[float]]:
    """By layer: of the weight, the input and the product, each with one scale and by row."""
    found: dict[str, list[float]] = {}
    config, device, side = settings.config, settings.device, settings.side
    with torch.no_grad():
        if config.name == "nano":
            model = LightFusion.load(NANO, device=device, dtype=torch.float32)
            pixels = side * config.token_size
            tower: GenerationTower = model.generation
            velocity = model.guided(model.encode("a red circle left of a blue star"), pixels, pixels, Guidance(3.0))
        else:
            tower = random_generation(config, device, torch.float32)
            conditioning = Request(side, 0, settings.prompt).conditioning(config, device, torch.float32)
            velocity = GuidedVelocity(tower, ContextBuilder(tower, device), conditioning, Guidance(3.0), side, side)
        hooks = [
            layer.register_forward_pre_hook(_keeping(found, name))
            for name, layer in tower.named_modules()
            if isinstance(layer, nn.Linear) and takes_fp8("generation", f"{name}.weight")
        ]
        velocity(Request(side).latent(config).to(device), _TIMESTEP)
    for hook in hooks:
        hook.remove()
    return found


def _keeping(found: dict[str, list[float]], name: str):
    def hook(layer: nn.Linear, inputs: tuple[Tensor, ...]) -> None:
        x, weight = inputs[0].flatten(0, -2).float(), layer.weight.float()
        product = x @ weight.T
        weights = _stored(weight, scale_for(float(weight.abs().max()))), _stored(weight, _by_row(weight))
        rows = _stored(x, x.abs().max() / LARGEST), _stored(x, _by_row(x))
        products = [one @ other.T for one, other in zip(rows, weights, strict=True)]
        pairs = ((weights, weight), (rows, x), (products, product))
        found[name] = [float((one - exact).norm() / exact.norm()) for both, exact in pairs for one in both]

    return hook


def _by_row(numbers: Tensor) -> Tensor:
    return (numbers.abs().amax(1, keepdim=True) / LARGEST).clamp(min=1e-12)


def _stored(numbers: Tensor, scale: Tensor | float) -> Tensor:
    """Numbers as they come back from e4m3."""
    return quantise(numbers, scale).float() * scale
