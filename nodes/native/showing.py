"""What nodes show on themselves: text while it is written, and pictures before and after."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Any

import folder_paths
from comfy_execution.utils import get_executing_context
from server import PromptServer
from torch import Tensor

from ...lightfusion_core.images import rgb, to_pil

TEXT_EVENT = "lightfusion.text"
_PAUSE = 0.1
"""Seconds between two texts that are sent."""
_SHOWN = 4
"""How many frames are shown; each is two files."""


class LiveText:
    """The text on the running node, sent as it grows: at most ten times a second, and at its end."""

    def __init__(self) -> None:
        context = get_executing_context()
        self.node = context.node_id if context else None
        self.sent = 0.0

    def show(self, text: str, last: bool = False) -> None:
        """Send all that is written so far, unless that was done just now."""
        if last or time.monotonic() - self.sent >= _PAUSE:
            server = PromptServer.instance
            server.send_sync(TEXT_EVENT, {"node": self.node, "text": text}, server.client_id)
            self.sent = time.monotonic()


def of_text(text: str) -> dict[str, Any]:
    """What a node's ui output says of a text: the text, and a file of it, which is what app mode shows."""
    name = _name("txt")
    Path(_folder(), name).write_text(text, encoding="utf-8")
    return {"text": [text], "files": [_item(name)]}


def of_answer(answer: str, history: str, goes_on: bool) -> dict[str, Any]:
    """As `of_text`, with the history for who asks further, where the model `goes_on` from one."""
    return of_text(answer) | ({"lightfusion_history": [history]} if goes_on else {})


def before_and_after(before: Tensor, after: Tensor) -> dict[str, Any]:
    """What a node's ui output says of its first frames: pictures (B or 1, H, W, C) and (B, H, W, C)."""
    return {
        "lightfusion_before_after": [
            {"before": _keep(before[k % len(before)]), "after": _keep(frame)} for k, frame in enumerate(after[:_SHOWN])
        ]
    }


def _keep(frame: Tensor) -> dict[str, str]:
    """One frame as a file in the host's temporary folder, and how the frontend asks for it."""
    name = _name("png")
    to_pil(rgb(frame)).save(os.path.join(_folder(), name), compress_level=1)
    return _item(name)


def _name(ending: str) -> str:
    return f"lightfusion_{secrets.token_hex(8)}.{ending}"


def _folder() -> str:
    folder = folder_paths.get_temp_directory()
    os.makedirs(folder, exist_ok=True)
    return folder


def _item(name: str) -> dict[str, str]:
    return {"filename": name, "subfolder": "", "type": "temp"}
