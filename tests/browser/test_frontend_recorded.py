"""The real frontend with our files in it, where there is no ComfyUI: a server's answers are recorded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import frontend
import geometry
import pytest
from editor import Editor

from tools.comfyui import PACK
from tools.workflows.blueprints import BLUEPRINTS
from tools.workflows.graph import Blueprint
from tools.workflows.write import to_api

pytestmark = pytest.mark.browser
WORKFLOWS = sorted((PACK / "workflows").glob("*.json"))
TEXT, COMPARE, MODEL = "lightfusion_text", "lightfusion_before_after", "lightfusion_model"
NANO = {"name": "nano (built in)", "bytes": 24_600_000, "dtype": "float32", "coupled": False, "nano": True}


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "vue"])
def editor(request: pytest.FixtureRequest, opened: Editor) -> Iterator[Editor]:
    """The editor, with nodes drawn on the canvas or made of elements."""
    opened.name = "recorded-vue" if request.param else "recorded"
    opened.empty()
    opened.draw_with(elements=request.param)
    yield opened
    assert opened.complaints() == []


@pytest.fixture(autouse=True)
def _empty(editor: Editor) -> None:
    editor.empty()


def executed(server: frontend.RecordedServer, node: int, output: dict[str, object] | None) -> None:
    """Tell the page of a node's result, as a server does."""
    server.send("executed", {"node": str(node), "display_node": str(node), "output": output, "prompt_id": "1"})


def pairs(*colours: tuple[str, str]) -> dict[str, object]:
    def item(colour: str) -> dict[str, str]:
        return {"filename": f"{colour}.png", "subfolder": "", "type": "temp"}

    return {COMPARE: [{"before": item(before), "after": item(after)} for before, after in colours]}


# Workflows


def test_workflows_open_whole_and_in_order_and_come_out_as_they_went_in(editor: Editor) -> None:
    """A shipped graph with a red node is the first thing that a new user would see. Widgets of our own that went
    into the file would move every value after them by one place. What a run adds to a node is looked at by the tests
    with a real server."""
    found = {file.stem: list(_problems(editor, file)) for file in WORKFLOWS}
    assert {name: problems for name, problems in found.items() if problems} == {}


def _problems(editor: Editor, file: Path) -> Iterator[str]:
    given, before = json.loads(file.read_text(encoding="utf-8")), len(editor.page.errors)
    editor.load(given)
    yield from (f"{kind} is missing" for kind in editor.missing())
    saved = {node["id"]: node for node in editor.file()["nodes"]}
    for node in given["nodes"]:
        values, was = saved[node["id"]].get("widgets_values", []), node.get("widgets_values", [])
        if values != was:
            yield f"{node['type']}: {was} became {values}"
    editor.fit()
    yield from geometry.problems_at_rest(editor)
    yield from (error for error in editor.page.errors[before:] if "Failed to load resource" not in error)


def test_disorder_is_noticed(editor: Editor) -> None:
    """Guards the geometry's tests: a node moved over another, one pulled out of its frame, one made too small."""
    editor.load(json.loads(WORKFLOWS[0].read_text(encoding="utf-8")))
    editor.fit()
    editor.page.run("""
    const [first, second, third] = app.graph.nodes;
    first.pos = [first.pos[0], first.pos[1] + 2000];
    second.pos = [third.pos[0] + 20, third.pos[1] + 20];
    app.canvas.setDirty(true, true);
    return true;
    """)
    editor.rest(0.7)
    found = "\n".join(geometry.problems(editor))
    assert "overlap" in found
    assert "leaves its frame" in found
    editor.page.errors.clear()


def test_node_that_is_missing_is_noticed(editor: Editor) -> None:
    """Guards the tests above: the way in which the editor marks such a node could change."""
    node = {"id": 1, "type": "LightFusionGone", "pos": [0, 0], "size": [200, 80], "flags": {}, "order": 0, "mode": 0}
    editor.load({"last_node_id": 1, "last_link_id": 0, "nodes": [node], "links": [], "version": 0.4})
    assert editor.missing() == ["LightFusionGone"]
    editor.page.errors.clear()
    editor.page.press("Escape")


# Blueprints


@pytest.mark.parametrize("make", BLUEPRINTS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("editor", [True], ids=["vue"], indirect=True)
def test_blueprint_comes_out_of_the_node_library(editor: Editor, make: Callable[[], Blueprint]) -> None:
    """One node with the rows and sockets that its file says, standing for the graph that its builder made."""
    blueprint = make()
    node = editor.insert(blueprint.name)
    assert editor.values(node) == (shown := blueprint.inputs.values)
    assert editor.missing() == []
    sockets = "app.graph.getNodeById(id).inputs.filter((input) => !input.widget).map((input) => input.name)"
    assert editor.page.run(sockets, id=node) == [name for name, _ in blueprint.inputs.kind.outputs if name not in shown]
    assert _plain(editor.prompt()) == _plain(to_api(blueprint))
    editor.screenshot(f"blueprint-{make.__name__}")


def _plain(graph: dict[str, Any]) -> list[list[Any]]:
    """The nodes of an API-format graph without their ids: a wire is the node at its other end and the output."""

    def at(number: str) -> list[str]:
        return [graph[number]["class_type"], graph[number]["_meta"]["title"]]

    written = [
        [*at(number), {name: [at(value[0]), value[1]] if isinstance(value, list) else value
                       for name, value in node["inputs"].items()}]
        for number, node in graph.items()
    ]  # fmt: skip
    return sorted(written, key=str)


# Text


@pytest.mark.parametrize("kind", ["LightFusionAsk", "LightFusionThink"])
def test_text_shows_while_it_is_written(editor: Editor, server: frontend.RecordedServer, kind: str) -> None:
    node, other = editor.add(kind), editor.add(kind, 700)
    for text in ("A red", "A red circle\nabove a blue"):
        server.send("lightfusion.text", {"node": str(node), "text": text})
        editor.page.wait("app.graph.getNodeById(id).widgets.at(-1).element.value === text", id=node, text=text)
    executed(server, node, {"text": ["A red circle\nabove a blue star."]})
    last = "A red circle\nabove a blue star."
    editor.page.wait("app.graph.getNodeById(id).widgets.at(-1).element.value === text", id=node, text=last)
    assert editor.page.run("app.graph.getNodeById(id).widgets.at(-1).element.value", id=other) == ""
    editor.screenshot(kind)
    _, _, width, height = editor.place(node, TEXT)
    assert width > 100 and height > 30


def test_text_is_text(editor: Editor, server: frontend.RecordedServer) -> None:
    """A model can be made to write anything, so what it writes must never become part of the page."""
    written = "<img src=x onerror='window.broken = true'><b>bold</b>"
    node = editor.add("LightFusionAsk")
    executed(server, node, {"text": [written]})
    assert editor.shown(node, TEXT, "value") == written
    loader = editor.add("LightFusionLoad", 700)
    executed(server, loader, {MODEL: [{**NANO, "name": written}]})
    assert written in editor.shown(loader, MODEL)
    assert editor.page.run("window.broken === undefined")


def test_cached_node_without_a_result_keeps_what_it_shows(editor: Editor, server: frontend.RecordedServer) -> None:
    """A node that is not run again reports no output at all."""
    node = editor.add("LightFusionAsk")
    executed(server, node, {"text": ["kept"]})
    assert editor.shown(node, TEXT, "value") == "kept"
    executed(server, node, None)
    executed(server, editor.add("LightFusionLoad", 700), None)
    executed(server, node, {"images": []})
    editor.rest(0.3)
    assert editor.shown(node, TEXT, "value") == "kept"


def test_results_return_with_the_history(editor: Editor) -> None:
    """What the frontend puts back, for another tab's workflow or one out of the history, shows again.
    The server knows the nodes that an Edit stood for by the Edit's id, a dot and more."""
    ask, edit, load = (editor.add(f"LightFusion{kind}", 500 * i) for i, kind in enumerate(("Ask", "Edit", "Load")))
    outputs = {str(ask): {"text": ["before"]}, f"{edit}.0.0.5": pairs(("red", "blue")), str(load): {MODEL: [NANO]}}
    editor.page.run("app.nodeOutputs = outputs; return true", outputs=outputs)
    assert editor.shown(ask, TEXT, "value") == "before"
    assert "nano" in editor.shown(load, MODEL)
    assert editor.shown(edit, COMPARE, "childElementCount")


# Before and after


@pytest.mark.parametrize("kind", ["LightFusionEdit", "LightFusionEdits", "LightFusionRestore"])
def test_divider_follows_the_mouse_and_the_keys(editor: Editor, server: frontend.RecordedServer, kind: str) -> None:
    node = editor.add(kind)
    executed(server, node, pairs(("red", "blue")))
    left, top, width, height = _stage(editor, node)
    assert abs(width / height - 96 / 64) < 0.02, "the frame is not the picture's"
    middle = top + height / 2
    editor.page.drag((left + width / 2, middle), (left + width / 4, middle))
    assert abs(_divider(editor, node) - 25) < 3
    editor.screenshot(kind)
    editor.page.press("ArrowRight")
    assert _divider(editor, node) > 25
    editor.page.press("End")
    assert _divider(editor, node) == 100
    editor.page.press("Home")
    assert _divider(editor, node) == 0


def test_frames_are_turned(editor: Editor, server: frontend.RecordedServer) -> None:
    node = editor.add("LightFusionEdit")
    executed(server, node, pairs(("red", "blue"), ("red", "green"), ("red", "yellow")))
    _stage(editor, node)
    left, top, width, height = editor.place(node, COMPARE, ".pages button:nth-child(3)")
    place = (left + width / 2, top + height / 2)
    editor.page.drag(place, place)
    shown = "return app.graph.getNodeById(id).widgets.at(-1).element.querySelector('.after').src.includes('yellow')"
    editor.page.wait(shown, 10, id=node)
    editor.screenshot("frames")


def _stage(editor: Editor, node: int) -> tuple[float, float, float, float]:
    """Where the pictures are, once they are loaded and the view has come to rest."""
    loaded = (
        "return [...app.graph.getNodeById(id).widgets.at(-1).element.querySelectorAll('img')]"
        ".filter((image) => image.naturalWidth).length === 2"
    )
    editor.shown(node, COMPARE, "childElementCount")
    editor.page.wait(loaded, 20, id=node)
    editor.fit()
    return editor.place(node, COMPARE, ".stage")


def _divider(editor: Editor, node: int) -> float:
    """Its value, after making sure that the line stands there."""
    script = """
    const element = app.graph.getNodeById(id).widgets.at(-1).element;
    const [stage, line] = [".stage", ".line"].map((part) => element.querySelector(part).getBoundingClientRect());
    const at = 100 * (line.left + line.width / 2 - stage.left) / stage.width;
    return [Number(element.querySelector("input").value), at];
    """
    value, at = editor.page.run(script, id=node)
    assert abs(value - at) < 2
    return value


def test_live_preview_stands_in_the_results_place(editor: Editor, server: frontend.RecordedServer) -> None:
    """One below the other they push the node out of its frame."""
    node = editor.add("LightFusionEdit")
    size, away = "app.graph.getNodeById(id).size[1]", ".lightfusion-away"
    executed(server, node, pairs(("red", "blue")))
    _stage(editor, node)
    before = editor.page.run(size, id=node)
    for _ in range(2):
        server.send_preview(node, "green")
        editor.page.wait(f"document.querySelector('{away}') !== null")
        assert _shows_live_preview(editor, node)
        assert editor.page.run(size, id=node) <= before + 40
        executed(server, node, pairs(("red", "yellow")))
        editor.page.wait(f"document.querySelector('{away}') === null")
        assert not _shows_live_preview(editor, node)
    editor.screenshot("after-preview")
    server.send_preview(node, "green")
    editor.page.wait(f"document.querySelector('{away}') !== null")
    server.send("execution_interrupted", {"prompt_id": "1", "node_id": str(node), "node_type": "", "executed": []})
    editor.page.wait(f"document.querySelector('{away}') === null")
    assert not _shows_live_preview(editor, node)
    editor.page.run("app.clean(); return true")  # the next node has the same number, and would get the preview


def _shows_live_preview(editor: Editor, node: int) -> bool:
    for _ in range(2):  # the canvas loads a picture as it draws, and shows it when it draws again
        editor.page.run("app.canvas.setDirty(true, true); return true")
        editor.rest(0.25)
    script = """
    const element = document.querySelector(`[data-node-id="${id}"]`);
    if (LiteGraph.vueNodesMode)
      return [...element.querySelectorAll("img")].some(
        (image) => image.checkVisibility() && !image.closest(".lightfusion-compare"),
      );
    const { imgs, widgets } = app.graph.getNodeById(id);
    return Boolean(imgs?.length && widgets.some((widget) => widget.name.includes("preview")));
    """
    return editor.page.run(script, id=node)


# Rows that few need


def _shown_rows(editor: Editor, node: int) -> list[str]:
    """The names of a node's widgets that can be seen."""
    script = """
    const node = app.graph.getNodeById(id);
    const element = document.querySelector(`[data-node-id="${id}"]`);
    if (!LiteGraph.vueNodesMode)
      return node.widgets.filter((widget) => node.isWidgetVisible(widget)).map((widget) => widget.name);
    const shown = element.innerText + [...element.querySelectorAll("label")].map((label) => label.textContent);
    return node.widgets.filter((widget) => shown.includes(widget.label ?? widget.name)).map((widget) => widget.name);
    """
    editor.rest(0.3)
    return editor.page.run(script, id=node)


def _height(editor: Editor, node: int) -> float:
    script = """
    const element = document.querySelector(`[data-node-id="${id}"]`);
    return LiteGraph.vueNodesMode ? element.offsetHeight : app.graph.getNodeById(id).size[1];
    """
    return editor.page.run(script, id=node)


def _unfold(editor: Editor, node: int) -> None:
    """Press what the renderer has for it."""
    editor.page.run("""
    const switched = document.querySelector(`[data-node-id="${id}"] [data-testid=advanced-inputs-button]`);
    if (LiteGraph.vueNodesMode) switched.click();
    else app.graph.getNodeById(id).widgets.find((widget) => widget.name === "lightfusion_advanced").callback();
    return true;
    """, id=node)  # fmt: skip


FOLDED = {
    "LightFusionEncode": ["system", "thought"],
    "LightFusionSampler": ["renorm", "renorm_min", "interval_start", "interval_end"],
    "LightFusionAsk": ["manner"],
    "LightFusionEdit": ["cache", "keep", "context", "left", "negative_prompt", "solver", "frame_seeds", "thought"],
}


@pytest.mark.parametrize("kind", FOLDED)
def test_rows_that_few_need_are_folded(editor: Editor, kind: str) -> None:
    """They are there when they are asked for, and the file is the same: none has moved."""
    node = editor.add(kind)
    editor.fit()
    shown, folded = _shown_rows(editor, node), FOLDED[kind]
    assert not set(folded) & set(shown)
    (before,), height = editor.file()["nodes"], _height(editor, node)
    _unfold(editor, node)
    assert set(folded) <= set(_shown_rows(editor, node))
    (after,) = editor.file()["nodes"]
    assert after["widgets_values"] == before["widgets_values"]
    assert _height(editor, node) > height
    _unfold(editor, node)
    assert _shown_rows(editor, node) == shown
    assert _height(editor, node) == pytest.approx(height, abs=1)
    editor.screenshot(f"folded-{kind}")


def test_rows_in_use_are_open(editor: Editor) -> None:
    """A value that acts and is not seen, or a wire that ends nowhere, would be a riddle."""
    node = editor.add("LightFusionSampler")
    workflow = editor.file()
    names = editor.page.run("app.graph.getNodeById(id).widgets.map((widget) => widget.name)", id=node)
    workflow["nodes"][0]["widgets_values"][names.index("interval_end")] = 0.5
    editor.load(workflow)
    editor.fit()
    assert "interval_end" in _shown_rows(editor, node)
    editor.load(json.loads(next(file for file in WORKFLOWS if file.stem == "rewrite_then_draw").read_text()))
    (encode,) = editor.ids("LightFusionEncode")
    assert editor.page.run("app.graph.getNodeById(id).showAdvanced === true", id=encode)


def test_one_of_several_wordings_is_taken_by_chance(editor: Editor) -> None:
    """As in the host's own prompts; what is saved keeps them all."""
    fields = {"LightFusionEncode": "prompt", "LightFusionEdit": "instruction", "LightFusionThink": "prompt"}
    nodes = {kind: editor.add(kind, 500 * at) for at, kind in enumerate(fields)}
    for kind, name in fields.items():
        editor.set(nodes[kind], **{name: "a {red|blue} circle"})
    queued = editor.prompt()
    for kind, name in fields.items():
        assert queued[str(nodes[kind])]["inputs"][name] in ("a red circle", "a blue circle")
        assert editor.values(nodes[kind])[name] == "a {red|blue} circle"


# The loader


def test_loader_says_what_it_loaded(editor: Editor, server: frontend.RecordedServer) -> None:
    node = editor.add("LightFusionLoad")
    executed(server, node, {MODEL: [NANO]})
    assert editor.shown(node, MODEL, "title") == "nano (built in), 25 MB, float32, small model of shapes"
    executed(server, node, {MODEL: [{**NANO, "name": "big/", "bytes": 29_300_000_000, "coupled": True, "nano": False}]})
    wanted = "big/, 29 GB, float32, coupled"
    editor.page.wait("app.graph.getNodeById(id).widgets.at(-1).element.title === wanted", id=node, wanted=wanted)
    editor.screenshot("loader")
    _, _, width, height = editor.place(node, MODEL)
    assert width > 100 and height > 10


# Files


def test_what_is_shown_stays_out_of_files_and_prompts(editor: Editor, server: frontend.RecordedServer) -> None:
    """Shared files hold widget values by their order, and the server refuses inputs that it does not know."""
    results = {
        "LightFusionLoad": {MODEL: [NANO]},
        "LightFusionAsk": {"text": ["an answer"]},
        "LightFusionEdit": pairs(("red", "blue")),
    }
    nodes = {kind: editor.add(kind, 500 * at) for at, kind in enumerate(results)}
    editor.page.run(
        "app.graph.getNodeById(id).widgets[0].value = 'What is it?'; return true", id=nodes["LightFusionAsk"]
    )
    for kind, output in results.items():
        executed(server, nodes[kind], output)
        editor.shown(nodes[kind], next(iter(output)).replace("text", TEXT), "tagName")
    saved = {node["type"]: node["widgets_values"] for node in editor.file()["nodes"]}
    assert saved["LightFusionLoad"] == ["nano (built in)", "from the model", "from the model", "default"]
    assert saved["LightFusionAsk"] == ["What is it?", 256, 0, 0, "randomize", "automatic"]
    assert len(saved["LightFusionEdit"]) == 21
    names = {name for node in editor.prompt().values() for name in node["inputs"]}
    assert not any(name.startswith("lightfusion") for name in names)
