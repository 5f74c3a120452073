"""A picture on its way through LightFusion, another model and LightFusion again, in one graph.

The other model comes by stock loaders and is driven by stock nodes, as any that a user has. What it reads as a
prompt is a conditioning that ConditioningZeroOut has emptied, since a text encoder of its own would be large.
"""

from __future__ import annotations

import numpy as np
import pytest
from driving import photo, run
from foreign import MODEL, STRIDE, VAE, write_foreign
from graphs import edit, node
from host import Client, Graph, Server
from tiny import CONFIG

pytestmark = pytest.mark.comfy
STAGES = ("first", "between", "second")


@pytest.fixture(scope="module", autouse=True)
def _other_model(server: Server) -> None:
    write_foreign(server.base / "models", CONFIG.text.hidden_size)


def chain(image: str, denoise: float = 0.6) -> Graph:
    """Edit, image to image through the other model, edit; each stage is saved under its name."""
    graph = edit(image, seed=500)
    again = edit(image, text="and make it round", seed=501)["edit"]
    again["inputs"]["image_1"] = ["decode", 0]
    del graph["save"]
    return graph | {
        "other": node("UNETLoader", unet_name=MODEL, weight_dtype="default"),
        "other vae": node("VAELoader", vae_name=VAE),
        "text": node("CLIPTextEncode", clip=["load", 1], text=""),
        "empty": node("ConditioningZeroOut", conditioning=["text", 0]),
        "encode": node("VAEEncode", pixels=["edit", 0], vae=["other vae", 0]),
        "repaint": node(
            "KSampler", model=["other", 0], positive=["empty", 0], negative=["empty", 0], latent_image=["encode", 0],
            seed=1, steps=4, cfg=2.0, sampler_name="euler", scheduler="simple", denoise=denoise,
        ),
        "decode": node("VAEDecode", samples=["repaint", 0], vae=["other vae", 0]),
        "again": again,
        "first": node("SaveImage", images=["edit", 0], filename_prefix="first"),
        "between": node("SaveImage", images=["decode", 0], filename_prefix="between"),
        "second": node("SaveImage", images=["again", 0], filename_prefix="second"),
    }  # fmt: skip


def stages(client: Client, graph: Graph) -> dict[str, np.ndarray]:
    """The picture of every stage."""
    result = run(client, graph)
    return {name: np.asarray(client.images(result, name)[0].convert("RGB")) for name in STAGES}


@pytest.mark.parametrize(("width", "height"), [(104, 72), (90, 140), (100, 70)])
def test_sizes_stay_exact(client: Client, width: int, height: int) -> None:
    """An edit gives back what it was given, to the pixel; the other model cuts to its own multiple."""
    pictures = stages(client, chain(photo(client, width, height)))
    cut = (height // STRIDE * STRIDE, width // STRIDE * STRIDE, 3)
    assert {name: picture.shape for name, picture in pictures.items()} == {
        "first": (height, width, 3), "between": cut, "second": cut,
    }  # fmt: skip
    assert all(picture.std() > 1 for picture in pictures.values())


def test_chain_is_deterministic(client: Client) -> None:
    """Models that push each other out of memory must come back as they were."""
    graph = chain(photo(client))
    before = stages(client, graph)
    client.free()
    after = stages(client, graph)
    for name in STAGES:
        assert np.array_equal(before[name], after[name]), name


def test_every_stage_changes_the_picture(client: Client) -> None:
    """A second edit that took the first one's picture from a cache would hide the other model."""
    image = photo(client, 104, 72)
    pictures = stages(client, chain(image))
    assert not np.array_equal(pictures["first"], pictures["between"])
    assert not np.array_equal(pictures["between"], pictures["second"])
    stronger = stages(client, chain(image, denoise=0.9))
    assert np.array_equal(pictures["first"], stronger["first"])
    assert not np.array_equal(pictures["second"], stronger["second"])
