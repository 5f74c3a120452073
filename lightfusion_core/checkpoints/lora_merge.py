"""A LoRA file merged into a loaded generation tower."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..errors import CheckpointError
from ..texts import first_line
from .lora_changes import ChangeError, changed_shape
from .lora_names import change

_KINDS = {"lora_up.weight", "lora_down.weight", "alpha", "diff"}


def merge_lora(tower: nn.Module, file: str | Path, strength: float = 1.0) -> None:
    """Add a file's low-rank pairs and differences to a generation tower's weights, of which copies are made.

    Args:
        strength: what its changes are multiplied with; 0 adds nothing.

    Raises:
        CheckpointError: a file that cannot be read, or changes of another kind, model or size. Nothing is added then.
    """
    try:
        with safe_open(file, "pt") as opened:
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file}: expected a LoRA file, found: {first_line(error)}; check the path.") from None
    changes: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        found = change(key)
        if found is None or found.part != "generation" or found.kind not in _KINDS:
            raise CheckpointError(f"{file}: expected low-rank pairs for the generation side, found {key}.")
        changes.setdefault(found.parameter, {})[found.kind] = tensor
    weights = dict(tower.named_parameters())
    made: dict[str, Tensor] = {}
    for name, kinds in changes.items():
        try:
            shape = changed_shape(kinds)
        except ChangeError as error:
            raise CheckpointError(f"{file}: {name}: {error}.") from None
        if name not in weights or shape != tuple(weights[name].shape):
            raise CheckpointError(
                f"{file}: {name} of {shape} does not fit this model; take a LoRA that was made for it."
            )
        if weights[name].element_size() == 1:
            raise CheckpointError(f"{file}: a LoRA cannot be merged into fp8 weights; load the model as float32.")
        made[name] = _difference(kinds, weights[name].device)
    with torch.no_grad():
        for name, difference in made.items():
            weight = weights[name]
            weight.data = (weight.float() + strength * difference).to(weight.dtype)


def _difference(kinds: dict[str, Tensor], device: torch.device) -> Tensor:
    if "diff" in kinds:
        return kinds["diff"].to(device, torch.float32)
    up, down = (kinds[kind].to(device, torch.float32) for kind in ("lora_up.weight", "lora_down.weight"))
    scale = float(kinds["alpha"]) / len(down) if "alpha" in kinds else 1.0
    return scale * (up @ down)
