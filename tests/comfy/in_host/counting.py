"""Counts what each graph encodes, by kind, and the segments that the understanding tower reads; run by
`LightFusionCheck`, in graphs of their own."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from comfy_execution.utils import get_executing_context
from harness import pack

_KINDS = ("pictures", "latents", "texts", "segments", "vae")
_counts: defaultdict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_KINDS, 0))


def start() -> None:
    """Count from now on."""
    tower = pack("lightfusion_core.understanding.tower").UnderstandingTower
    encoder = pack("lightfusion_core.understanding.encoder").Encoder
    segment = pack("lightfusion_core.understanding.passes").Pass
    vae = pack("nodes.native.vae").LightFusionVAE
    _counts.clear()
    for kind, (owner, method) in zip(
        _KINDS,
        ((tower, "see"), (encoder, "plan_latent"), (encoder, "plan_text"), (segment, "__init__"), (vae, "encode")),
        strict=True,
    ):
        original = getattr(owner, method)
        setattr(owner, method, _counted(kind, getattr(original, "uncounted", original)))


def read() -> dict[str, dict[str, int]]:
    """The calls by prompt id and kind."""
    return dict(_counts)


def _counted(kind: str, method: Any) -> Any:
    def counted(*args: Any, **options: Any) -> Any:
        _counts[get_executing_context().prompt_id][kind] += 1
        return method(*args, **options)

    counted.uncounted = method
    return counted
