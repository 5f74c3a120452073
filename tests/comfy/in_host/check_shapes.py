"""Latents are pictures (B, C, h, w): the host's nodes then act on the right axes, whatever shape comes in."""

from __future__ import annotations

from typing import Any

import torch
from harness import NEGATIVE, PROMPT, empty, encode, ksample, largest, load, node, raised
from torch import Tensor

REST = {
    "text_guidance": 3.0, "image_guidance": 1.0, "shift": 4.0, "solver": "unipc", "renorm_min": 0.0,
    "interval_start": 0.0, "interval_end": 1.0,
}  # fmt: skip


def check_every_node_gives_pictures() -> None:
    """A fifth dimension makes the host's nodes crop, paste and turn along the wrong axes."""
    _, clip, vae = load()
    picture = torch.rand(2, 64, 96, 3, generator=torch.Generator().manual_seed(1))
    made = {
        "empty": empty(96, 64, batch=2),
        "encoded": node("VAEEncode", pixels=picture, vae=vae)[0],
        "of a prompt": node(
            "LightFusionEncode", clip=clip, prompt=PROMPT, negative_prompt="", width=96, height=64, batch_size=2
        )[3],
    }  # fmt: skip
    made["sampled"] = {"samples": ksample(latent=made["encoded"], steps=1)}
    made["sampled by ours"] = _sampled(made["encoded"])
    channels = load()[0].model.latent_format.latent_channels
    for name, latent in made.items():
        assert latent["samples"].shape == (2, channels, 4, 6), (name, latent["samples"].shape)


def check_latents_are_flipped_and_turned() -> dict[str, float]:
    """The host's nodes on our latents; what their pictures are is in the table of compatibility."""
    vae = load()[2]
    picture = torch.ones(1, 64, 96, 3)
    picture[:, :, :48] = 0
    latent = node("VAEEncode", pixels=picture, vae=vae)[0]
    flipped = node("LatentFlip", samples=latent, flip_method="y-axis: horizontally")[0]["samples"]
    turned = node("LatentRotate", samples=latent, rotation="90 degrees")[0]["samples"]
    assert torch.equal(flipped, latent["samples"].flip(3))
    assert turned.shape == (*latent["samples"].shape[:2], 6, 4)
    return {}


def check_one_frame_of_a_video_is_a_picture() -> dict[str, float]:
    """Latents that were saved with a frame's dimension, or that a video model's node made, draw and decode the same."""
    vae, latent = load()[2], _noisy(64, 96)
    frame = {"samples": latent["samples"].unsqueeze(2)}
    found = {
        "KSampler": largest(ksample(latent=frame, denoise=0.5).squeeze(2) - ksample(latent=latent, denoise=0.5)),
        "Sampler": largest(_sampled(frame, 0.5)["samples"] - _sampled(latent, 0.5)["samples"]),
        "decoded": largest(
            node("VAEDecode", samples=frame, vae=vae)[0] - node("VAEDecode", samples=latent, vae=vae)[0]
        ),
    }
    tiles = {"tile_size": 64, "overlap": 16, "temporal_size": 64, "temporal_overlap": 8}
    whole = node("VAEDecodeTiled", samples=frame, vae=vae, **tiles)[0]
    found["tiled"] = largest(whole - node("VAEDecodeTiled", samples=latent, vae=vae, **tiles)[0])
    assert max(found.values()) <= 1e-6, found
    return found


def check_a_video_is_refused() -> dict[str, str]:
    """Of several frames one would be drawn and the others lost."""
    video = {"samples": _noisy(64, 96)["samples"].unsqueeze(2).repeat(1, 1, 3, 1, 1)}
    said = {
        "KSampler": raised(lambda: ksample(latent=video)),
        "Sampler": raised(lambda: _sampled(video)),
        "VAEDecode": raised(lambda: node("VAEDecode", samples=video, vae=load()[2])),
    }
    assert all("draws pictures" in text for text in said.values()), said
    return said


def check_sides_of_half_tokens_draw() -> dict[str, float]:
    """Latents upscaled by 1.1 have odd sides. The rest of a picture must hardly see that its edge was filled up."""
    for width, height in ((7, 4), (6, 5), (5, 3)):
        odd = _noisy(16 * height, 16 * width)
        assert odd["samples"].shape[-2:] == (height, width)
        for drawn in (ksample(latent=odd, denoise=0.6), _sampled(odd, 0.6, "channel")["samples"]):
            assert drawn.shape == odd["samples"].shape
            assert bool(drawn.isfinite().all())
    upscaled = node("LatentUpscaleBy", samples=_noisy(160, 160), upscale_method="bicubic", scale_by=1.1)[0]
    assert ksample(latent=upscaled, steps=2, denoise=0.5).shape[-2:] == (11, 11)
    return {}


def check_areas_of_a_conditioning_draw() -> dict[str, float]:
    """The host cuts the area out of the latent by its axes."""
    whole = ksample(positive=encode(PROMPT))
    area = {"width": 48, "height": 32, "x": 0, "y": 0, "strength": 1.0}
    share = {"width": 0.5, "height": 0.5, "x": 0.0, "y": 0.0, "strength": 1.0}
    both = encode(NEGATIVE) + node("ConditioningSetArea", conditioning=encode(PROMPT), **area)[0]
    mask = torch.zeros(1, 64, 96)
    mask[:, :32, :48] = 1
    bounds = {"mask": mask, "strength": 1.0, "set_cond_area": "mask bounds"}
    found = {}
    for name, positive in {
        "area": both,
        "share": encode(NEGATIVE) + node("ConditioningSetAreaPercentage", conditioning=encode(PROMPT), **share)[0],
        "mask": encode(NEGATIVE) + node("ConditioningSetMask", conditioning=encode(PROMPT), **bounds)[0],
    }.items():
        drawn = ksample(positive=positive)
        assert bool(drawn.isfinite().all()), name
        found[name] = largest(drawn - whole)
        assert found[name] > 1e-2, found
    return found


def _noisy(height: int, width: int) -> dict[str, Tensor]:
    channels = load()[0].model.latent_format.latent_channels
    draw = torch.Generator().manual_seed(2)
    return {"samples": torch.randn(1, channels, height // 16, width // 16, generator=draw)}


def _sampled(latent: dict[str, Tensor], denoise: float = 1.0, renorm: str = "none") -> Any:
    return node(
        "LightFusionSampler", model=load()[0], positive=encode(PROMPT), negative=encode(NEGATIVE), no_image=None,
        latent=latent, seed=3, steps=3, denoise=denoise, renorm=renorm, **REST,
    )[0]  # fmt: skip
