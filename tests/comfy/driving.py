"""What many tests do with a client."""

from __future__ import annotations

import json

import pytest
from graphs import node
from host import Client, Graph, Result
from PIL import Image

from tools.comfyui import numbers
from tools.workflows.catalogue import WORKFLOWS


def made_for(name: str, served: tuple[int, ...]) -> None:
    """Skip a workflow of nodes that a server's version has in another form."""
    wanted = WORKFLOWS[name]().comfyui
    if served < numbers(wanted):
        pytest.skip(f"{name} is made for ComfyUI {wanted} and newer")


def run(client: Client, graph: Graph) -> Result:
    """Run a graph that must succeed."""
    result = client.run(graph)
    if result.failure is not None:
        pytest.fail(str(result.failure), pytrace=False)
    assert result.status == "success"
    return result


def count(client: Client, function: str) -> dict[str, dict[str, int]]:
    """A function of the counting module, in the server: what each prompt encoded, by kind."""
    graph = {"count": node("LightFusionCheck", module="counting", function=function)}
    return json.loads(run(client, graph).outputs["count"]["text"][0])


def photo(client: Client, width: int = 100, height: int = 70) -> str:
    """The name of an uploaded picture whose sides are no multiples of anything."""
    picture = Image.radial_gradient("L").convert("RGB").resize((width, height))
    return client.upload(f"photo {width}x{height}.png", picture)
