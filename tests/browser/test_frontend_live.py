"""The editor of a real ComfyUI with the pack in it: shipped workflows open, run, and show their results."""

from __future__ import annotations

import io
import json
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import geometry
import numpy as np
import pytest
from chromium import Chromium
from driving import made_for
from editor import SCREENSHOTS, Editor, change_settings
from PIL import Image

from lightfusion_core.shapes.judge import read
from tools.comfyui import PACK, PACK_NAME, numbers

pytestmark = [pytest.mark.browser, pytest.mark.comfy]
WORKFLOWS = PACK / "workflows"
TEXT, COMPARE, MODEL = "lightfusion_text", "lightfusion_before_after", "lightfusion_model"


def load(editor: Editor, name: str, **values: object) -> dict[str, Any]:
    """Open a shipped workflow, with these values in every widget of that name that holds a number."""
    workflow = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    editor.load(workflow)
    assert editor.missing() == []
    script = """
    for (const node of app.graph.nodes)
      for (const widget of node.widgets ?? [])
        if (widget.name in values) widget.value = values[widget.name];
    return true;
    """
    editor.page.run(script, values=values)
    return workflow


def test_text_to_image_shows_its_picture_and_its_model(editor: Editor) -> None:
    """The first graph that a new user opens and runs."""
    load(editor, "text_to_image", steps=3)
    outputs = editor.run()
    (loader,), (save,) = editor.ids("LightFusionLoad"), editor.ids("SaveImage")
    shown = """
    const images = app.nodeOutputs[id]?.images ?? [];
    const sizes = images.map(async (image) => {
      const picture = new Image();
      picture.src = comfyAPI.api.api.apiURL(`/view?${new URLSearchParams(image)}`);
      await picture.decode();
      return picture.naturalWidth;
    });
    return await Promise.all(sizes);
    """
    assert editor.page.wait(shown, 20, id=save)[0] >= 64
    model = outputs[str(loader)][MODEL][0]
    assert model["nano"]
    title = editor.shown(loader, MODEL, "title")
    assert model["name"] in title and model["dtype"] in title and "small model of shapes" in title
    editor.screenshot("text_to_image")


def test_answers_show_while_they_are_written(editor: Editor) -> None:
    load(editor, "ask_and_caption", steps=2, length=24)
    outputs = editor.run()
    for ask in editor.ids("LightFusionAsk"):
        answer = outputs[str(ask)]["text"][0]
        streamed = [event["text"] for event in editor.page.run("window.streamed") if event["node"] == str(ask)]
        assert streamed, "nothing was sent while the answer was written"
        assert all(answer.startswith(text.rstrip("\ufffd")) for text in streamed)
        value = editor.page.run(
            "app.graph.getNodeById(id).widgets.find((widget) => widget.name === name).element.value", id=ask, name=TEXT
        )
        assert value == answer
    editor.screenshot("ask_and_caption", editor.ids("LightFusionAsk"))


@pytest.mark.slow
def test_edit_shows_before_and_after_and_does_so_again_out_of_the_history(editor: Editor) -> None:
    """The pictures are those of the node that an Edit stood for."""
    workflow = load(editor, "instruction_edit", steps=2)
    outputs = editor.run()
    (edit, *_) = editor.ids("LightFusionEdit")
    assert pictures(editor, edit)
    editor.place(edit, COMPARE, ".stage")
    editor.screenshot("instruction_edit", editor.ids("LightFusionEdit"))
    editor.load(workflow)
    editor.page.run("app.nodeOutputs = outputs; return true", outputs=outputs)
    assert pictures(editor, edit)


def test_pictures_find_room_as_they_are_wired(editor: Editor) -> None:
    """In a node that is new, and in one of a file that was made before there was a list; and what was wired is in what
    is run."""
    workflow = load(editor, "instruction_edit")
    (edit,), (picture, *_) = editor.ids("LightFusionEdit"), editor.ids("VAEDecode")
    nodes, places = [editor.add("LightFusionEncode"), edit], [f"more_images.image_{number}" for number in (5, 6, 7)]
    if not _places(editor, edit):
        pytest.skip("this host has no inputs that come as they are wired")
    for node in nodes:
        assert _places(editor, node) == places[:1]
        for place in places[:2]:
            editor.connect(picture, 0, node, place)
            editor.rest(0.2)
        assert _places(editor, node) == places
    run = editor.prompt()[str(edit)]["inputs"]
    assert [name for name in run if name.startswith("more_images")] == places[:2]
    editor.load(workflow)


def _places(editor: Editor, node: int) -> list[str]:
    """The sockets of a node's list that grows, free ones too."""
    names = editor.page.run("app.graph.getNodeById(id).inputs.map((input) => input.name)", id=node)
    return [name for name in names if name.startswith("more_images")]


def pictures(editor: Editor, node: int) -> bool:
    """Whether both pictures are there."""
    script = """
    const element = app.graph.getNodeById(id).widgets.find((widget) => widget.name === name)?.element;
    return element && [...element.querySelectorAll("img")].filter((image) => image.naturalWidth).length === 2;
    """
    return editor.page.wait(script, 30, id=node, name=COMPARE)


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(WORKFLOWS.glob("*.json")), ids=lambda file: file.stem)
def test_workflow_opens(editor: Editor, file: Path) -> None:
    """A red node, a complaint in the console or on the page, a node that leaves its frame: before a run and after
    it."""
    made_for(file.stem, numbers(editor.name.partition("-")[0]))
    before = len(editor.page.errors)
    load(editor, file.stem, steps=2)
    for when in ("opened", "ran"):
        if when == "ran":
            editor.run()
            editor.rest(1)
        editor.screenshot(f"{when}-{file.stem}")
        editor.rest(0.7)
        assert geometry.problems_at_rest(editor) == []
        assert editor.warnings() == []
    assert [error for error in editor.page.errors[before:] if "Failed to load resource" not in error] == []


TEXT_TO_IMAGE = "Text to Image (LightFusion)"


def half_a_mask(editor: Editor) -> tuple[int, int]:
    """White on the right of 128 by 128: the node and its output."""
    nothing, half, both = (editor.add(kind, 100, 500 + 200 * at) for at, kind in enumerate(
        ("SolidMask", "SolidMask", "MaskComposite")
    ))  # fmt: skip
    editor.set(nothing, value=0.0, width=128, height=128)
    editor.set(half, value=1.0, width=64, height=128)
    editor.set(both, x=64, y=0, operation="add")
    editor.connect(nothing, 0, both, "destination")
    editor.connect(half, 0, both, "source")
    return both, 0


def drawn_before(editor: Editor, prompt: str) -> tuple[int, int]:
    """A picture of the same blueprint each time, as another node's output."""
    node = editor.insert(TEXT_TO_IMAGE)
    editor.set(node, prompt=prompt)
    return node, 0


BLUEPRINTS = {
    TEXT_TO_IMAGE: ({}, {("red", "circle"), ("blue", "star")}),
    "Image Edit (LightFusion)": (
        {"image": lambda editor: drawn_before(editor, "a red circle and a yellow star on a white background")},
        {("blue", "circle"), ("yellow", "star")},
    ),
    "Masked Image Edit (LightFusion)": (
        {"image": lambda editor: drawn_before(editor, "a red circle left of a green square"), "mask": half_a_mask},
        {("red", "circle"), ("purple", "square")},
    ),
    "Think then Draw (LightFusion)": ({}, None),
    "Regional Prompts (LightFusion)": ({"mask": half_a_mask}, {("yellow", "heart"), ("green", "square")}),
}
"""What is wired into each, and what its picture then shows; nano is not trained to draw what it thinks."""


@pytest.mark.slow
@pytest.mark.parametrize("title", BLUEPRINTS)
def test_blueprint_draws(editor: Editor, title: str) -> None:
    """Out of the node library, wired, run: the node gives a picture of what its rows say, and a new seed."""
    if not offers_blueprints(editor):
        pytest.skip("this ComfyUI offers no blueprints")
    editor.begin()
    wired, wanted = BLUEPRINTS[title]
    node = editor.insert(title, 700)
    for name, make in wired.items():
        editor.connect(*make(editor), node, name)
    preview = editor.add("PreviewImage", 1200)
    editor.connect(node, 0, preview, "images")
    before = editor.values(node)
    outputs = editor.run()
    picture = shown(editor, outputs[str(preview)])
    editor.screenshot(f"blueprint-{title}")
    assert picture == (wanted or picture)
    assert editor.values(node)["seed"] != before["seed"]


FORMS = {
    "text_to_image.app": (["prompt", "width", "height", "seed", "steps", "model"], "png"),
    "edit.app": (["image", "instruction", "seed", "steps", "model"], "png"),
    "ask.app": (["image", "question", "length", "model"], "a red circle and a yellow star"),
}
"""The rows of each form, and what the page says of what comes out."""


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_form_shows_what_comes_out(editor: Editor, name: str) -> None:
    """App mode: rows, the button, the picture or the text. It changes with every version, so the newest counts."""
    if "-newest" not in editor.name:
        pytest.skip("app mode is tried in the newest frontend")
    rows, said = FORMS[name]
    workflow = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    on_form = editor.open_form(workflow, name).splitlines()
    try:
        assert [line for line in on_form if line in rows] == rows
        editor.run(press="document.querySelector('[data-testid=linear-run-button-icon]').closest('button').click()")
        place = "document.querySelector('[data-testid=linear-center-panel]')"
        editor.page.wait(f"{place}.innerText.includes(said)", 20, said=said)
        pictures = f"[...{place}.querySelectorAll('img')].some((image) => image.naturalWidth === 128)"
        if said == "png":
            editor.page.wait(pictures, 20)
        editor.page.screenshot(SCREENSHOTS / f"{editor.name}-{name}.png")
    finally:
        editor.load(workflow)


def offers_blueprints(editor: Editor) -> bool:
    return editor.page.run("return (await fetch('/global_subgraphs')).ok")


def shown(editor: Editor, output: dict[str, Any]) -> set[tuple[str, str]]:
    """Colour and shape of what the picture of a node's output shows."""
    (image,) = output["images"]
    with urllib.request.urlopen(f"{editor.url}/view?{urllib.parse.urlencode(image)}", timeout=30) as answer:
        picture = np.asarray(Image.open(io.BytesIO(answer.read())).convert("RGB"))
    return {(str(thing.color), str(thing.shape)) for thing in read(picture).things}


@pytest.mark.slow
@pytest.mark.parametrize("page", ["LightFusionAsk.md", "LightFusionAsk/zh.md"])
def test_help_page_is_served(editor: Editor, page: str) -> None:
    """The editor takes HTML for "no such page"."""
    with urllib.request.urlopen(f"{editor.url}/extensions/{PACK_NAME}/docs/{page}", timeout=30) as answer:
        assert "html" not in answer.headers["Content-Type"]
        assert answer.read().decode().startswith("# LightFusion")


@pytest.mark.slow
def test_chinese_names_show(browser: Chromium, editor: Editor) -> None:
    """Translations are only found under the names that the editor looks for."""
    names = json.loads((PACK / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))["LightFusionGuider"]
    categories = json.loads((PACK / "locales" / "zh" / "main.json").read_text(encoding="utf-8"))["nodeCategories"]
    script = """
    const node = app.graph.getNodeById(id);
    const { category } = LiteGraph.registered_node_types[node.type];
    return [node.title, category, ...node.inputs.map((input) => input.localized_name)];
    """
    try:
        with browser.page() as page:
            chinese = Editor(page, editor.url, editor.name, **{"Comfy.Locale": "zh"})
            chinese.empty()
            node = chinese.add("LightFusionGuider")
            title, category, *inputs = page.run(script, id=node)
            chinese.screenshot("chinese")
    finally:
        change_settings(editor.url, {"Comfy.Locale": "en"})
    assert title == names["display_name"]
    assert category == f"{categories['LightFusion']}/{categories['custom sampling']}"
    assert set(inputs) == {given["name"] for given in names["inputs"].values()}
