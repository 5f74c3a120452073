"""Load LightFusion: one node for the three native parts."""

from __future__ import annotations

from comfy_api.latest import io

from . import folders
from .schema import schema


class LoadLightFusion(io.ComfyNode):
    """A model's MODEL, CLIP and VAE."""

    HAS_INTERMEDIATE_OUTPUT = True  # newer ComfyUI then tells again what a cached node shows

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="LightFusionLoad",
            search_aliases=["load model", "checkpoint", "LightBagel", "Bagel", "Qwen2.5-VL", "Wan"],
            display_name="Load LightFusion",
            category="LightFusion",
            description="Loads a LightFusion model as native MODEL, CLIP and VAE, for stock nodes and its own.",
            inputs=[
                io.Combo.Input(
                    "model",
                    options=folders.models(),
                    default=folders.NANO,
                    tooltip="A file or folder of models/lightfusion or models/diffusion_models, or the small model of "
                    "shapes that ships with the pack.",
                ),
                io.Combo.Input(
                    "understanding",
                    options=folders.parts(folders.UNDERSTANDING),
                    default=folders.FROM_MODEL,
                    tooltip="Take the understanding model from a Qwen2.5-VL in models/text_encoders instead.",
                ),
                io.Combo.Input(
                    "vae",
                    options=folders.parts(folders.VAE),
                    default=folders.FROM_MODEL,
                    tooltip="Take the VAE from a Wan2.2 VAE in models/vae instead.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=["default", "bfloat16", "float32", "fp8_e4m3fn"],
                    default="default",
                    tooltip="How the generation side's weights are held. default: scaled fp8 where the file has it, "
                    "else what the device runs best. fp8_e4m3fn: half of bfloat16's memory, a little less exact.",
                ),
            ],
            outputs=[io.Model.Output(), io.Clip.Output(), io.Vae.Output()],
        )

    @classmethod
    def validate_inputs(cls, model: str | None, understanding: str | None, vae: str | None) -> bool | str:
        """Say before anything runs where an absent file belongs; the host would only say that its list lacks it.
        A wired name (None here) is looked up when the node runs."""
        return folders.absence(model, understanding, vae) or True

    @classmethod
    def fingerprint_inputs(
        cls, model: str | None = None, understanding: str | None = None, vae: str | None = None, **others: object
    ) -> str:
        """The state of the files: those that have changed on the disk are loaded again, where the host would keep what
        is mapped to them."""
        return folders.states(model, understanding, vae)

    @classmethod
    def execute(cls, model: str, understanding: str, vae: str, weight_dtype: str) -> io.NodeOutput:
        from .native.loading import describe, load

        parts = load(model, understanding, vae, weight_dtype)
        return io.NodeOutput(*parts, ui={"lightfusion_model": [describe(model, parts)]})
