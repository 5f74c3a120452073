"""Empty LightFusion Latent: what sampling starts from, in the model's own channels and stride."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..lightfusion_core.errors import InputError
from ..lightfusion_core.images import check_extent
from .schema import schema


class EmptyLightFusionLatent(io.ComfyNode):
    """A latent of zeros for a model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="LightFusionEmptyLatent",
            search_aliases=["empty latent image", "size", "resolution", "width and height"],
            display_name="Empty LightFusion Latent",
            category="LightFusion",
            description="An empty latent in the channels and the stride that the model has.",
            inputs=[
                io.Model.Input("model", tooltip="Gives the channels, the stride and the size of 0."),
                io.Int.Input(
                    "width", default=0, min=0, max=16384, step=32, tooltip="Pixels; 0 is the model's own size."
                ),
                io.Int.Input(
                    "height", default=0, min=0, max=16384, step=32, tooltip="Pixels; 0 is the model's own size."
                ),
                io.Int.Input("batch_size", default=1, min=1, max=4096, tooltip="How many pictures."),
            ],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, model, width: int, height: int, batch_size: int) -> io.NodeOutput:
        config = getattr(model.model.diffusion_model, "config", None)
        if config is None or not hasattr(config, "vae"):
            raise InputError("This node takes a LightFusion model: wire the MODEL of Load LightFusion into it.")
        side, stride = config.defaults.size, config.vae.stride
        check_extent(width or side, height or side, config)
        # a linked number knows nothing of a widget's step
        width, height = (config.rounded(given or side) for given in (width, height))
        shape = (batch_size, config.vae.z_dim, height // stride, width // stride)
        return io.NodeOutput({"samples": torch.zeros(shape)})
