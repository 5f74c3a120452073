"""What the host's LoRA trainer asks of a model otherwise than its samplers do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ...lightfusion_core.conditioning import Branch


def each_under_its_own(
    executor: Any, model: Any, conds: list[list[dict[str, Any]] | None], x: Tensor, timestep: Tensor, options: Any
) -> list[Tensor]:
    """A wrapper around a call of the network: in a training, each picture of a batch is drawn under its own caption.

    The trainer hands over one condition for each picture as a sampler does several for one picture: every picture
    would be drawn under every caption, and learn from the mean.
    """
    if not torch.is_grad_enabled() or len(x) == 1 or any(given and len(given) != len(x) for given in conds):
        return executor(model, conds, x, timestep, options)
    rows = [
        executor(model, [given and [given[row]] for given in conds], x[row : row + 1], timestep[row : row + 1], options)
        for row in range(len(x))
    ]
    return [torch.cat(drawn) for drawn in zip(*rows, strict=True)]


def prepare_training(net: Any) -> None:
    """Let gradients go through a LightFusionNet, and through the understanding tower of a coupled one."""
    for module in (net, net.vlm):
        if module is not None:
            ordinary_weights(module)


def ordinary_weights(module: nn.Module) -> None:
    """Make the weights of a model that was loaded in inference mode, as the host runs every node, ordinary ones."""
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None and weight.is_inference():
                part._parameters[name] = nn.Parameter(ordinary(weight), requires_grad=False)
        part._buffers.update({name: ordinary(held) for name, held in part._buffers.items() if held is not None})


def ordinary_branch(branch: Branch) -> Branch:
    """The same for a branch that was encoded in inference mode."""
    segments = tuple(
        replace(
            segment,
            hidden=ordinary(segment.hidden),
            latent=None if segment.latent is None else ordinary(segment.latent),
        )
        for segment in branch.segments
    )
    return replace(branch, segments=segments, markers=ordinary(branch.markers))


def ordinary(tensor: Tensor) -> Tensor:
    """A tensor that torch may keep for the way back, on the same memory: it keeps none made in inference mode."""
    if not tensor.is_inference():
        return tensor
    empty = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return empty.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride())
