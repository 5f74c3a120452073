"""CUDA graphs: a function's operations recorded once and launched together from then on.

A step of nano on a GPU is some five thousand operations of a few microseconds each, and telling the GPU of one takes
the processor longer than the GPU needs for it: a step of 512 requests kept an H200 busy for 43 ms of 450.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

WARM_UP = 2
"""Runs before recording, in which libraries choose their kernels."""


class Captured:
    """A function of an object that holds tensors, to one tensor: run as it is on a CPU, on a GPU recorded for each set
    of shapes that it meets, and replayed. What cannot be recorded runs as it is there too.

    Args:
        function: must not read a tensor's value, nor make one from numbers of the CPU's. What it adds to the gradients
            of `parameters` is added to what stands there, as ever; they must be set to zero, not to None.
    """

    def __init__(self, function: Callable[[Any], Tensor], parameters: Iterable[nn.Parameter] = ()) -> None:
        self.function, self.parameters = function, list(parameters)
        self.recorded: dict[tuple[torch.Size, ...], tuple[torch.cuda.CUDAGraph, Any, Tensor] | None] = {}

    def __call__(self, given: Any) -> Tensor:
        """The function's result for an object on the device."""
        tensors = list(_tensors(given))
        if not tensors[0].is_cuda:
            return self.function(given)
        shapes = tuple(tensor.shape for tensor in tensors)
        if shapes not in self.recorded:
            self.recorded[shapes] = self._record(given)
        recorded = self.recorded[shapes]
        if recorded is None:
            return self.function(given)
        graph, held, result = recorded
        for place, tensor in zip(_tensors(held), tensors, strict=True):
            if place is not tensor:
                place.copy_(tensor)
        graph.replay()
        return result.clone()  # another graph may write where this one left it

    def _record(self, given: Any) -> tuple[torch.cuda.CUDAGraph, Any, Tensor] | None:
        """Record the function for an object, whose tensors the graph keeps and reads from then on."""
        before = [None if one.grad is None else one.grad.clone() for one in self.parameters]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self.function(given)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=_pool()):
                result = self.function(given)
            return graph, given, result
        except RuntimeError as error:
            print(f"runs without a graph: {str(error).splitlines()[0]}", flush=True)
            return None
        finally:
            for parameter, gradient in zip(self.parameters, before, strict=True):
                if parameter.grad is not None:
                    parameter.grad.zero_() if gradient is None else parameter.grad.copy_(gradient)


@cache
def _pool() -> Any:
    """Memory that all graphs share: no two run at once, and what one leaves is copied before the next."""
    return torch.cuda.graph_pool_handle()


def _tensors(given: Any) -> Iterator[Tensor]:
    """All tensors of an object, of its attributes and of theirs, in the order in which they were set."""
    if isinstance(given, Tensor):
        yield given
    elif hasattr(given, "__dict__"):
        for value in vars(given).values():
            yield from _tensors(value)


def to_device(given: Any, device: torch.device) -> Any:
    """Move all tensors of an object to a device; a lone tensor is returned moved."""
    if isinstance(given, Tensor):
        return given.to(device)
    if hasattr(given, "__dict__"):
        for name, value in vars(given).items():
            setattr(given, name, to_device(value, device))
    return given
