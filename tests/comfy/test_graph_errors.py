"""What goes wrong reaches the user as the error of one node, with the remedy in its text."""

from __future__ import annotations

import pytest
import torch
from driving import photo
from graphs import SAMPLER, ask, edit, loader, node, own_text_to_image, text_to_image
from host import Client, Graph, RefusedError, Server
from safetensors.torch import save_file

pytestmark = pytest.mark.comfy


def failure(client: Client, graph: Graph, node: str) -> str:
    """The text of the error, which must be this node's (or one's that it stands for)."""
    result = client.run(graph)
    assert result.status == "error", f"{result.status}: {result.outputs}"
    assert result.failure is not None
    assert result.failure.node.split(".")[0] == node
    # the dialog's title, where the host would show the path of a file
    assert result.failure.kind in ("LightFusion.InputError", "LightFusion.CheckpointError")
    return result.failure.message


def with_picture(client: Client, graph: Graph, width: int = 100, height: int = 70) -> Graph:
    """A graph and the picture that it wires in as "image"."""
    return graph | {"image": node("LoadImage", image=photo(client, width, height))}


def test_absent_model_is_named_with_the_folder_for_it(client: Client) -> None:
    """A shared workflow names files that this machine does not have; nothing of it runs."""
    with pytest.raises(RefusedError) as refused:
        client.run(own_text_to_image(model="absent.safetensors"))
    assert "'absent.safetensors' is in no model folder" in str(refused.value)
    assert "models/lightfusion" in str(refused.value) and "nano (built in)" in str(refused.value)


@pytest.mark.parametrize(("part", "folder"), [("understanding", "text_encoders"), ("vae", "vae")])
def test_absent_part_is_named_with_the_folder_for_it(client: Client, part: str, folder: str) -> None:
    graph = own_text_to_image()
    graph["load"]["inputs"][part] = "absent.safetensors"
    with pytest.raises(RefusedError) as refused:
        client.run(graph)
    assert f"'absent.safetensors' is in no {folder} folder" in str(refused.value)
    assert f"models/{folder}" in str(refused.value) and "from the model" in str(refused.value)


@pytest.mark.parametrize("kind", ["encode", "edit", "ask"])
def test_foreign_clip_is_refused(client: Client, kind: str) -> None:
    """Every text encoder has the same type."""
    graph = {
        "encode": own_text_to_image(),
        "edit": edit(photo(client)),
        "ask": ask(),
    }[kind]
    graph["foreign"] = node("LightFusionOtherClip")
    graph[kind]["inputs"]["clip"] = ["foreign", 0]
    assert "Load LightFusion" in failure(client, graph, kind)


def test_foreign_vae_is_refused(client: Client) -> None:
    graph = with_picture(client, own_text_to_image(vae=["foreign", 0], image_1=["image", 0]))
    graph["foreign"] = node("LightFusionOtherVae")
    assert "Load LightFusion" in failure(client, graph, "encode")


def test_references_need_the_vae(client: Client) -> None:
    """The socket is optional, since text alone needs none."""
    text = failure(client, with_picture(client, own_text_to_image(image_1=["image", 0])), "encode")
    assert "VAE of Load LightFusion" in text


def test_latent_of_another_model_is_refused(server: Server, client: Client) -> None:
    save_file(
        {"latent_tensor": torch.ones(1, 4, 8, 8), "latent_format_version_0": torch.tensor([])},
        server.base / "input" / "four.latent",
    )
    graph = own_text_to_image()
    graph["latent"] = node("LoadLatent", latent="four.latent")
    graph[SAMPLER]["inputs"]["latent"] = ["latent", 0]
    assert "Empty LightFusion Latent" in failure(client, graph, SAMPLER)


def test_foreign_conditioning_is_refused(client: Client) -> None:
    graph = own_text_to_image()
    graph["zero"] = node("ConditioningZeroOut", conditioning=["encode", 0])
    graph[SAMPLER]["inputs"]["positive"] = ["zero", 0]
    assert "wire it straight in" in failure(client, graph, SAMPLER)


@pytest.mark.parametrize("kind", ["encode", "edit", "ask", "positive"])
def test_prompt_too_long_is_counted(client: Client, kind: str) -> None:
    """Beyond the model's positions, where rotary tables end and words begin to swim."""
    words = "a red circle " * 200
    graph = {
        "encode": own_text_to_image(text=words),
        "edit": edit(photo(client), text=words),
        "ask": ask(question=words),
        "positive": text_to_image(text=words),
    }[kind]
    text = failure(client, graph, kind)
    assert "shorten" in text
    assert "512" in text


@pytest.mark.parametrize(("width", "height"), [(17, 289), (340, 20)])
def test_long_picture_is_refused(client: Client, width: int, height: int) -> None:
    """Beyond 16:1 a resize by the model's rule would be a single row of tokens."""
    graph = with_picture(
        client, own_text_to_image(vae=["load", 2], image_1=["image", 0]), width, height
    )  # fmt: skip
    assert "16:1" in failure(client, graph, "encode")
    assert "16:1" in failure(client, edit(photo(client, width, height)), "edit")


def test_model_that_does_not_know_the_task_still_runs(client: Client) -> None:
    """nano answers badly where it was not trained to, and a graph that is wired right must not be red."""
    result = client.run({**ask(model="nano (built in)", length=8), "load": loader("nano (built in)")})
    assert result.status == "success", str(result.failure)
