"""What ComfyUI says of the node classes that the workflows use: a recording of a real server's /object_info."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

RECORDING = Path(__file__).with_name("schema.json")
GROWING = "COMFY_AUTOGROW_V3"
"""The type of a list whose places come one by one as they are wired."""
_LAST_PICTURE = "image_4"
_WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


@dataclass(frozen=True, slots=True)
class Input:
    """One input, in the order of the node's definition. `control` is a seed with a further widget, which says
    what becomes of it after a run; `upload` is a file with a further widget, the button that sends one. `advanced` is
    one of our own that is folded away until it is asked for."""

    name: str
    type: str
    widget: bool = False
    optional: bool = False
    multiline: bool = False
    control: bool = False
    upload: bool = False
    advanced: bool = False
    default: Any = None


@dataclass(frozen=True, slots=True)
class Kind:
    """One node class as the ComfyUI of a version describes it. `badge` is a mark below its rows: of the pack
    that it is from, or of what may change yet. `outputs` are (name, type)."""

    name: str
    title: str
    comfyui: str
    ours: bool
    badge: bool
    inputs: tuple[Input, ...]
    outputs: tuple[tuple[str, str], ...]

    @property
    def sockets(self) -> tuple[Input, ...]:
        return tuple(given for given in self.inputs if not given.widget)

    @property
    def rows(self) -> int:
        """Of sockets in the editor. The recording is of the oldest host; newer ones have a free place behind the last
        picture, where a list grows."""
        return len(self.sockets) + any(given.name == _LAST_PICTURE for given in self.inputs)

    @property
    def widgets(self) -> tuple[Input, ...]:
        return tuple(given for given in self.inputs if given.widget)

    def input(self, name: str) -> Input:
        """Raises KeyError for a name that the node does not have."""
        for given in self.inputs:
            if given.name == name:
                return given
        raise KeyError(f"{self.name} has no input {name!r}, only {', '.join(given.name for given in self.inputs)}")


def read_kind(name: str, info: dict[str, Any], comfyui: str) -> Kind:
    """A node class out of the /object_info of a server of a version, without lists that grow: older ones have none, and
    the editor brings their places."""
    order, inputs = info["input_order"], []
    ours = info["python_module"].startswith("custom_nodes.")
    for group in ("required", "optional"):
        inputs += [
            _read_input(key, info["input"][group][key], group == "optional", ours)
            for key in order.get(group, ())
            if info["input"][group][key][0] != GROWING
        ]
    outputs = tuple(zip(info["output_name"], info["output"], strict=True))
    badge = ours or bool(info.get("experimental"))
    return Kind(name, info["display_name"] or name, comfyui, ours, badge, tuple(inputs), outputs)


def is_controlled(name: str, kind: str, options: Mapping[str, Any]) -> bool:
    """Whether the frontend adds what becomes of a number after a run: where it is told to, and to seeds by name."""
    return bool(options.get("control_after_generate")) or (kind == "INT" and name in ("seed", "noise_seed"))


def _read_input(name: str, spec: list[Any], optional: bool, ours: bool) -> Input:
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    choices = kind if isinstance(kind, list) else options.get("options")
    upload = bool(options.get("image_upload"))
    if upload:  # what lies in the input folder is everyone's own
        choices = None
    kind = "COMBO" if isinstance(kind, list) else kind
    widget = kind in _WIDGETS and not options.get("forceInput")
    default = options.get("default", choices[0] if choices else "" if kind == "STRING" else None)
    return Input(
        name, kind, widget, optional, bool(options.get("multiline")), is_controlled(name, kind, options), upload,
        ours and bool(options.get("advanced")), default if widget else None,
    )  # fmt: skip


def write_recording(kinds: Iterable[Kind]) -> None:
    """Save node classes as the recording."""
    recorded = [asdict(kind) for kind in sorted(kinds, key=lambda kind: kind.name)]
    RECORDING.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@lru_cache(maxsize=1)
def recording() -> dict[str, Kind]:
    """The recorded node classes by name."""
    recorded = json.loads(RECORDING.read_text(encoding="utf-8"))
    kinds = {}
    for node in recorded:
        inputs = tuple(Input(**given) for given in node.pop("inputs"))
        outputs = tuple((name, kind) for name, kind in node.pop("outputs"))
        kinds[node["name"]] = Kind(**node, inputs=inputs, outputs=outputs)
    return kinds
