"""Processes that train one model together, each on its part of every batch.

Two processes of one thread use two cores better than one process of two threads, since the sequences are so short
that most operations end before a second thread has begun; and other work on the machine slows them, but does not
stall them. `torchrun` starts them:

    torchrun --nproc-per-node 2 -m tools.nano.train_vlm
"""

from __future__ import annotations

import atexit
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.optim import ZeroRedundancyOptimizer


class Team:
    """This process among those that `torchrun` started; a process that was started alone is a team of one."""

    def __init__(self) -> None:
        if dist.is_torchelastic_launched() and not dist.is_initialized():
            dist.init_process_group("gloo")
            # Its threads must end before the interpreter does: a process that aborts takes the leader with it, which
            # may be writing the last checkpoint
            atexit.register(dist.destroy_process_group)
        together = dist.is_initialized()
        self.count: int = dist.get_world_size() if together else 1
        self.rank: int = dist.get_rank() if together else 0

    @property
    def leads(self) -> bool:
        """Whether this process decides when to end, and writes checkpoints."""
        return self.rank == 0

    def share(self, count: int) -> int:
        """This process's part of a batch."""
        return max(1, count // self.count)

    def optimizer(self, kind: type[torch.optim.Optimizer], matrices: Sequence[Tensor], **settings: Any) -> Any:
        """An optimiser whose work is shared: each process updates some of the weights and sends them round."""
        if self.count == 1:
            return kind(matrices, **settings)
        return ZeroRedundancyOptimizer(matrices, kind, **settings)

    def average(self, parameters: Iterable[Tensor], said: Sequence[bool]) -> list[bool]:
        """Make every gradient the mean of all processes' gradients, and tell all what the leader said."""
        if self.count == 1:
            return list(said)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        words = torch.tensor([float(word and self.leads) for word in said])
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), words])
        dist.all_reduce(flat)
        *parts, words = flat.split([*(gradient.numel() for gradient in gradients), len(words)])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient)).div_(self.count)
        return (words > 0).tolist()

    def state_of(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The whole state of an optimiser, gathered at the leader; an empty one elsewhere."""
        if isinstance(optimizer, ZeroRedundancyOptimizer):
            optimizer.consolidate_state_dict(to=0)
        return optimizer.state_dict() if self.leads else {}
