"""LightFusion Fit and Restore: a picture to a size that the model takes, and back to exactly its own."""

from __future__ import annotations

from comfy_api.latest import io

from .schema import schema

AUTOMATIC, OWN_SIZE = "automatic", "own size"


def size_input() -> io.Input:
    """How the size of an edit is chosen."""
    return io.Combo.Input(
        "size", options=[AUTOMATIC, OWN_SIZE], default=AUTOMATIC,
        tooltip="automatic: the size that the model's rule gives for the picture, as it was trained. own size: the "
        "picture's own, rounded to what the model draws and no larger than it can.",
    )  # fmt: skip


def mask_input(tooltip: str) -> io.Input:
    """A socket for a mask."""
    return io.Mask.Input("mask", optional=True, tooltip=tooltip)


class LightFusionFit(io.ComfyNode):
    """A picture, and its mask, at a size that the model takes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="LightFusionFit",
            search_aliases=["resize", "scale", "image size", "crop"],
            display_name="LightFusion Fit",
            category="LightFusion",
            description="Resizes a picture, whole, to a size that the model draws. LightFusion Restore undoes it.",
            inputs=[
                io.Vae.Input("vae", tooltip="The VAE of Load LightFusion, which gives the model's sizes."),
                io.Image.Input("image"),
                size_input(),
                mask_input("Resized with the picture so that it covers every latent position that it touches."),
            ],
            outputs=[
                io.Image.Output("fitted_image", display_name="image"),
                io.Mask.Output("fitted_mask", display_name="mask"),
                io.Int.Output("fitted_width", display_name="width"),
                io.Int.Output("fitted_height", display_name="height"),
            ],
        )

    @classmethod
    def execute(cls, vae, image, size, mask=None) -> io.NodeOutput:
        from .native.fitting import fit

        return io.NodeOutput(*fit(vae, image, size == OWN_SIZE, mask))


class LightFusionRestore(io.ComfyNode):
    """An edited picture at exactly the original's size and position."""

    HAS_INTERMEDIATE_OUTPUT = True  # newer ComfyUI then tells again what a cached node shows

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="LightFusionRestore",
            search_aliases=["before and after", "compare", "inpaint", "paste back", "resize", "mask composite"],
            display_name="LightFusion Restore",
            category="LightFusion",
            description="Puts an edited picture back at exactly the original's size and position; outside of the mask "
            "the original stays, bit for bit.",
            inputs=[
                io.Image.Input("image", tooltip="The edited picture, in any size of the same picture."),
                io.Image.Input("original", tooltip="One for all frames, or one for each."),
                mask_input("Where the edit shows; grey blends. One for all frames, or one for each."),
                io.Image.Input(
                    "before", optional=True,
                    tooltip="The original in the edited picture's size, through the VAE (Fit, VAE Encode, VAE Decode): "
                    "what the edit did not change then comes back bit for bit, unless it changed the whole picture. "
                    "With a mask, colours are matched to it outside of the mask.",
                ),
            ],
            outputs=[
                io.Image.Output("restored", display_name="image"),
                io.Mask.Output("changed", display_name="changed", tooltip="Where the picture shows the edit."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, image, original, mask=None, before=None) -> io.NodeOutput:
        from .native.fitting import restore
        from .native.showing import before_and_after

        restored, changed = restore(image, original, mask, before)
        return io.NodeOutput(restored, changed, ui=before_and_after(original, restored))
