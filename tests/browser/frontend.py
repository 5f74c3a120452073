"""ComfyUI's real frontend without ComfyUI: its files out of `comfyui-frontend-package`, a server's recorded answers.

Our own files (web, locales, node definitions) are read as they are now; only the host's answers are recorded, by
`record.py`. What a server would push over its socket is sent by hand.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import json
import mimetypes
import re
import socket
import struct
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from object_info import SNAPSHOT, served
from PIL import Image, ImageColor

from tools.comfyui import PACK, PACK_NAME

RECORDED = Path(__file__).with_name("recorded")
NOTHING: dict[str, Any] = {
    "embeddings": [], "experiment/models": [], "node_replacements": {}, "userdata": [],
    "userdata/comfy.templates.json": [], "workflow_templates": {},
}  # fmt: skip
"""What a server answers that has nothing of the kind."""

NONE_FOUND = "there is no frontend: `pip install comfyui-frontend-package`"
_SOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_TEXT, _BINARY, _CLOSE = 0x81, 0x82, 0x88
_FILE_NAME = re.compile(rb'filename="([^"]*)"')
_PREVIEW = 4  # ComfyUI's number for a picture with metadata


def static_files() -> Path | None:
    """The installed frontend's folder; None where it is not installed."""
    found = importlib.util.find_spec("comfyui_frontend_package")
    places = found.submodule_search_locations if found else None
    return Path(places[0]) / "static" if places else None


class RecordedServer:
    """Serves the frontend on a free port; a context manager.

    `/view` gives a plain picture of 96 x 64 pixels, in the colour that its file is named after ("red.png"), else white.
    `prompts` holds what was queued, which stays at work until `end` is called for it; with a `refusal`, nothing is
    queued. What is uploaded keeps the name that it was sent with.
    """

    def __init__(self, static: Path) -> None:
        self.static = static
        self.settings: dict[str, Any] = {}
        self.answers = NOTHING | json.loads((RECORDED / "answers.json").read_text(encoding="utf-8"))
        self.sockets: list[socket.socket] = []
        self.prompts: list[dict[str, Any]] = []
        self.refusal: dict[str, Any] | None = None

    def __enter__(self) -> RecordedServer:
        handler = type("Handler", (_Handler,), {"owner": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.http.shutdown()
        self.http.server_close()

    def send(self, kind: str, data: dict[str, Any]) -> None:
        """Push an event to every open page."""
        self._push(_frame(json.dumps({"type": kind, "data": data}).encode()))

    def send_preview(self, node: int, colour: str) -> None:
        """Push a plain picture of a step of a node, as a sampler does."""
        told = {"node_id": str(node), "display_node_id": str(node), "real_node_id": str(node), "prompt_id": "1"}
        metadata = json.dumps({**told, "parent_node_id": None, "image_type": "image/png"}).encode()
        head = struct.pack(">II", _PREVIEW, len(metadata))
        self._push(_frame(head + metadata + _picture(colour), _BINARY))

    def end(self, outputs: dict[str, Any], kind: str = "success", **told: Any) -> None:
        """End the prompt that was queued last, as the history and the events tell it."""
        prompt = str(len(self.prompts))
        told = {"prompt_id": prompt, **told}
        status = {"status_str": kind, "completed": kind == "success", "messages": [[f"execution_{kind}", told]]}
        self.answers["queue"] = {"queue_running": [], "queue_pending": []}
        self.answers[f"history/{prompt}"] = {prompt: {"outputs": outputs, "status": status}}
        self.send(f"execution_{kind}", told)

    def queue(self, prompt: dict[str, Any]) -> tuple[HTTPStatus, dict[str, Any]]:
        """The answer to a prompt."""
        if self.refusal is not None:
            return HTTPStatus.BAD_REQUEST, self.refusal
        self.prompts.append(prompt)
        number = str(len(self.prompts))
        self.answers["queue"] = {"queue_running": [[0, number]], "queue_pending": []}
        return HTTPStatus.OK, {"prompt_id": number, "number": 0, "node_errors": {}}

    def _push(self, frame: bytes) -> None:
        for open_socket in list(self.sockets):
            open_socket.sendall(frame)

    def answer(self, path: str, query: dict[str, list[str]]) -> bytes | None:
        """The body for a path of the server's interface, without `/api`; None for what it does not have."""
        made = {
            "object_info": self._object_info,
            "i18n": _translations,
            "extensions": self._extensions,
            "settings": lambda: self.settings,
            "global_subgraphs": _blueprints,
        }
        if path == "view":
            return _picture(query["filename"][0].split(".")[0])
        if path in made:
            return json.dumps(made[path]()).encode()
        if path.startswith("global_subgraphs/"):
            return json.dumps(_blueprint(path.removeprefix("global_subgraphs/"))).encode()
        if path.startswith("object_info/"):
            name = path.removeprefix("object_info/")
            return json.dumps({name: self._object_info()[name]}).encode()
        if path.startswith("history/"):
            return json.dumps(self.answers.get(path, {})).encode()
        if path in self.answers:
            return json.dumps(self.answers[path]).encode()
        return None

    def file(self, path: str) -> Path | None:
        """The file behind an address: one of ours, or one of the frontend's."""
        ours = f"extensions/{PACK_NAME}/"
        root, name = (PACK / "web", path[len(ours) :]) if path.startswith(ours) else (self.static, path or "index.html")
        file = (root / name).resolve()
        return file if file.is_file() and file.is_relative_to(root.resolve()) else None

    def _object_info(self) -> dict[str, Any]:
        core = json.loads((RECORDED / "object_info.json").read_text(encoding="utf-8"))
        return core | served(json.loads(SNAPSHOT.read_text(encoding="utf-8")))

    def _extensions(self) -> list[str]:
        core = (file.relative_to(self.static) for file in (self.static / "extensions").rglob("*.js"))
        own = (file.relative_to(PACK / "web") for file in (PACK / "web").rglob("*.js"))
        return [f"/{path.as_posix()}" for path in core] + [f"/extensions/{PACK_NAME}/{path.as_posix()}" for path in own]


def _translations() -> dict[str, Any]:
    return {
        folder.name: {
            **_read(folder / "main.json"),
            "nodeDefs": _read(folder / "nodeDefs.json"),
        }
        for folder in (PACK / "locales").iterdir()
    }


def _blueprints() -> dict[str, Any]:
    """Our blueprints by ids, as a server lists them: without their content."""
    return {
        hashlib.sha256(file.name.encode()).hexdigest(): {
            "source": "custom_node", "name": file.stem, "info": {"node_pack": f"custom_nodes.{PACK_NAME}"},
        }
        for file in sorted((PACK / "subgraphs").glob("*.json"))
    }  # fmt: skip


def _blueprint(key: str) -> dict[str, Any]:
    entry = _blueprints()[key]
    return {**entry, "data": (PACK / "subgraphs" / f"{entry['name']}.json").read_text(encoding="utf-8")}


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _picture(name: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (96, 64), ImageColor.colormap.get(name, "white")).save(file, format="PNG")
    return file.getvalue()


def _frame(body: bytes, kind: int = _TEXT) -> bytes:
    if len(body) < 126:
        return struct.pack(">BB", kind, len(body)) + body
    return struct.pack(">BBH", kind, 126, len(body)) + body


class _Handler(BaseHTTPRequestHandler):
    owner: RecordedServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        path = address.path.lstrip("/")
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self._talk()
        elif path.startswith("api/") and (
            body := self.owner.answer(path.removeprefix("api/"), parse_qs(address.query))
        ):
            kind = "image/png" if path == "api/view" else "application/json"
            self._reply(HTTPStatus.OK, body, kind)
        elif file := self.owner.file(path):
            # the system's own table may have no idea of JavaScript, and a module of another type is refused
            kind = "text/javascript" if file.suffix == ".js" else mimetypes.guess_type(file.name)[0]
            self._reply(HTTPStatus.OK, file.read_bytes(), kind or "application/octet-stream")
        else:
            self._reply(HTTPStatus.NOT_FOUND, b"{}", "application/json")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path.removeprefix("/api/")
        status, answer = HTTPStatus.OK, {}
        if path == "settings":
            self.owner.settings.update(json.loads(body))
        elif path.startswith("settings/"):
            self.owner.settings[path.removeprefix("settings/")] = json.loads(body)
        elif path == "prompt":
            status, answer = self.owner.queue(json.loads(body))
        elif path == "upload/image":
            answer = {"name": _FILE_NAME.search(body)[1].decode(), "subfolder": "", "type": "input"}
        self._reply(status, json.dumps(answer).encode(), "application/json")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing on the terminal."""

    def _reply(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _talk(self) -> None:
        key = self.headers["Sec-WebSocket-Key"] + _SOCKET_GUID
        self.send_response(HTTPStatus.SWITCHING_PROTOCOLS)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        status = {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "recorded"}
        self.wfile.write(_frame(json.dumps({"type": "status", "data": status}).encode()))
        self.owner.sockets.append(self.connection)
        # what the page says needs no answer, except that it goes
        while (said := self.rfile.read1(65536)) and said[0] != _CLOSE:
            pass
        self.owner.sockets.remove(self.connection)
        self.wfile.write(bytes([_CLOSE, 0]))
        self.close_connection = True
