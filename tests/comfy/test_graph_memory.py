"""Memory over an evening: the server's own size while it draws, edits and answers, and after it is told to forget."""

from __future__ import annotations

import pytest
from driving import photo, run
from graphs import ask, edit, node
from host import Client, Graph, Server

pytestmark = [pytest.mark.comfy, pytest.mark.slow]
NANO = "nano (built in)"


def evening(image: str, turn: int) -> Graph:
    """An edit and a question of one picture; both texts and the seed are new every time."""
    graph = edit(image, model=NANO, text=f"make it {turn}", seed=turn, steps=3)
    question = ask(question=f"how many is {turn}?", length=8, image_1=["image", 0])["ask"]
    return graph | {"ask": question, "show": node("PreviewImage", images=["edit", 0])}


def test_thirty_runs_do_not_grow_the_process(server: Server, client: Client) -> None:
    """Contexts, prefixes, previews and expanded nodes that stay are gone only with the server."""
    image = photo(client)
    for turn in range(10):
        run(client, evening(image, turn))
    loaded = server.memory()
    for turn in range(10, 40):
        run(client, evening(image, turn))
    after = server.memory()
    client.free()
    freed = server.memory()
    megabytes = [f"{value / 1e6:.0f}" for value in (loaded, after, freed)]
    print("MB loaded, after 30 runs, after /free:", *megabytes)
    assert after - loaded < 16e6, megabytes
    assert freed < 1.05 * loaded, megabytes
