"""A node pack for tests alone: a CLIP and a VAE of another model, as any loader may give them."""

from __future__ import annotations

import comfy.model_patcher
import comfy.sd
import torch
from comfy_api.latest import ComfyExtension, io
from torch import Tensor, nn


class OtherClip(io.ComfyNode):
    """A CLIP around a model that is not LightFusion's."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LightFusionOtherClip", category="tests", inputs=[], outputs=[io.Clip.Output()]
        )  # fmt: skip

    @classmethod
    def execute(cls) -> io.NodeOutput:
        clip = comfy.sd.CLIP(no_init=True)
        clip.cond_stage_model = nn.Module()
        cpu = torch.device("cpu")
        clip.patcher = comfy.model_patcher.ModelPatcher(clip.cond_stage_model, cpu, cpu)  # newer hosts look at it
        return io.NodeOutput(clip)


class FourChannels:
    """The part of a VAE's interface that encoding uses, with the latents of Stable Diffusion."""

    def encode(self, pixels: Tensor) -> Tensor:
        batch, height, width, _ = pixels.shape
        return torch.zeros(batch, 4, height // 8, width // 8)


class OtherVae(io.ComfyNode):
    """A VAE whose latents are not LightFusion's."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LightFusionOtherVae", category="tests", inputs=[], outputs=[io.Vae.Output()]
        )  # fmt: skip

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(FourChannels())


class OtherExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [OtherClip, OtherVae]


async def comfy_entrypoint() -> OtherExtension:
    return OtherExtension()
