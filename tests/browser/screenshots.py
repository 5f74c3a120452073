"""Pictures of everything that a person sees, to be looked at: output/screenshots, with a sheet of each kind.

    python -m tests.browser.screenshots [NAME...]

Every workflow and blueprint in the newest frontend of the newest ComfyUI, as it opens and after a run, with nodes on
the canvas and of elements; some in the light theme; every form. NAME: a part of the file's name; all without one.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "comfy")]

import frontend  # noqa: E402 - as pytest finds them
from chromium import Chromium  # noqa: E402
from editor import SCREENSHOTS, VUE, Editor  # noqa: E402
from host import Server  # noqa: E402

from tools.comfyui import PACK, checkouts  # noqa: E402

LIGHT = ("text_to_image", "instruction_edit", "ask_and_caption")
STEPS = 2
_COLUMNS, _WIDTH = 2, 800


def main() -> None:
    wanted = sys.argv[1:]
    options = ["--front-end-root", str(frontend.static_files())]
    with tempfile.TemporaryDirectory() as base, Server(checkouts()[0], Path(base), options=options) as server:
        for theme, vue in (("dark", False), ("dark", True), ("light", False), ("light", True)):
            name = f"{theme}-{'elements' if vue else 'canvas'}"
            with Chromium() as browser, browser.page() as page:
                editor = Editor(page, server.url, name, **{VUE: vue, "Comfy.ColorPalette": theme})
                _sheet(name, list(_pictures(editor, theme, wanted)))


def _pictures(editor: Editor, theme: str, wanted: list[str]) -> Iterator[Path]:
    files = [*sorted((PACK / "workflows").glob("*.json")), *sorted((PACK / "subgraphs").glob("*.json"))]
    for file in files:
        chosen = any(part in file.stem for part in wanted) if wanted else theme == "dark" or file.stem in LIGHT
        if not chosen:
            continue
        print(f"{editor.name}: {file.stem}", flush=True)
        if file.parent.name == "subgraphs":
            yield from _blueprint(editor, file.stem)
        else:
            yield from _workflow(editor, file)


def _workflow(editor: Editor, file: Path) -> Iterator[Path]:
    workflow = json.loads(file.read_text(encoding="utf-8"))
    editor.load(workflow)
    for node in editor.file()["nodes"]:
        if "steps" in editor.values(node["id"]):
            editor.set(node["id"], steps=STEPS)
    yield editor.screenshot(f"{file.stem}-opened")
    editor.run()
    editor.rest(1)
    yield editor.screenshot(f"{file.stem}-ran")
    if file.stem.endswith(".app"):
        editor.open_form(workflow, file.stem)
        editor.run(press="document.querySelector('[data-testid=linear-run-button-icon]').closest('button').click()")
        editor.rest(2)
        yield editor.page.screenshot(SCREENSHOTS / f"{editor.name}-{file.stem}-form.png")
        editor.load(workflow)


def _blueprint(editor: Editor, title: str) -> Iterator[Path]:
    """The node, and what is inside of it."""
    editor.empty()
    node = editor.insert(title)
    yield editor.screenshot(f"{title}-outside", [node])
    editor.page.run("app.canvas.setGraph(app.graph.getNodeById(id).subgraph); return true", id=node)
    editor.rest(0.5)
    yield editor.screenshot(f"{title}-inside")
    editor.page.run("app.canvas.setGraph(app.graph); return true")


def _sheet(name: str, files: list[Path]) -> None:
    """All of them on one page, small."""
    if not files:
        return
    pictures = [(file.stem.removeprefix(f"{name}-"), Image.open(file).convert("RGB")) for file in files]
    height = _WIDTH * pictures[0][1].height // pictures[0][1].width + 20
    sheet = Image.new("RGB", (_COLUMNS * _WIDTH, height * -(-len(files) // _COLUMNS)), "white")
    for place, (title, picture) in enumerate(pictures):
        left, top = place % _COLUMNS * _WIDTH, place // _COLUMNS * height
        ImageDraw.Draw(sheet).text((left + 5, top + 4), title, fill="black")
        sheet.paste(picture.resize((_WIDTH, height - 20)), (left, top + 20))
    sheet.save(SCREENSHOTS / f"sheet-{name}.png")
    print(SCREENSHOTS / f"sheet-{name}.png", flush=True)


if __name__ == "__main__":
    main()
