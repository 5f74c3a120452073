"""A thousand mixed requests of a server, with previews, cancels and errors between them: it stays what it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from driving import photo
from graphs import ask, edit, node, own_text_to_image, text_to_image
from host import Client, Graph, Server

pytestmark = [pytest.mark.comfy, pytest.mark.slow]
COUNT, EVERY = 1000, 100


def requests(image: str, number: int) -> tuple[Graph, int | None, str]:
    """A graph that is new, where to cancel it, and how it ends."""
    kinds = (
        (text_to_image(text=f"draw {number}", seed=number, steps=2), None, "success"),
        (own_text_to_image(text=f"draw {number}", seed=number, steps=2), None, "success"),
        (edit(image, text=f"edit {number}", seed=number, steps=2), None, "success"),
        (answered(f"ask {number}"), None, "success"),
        (own_text_to_image(text=f"stop {number}", seed=number, steps=9, slow=0.05), 2, "interrupted"),
        (own_text_to_image(text=f"fail {number}", seed=number, steps=2, width=64, height=4096), None, "error"),
    )
    return kinds[number % len(kinds)]


def answered(question: str) -> Graph:
    graph = ask(question=question, length=4)
    return graph | {"show": node("PreviewAny", source=["ask", 0])}


def state(server: Server) -> dict[str, int]:
    process = Path(f"/proc/{server.process.pid}")
    counts = {name: len(os.listdir(process / folder)) for name, folder in (("threads", "task"), ("files", "fd"))}
    return {"megabytes": server.memory() // 2**20, **counts}


def test_a_thousand_requests_leave_nothing(server: Server, client: Client) -> None:
    image, states = photo(client), []
    for number in range(COUNT):
        graph, cancel_at, wanted = requests(image, number)
        result = client.run(graph, cancel_at=cancel_at)
        assert result.status == wanted, (number, result.status, result.failure)
        if number % EVERY == EVERY - 1:
            states.append(state(server))
    print(*states, sep="\n")
    settled, last = states[1], states[-1]
    assert last["megabytes"] - settled["megabytes"] < 32
    assert last["threads"] <= settled["threads"] + 1  # a worker of the host's own may come late
    assert last["files"] <= settled["files"] + 1
