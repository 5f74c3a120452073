"""A real ComfyUI for tests: finding its checkouts, running a server of one, and talking to it.

Unusual here: the server gets a base directory of its own with this pack linked into it, so a user's
models, outputs and other packs play no part; and it runs on the CPU with one thread, since the models
are so small that a second thread costs more than it does.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import struct
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import websocket
from PIL import Image

from lightfusion_core.shapes.world import Scene, Thing, render
from tools.comfyui import PACK, PACK_NAME, Checkout, free_port, lay_out
from tools.lifeline import Lifeline

LOAD_FAILURE = re.compile(r"IMPORT FAILED|Cannot import|Error while calling comfy_entrypoint")
LORA_FAILURE = re.compile(r"NOT LOADED|lora key not loaded|SHAPE MISMATCH")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

EXAMPLE = Scene((Thing("circle", "red", "medium", 0.3, 0.5), Thing("star", "yellow", "medium", 0.7, 0.5)))
"""What example.png shows, which every ComfyUI has a picture of its own for in its input folder."""

Graph = dict[str, dict[str, Any]]
"""An API-format graph: node id to class_type and inputs."""


class HostError(Exception):
    """The server did not start, ended, or did not answer in time."""


class RefusedError(Exception):
    """The server refused a graph before running it; the text names every node's reason."""


# Running it


class Server:
    """One ComfyUI process in its own base directory; a context manager.

    Args:
        checkout: which ComfyUI.
        base: a folder for its models, inputs, outputs; made if it is not there.
        modules: further single-file node packs to load.
        options: further words for its command line.
    """

    def __init__(
        self, checkout: Checkout, base: Path, modules: Sequence[Path] = (), options: Sequence[str] = ()
    ) -> None:
        self.checkout, self.base = checkout, base
        self.log_file = base / "comfyui.log"
        packs = {PACK_NAME: PACK, **{module.name: module for module in modules}}
        lay_out(base, packs)
        Image.fromarray(render(EXAMPLE)).save(base / "input" / "example.png")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = checkout.command(base, self.port, packs, ["--cpu", *options])

    def __enter__(self) -> Server:
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.checkout.path, env=environment, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        self.lifeline = Lifeline(self.process.pid)
        try:
            self._wait(240)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process and all that it started."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, sign)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(10)
        self.lifeline.let_go()

    def log(self, since: int = 0) -> str:
        """What the server wrote, from a position on, without colours."""
        return _COLOUR.sub("", self.log_file.read_bytes()[since:].decode(errors="replace"))

    @property
    def log_length(self) -> int:
        return self.log_file.stat().st_size

    def memory(self) -> int:
        """The process's resident memory in bytes."""
        status = Path(f"/proc/{self.process.pid}/status")
        if status.is_file():
            found = re.search(r"VmRSS:\s+(\d+) kB", status.read_text(encoding="utf-8"))
            return int(found[1]) * 1024 if found else 0
        command = ["ps", "-o", "rss=", "-p", str(self.process.pid)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) * 1024

    def import_seconds(self) -> float:
        """How long ComfyUI says that importing the pack took."""
        found = re.search(rf"([\d.]+) seconds[^\n]*{re.escape(PACK_NAME)}\s*$", self.log(), re.MULTILINE)
        if found is None:
            raise HostError(f"No import time of {PACK_NAME} in the log:\n{self.log()[-2000:]}")
        return float(found[1])

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise HostError(f"ComfyUI ended with {self.process.returncode}:\n{self.log()[-4000:]}")
            try:
                urllib.request.urlopen(f"{self.url}/system_stats", timeout=5).close()
            except OSError:
                time.sleep(0.2)
            else:
                return
        raise HostError(f"ComfyUI did not answer within {seconds:.0f} s:\n{self.log()[-4000:]}")


# Talking to it


@dataclass(frozen=True)
class Event:
    """One message of the server: a JSON one's type and data, or kind "preview" or "text"."""

    kind: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Preview:
    """A picture sent while a node works. `node` is known where the client asked for metadata."""

    image: Image.Image
    node: str | None


@dataclass(frozen=True)
class Failure:
    """A node's error as the client sees it."""

    node: str
    kind: str
    message: str
    traceback: str

    def __str__(self) -> str:
        lines = (line for line in self.traceback.splitlines() if set(line.strip()) - {"^", "~"})
        return "\n".join([*lines, f"{self.kind}: {self.message}"])


@dataclass
class Result:
    """What one graph did."""

    prompt: str
    events: list[Event] = field(default_factory=list)
    history: dict[str, Any] = field(default_factory=dict)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The data of all events of a kind, in order."""
        return [event.data for event in self.events if event.kind == kind]

    @property
    def status(self) -> str:
        """ "success", "error" or "interrupted"."""
        for kind in ("interrupted", "error", "success"):
            if self.of(f"execution_{kind}"):
                return kind
        return "unfinished"

    @property
    def executed(self) -> list[str]:
        """The nodes that ran, in order."""
        return [data["node"] for data in self.of("executing") if data["node"] is not None]

    @property
    def cached(self) -> set[str]:
        """The nodes whose earlier results were taken."""
        return {node for data in self.of("execution_cached") for node in data["nodes"]}

    def progress(self, node: str | None = None) -> list[tuple[int, int]]:
        """(value, max) of every progress message, of one node or of all."""
        return [(data["value"], data["max"]) for data in self.of("progress") if node in (None, data["node"])]

    @property
    def previews(self) -> list[Preview]:
        return [Preview(data["image"], data["node"]) for data in self.of("preview")]

    def texts(self, node: str | None = None) -> list[str]:
        """The texts that were shown on a node, or on all, while it worked."""
        return [data["text"] for data in self.of("text") if node in (None, data["node"])]

    @property
    def failure(self) -> Failure | None:
        for data in self.of("execution_error"):
            traceback = "".join(data["traceback"])
            return Failure(data["node_id"], data["exception_type"], data["exception_message"], traceback)
        return None

    @property
    def outputs(self) -> dict[str, Any]:
        """What each output node showed, as the history has it."""
        return self.history.get("outputs", {})


class Client:
    """One browser's view of a server: a socket of its own for events, and the routes."""

    def __init__(self, server: Server) -> None:
        self.server, self.id = server, uuid.uuid4().hex
        address = f"{server.url.replace('http', 'ws', 1)}/ws?clientId={self.id}"
        self.socket = websocket.create_connection(address, timeout=120)
        self.socket.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))

    def close(self) -> None:
        self.socket.close()

    def run(
        self, graph: Graph, *, on_event: Callable[[Event], None] | None = None, cancel_at: int | None = None,
        timeout: float = 300,
    ) -> Result:  # fmt: skip
        """Queue a graph and wait for its end.

        Args:
            on_event: told of every event as it comes.
            cancel_at: the progress value at which to cancel.

        Raises:
            RefusedError: the server found the graph invalid.
            HostError: no end within `timeout` seconds.
        """
        result = Result(self.queue(graph))
        end = time.monotonic() + timeout
        while True:
            event = self._receive(end)
            if event.data.get("prompt_id", result.prompt) != result.prompt:
                continue
            result.events.append(event)
            if on_event is not None:
                on_event(event)
            if cancel_at is not None and event.kind == "progress" and event.data["value"] >= cancel_at:
                self.interrupt()
                cancel_at = None
            if event.kind == "executing" and event.data["node"] is None:
                result.history = self.get(f"/history/{result.prompt}")[result.prompt]
                return result

    def queue(self, graph: Graph) -> str:
        """Queue a graph without waiting; returns its prompt id."""
        try:
            return self.post("/prompt", {"prompt": graph, "client_id": self.id})["prompt_id"]
        except urllib.error.HTTPError as error:
            raise RefusedError(_refusal(error.read())) from None

    def images(self, result: Result, node: str) -> list[Image.Image]:
        """The pictures that an output node saved."""
        return [self.view(item) for item in result.outputs[node]["images"]]

    def view(self, item: dict[str, str]) -> Image.Image:
        """A picture out of a node's output."""
        return Image.open(io.BytesIO(self._request(f"/view?{urllib.parse.urlencode(item)}")))

    def read(self, item: dict[str, str]) -> str:
        """A text out of a node's output."""
        return self._request(f"/view?{urllib.parse.urlencode(item)}").decode()

    def upload(self, name: str, image: Image.Image) -> str:
        """Send a picture to the input folder; returns the name for LoadImage."""
        file, edge = io.BytesIO(), uuid.uuid4().hex
        image.save(file, format="PNG")
        head = (
            f'--{edge}\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue\r\n'
            f'--{edge}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
            "Content-Type: image/png\r\n\r\n"
        )
        body = head.encode() + file.getvalue() + f"\r\n--{edge}--\r\n".encode()
        answer = self._request("/upload/image", body, f"multipart/form-data; boundary={edge}")
        return str(json.loads(answer)["name"])

    def interrupt(self) -> None:
        """Cancel what runs."""
        self.post("/interrupt", {})

    def free(self) -> None:
        """Unload models and drop cached results."""
        self.post("/free", {"unload_models": True, "free_memory": True})
        time.sleep(1)  # the worker takes this up between two graphs, and tells nobody when it has

    def object_info(self, node: str | None = None) -> dict[str, Any]:
        """The description of one node class, or of all."""
        return self.get("/object_info" if node is None else f"/object_info/{node}")

    def get(self, path: str) -> Any:
        return json.loads(self._request(path))

    def post(self, path: str, data: dict[str, Any]) -> Any:
        answer = self._request(path, json.dumps(data).encode(), "application/json")
        return json.loads(answer) if answer else None

    def _request(self, path: str, body: bytes | None = None, kind: str | None = None) -> bytes:
        headers = {} if kind is None else {"Content-Type": kind}
        request = urllib.request.Request(self.server.url + path, body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())

    def _receive(self, end: float) -> Event:
        self.socket.settimeout(max(0.1, end - time.monotonic()))
        try:
            message = self.socket.recv()
        except (websocket.WebSocketException, OSError) as error:
            raise HostError(f"No end of the graph ({error}):\n{self.server.log()[-4000:]}") from error
        return _binary_event(message) if isinstance(message, bytes) else _json_event(message)


def _json_event(message: str) -> Event:
    parts = json.loads(message)
    return Event(parts["type"], parts.get("data") or {})


def _binary_event(message: bytes) -> Event:
    """ComfyUI's binary messages: a number for the kind, then (4) metadata and picture, (1) the picture's
    format and picture, or (3) a node's id and text."""
    kind, length = struct.unpack_from(">II", message)
    if kind == 4:
        metadata = json.loads(message[8 : 8 + length])
        return Event("preview", {"image": _open(message[8 + length :]), "node": metadata["node_id"]})
    if kind == 1:
        return Event("preview", {"image": _open(message[8:]), "node": None})
    if kind == 3:
        node = message[8 : 8 + length].decode()
        return Event("text", {"text": message[8 + length :].decode(), "node": node})
    return Event(f"binary {kind}", {"bytes": message[4:]})


def _open(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def _refusal(body: bytes) -> str:
    """The reasons of a refused graph as lines."""
    try:
        answer = json.loads(body)
        lines = [f"{answer['error']['message']} {answer['error']['details']}"]
        for node, found in answer["node_errors"].items():
            lines += [f"{found['class_type']} ({node}): {e['message']} {e['details']}" for e in found["errors"]]
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")
    return "\n".join(lines)
