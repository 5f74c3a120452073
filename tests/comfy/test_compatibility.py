"""Every node of ComfyUI that can meet a LightFusion model acts, or says why not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from foreign import write_foreign
from host import Client, Server
from matrix import DOCUMENT, concerned, recorded, render
from observing import observe, prepare, problem
from table import REFUSED, TOLD, Row, read
from tiny import CONFIG

ROWS = read()
RENDER = "python -m tests.comfy.matrix --write"


def test_document_is_the_table() -> None:
    """Artists read the document, so it must not lag behind what the test holds true."""
    assert DOCUMENT.read_text(encoding="utf-8") == render(ROWS, recorded()), f"Render it anew: {RENDER}"


def test_every_recorded_node_has_a_row() -> None:
    """And every row is some ComfyUI's node."""
    nodes = {node for known in recorded().values() for node in known}
    assert nodes - ROWS.keys() == set()
    assert ROWS.keys() - nodes == set()


@pytest.mark.parametrize(
    "row", [row for row in ROWS.values() if row.verdict in (REFUSED, TOLD)], ids=lambda row: row.node
)
def test_refusals_name_something(row: Row) -> None:
    """What an error or a warning must say is written down, or any error would do."""
    assert row.says


@pytest.fixture(scope="module")
def known(server: Server) -> Iterator[dict[str, Any]]:
    """The server's nodes; pictures and another model's files are laid down for the graphs."""
    write_foreign(server.base / "models", CONFIG.text.hidden_size)
    client = Client(server)
    prepare(client)
    yield client.object_info()
    client.close()


@pytest.mark.comfy
@pytest.mark.slow
def test_every_node_is_sorted(server: Server, client: Client, known: dict[str, Any]) -> None:
    """A node that a newer ComfyUI brings must be looked at before an artist wires it in."""
    found = concerned(known)
    unsorted = [seen for node in found.keys() - ROWS.keys() for seen in observe(client, known, Row.unsorted(node))]
    if unsorted:
        lines = "\n".join(map(str, unsorted))
        pytest.fail(
            f"Give these nodes a row in compatibility.yaml; wired as they are, they do:\n{lines}", pytrace=False
        )
    record = recorded().get(server.checkout.version)
    assert record is not None and found.keys() == record.keys(), f"Record this version anew: {RENDER}"


@pytest.mark.comfy
@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.node)
def test_node(client: Client, known: dict[str, Any], row: Row) -> None:
    """The node alone is added to a graph that draws with nano, and what it does is what its row says."""
    if row.node not in known:
        pytest.skip("this ComfyUI has no such node")
    problems = [found for seen in observe(client, known, row) if (found := problem(row, seen))]
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)
