"""Things that only other models' files hold, as their loaders give them: enough of each for a node to pass it on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.clip_vision
import comfy.controlnet
import torch


def make(kind: str) -> Any:
    """A new one of a kind, which is the name of a socket's type. Raises KeyError for a kind that is none."""
    return _KINDS[kind]()


def _vision_output() -> Any:
    output = comfy.clip_vision.Output()
    output["last_hidden_state"] = output["penultimate_hidden_states"] = torch.zeros(1, 257, 1280)
    output["image_embeds"] = torch.zeros(1, 1024)
    output["mm_projected"] = torch.zeros(1, 257, 1024)
    return output


class _Vision:
    """A CLIP_VISION: nodes call one method of it."""

    def encode_image(self, image: Any, crop: Any = None) -> Any:
        return _vision_output()


class _StyleModel:
    """A STYLE_MODEL: nodes call one method of it."""

    def get_cond(self, output: Any) -> torch.Tensor:
        return torch.zeros(1, 4, 192)


class _ControlNet(comfy.controlnet.ControlBase):
    """A CONTROL_NET that adds nothing."""

    def get_control(self, *args: Any) -> dict[str, list[Any]]:
        return {"input": [], "middle": [], "output": [torch.ones(1, 1, 1, 1)]}

    def copy(self) -> _ControlNet:
        made = _ControlNet()
        self.copy_to(made)
        return made


_KINDS: dict[str, Callable[[], Any]] = {
    "CLIP_VISION_OUTPUT": _vision_output,
    "CLIP_VISION": _Vision,
    "STYLE_MODEL": _StyleModel,
    "CONTROL_NET": _ControlNet,
    "AUDIO": lambda: {"waveform": torch.zeros(1, 2, 44100), "sample_rate": 44100},
    "AUDIO_LATENT": lambda: {"samples": torch.zeros(1, 64, 32), "type": "audio"},
    "VIDEO_LATENT": lambda: {"samples": torch.zeros(1, 16, 2, 4, 6)},
    "GLIGEN": lambda: object(),
    "MODEL_PATCH": lambda: object(),
    "FLOATS": lambda: [1.0, 0.5, 0.0],
}
