"""torch.compile for the step, with a way back.

The blocks and the fusion layers are compiled each on its own: all of a kind share one compiled graph, so a
model of thirty blocks compiles as fast as one of a single block, once for every new shape. The fusion
attention and the writing into its keys stay as they are, outside.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

from ..texts import first_line
from .tower import GenerationTower

log = logging.getLogger(__name__)


class CompiledStep:
    """Compiles functions until one cannot be: from there on all run as they are, and the log says so once."""

    def __init__(self, **options: Any) -> None:
        self.options = {"dynamic": False, **options}
        self.failed = False

    def wrap(self, function: Callable) -> Callable:
        """The function, compiled at its first call."""
        try:
            compiled = torch.compile(function, **self.options)
        except RuntimeError as error:  # a Python or a system that this torch does not compile for
            self._give_up(error)
            return function
        errors = _compiler_errors()

        def call(*args: Any) -> Any:
            if self.failed or torch.is_grad_enabled():
                return function(*args)
            try:
                return compiled(*args)
            except errors as error:
                self._give_up(error)
                return function(*args)

        return call

    def _give_up(self, error: Exception) -> None:
        if not self.failed:
            cause = getattr(error, "inner_exception", None) or error
            log.warning(
                "torch.compile does not work here (%s): the step runs uncompiled, at its usual speed.",
                first_line(cause),
            )
        self.failed = True


def compile_step(tower: GenerationTower, **options: Any) -> CompiledStep:
    """Compile a generation tower's blocks and fusion layers in place; weights and their names stay.

    Args:
        options: for torch.compile, over `dynamic=False`: a shape that was not seen before compiles anew.
    """
    step = CompiledStep(**options)
    for block in tower.blocks:
        block.forward = step.wrap(block.forward)
    for layer in tower.mm_attn_layers:
        layer.gen_queries_keys_values = step.wrap(layer.gen_queries_keys_values)
        layer.add_to_gen = step.wrap(layer.add_to_gen)
    return step


def _compiler_errors() -> tuple[type[Exception], ...]:
    """What compiling may raise: the compiler's own errors, and those of a toolchain that is not there."""
    from torch._dynamo.exc import TorchDynamoException

    return (TorchDynamoException, ImportError, OSError)
