"""Write the committed form of the nodes, and their English texts, anew from a running ComfyUI.

python -m tests.comfy.record
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.comfy.host import Client, Server
from tests.comfy.object_info import SNAPSHOT, changes, frozen, own
from tests.comfy.texts import english, file_of
from tools.comfyui import checkouts


def main() -> None:
    with tempfile.TemporaryDirectory() as base, Server(checkouts()[0], Path(base)) as server:
        client = Client(server)
        known = client.object_info()
        client.close()
    if SNAPSHOT.is_file():
        breaking, _ = changes(json.loads(SNAPSHOT.read_text(encoding="utf-8")), frozen(known))
        for sentence in breaking:
            print(f"Files that were made with a released version would break: {sentence}")
    _write(SNAPSHOT, frozen(known))
    _write(file_of("en"), english(own(known)))


def _write(file: Path, data: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
