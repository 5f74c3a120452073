"""What needs a running ComfyUI: recording its nodes, and the thumbnails."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.comfy.host import Client, Server
from tools.comfyui import checkouts

from .catalogue import KINDS, WORKFLOWS
from .schema import read_kind, write_recording
from .thumbnail import compose
from .write import FOLDER, to_api


@contextmanager
def _client() -> Iterator[Client]:
    """A client of the oldest ComfyUI on this machine: what is made with it opens in newer ones too."""
    oldest = min(checkouts(), key=lambda checkout: checkout.numbers)
    with tempfile.TemporaryDirectory() as base, Server(oldest, Path(base)) as server:
        client = Client(server)
        yield client
        client.close()


def record() -> None:
    """Write the recording anew."""
    with _client() as client:
        known = client.object_info()
        write_recording(client.server.checkout.version, [read_kind(name, known[name]) for name in KINDS])


def thumbnails(names: Sequence[str]) -> None:
    """Run workflows and save what they show beside them."""
    with _client() as client:
        for name in names:
            graph = WORKFLOWS[name]()
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
