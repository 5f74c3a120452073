"""LightFusion Fit and Restore: a picture to a size that the model takes, and back to exactly its own."""

from __future__ import annotations

from comfy_api.latest import io

from .schema import schema

AUTOMATIC, OWN_SIZE = "automatic", "own size"
EDGES = ("left", "top", "right", "bottom")
COUNTING, SAME = "counting", "same"
"""The seeds of frames: frame k with seed + k, or each with the seed."""


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


def part_inputs() -> list[io.Input]:
    """What part of a picture is drawn, and what is added to it."""
    context = io.Float.Input(
        "context", default=0.0, min=0.0, max=100.0, step=0.05, optional=True,
        tooltip="With a mask: how many times larger than it the part of the picture is that is drawn. 0: all of a "
        "picture that the model draws without making it smaller, else 1.25.",
    )  # fmt: skip
    edges = [
        io.Int.Input(
            side, default=0, min=0, max=16384, optional=True, tooltip=f"Pixels to add {where}, and to fill.",
        )
        for side, where in zip(EDGES, ("at the left", "at the top", "at the right", "at the bottom"), strict=True)
    ]  # fmt: skip
    return [context, *edges]


class LightFusionCrop(io.ComfyNode):
    """The part of a picture that an edit is drawn in."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="LightFusionCrop",
            search_aliases=["crop and stitch", "inpaint crop", "outpaint", "pad", "extend", "uncrop", "crop to mask"],
            display_name="LightFusion Crop",
            category="LightFusion",
            description="Cuts out what lies around a mask, so that it is drawn at the model's full size, and adds "
            "edges that are to be filled. LightFusion Restore puts the result back.",
            inputs=[
                io.Vae.Input("vae", tooltip="The VAE of Load LightFusion, which gives the model's sizes."),
                io.Image.Input("image"),
                size_input(),
                mask_input("Where the picture may change. One part is cut out for all frames, around all their masks."),
                *part_inputs(),
            ],
            outputs=[
                io.Image.Output("part", display_name="part"),
                io.Mask.Output("part_mask", display_name="mask", tooltip="Where the part may change."),
                io.Mask.Output("shown", display_name="shown", tooltip="Where the edit shows; it fades in."),
                io.Image.Output("whole", display_name="whole", tooltip="The picture with its new edges."),
                io.Int.Output("part_left", display_name="left"),
                io.Int.Output("part_top", display_name="top"),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, vae, image, size, mask=None, context=0.0, left=0, top=0, right=0, bottom=0) -> io.NodeOutput:
        from .native.fitting import crop

        return io.NodeOutput(*crop(vae, image, size == OWN_SIZE, mask, (left, top, right, bottom), context))


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
                io.Image.Input(
                    "whole", optional=True,
                    tooltip="The picture that the original is a part of, as LightFusion Crop gives it; the edit is put "
                    "into it.",
                ),
                *(
                    io.Int.Input(
                        side, default=0, min=0, max=16384, optional=True, force_input=True,
                        tooltip="Where the part lies in the whole; of LightFusion Crop.",
                    )
                    for side in EDGES[:2]
                ),
            ],
            outputs=[
                io.Image.Output("restored", display_name="image"),
                io.Mask.Output("changed", display_name="changed", tooltip="Where the picture shows the edit."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, image, original, mask=None, before=None, whole=None, left=0, top=0) -> io.NodeOutput:
        from .native.fitting import restore
        from .native.showing import before_and_after

        restored, changed = restore(image, original, mask, before, whole, (left, top))
        return io.NodeOutput(restored, changed, ui=before_and_after(original if whole is None else whole, restored))
