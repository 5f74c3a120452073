"""What a node does to a LightFusion graph in a running ComfyUI: the node alone is added, and the result compared."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from graphs import node
from host import Client, Failure, Graph, RefusedError, Server
from PIL import Image, ImageDraw
from table import ACTS, FOREIGN, REFUSED, TOLD, Row
from wiring import (
    CONSUMERS,
    FOLDER,
    GREY,
    HEIGHT,
    MASK,
    PICTURES,
    WIDTH,
    Info,
    Unwireable,
    Wiring,
    consumers_of,
    inputs_of,
    replacements,
)

from tools.comfyui import PACK_NAME

PROBE = "probe"


_HOSTS_OWN = {
    "AttributeError",
    "KeyError",
    "TypeError",
    "ValueError",
    "RuntimeError",
    "IndexError",
    "NotImplementedError",
}
"""Errors that a person cannot read as an answer."""
_SEEN = 1e-4
"""From here on a difference is more than the rounding of another order of sums."""


@dataclass(frozen=True)
class Seen:
    """What one graph with the node in it did.

    Attributes:
        node: its class.
        into: the consumer behind the node; empty where the node's own output was measured.
        numbers: what the probe measured.
        failure: the error that the graph ended with.
        at: the class of the node that failed.
        invalid: why the server did not run the graph.
        said: what the pack wrote to ComfyUI's log meanwhile.
    """

    node: str
    into: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    failure: Failure | None = None
    at: str = ""
    invalid: str = ""
    said: str = ""

    def __str__(self) -> str:
        where = self.into or "itself"
        if self.invalid:
            return f"{self.node} -> {where}: is not run: {self.invalid}"
        if self.failure:
            return f"{self.node} -> {where}: {self.at}: {self.failure.kind}: {self.failure.message.strip()}"
        return f"{self.node} -> {where}: {dict(self.numbers)} {self.said}".rstrip()


def problem(row: Row, seen: Seen) -> str | None:
    """What speaks against a row's verdict; None where it is right."""
    answer = None
    if seen.failure is not None and seen.failure.node == PROBE:
        answer = "the probe cannot measure this"
    elif row.verdict == ACTS:
        acts = not seen.failure and not seen.invalid and seen.numbers.get("holds", not seen.into)
        answer = None if acts else f"it should act ({row.shows})"
    elif row.verdict == REFUSED:
        if seen.failure is None:
            answer = "no error was raised"
        elif seen.failure.kind in _HOSTS_OWN or row.says not in seen.failure.message:
            answer = f"the error should be ours and say {row.says!r}"
    elif row.verdict == TOLD:
        told = seen.failure is None and not seen.invalid and seen.numbers["difference"] <= _SEEN
        if not told or not seen.said or row.says not in seen.said:
            answer = f"there should be no effect and a warning that says {row.says!r}"
    elif not seen.failure and not seen.invalid and not seen.said:
        answer = "no error was raised and nothing was said"
    elif seen.failure and seen.failure.kind in _HOSTS_OWN and _raised_in_the_pack(seen.failure):
        answer = "the pack meets it unprepared"
    return None if answer is None else f"{seen}: {answer}"


def _raised_in_the_pack(failure: Failure) -> bool:
    places = re.findall(r'File "([^"]+)", line', failure.traceback)
    return bool(places) and PACK_NAME in places[-1]


def prepare(client: Client) -> None:
    """Lay down the files that the graphs read: pictures, masks, a folder for training, and a hypernetwork."""
    for name, colours in zip(PICTURES, (("white", "red"), ("yellow", "blue")), strict=True):
        picture = Image.new("RGB", (WIDTH, HEIGHT), colours[0])
        ImageDraw.Draw(picture).ellipse((8, 8, 40, 40), fill=colours[1])
        client.upload(name, picture)
    mask = Image.new("RGB", (WIDTH, HEIGHT), "black")
    mask.paste("white", (0, 0, WIDTH // 2, HEIGHT))
    client.upload(MASK, mask)
    folder = client.server.base / "input" / FOLDER
    folder.mkdir(exist_ok=True)
    picture.save(folder / "1.png")
    (folder / "1.txt").write_text("a blue circle", encoding="utf-8")
    folder = client.server.base / "models" / "hypernetworks"
    folder.mkdir(exist_ok=True)
    torch.save({"activation_func": "relu", "is_layer_norm": False}, folder / "matrix.pt")
    client.upload(GREY, Image.linear_gradient("L").resize((WIDTH, HEIGHT)).convert("RGB"))


def observe(client: Client, known: Mapping[str, Info], row: Row) -> list[Seen]:
    """Run a node before each of its consumers."""
    outputs = [kind for kind in known[row.node]["output"] if isinstance(kind, str)]
    return [_observe(client, known, row, into) for into in row.into or consumers_of(outputs, row.verdict == FOREIGN)]


def _observe(client: Client, known: Mapping[str, Info], row: Row, into: str) -> Seen:
    server = client.server
    try:
        graphs = _graphs(known, row, into)
    except Unwireable as error:
        return Seen(row.node, into, invalid=str(error))
    since = server.log_length
    for graph in graphs:
        try:
            result = client.run(graph, timeout=600)
        except RefusedError as error:
            return Seen(row.node, into, invalid=str(error))
        if result.failure is not None:
            at = graph.get(result.failure.node, {}).get("class_type", "")
            return Seen(row.node, into, failure=result.failure, at=at, said=_said(server, since))
    shown = result.outputs.get(PROBE)
    return Seen(row.node, into, numbers=json.loads(shown["text"][0]) if shown else {}, said=_said(server, since))


def _graphs(known: Mapping[str, Info], row: Row, into: str) -> list[Graph]:
    """The graphs to run, one after the other: the node alone where the next reads what it saves, and the comparison."""
    wiring, graphs = Wiring(known), []
    for before in row.after:
        wiring.value(before, {})
        graphs.append(wiring.graph)
        wiring = Wiring(known)
    if row.stands:
        replaced = {name: wiring.value(value, {}) for name, value in row.stands.items()}
        found = None
    else:
        made = wiring.add(row.node, _wired(known, row), {})
        if row.then:
            graphs.append(wiring.graph)
            wiring = Wiring(known)
            replaced = {name: wiring.value(value, {}) for name, value in row.then.items()}
            found = replaced.get("found")
        elif not known[row.node]["output"]:
            return [wiring.graph]
        else:
            replaced, found = _replaced(wiring, known, row, made), [made, row.out]
    if into:
        found = wiring.value(_consumer(into, row), replaced)
    if not wiring.graph[found[0]]["class_type"].startswith("Preview"):
        instead = {name: wiring.value(value, {}) for name, value in row.against.items()}
        beside = _consumer(row.beside or into, row) if into else "@latent"
        plain = instead.get("plain") or wiring.value(beside, instead)
        shows = "passes" if row.verdict == FOREIGN and not into else row.shows
        values = {"found": found, "plain": plain, **{name: link for name, link in instead.items() if name == "other"}}
        wiring.graph[PROBE] = node("LightFusionProbe", property=shows, given=json.dumps(row.given), **values)
    return [*graphs, wiring.graph]


def _wired(known: Mapping[str, Info], row: Row) -> dict[str, Any]:
    if row.first is None:
        return row.wired
    slider = next(name for name, kind, _, _ in inputs_of(known[row.node]) if kind == "FLOAT")
    return {**row.wired, slider: row.first}


def _replaced(wiring: Wiring, known: Mapping[str, Info], row: Row, made: str) -> dict[str, Any]:
    """The parts of the kit in whose place the node's outputs stand."""
    outputs = known[row.node]["output"]
    replaced = replacements(outputs, made)
    if row.replaces:
        replaced = {name: [made, index] for name, index in row.replaces.items()}
    if "latent" in replaced:
        replaced["start"] = replaced["latent"]  # drawn on in place of an empty one
    replaced["made"] = [made, row.out]
    return replaced | {name: wiring.value(value, {"made": replaced["made"]}) for name, value in row.wrap.items()}


def _consumer(into: str, row: Row) -> Any:
    consumer = CONSUMERS[into]
    if isinstance(consumer, str):
        return consumer
    ((kind, inputs),) = consumer.items()
    return {kind: {**inputs, **{name: value for name, value in row.sampling.items() if name in inputs}}}


def _said(server: Server, since: int) -> str:
    """The lines of the log that the pack wrote."""
    return "\n".join(
        line for line in server.log(since).splitlines() if "LightFusion" in line and "Requested to load" not in line
    )
