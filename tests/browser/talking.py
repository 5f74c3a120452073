"""The conversation's panel in the editor, as a person uses it."""

from __future__ import annotations

import io
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from editor import SCREENSHOTS, Editor
from PIL import Image

_TAB = "Workspace.ToggleSidebarTab.lightfusion.talk"
PANEL = "document.querySelector('.lightfusion-talk')"
_OPEN = f"{PANEL} !== null && {PANEL}.checkVisibility()"
_TURNS = f"""
return [...{PANEL}.querySelectorAll(".turn")].map((turn) => ({{
  kind: turn.querySelector(".kind").textContent,
  text: turn.querySelector(".said p").textContent,
  state: turn.dataset.state,
  aside: turn.classList.contains("aside"),
  picture: turn.querySelector(".result > img:not(.step)")?.src ?? null,
  said: turn.querySelector(".result").textContent,
  buttons: [...turn.querySelectorAll(".bar button")].filter((button) => !button.hidden).map((button) => button.title),
}}));
"""
_ENDED = f"""
const turn = {PANEL}.querySelectorAll(".turn")[number - 1];
return ["done", "failed", "cancelled"].includes(turn?.dataset.state);
"""
_CLICK = f"""
const found = [...{PANEL}.querySelectorAll(selector)].filter((button) => !button.hidden && !button.disabled);
found.at(at).click();
return true;
"""
_SET = f"""
const field = {PANEL}.querySelector(`[name="${{name}}"]`);
if (field.type === "checkbox") field.checked = value;
else field.value = value;
field.dispatchEvent(new Event("change", {{ bubbles: true }}));
return true;
"""


class Talk:
    """The panel, open."""

    def __init__(self, editor: Editor) -> None:
        self.editor, self.page = editor, editor.page
        if not self.page.run(_OPEN):
            self.toggle()
        self.page.wait(_OPEN, 60)

    def toggle(self) -> None:
        """Open or close the tab."""
        self.page.run("await app.extensionManager.command.execute(tab); return true", tab=_TAB)

    def set(self, **values: Any) -> None:
        """The settings on top."""
        for name, value in values.items():
            self.page.run(_SET, name=name, value=value)

    def click(self, selector: str, at: int = 0) -> None:
        """Press the button that a selector finds, the last one with -1."""
        self.page.run(_CLICK, selector=selector, at=at)

    def choose(self, kind: str) -> None:
        """What the next turn is to be."""
        self.click(f"[type=radio][value={kind}]")

    @property
    def kind(self) -> str:
        return self.page.run(f"{PANEL}.querySelector('[type=radio]:checked').value")

    def send(self, text: str, kind: str | None = None) -> int:
        """Type a line and press Enter; the number of its turn."""
        if kind:
            self.choose(kind)
        self.page.run(f"{PANEL}.querySelector('textarea').focus(); return true")
        self.page.type(text)
        self.page.press("Enter")
        return len(self.turns())

    def say(self, text: str, kind: str | None = None, seconds: float = 240) -> dict[str, Any]:
        """Send a line and wait for what comes of it."""
        return self.ended(self.send(text, kind), seconds)

    def ended(self, number: int, seconds: float = 60) -> dict[str, Any]:
        """A turn, once it has ended."""
        self.page.wait(_ENDED, seconds, number=number)
        return self.turns()[number - 1]

    def turns(self) -> list[dict[str, Any]]:
        """What the list shows."""
        return self.page.run(_TURNS)

    @property
    def status(self) -> str:
        """The sentence for those who do not see the list."""
        return self.page.run(f"{PANEL}.querySelector('[role=status]').textContent")

    def screenshot(self, name: str) -> Path:
        """The whole window."""
        self.editor.rest(0.3)
        return self.page.screenshot(SCREENSHOTS / f"{self.editor.name}-talk-{name}.png")


def pixels(address: str) -> np.ndarray:
    """The picture at an address, as bytes of RGB."""
    with urllib.request.urlopen(address, timeout=30) as answer:
        return np.asarray(Image.open(io.BytesIO(answer.read())).convert("RGB"))
