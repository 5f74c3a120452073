"""LightFusion's inference engine: text to image, editing by instruction, answers about pictures.

    from lightfusion_core import LightFusion
    image = LightFusion.load("nano").generate("a red circle")

Importing this package imports neither torch nor transformers nor diffusers: they come with the first
name that needs them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conditioning import Conditioning
    from .config import ModelConfig
    from .conversation import Conversation
    from .errors import (
        CapabilityError,
        CheckpointError,
        ConfigError,
        DependencyError,
        DeviceMemoryError,
        InputError,
        LightFusionError,
    )
    from .pipeline import LightFusion
    from .sampling.guidance import Guidance
    from .sampling.loop import Sampling
    from .sampling.skipping import Passes
    from .sampling.solvers import Step
    from .understanding.answer import Decoding
    from .understanding.vision import Reference

__version__ = "0.1.0"

_HOMES = {
    "CapabilityError": "errors",
    "CheckpointError": "errors",
    "Conditioning": "conditioning",
    "Conversation": "conversation",
    "ConfigError": "errors",
    "Decoding": "understanding.answer",
    "DependencyError": "errors",
    "DeviceMemoryError": "errors",
    "Guidance": "sampling.guidance",
    "InputError": "errors",
    "LightFusion": "pipeline",
    "LightFusionError": "errors",
    "ModelConfig": "config",
    "Passes": "sampling.skipping",
    "Reference": "understanding.vision",
    "Sampling": "sampling.loop",
    "Step": "sampling.solvers",
}

__all__ = [
    "CapabilityError",
    "CheckpointError",
    "Conditioning",
    "ConfigError",
    "Conversation",
    "Decoding",
    "DependencyError",
    "DeviceMemoryError",
    "Guidance",
    "InputError",
    "LightFusion",
    "LightFusionError",
    "ModelConfig",
    "Passes",
    "Reference",
    "Sampling",
    "Step",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
