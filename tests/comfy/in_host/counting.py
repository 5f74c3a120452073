"""Counts what the understanding tower does in each graph, a segment and a look each as one; run by `LightFusionCheck`,
in graphs of their own."""

from __future__ import annotations

from collections import Counter
from typing import Any

from comfy_execution.utils import get_executing_context
from harness import pack

_passes: Counter[str] = Counter()


def start() -> None:
    """Count from now on."""
    tower = pack("lightfusion_core.understanding.tower").UnderstandingTower
    segment = pack("lightfusion_core.understanding.encoder").Pass
    _passes.clear()
    for owner, name in ((segment, "__init__"), (tower, "see")):
        method = getattr(owner, name)
        setattr(owner, name, _counted(getattr(method, "plain", method)))


def _counted(method: Any) -> Any:
    def counted(*args: Any, **named: Any) -> Any:
        _passes[get_executing_context().prompt_id] += 1
        return method(*args, **named)

    counted.plain = method
    return counted


def read() -> dict[str, int]:
    """The calls of the tower by prompt id."""
    return dict(_passes)
