"""A run's state: what is trained, its average, the optimiser; as one file to go on from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from .files import read_tensors, write_tensors

CHECKPOINT = "checkpoint.safetensors"


@dataclass(eq=False, slots=True)
class State:
    """Everything that steps change.

    trained: the parameters by name. average: a running mean of each, float32; none without one.
    log: (step, mean loss since the one before).
    """

    trained: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor] = field(default_factory=dict)
    step: int = 0
    log: list[tuple[int, float]] = field(default_factory=list)

    def follow(self, decay: float) -> None:
        """Move the average one step towards the trained weights; in the first steps faster."""
        if self.average:
            decay = min(decay, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(self.average.values()), [self.trained[name].float() for name in self.average], 1 - decay
                )

    def result(self) -> dict[str, Tensor]:
        """What the run gives: the average where there is one."""
        return self.average or {name: tensor.detach() for name, tensor in self.trained.items()}

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw with what the run gives, while the block runs."""
        held = {name: self.trained[name].data for name in self.average}
        try:
            for name, tensor in self.average.items():
                self.trained[name].data = tensor.to(held[name].dtype)
            yield
        finally:
            for name, data in held.items():
                self.trained[name].data = data

    def is_finite(self) -> bool:
        """Whether the trained weights are numbers."""
        return all(bool(tensor.isfinite().all()) for tensor in self.trained.values())

    def save(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Write the checkpoint whole or not at all; `about` is what a run must have alike to go on from it."""
        tensors = {f"trained/{name}": tensor for name, tensor in self.trained.items()}
        tensors |= {f"average/{name}": tensor for name, tensor in self.average.items()}
        plain: dict[str, Any] = {}
        for index, values in self.optimizer.state_dict()["state"].items():
            for name, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{index}/{name}"] = value
                else:
                    plain[f"{index}/{name}"] = value
        record = {"step": self.step, "log": self.log, "optimizer": plain, "about": about}
        write_tensors(folder / CHECKPOINT, tensors, {"training": json.dumps(record)})

    def resume(self, folder: Path, about: Mapping[str, Any]) -> bool:
        """Go on from a folder's checkpoint, where there is one.

        Raises:
            InputError: it is of another training, or damaged.
        """
        file = folder / CHECKPOINT
        if not file.exists():
            return False
        found = read_tensors(file)
        if found is None or "training" not in found[1]:
            raise InputError(f"{file}: expected the checkpoint of a training, found something else; choose another "
                             "folder.")  # fmt: skip
        tensors, record = found[0], json.loads(found[1]["training"])
        wanted = json.loads(json.dumps(about))
        other = [name for name in wanted if wanted[name] != record["about"].get(name)]
        if other:
            name = other[0]
            raise InputError(
                f"{folder} holds a training with another {name.replace('_', ' ')}, {_short(record['about'].get(name))} "
                f"where this one has {_short(wanted[name])}: choose another folder, or go on with the same."
            )
        with torch.no_grad():
            for kind, own in (("trained", self.trained), ("average", self.average)):
                for name, tensor in own.items():
                    tensor.copy_(tensors[f"{kind}/{name}"])
        states: dict[int, dict[str, Any]] = {}
        for key, tensor in tensors.items():
            if key.startswith("optimizer/"):
                _, index, name = key.split("/", 2)
                states.setdefault(int(index), {})[name] = tensor
        for key, value in record["optimizer"].items():
            index, name = key.split("/", 1)
            states.setdefault(int(index), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})
        self.step, self.log = record["step"], [(step, loss) for step, loss in record["log"]]
        return True


def _short(value: Any) -> str:
    said = json.dumps(value)
    return said if len(said) <= 80 else f"{said[:77]}..."
