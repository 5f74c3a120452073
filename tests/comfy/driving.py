"""What many tests do with a client."""

from __future__ import annotations

import pytest
from host import Client, Graph, Result
from PIL import Image


def run(client: Client, graph: Graph) -> Result:
    """Run a graph that must succeed."""
    result = client.run(graph)
    if result.failure is not None:
        pytest.fail(str(result.failure), pytrace=False)
    assert result.status == "success"
    return result


def photo(client: Client, width: int = 100, height: int = 70) -> str:
    """The name of an uploaded picture whose sides are no multiples of anything."""
    picture = Image.radial_gradient("L").convert("RGB").resize((width, height))
    return client.upload(f"photo {width}x{height}.png", picture)
