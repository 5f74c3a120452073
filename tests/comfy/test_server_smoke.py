"""The pack in a real server: it loads, draws, stops, forgets and complains as a user would see it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from graphs import LORA, SAMPLER, SAVE, loader, node, text_to_image
from host import LOAD_FAILURE, LORA_FAILURE, PACK, Client, Result, Server
from PIL import Image
from safetensors.torch import save_file

pytestmark = pytest.mark.comfy
NANO = PACK / "lightfusion_core" / "nano"


def draw(client: Client, **options: object) -> tuple[Result, np.ndarray]:
    """Run the stock graph; the result and the first picture's pixels."""
    result = client.run(text_to_image(**options))
    if result.failure is not None:
        pytest.fail(str(result.failure), pytrace=False)
    return result, pixels(client, result)


def pixels(client: Client, result: Result) -> np.ndarray:
    """The first saved picture."""
    return np.asarray(client.images(result, SAVE)[0].convert("RGB"))


# Loading


def test_pack_loads_without_a_complaint(server: Server, client: Client) -> None:
    """ComfyUI logs a pack that fails to import and goes on without it."""
    assert not LOAD_FAILURE.search(server.log())
    known = client.object_info()
    assert {"LightFusionLoad", "LightFusionEmptyLatent"} <= set(known)


def test_pack_adds_little_to_the_start(server: Server, tmp_path: Path) -> None:
    """Heavy libraries imported at start would be paid for by every user on every start. ComfyUI measures what passes,
    whoever has the processor, so what counts is the quickest of three starts."""
    seconds = [server.import_seconds()]
    while min(seconds) >= 0.2 and len(seconds) < 3:
        with Server(server.checkout, tmp_path / str(len(seconds))) as other:
            seconds.append(other.import_seconds())
    assert min(seconds) < 0.2


# Drawing


def test_stock_graph_draws_with_progress_and_previews(client: Client) -> None:
    """Without a latent format of the model's own, previews are missing or noise."""
    result, picture = draw(client, steps=5, width=96, height=64, seed=20)
    assert result.status == "success"
    assert picture.shape == (64, 96, 3)
    assert picture.std() > 1
    assert result.progress(SAMPLER) == [(step, 5) for step in range(1, 6)]
    assert [preview.node for preview in result.previews] == [SAMPLER] * 5
    width, height = result.previews[-1].image.size
    assert abs(width / height - 96 / 64) < 0.01


def test_one_seed_is_one_picture(client: Client) -> None:
    """State that is kept between runs shows as a picture that cannot be drawn again."""
    _, first = draw(client, seed=30)
    _, other = draw(client, seed=31)
    _, again = draw(client, seed=30)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_changed_seed_executes_the_sampler_and_what_follows(client: Client) -> None:
    """A new seed must not load or encode again."""
    draw(client, seed=41)
    result, _ = draw(client, seed=42)
    assert result.executed == [SAMPLER, "decode", SAVE]


def test_batch_is_saved_as_pictures(client: Client) -> None:
    """A VAE that takes the batch for time returns one picture, or a film of one."""
    result, first = draw(client, batch=3, seed=50)
    pictures = [np.asarray(image) for image in client.images(result, SAVE)]
    assert len(pictures) == 3
    assert not np.array_equal(pictures[0], pictures[1])
    assert first.shape == (64, 64, 3)


def test_picture_goes_in_and_comes_back(client: Client) -> None:
    """Stock VAE nodes and LoadImage: a size that is no multiple of the stride must not fail."""
    name = client.upload("in.png", Image.radial_gradient("L").convert("RGB").resize((100, 70)))
    graph = {
        "load": loader("tiny/"),
        "image": node("LoadImage", image=name),
        "encode": node("VAEEncode", pixels=["image", 0], vae=["load", 2]),
        "decode": node("VAEDecode", samples=["encode", 0], vae=["load", 2]),
        "tiled": node("VAEDecodeTiled", samples=["encode", 0], vae=["load", 2], tile_size=64, overlap=32,
                      temporal_size=64, temporal_overlap=8),
        SAVE: node("SaveImage", images=["decode", 0], filename_prefix="test"),
        "save tiled": node("SaveImage", images=["tiled", 0], filename_prefix="test"),
    }  # fmt: skip
    result = client.run(graph)
    if result.failure is not None:
        pytest.fail(str(result.failure), pytrace=False)
    assert {client.images(result, node)[0].size for node in (SAVE, "save tiled")} == {(96, 64)}


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_weight_dtypes_draw(client: Client, dtype: str) -> None:
    """Layers of the host's cast by themselves; a parameter outside of them must be cast at use."""
    graph = text_to_image(seed=55)
    graph["load"]["inputs"]["weight_dtype"] = dtype
    result = client.run(graph)
    assert result.failure is None, str(result.failure)
    assert pixels(client, result).std() > 1


@pytest.mark.skipif(not any(NANO.glob("*.safetensors")), reason="the model that ships with the pack is not there yet")
def test_shipped_model_draws(client: Client) -> None:
    """What every example workflow starts with, as it is offered."""
    result, picture = draw(client, model="nano (built in)", steps=4, width=0, height=0)
    assert result.status == "success"
    assert picture.std() > 1


# Stopping


@pytest.mark.parametrize("step", [1, 3, 5])
def test_cancel_is_reported_and_leaves_everything_usable(client: Client, step: int) -> None:
    """A cancel that is swallowed is saved as a picture; one that breaks the model spoils the next run."""
    _, before = draw(client, seed=60, steps=6)
    cancelled = client.run(text_to_image(seed=61, steps=6, slow=0.25), cancel_at=step)
    assert cancelled.status == "interrupted"
    assert cancelled.failure is None
    assert SAVE not in cancelled.outputs
    assert cancelled.progress(SAMPLER)[-1] == (step, 6)
    _, after = draw(client, seed=60, steps=6)
    assert np.array_equal(before, after)


def test_free_forgets_and_the_next_run_loads_again(client: Client) -> None:
    """Weights that are unloaded and loaded again must draw the same picture."""
    _, before = draw(client, seed=70)
    client.free()
    result, after = draw(client, seed=70)
    assert {"load", SAMPLER} <= set(result.executed)
    assert np.array_equal(before, after)


# Weights that change


def test_lora_changes_the_picture_and_leaves_no_trace(server: Server, client: Client) -> None:
    """Keys that do not match are only logged, and what is kept from patched weights outlives them."""
    since = server.log_length
    pictures = [draw(client, seed=80, lora=strength)[1] for strength in (0.0, 1.0, 0.0)]
    assert np.array_equal(pictures[0], pictures[2])
    assert not np.array_equal(pictures[0], pictures[1])
    assert np.array_equal(pictures[0], draw(client, seed=80)[1])
    client.free()
    assert np.array_equal(pictures[1], draw(client, seed=80, lora=1.0)[1]), "what was drawn before changes the picture"
    assert not LORA_FAILURE.search(server.log(since)), f"{LORA} was not used in full"


# Complaining


def failure(client: Client, graph: dict[str, object]) -> str:
    """The text that the client gets for a graph that cannot work."""
    result = client.run(graph)
    assert result.status == "error", f"{result.status}: {result.outputs}"
    assert result.failure is not None
    return result.failure.message


def joined_conditioning(kind: str, **inputs: object) -> dict[str, object]:
    """The stock graph with a node between the prompt and the sampler."""
    graph = text_to_image()
    graph["joined"] = node(kind, **inputs)
    graph[SAMPLER]["inputs"]["positive"] = ["joined", 0]
    return graph


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("ConditioningZeroOut", {"conditioning": ["positive", 0]}),
        ("ConditioningConcat", {"conditioning_to": ["positive", 0], "conditioning_from": ["negative", 0]}),
        (
            "ConditioningAverage",
            {
                "conditioning_to": ["positive", 0],
                "conditioning_from": ["negative", 0],
                "conditioning_to_strength": 0.5,
            },
        ),
    ],
)
def test_conditioning_that_a_node_has_mixed_is_refused(client: Client, kind: str, inputs: dict[str, object]) -> None:
    """The mixed tensor is only the last layer: drawing from it would ignore the prompt in silence."""
    assert "wire it straight in" in failure(client, joined_conditioning(kind, **inputs))


def given_latent(server: Server, *shape: int) -> dict[str, object]:
    """The stock graph with a latent of this shape, not zero, from a file."""
    name = f"{'x'.join(map(str, shape))}.latent"
    latent = {"latent_tensor": torch.ones(shape), "latent_format_version_0": torch.tensor([])}
    save_file(latent, server.base / "input" / name)
    graph = text_to_image()
    graph["empty"] = node("LoadLatent", latent=name)
    return graph


def test_latent_of_another_model_is_refused(server: Server, client: Client) -> None:
    """Four channels into a network of 48 end in an error about tensor sizes."""
    assert "Empty LightFusion Latent" in failure(client, given_latent(server, 1, 4, 8, 8))


def test_latent_between_two_sizes_draws_its_size(server: Server, client: Client) -> None:
    """An odd number of rows cannot be cut into tokens: they are filled up, as in the host's own transformers."""
    result = client.run(given_latent(server, 1, 48, 9, 7))
    assert result.status == "success", result.failure
    assert pixels(client, result).shape == (144, 112, 3)


def test_video_latent_is_explained(server: Server, client: Client) -> None:
    """The channels and dimensions of Wan's video latents are the model's own, with more than one frame."""
    assert "Empty LightFusion Latent" in failure(client, given_latent(server, 1, 48, 2, 8, 8))


def test_size_that_is_no_multiple_is_rounded(client: Client) -> None:
    """A linked number knows nothing of a widget's steps."""
    _, picture = draw(client, width=90, height=70)
    assert picture.shape == (64, 96, 3)


def test_picture_larger_than_what_was_encoded_is_explained(client: Client) -> None:
    """The prompt's markers are encoded up to the model's largest extent."""
    assert "draw smaller" in failure(client, text_to_image(width=512, height=512))


def test_stock_empty_latent_serves(server: Server, client: Client) -> None:
    """A user's first graph has Empty Latent Image in it, of another model's channels and stride."""
    graph = text_to_image()
    graph["empty"] = node("EmptyLatentImage", width=64, height=64, batch_size=1)
    result = client.run(graph)
    assert result.status == "success"
    told = "downscale_ratio_spacial" in (server.checkout.path / "nodes.py").read_text(encoding="utf-8")
    assert client.images(result, SAVE)[0].size == ((64, 64) if told else (128, 128))


def test_file_that_is_no_lightfusion_is_explained(server: Server, client: Client) -> None:
    """Any safetensors file can be picked from the list."""
    save_file({"some.weight": torch.zeros(2, 2)}, server.base / "models" / "lightfusion" / "foreign.safetensors")
    text = failure(client, text_to_image(model="foreign.safetensors"))
    assert "foreign.safetensors" in text
    assert "lightfusion inspect" in text or "LightFusion" in text


# Memory


@pytest.mark.slow
def test_thirty_runs_do_not_grow_the_process(server: Server, client: Client) -> None:
    """Contexts, previews and results that stay fill the memory in an evening."""
    for seed in range(100, 110):
        draw(client, seed=seed, steps=2)
    before = server.memory()
    for seed in range(110, 140):
        draw(client, seed=seed, steps=2)
    after = server.memory()
    client.free()
    freed = server.memory()
    assert after - before < 16e6, f"{(after - before) / 1e6:.1f} MB more after 30 runs"
    assert freed < 1.05 * before, f"{freed / 1e6:.1f} MB are left of {before / 1e6:.1f} MB"
