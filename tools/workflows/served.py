"""What needs a running ComfyUI: recording its nodes, and the thumbnails."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.comfy.host import Client, Server
from tools.comfyui import checkouts, numbers

from .catalogue import KINDS, TRAINING_KINDS, TRAINING_SINCE, WORKFLOWS
from .graph import Graph
from .schema import read_kind, write_recording
from .thumbnail import compose
from .write import FOLDER, to_api


@contextmanager
def _client(since: str = "") -> Iterator[Client]:
    """A client of the oldest ComfyUI on this machine from a version on: what is made with it opens in newer ones."""
    served = (checkout for checkout in checkouts() if checkout.numbers >= numbers(since))
    oldest = min(served, key=lambda checkout: checkout.numbers)
    with tempfile.TemporaryDirectory() as base, Server(oldest, Path(base)) as server:
        client = Client(server)
        yield client
        client.close()


def record() -> None:
    """Write the recording anew."""
    kinds = []
    for since, names in (("", KINDS), (TRAINING_SINCE, TRAINING_KINDS)):
        with _client(since) as client:
            known, version = client.object_info(), client.server.checkout.version
            kinds += [read_kind(name, known[name], version) for name in names]
    write_recording(kinds)


def thumbnails(names: Sequence[str]) -> None:
    """Run workflows and save what they show beside them."""
    graphs = {name: WORKFLOWS[name]() for name in names}
    for since in {graph.comfyui for graph in graphs.values()}:
        _run_and_save({name: graph for name, graph in graphs.items() if graph.comfyui == since}, since)


def _run_and_save(graphs: Mapping[str, Graph], since: str) -> None:
    with _client(since) as client:
        for name, graph in graphs.items():
            result = client.run(to_api(graph))
            if result.failure is not None:
                raise RuntimeError(f"{name}: {result.failure}")
            pictures, texts = [], []
            for node in graph.nodes:
                if node.kind.name == "LoadImage":
                    pictures.append(client.view({"filename": node.values["image"], "type": "input"}))
                shown = result.outputs.get(str(node.id), {})
                pictures += [client.view(item) for item in shown.get("images", ())]
                texts += shown.get("text", ())
            compose(pictures, texts).save(FOLDER / f"{name}.jpg", quality=88, optimize=True)
            print(f"{name}: {len(pictures)} pictures, {texts}")
