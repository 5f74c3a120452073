"""Write anew what a real server answers to its frontend, as far as the workflows in `workflows/` need it.

    python -m tests.browser.record

It asks the newest ComfyUI of this machine. The pack's own nodes are recorded by tests/comfy/record.py.
"""

from __future__ import annotations

import json
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from tests.comfy.host import Server
from tools.comfyui import PACK, checkouts

RECORDED = Path(__file__).with_name("recorded")
ANSWERS = ("users", "queue", "history", "jobs?limit=64", "prompt", "features")
SYSTEM = ("os", "comfyui_version", "python_version", "pytorch_version", "embedded_python")
FURTHER_NODES = ("LoadImage", "PreviewAny", "PrimitiveStringMultiline")


def main() -> None:
    newest = max(checkouts(), key=lambda checkout: [int(part) for part in checkout.version.split(".")])
    with tempfile.TemporaryDirectory() as base, Server(newest, Path(base)) as server:
        known = _get(server, "object_info")
        answers = {path.partition("?")[0]: _get(server, path) for path in ANSWERS}
        system = _get(server, "system_stats")["system"]
    # what differs from machine to machine is left out
    answers["system_stats"] = {"system": {**{key: system[key] for key in SYSTEM}, "argv": []}, "devices": []}
    _write("answers.json", answers)
    _write("object_info.json", {name: known[name] for name in sorted(_used() & known.keys())})


def _used() -> set[str]:
    """The node types of the workflows that are not ours."""
    files = [json.loads(file.read_text(encoding="utf-8")) for file in (PACK / "workflows").glob("*.json")]
    found = {node["type"] for file in files for node in file["nodes"]} | set(FURTHER_NODES)
    return {name for name in found if not name.startswith("LightFusion")}


def _get(server: Server, path: str) -> Any:
    with urllib.request.urlopen(f"{server.url}/api/{path}", timeout=30) as answer:
        return json.load(answer)


def _write(name: str, data: object) -> None:
    RECORDED.mkdir(exist_ok=True)
    text = json.dumps(data, ensure_ascii=False, indent=1)
    (RECORDED / name).write_text(text + "\n", encoding="utf-8")
    print(f"wrote {RECORDED / name}: {len(text)} characters")


if __name__ == "__main__":
    main()
