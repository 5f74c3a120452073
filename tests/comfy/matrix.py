"""The compatibility matrix as a document for artists, and the record of which ComfyUI has which of its nodes.

python -m tests.comfy.matrix           # render docs/COMPATIBILITY.md anew from the table and the record
python -m tests.comfy.matrix --write   # ask every ComfyUI of this machine for its nodes first
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.comfy.host import Client, Server
from tests.comfy.table import ACTS, FOREIGN, REFUSED, TOLD, Row, read
from tools.comfyui import PACK, checkouts

DOCUMENT = PACK / "docs" / "COMPATIBILITY.md"
RECORD = Path(__file__).with_name("compatibility.json")
"""Of every ComfyUI that was asked: its nodes that have a row or need one, with the names that they show."""

TYPES = frozenset(
    {
        "MODEL", "CLIP", "VAE", "CONDITIONING", "LATENT", "GUIDER", "SAMPLER", "SIGMAS", "NOISE", "HOOKS",
        "HOOK_KEYFRAMES", "TIMESTEPS_RANGE", "LATENT_OPERATION", "LORA_MODEL", "LOSS_MAP", "MODEL_PATCH",
        "CONTROL_NET", "CLIP_VISION_OUTPUT",
    }
)  # fmt: skip
"""A node with a socket of one of these may meet a LightFusion model."""

Info = dict[str, Any]


def concerned(known: Mapping[str, Info]) -> dict[str, str]:
    """ComfyUI's own nodes out of a server's /object_info that need a row, and the names that they show."""
    return {name: info["display_name"] or name for name, info in known.items() if _own(info) and TYPES & _types(info)}


def _own(info: Info) -> bool:
    return bool(info["python_module"] == "nodes" or info["python_module"].startswith("comfy_extras."))


def _types(info: Info) -> set[str]:
    """The types of all sockets, those inside of growing and choosing inputs too."""
    found = {kind for kind in info["output"] if isinstance(kind, str)}
    for group in info["input"].values():
        for kind, *rest in group.values() if isinstance(group, dict) else ():
            if isinstance(kind, str):
                found |= set(kind.split(","))
            options = rest[0] if rest and isinstance(rest[0], dict) else {}
            parts = [options.get("template"), *(options.get("options") or ())]
            for part in parts:
                inputs = (part.get("input") or part.get("inputs")) if isinstance(part, dict) else None
                if isinstance(inputs, dict):
                    found |= _types({"output": (), "input": inputs})
    return found


def recorded() -> dict[str, dict[str, str]]:
    """Of every ComfyUI that was asked, by version: its nodes and the names that they show; the oldest first."""
    record: dict[str, dict[str, str]] = json.loads(RECORD.read_text(encoding="utf-8"))
    return dict(sorted(record.items(), key=lambda item: [int(part) for part in item[0].split(".")]))


_WORDS = {
    ACTS: "acts",
    REFUSED: "refused",
    TOLD: "no effect, and says so",
    FOREIGN: "other models",
}
_INTRODUCTION = """\
# ComfyUI's own nodes with LightFusion

Every node of ComfyUI that can be wired to the MODEL, CLIP, VAE, conditioning or latents of **Load LightFusion** has a
line here, and is one of these:

- **acts**: it does what it says. Where something differs for this model, the line says so.
- **refused**: the graph stops with one sentence that names what to use instead.
- **no effect, and says so**: the picture is drawn as without the node, and a warning on the node and in the log says
  that it has no effect.
- **other models**: it loads, prepares or reads what another kind of model needs: other files, video, sound, 3D. Wired
  in anyway, the graph stops or a warning says so.

Nodes that call a service over the network are not in the list. The list is kept by
a test that runs every line on each of these versions, and that fails by name where a new one brings a node that nobody
has sorted.
"""


def render(rows: Mapping[str, Row], record: Mapping[str, Mapping[str, str]]) -> str:
    """The document."""
    names = {node: name for nodes in record.values() for node, name in nodes.items()}  # the newest host's name last
    lines = [_INTRODUCTION, *_counts(rows, record), ""]
    group = ""
    for row in rows.values():
        if row.group != group:
            group = row.group
            lines += [f"## {group}", "", "| node | | |", "|---|---|---|"]
            lines += [_line(each, names, record) for each in rows.values() if each.group == group]
            lines.append("")
    return "\n".join(lines)


def _counts(rows: Mapping[str, Row], record: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    yield "| ComfyUI | " + " | ".join(_WORDS.values()) + " | in all |"
    yield "|---" * (len(_WORDS) + 2) + "|"
    for version, nodes in record.items():
        counts = Counter(rows[node].verdict for node in nodes if node in rows)
        numbers = [counts[verdict] for verdict in _WORDS]
        yield f"| {version} | " + " | ".join(str(number) for number in [*numbers, sum(numbers)]) + " |"


def _line(row: Row, names: Mapping[str, str], record: Mapping[str, Mapping[str, str]]) -> str:
    shown = names.get(row.node, row.node)
    name = shown if shown == row.node else f"{shown} (`{row.node}`)"
    where = [version for version, nodes in record.items() if row.node in nodes]
    only = "" if len(where) == len(record) else f" *In {' and '.join(where)}.*"
    text = row.text[0].upper() + row.text[1:]
    return f"| {name} | {_WORDS[row.verdict]} | {text}{only} |"


def _ask() -> dict[str, dict[str, str]]:
    """The nodes of every ComfyUI of this machine."""
    found = {}
    for checkout in checkouts():
        with tempfile.TemporaryDirectory() as base, Server(checkout, Path(base)) as server:
            client = Client(server)
            found[checkout.version] = dict(sorted(concerned(client.object_info()).items()))
            client.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Render docs/COMPATIBILITY.md.")
    parser.add_argument("--write", action="store_true", help="ask every ComfyUI of this machine for its nodes first")
    if parser.parse_args().write:
        record = (recorded() if RECORD.is_file() else {}) | _ask()
        RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"wrote {RECORD}")
    DOCUMENT.write_text(render(read(), recorded()), encoding="utf-8")
    print(f"wrote {DOCUMENT}")


if __name__ == "__main__":
    main()
