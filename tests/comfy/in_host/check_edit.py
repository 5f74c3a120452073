"""The editing nodes: sizes, masks, frames, and the engine's own edit to compare with."""

from __future__ import annotations

from typing import Any

import torch
from harness import engine, evaluated, largest, load, node, pack, raised
from torch import Tensor

INSTRUCTION = "make it blue"
SIZES = [(100, 75), (33, 57), (97, 640), (64, 64), (200, 31), (128, 96)]


def picture(width: int = 100, height: int = 75, frames: int = 1, seed: int = 0) -> Tensor:
    """An IMAGE of whole bytes, as every loaded picture is: smooth, with a bright spot off the middle."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(frames, 3, 4, 4, generator=draw) * 0.4
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    spot = torch.exp(-(((x - 0.3) / 0.1) ** 2 + ((y - 0.6) / 0.1) ** 2))
    return ((smooth + 0.5 * spot).clamp(0, 1) * 255).round().movedim(1, -1) / 255


def half_mask(image: Tensor, frames: int = 1) -> Tensor:
    """A MASK over the left 40 columns, with a soft edge; frame k's is 20 k columns wider."""
    mask = torch.zeros(frames, *image.shape[1:3])
    for k in range(frames):
        end = min(40 + 20 * k, image.shape[2] - 1)
        mask[k, :, :end], mask[k, :, end] = 1.0, 0.5
    return mask


def edit(image: Tensor, name: str = "tiny/", **inputs: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Its IMAGE and LATENT."""
    return edit_and_mask(image, name, **inputs)[:2]


def edit_and_mask(image: Tensor, name: str = "tiny/", **inputs: Any) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """IMAGE, LATENT and MASK of an Edit node, its graph evaluated node by node."""
    model, clip, vae = load(name)
    given = {
        "model": model, "clip": clip, "vae": vae, "image_1": image, "instruction": INSTRUCTION, "seed": 5, "steps": 3,
        "text_guidance": 3.0, "image_guidance": 1.5, "size": "automatic", **inputs,
    }  # fmt: skip
    graph, *links = pack("nodes.native.editing").edit(given, given)
    return evaluated(graph, links)


def check_edit_is_the_engines_edit() -> dict[str, float]:
    """The expansion against one call of the engine: with references, with a mask, and with neither."""
    core, found = engine(), {}
    to_pil = pack("lightfusion_core.images").to_pil
    sampling = pack("lightfusion_core.sampling.loop").Sampling(3)
    guidance = pack("lightfusion_core.sampling.guidance").Guidance(3.0, 1.5)
    image, other = picture(), picture(60, 90, 2, seed=1)
    mask = half_mask(image)
    for what, inputs, options in (
        ("plain", {}, {}),
        ("references", {"image_2": other}, {"references": [to_pil(frame) for frame in other]}),
        ("mask", {"mask": mask}, {"mask": mask[0]}),
    ):
        drawn, _ = edit(image, **inputs)
        wanted = core.edit(to_pil(image[0]), INSTRUCTION, seed=5, sampling=sampling, guidance=guidance, **options)
        found[what] = largest(drawn - wanted)
        assert found[what] <= 2e-3, found
        assert largest(drawn - image) > 0.05, "nothing was edited"
    return found


def spot_mask(image: Tensor, frames: int = 1) -> Tensor:
    """A MASK of a small box; frame k's lies 40 k pixels further right."""
    mask = torch.zeros(frames, *image.shape[1:3])
    for k in range(frames):
        mask[k, 100:140, 60 + 40 * k : 100 + 40 * k] = 1
    return mask


def check_every_row_of_an_edit_is_the_engines() -> dict[str, float]:
    """The part that is drawn, added edges, and what is left to the model where nothing is said; what is kept is the
    picture's bit for bit, and the node's mask says where."""
    core, found, drawn_before = engine(), {}, []
    to_pil, loop = pack("lightfusion_core.images").to_pil, pack("lightfusion_core.sampling.loop")
    guidance = pack("lightfusion_core.sampling.guidance").Guidance(3.0, 1.5)
    image = picture(300, 240)
    mask, own = spot_mask(image), {"size": "own size"}
    for what, inputs, options, sampling in (
        ("automatic part", {"mask": mask}, {"mask": mask[0]}, {}),
        ("part", {"mask": mask, "context": 3.0}, {"mask": mask[0], "context": 3.0}, {}),
        ("edges", {"left": 8, "bottom": 60}, {"outpaint": (8, 0, 0, 60)}, {}),
        ("edges and part", {"right": 9, "mask": mask, "context": 1.5},
         {"outpaint": (0, 0, 9, 0), "mask": mask[0], "context": 1.5}, {}),
        ("settings", {"shift": 2.5, "solver": "euler", "negative_prompt": "red"}, {"negative_prompt": "red"},
         {"shift": 2.5, "solver": "euler"}),
        ("denoise", {"denoise": 0.6}, {}, {"denoise": 0.6}),
        ("thought", {"system": "Think.", "thought": "Blue."}, {"system": "Think.", "thought": "Blue."}, {}),
        ("nothing", {"shift": 0.0, "negative_prompt": "", "context": 0.0, "top": 0, "system": ""}, {}, {}),
    ):  # fmt: skip
        told: list[Tensor] = []
        drawn, _, changed = edit_and_mask(image, steps=2, **inputs)
        wanted = core.edit(
            to_pil(image[0]), INSTRUCTION, seed=5, sampling=loop.Sampling(2, **sampling), guidance=guidance,
            on_changed=told.append, **options,
        )  # fmt: skip
        found[what] = largest(drawn - wanted)
        assert found[what] <= 2e-3, found
        assert torch.equal(changed > 0, told[0] > 0), what
        left, top, right, bottom = options.get("outpaint", (0, 0, 0, 0))
        assert drawn.shape == (1, 240 + top + bottom, 300 + left + right, 3)
        kept = changed[:, top : top + 240, left : left + 300] == 0
        assert torch.equal(drawn[:, top : top + 240, left : left + 300][kept], image[kept]), what
        assert all(drawn.shape != other.shape or not torch.equal(drawn, other) for other in drawn_before), what
        drawn_before.append(drawn)
    # what the model draws in its own size has no part that is drawn alone
    whole = edit(picture(150, 150), mask=spot_mask(picture(150, 150)), **own)[1]["samples"]
    assert whole.shape[-2:] == (10, 10), whole.shape
    return found


def check_frames_of_a_part_share_its_place() -> None:
    """One part lies around all masks, and each frame changes under its own; a cut-out keeps its alpha."""
    image = cut_out(300, 240, 3) + 1e-4
    masks = spot_mask(image, 3)
    drawn, latent, changed = edit_and_mask(image, mask=masks, keep=False)
    assert drawn.shape == image.shape and len(latent["samples"]) == 3
    assert torch.equal(changed > 0, masks > 0)
    assert torch.equal(drawn[masks == 0], image[masks == 0]) and torch.equal(drawn[..., 3], image[..., 3])
    for k in range(3):
        assert largest(drawn[k] - image[k]) > 0.02, "nothing was edited"


def check_a_part_that_does_not_fit_is_explained() -> None:
    """Crop's numbers wired to another picture, and settings that cannot be."""
    image = picture()
    back = {"image": image, "original": image, "whole": picture(120, 80)}
    assert torch.equal(node("LightFusionRestore", **back, left=20, top=5)[0][:, 5:, 20:], image)
    for place in ({"left": 21}, {"top": 6}, {"left": -1}):
        assert "LightFusion Crop" in raised(lambda place=place: node("LightFusionRestore", **back, **place))
    assert "1 or more" in raised(lambda: edit(image, mask=half_mask(image), context=0.5))
    assert "16:1" in raised(lambda: edit(image, right=1600))
    assert "up to 192 pixels" in raised(
        lambda: node(
            "LightFusionEncode", clip=load()[1], prompt="", negative_prompt="", width=224, height=64, batch_size=1
        )
    )
    assert "found 64x4096" in raised(
        lambda: node("LightFusionEmptyLatent", model=load()[0], width=64, height=4096, batch_size=1)
    )


def check_sizes_as_megapixels() -> None:
    """In the last reference's proportions, rounded to what is drawn; a side that is named stays."""
    _, clip, vae = load()
    given = {"clip": clip, "prompt": "", "negative_prompt": "", "batch_size": 1}

    def size(width: int = 0, height: int = 0, **inputs: Any) -> tuple[int, int]:
        return node("LightFusionEncode", width=width, height=height, **given, **inputs)[4:]

    square, wide = 128**2 / 2**20, {"vae": vae, "image_1": picture(200, 50)}
    assert size(megapixels=square) == (128, 128) and size(64, megapixels=square) == (64, 128)
    assert size(megapixels=square / 4, **wide) == (128, 32)
    assert size(megapixels=0.0) == size() and size(megapixels=0.0, **wide) == size(**wide)
    assert "up to 192 pixels a side, found 256x64" in raised(lambda: size(megapixels=square, **wide))


def check_what_an_edit_leaves_alone_comes_back_bit_for_bit() -> dict[str, float]:
    """nano's edit is the engine's, with what it left alone as it was and with all of it as it was drawn, frame by
    frame; the mask says where."""
    world, pipeline = pack("lightfusion_core.shapes.world"), pack("lightfusion_core.pipeline")
    images, core, found = pack("lightfusion_core.images"), pipeline.LightFusion.load("nano", device="cpu"), {}
    things = (world.Thing("circle", "red", "medium", 0.3, 0.4), world.Thing("star", "blue", "small", 0.75, 0.7))
    grounds = [world.Background("stripes", tint, "white", "vertical") for tint in ("light green", "light pink")]
    image = torch.stack([torch.tensor(world.render(world.Scene(things, ground))) for ground in grounds]).float() / 255
    asked = {"instruction": "make the circle yellow", "steps": 12, "image_guidance": 1.0}
    sampling = pack("lightfusion_core.sampling.loop").Sampling(12)
    for keep in (True, False):
        drawn, _, changed = edit_and_mask(image, "nano (built in)", keep=keep, **asked)
        for k, frame in enumerate(image):
            told: list[Tensor] = []
            wanted = core.edit(
                images.to_pil(frame), asked["instruction"], seed=5 + k, sampling=sampling, keep=keep,
                on_changed=told.append,
            )  # fmt: skip
            found[f"keep {keep}, frame {k}"] = largest(drawn[k] - wanted[0])
            assert torch.equal(changed[k] > 0, told[0][0] > 0)
        assert torch.equal(drawn[changed == 0], image[changed == 0])
        share = float((changed > 0).float().mean())
        assert 0.02 < share < 0.25 if keep else share == 1, share
    assert max(found.values()) <= 2e-3, found
    return found


def check_edit_of_a_coupled_model_runs() -> None:
    """A coupled model's understanding tower runs in every step of every frame."""
    drawn, latent = edit(picture(frames=2), "coupled/")
    assert drawn.shape == (2, 75, 100, 3) and len(latent["samples"]) == 2


def check_edit_has_the_originals_size() -> None:
    """An edit that zooms, shifts or resizes cannot be laid over what it was made from."""
    for width, height in SIZES:
        for size in ("automatic", "own size"):
            drawn, latent = edit(picture(width, height), size=size, steps=1)
            assert drawn.shape == (1, height, width, 3), (width, height, size, drawn.shape)
            token = load()[0].model.diffusion_model.config.token_size
            rows, columns = (16 * side for side in latent["samples"].shape[-2:])
            assert rows % token == columns % token == 0
            if size == "own size" and max(width, height) <= 192:
                assert abs(rows - height) <= token / 2 or min(width, height) < token, (width, height, rows, columns)


def check_masked_edit_leaves_the_rest_bit_for_bit() -> None:
    """A VAE changes every pixel: what lies outside of the mask must not go through it."""
    image = picture(frames=2) + 1e-4  # numbers that eight bits do not hold
    for mask in (half_mask(image), half_mask(image, 2)):
        drawn, _ = edit(image, mask=mask)
        shown = mask.expand(2, -1, -1) > 0
        assert torch.equal(drawn[~shown], image[~shown])
        assert largest(drawn[shown] - image[shown]) > 0.05


def check_frames_are_their_single_edits() -> dict[str, float]:
    """A batch is edited frame by frame with seed + k, each under its own mask; other references are shared."""
    image, other, found = picture(frames=3), picture(60, 90, seed=1), {}
    for what, masks in (("plain", None), ("one mask", half_mask(image)), ("a mask each", half_mask(image, 3))):
        mask = {} if masks is None else {"mask": masks}
        together, latent = edit(image, image_2=other, **mask)
        assert latent["batch_index"] == [0, 1, 2]
        for k in range(3):
            single = {} if masks is None else {"mask": masks[k % len(masks)].unsqueeze(0)}
            alone, alone_latent = edit(image[k : k + 1], image_2=other, seed=5 + k, **single)
            difference = largest(together[k] - alone[0])
            found[what] = max(found.get(what, 0.0), difference)
            assert difference <= 1e-3, (what, k, found)
            assert largest(latent["samples"][k] - alone_latent["samples"][0]) <= 1e-3
            if masks is not None:
                kept = latent["noise_mask"][k % len(latent["noise_mask"])]
                assert torch.equal(kept, alone_latent["noise_mask"][0]), "the latent carries another frame's mask"
        assert largest(together[0] - together[1]) > 1e-2
    return found


def check_frames_that_are_alike_stay_alike() -> None:
    """With the same seed for each frame; masked, in part and from noise alone. Frame k then is its single edit."""
    image = picture().repeat(2, 1, 1, 1)
    for inputs in ({}, {"mask": half_mask(image)}, {"denoise": 0.7}):
        drawn = edit(image, steps=1, frame_seeds="same", **inputs)[0]
        assert largest(drawn[1] - drawn[0]) <= 1e-5
        counted = edit(image, steps=1, **inputs)[0]
        assert largest(drawn[0] - counted[0]) <= 1e-3 and largest(drawn[1] - counted[1]) > 0.01


def check_a_batch_of_masks_samples_each_with_its_own() -> dict[str, float]:
    """Where a batch is taken for time, its masks are averaged."""
    model, clip, vae = load()
    image, masks = picture(128, 64, 2), half_mask(picture(128, 64), 2)
    masks[1] = masks[1].flip(1)
    positive, negative, no_image = node(
        "LightFusionEncode", clip=clip, prompt=INSTRUCTION, negative_prompt="", width=128, height=64, batch_size=1
    )[:3]
    rest = {
        "seed": 3, "steps": 2, "text_guidance": 3.0, "image_guidance": 1.0, "shift": 4.0, "solver": "unipc",
        "denoise": 1.0, "renorm": "none", "renorm_min": 0.0, "interval_start": 0.0, "interval_end": 1.0,
    }  # fmt: skip
    branches = {"model": model, "positive": positive, "negative": negative, "no_image": no_image}
    encoded = node("VAEEncode", pixels=image, vae=vae)[0]
    together = node("SetLatentNoiseMask", samples=encoded, mask=masks)[0]
    drawn = node("LightFusionSampler", latent=together, **branches, **rest)[0]["samples"]
    found = 0.0
    for k in range(2):
        one = node("LatentFromBatch", samples=together, batch_index=k, length=1)[0]
        alone = node("LightFusionSampler", latent=one, **branches, **rest)[0]["samples"]
        found = max(found, largest(drawn[k] - alone[0]))
    assert found <= 1e-4, found
    return {"difference": found}


def check_fit_and_restore_are_a_round_trip() -> dict[str, float]:
    """Whatever the size: the same pixels in the same place, but for what the smaller of both sizes cannot hold."""
    vae, found = load()[2], {}
    for width, height in SIZES:
        for size in ("automatic", "own size"):
            image = picture(width, height, 2)
            fitted, mask, wide, high = node("LightFusionFit", vae=vae, image=image, size=size)
            assert fitted.shape == (2, high, wide, 3) and mask.shape == (2, high, wide)
            assert bool((mask == 1).all())
            back = node("LightFusionRestore", image=fitted, original=image)[0]
            assert back.shape == image.shape
            where, was = _spot(back), _spot(image)
            found[f"{width}x{height} {size}"] = round(float((back - image).abs().mean()), 4)
            # in fitted pixels: a half pixel of shift is what a wrong corner alignment gives
            assert abs(where[0] - was[0]) * wide <= 0.2 and abs(where[1] - was[1]) * high <= 0.2, (width, height, size)
            if (wide, high) == (width, height):
                assert largest(back - image) <= 1 / 255 + 1e-6
    return found


def _spot(image: Tensor) -> tuple[float, float]:
    """The centre of the bright spot, 0 to 1."""
    weight = (image[0].mean(-1) - 0.5).clamp(0) ** 2
    height, width = weight.shape
    x = float((weight.sum(0) * (torch.arange(width) + 0.5)).sum() / weight.sum()) / width
    y = float((weight.sum(1) * (torch.arange(height) + 0.5)).sum() / weight.sum()) / height
    return x, y


def check_fitted_mask_covers_what_it_touches() -> None:
    """A position of the latent that the mask touches with one pixel is drawn anew; the host's own reduction to
    the latent would leave it half held."""
    vae, image = load()[2], picture(64, 64)
    mask = torch.zeros(1, 64, 64)
    mask[0, 20, 37] = 1.0
    fitted = node("LightFusionFit", vae=vae, image=image, size="own size", mask=mask)[1]
    wanted = torch.zeros(1, 64, 64)
    wanted[0, 16:32, 32:48] = 1.0
    assert torch.equal(fitted, wanted)


def check_wrong_counts_and_sizes_are_explained() -> None:
    """Frames, masks and originals that do not go together would be repeated or cut off in silence."""
    image, vae = picture(frames=3), load()[2]
    for masks in (half_mask(image, 2), half_mask(image, 4)):
        assert "one for each frame" in raised(lambda masks=masks: edit(image, mask=masks))
    drawn = torch.zeros(1, 64, 64)
    drawn[0, 3, 3] = 1
    assert "64x64" in raised(lambda: edit(image, mask=drawn))
    assert "64x64" in raised(lambda: node("LightFusionFit", vae=vae, image=image, size="automatic", mask=drawn))
    assert "65x64" in raised(lambda: edit(image, mask=torch.zeros(1, 64, 65)))
    assert "as many originals" in raised(lambda: node("LightFusionRestore", image=image, original=image[:2]))
    assert "16:1" in raised(lambda: edit(picture(340, 20)))


def check_foreign_parts_are_named() -> None:
    """Any MODEL, CLIP or VAE can be wired; each socket says whose it takes."""
    image, strange = picture(), Foreign()
    for what in ("model", "clip", "vae"):
        told = raised(lambda what=what: edit(image, **{what: strange}))
        assert f"wire the {what.upper()} of Load LightFusion" in told, told
    assert "VAE of Load" in raised(lambda: node("LightFusionFit", vae=strange, image=image, size="automatic"))


def check_the_mask_of_an_opaque_picture_is_none() -> None:
    """LoadImage gives 64x64 of zeros for a picture without transparency: wired along, it would be refused for its
    size, or leave a picture of 64x64 unedited. Inverted, as edits want masks, it is all ones."""
    image, small, vae = picture(frames=2), picture(64, 64), load()[2]
    plain, latent = edit(image)
    for frames in (1, 2):
        for blank in (torch.zeros(frames, 64, 64), torch.ones(frames, 64, 64)):
            drawn, own = edit(image, mask=blank)
            assert torch.equal(drawn, plain) and torch.equal(own["samples"], latent["samples"])
            assert "noise_mask" not in own
            fitted = node("LightFusionFit", vae=vae, image=image, size="automatic", mask=blank)[1]
            assert bool((fitted == 1).all())
            back = node("LightFusionRestore", image=plain, original=image, mask=blank)[0]
            assert torch.equal(back, node("LightFusionRestore", image=plain, original=image)[0])
    assert torch.equal(edit(small, mask=torch.zeros(1, 64, 64))[0], edit(small)[0])
    other = picture(seed=3)
    empty = torch.zeros(1, 75, 100)  # one of the picture's own size says that nothing may change
    assert torch.equal(node("LightFusionRestore", image=other, original=image[:1], mask=empty)[0], image[:1])


def cut_out(width: int = 100, height: int = 75, frames: int = 1) -> Tensor:
    """An RGBA IMAGE of whole bytes: a disc with a soft edge, and a hidden background in other colours."""
    image = picture(width, height, frames)
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    alpha = ((0.8 - (x**2 + y**2).sqrt()) * 10).clamp(0, 1).expand(frames, -1, -1)
    hidden = torch.where(alpha[..., None] > 0, image, torch.tensor([0.0, 1.0, 0.0]))
    return torch.cat([hidden, (alpha[..., None] * 255).round() / 255], dim=-1)


def on_white(colours: Tensor, alpha: Tensor) -> Tensor:
    """What a picture with alpha looks like on white."""
    return colours * alpha + (1 - alpha)


def check_an_edited_cut_out_keeps_its_alpha() -> None:
    """Its hidden background is not edited with it, and outside of the mask it stays bit for bit, alpha too."""
    image = cut_out(frames=2)
    flat = on_white(image[..., :3], image[..., 3:])
    for masks in ({}, {"mask": half_mask(image)}):
        drawn, latent = edit(image, **masks)
        plain, plain_latent = edit(flat, **masks)
        assert torch.equal(latent["samples"], plain_latent["samples"]), "the hidden background was looked at"
        assert drawn.shape == image.shape and torch.equal(drawn[..., 3], image[..., 3])
        solid = image[..., 3] == 1
        assert largest(drawn[..., :3][solid] - plain[solid]) <= 1e-6
        assert largest(drawn[..., :3][solid] - flat[solid]) > 0.05, "nothing was edited"
        if masks:
            kept = masks["mask"].expand(2, -1, -1) == 0
            assert torch.equal(drawn[kept], image[kept])


def check_grey_and_transparent_pictures_are_read_as_they_look() -> None:
    """Grey is repeated and transparency laid on white, in every node that takes an IMAGE."""
    _, clip, vae = load()
    image = cut_out()
    grey, alpha = image[..., :1], image[..., 3:]
    looks = [
        (image, on_white(image[..., :3], alpha)),
        (grey, grey.expand(-1, -1, -1, 3)),
        (torch.cat([grey, alpha], dim=-1), on_white(grey, alpha).expand(-1, -1, -1, 3)),
    ]
    texts = {"prompt": INSTRUCTION, "negative_prompt": "", "width": 64, "height": 64, "batch_size": 1}
    asked = {"clip": clip, "question": "What is it?", "length": 12, "temperature": 0.0, "seed": 0}
    tiles = {"tile_x": 64, "tile_y": 64, "overlap": 16}
    for given, seen in looks:
        for call in (
            lambda x: node("LightFusionEncode", clip=clip, vae=vae, image_1=x, **texts)[0][0][0],
            vae.encode,  # as stock nodes call it; those of older hosts cut alpha off before
            lambda x: vae.encode_tiled(x, **tiles),
            lambda x: node("LightFusionFit", vae=vae, image=x, size="automatic")[0],
            lambda x: node("LightFusionRestore", image=x, original=picture(40, 30))[0],
        ):
            assert torch.equal(call(given), call(seen))
        assert node("LightFusionAsk", image_1=given, **asked)[0] == node("LightFusionAsk", image_1=seen, **asked)[0]
        restored = node("LightFusionRestore", image=picture(), original=given)[0]
        assert restored.shape[-1] == (4 if given.shape[-1] in (2, 4) else 3)
    assert "1 to 4 channels" in raised(lambda: vae.encode(torch.zeros(1, 64, 64, 5)))


class Foreign:
    """Another model's part, as MODEL and as CLIP."""

    model = cond_stage_model = None
