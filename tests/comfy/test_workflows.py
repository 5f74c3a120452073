"""The example workflows: their files, their meaning in both formats, and what they show when they run.

Whether a picture shows what was asked is measured from its pixels. What the model that ships with the pack was
not trained for is reported as skipped, by the tasks in its config.json.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from driving import made_for
from host import EXAMPLE, PACK, PACK_NAME, Client, Result, Server
from numpy.typing import NDArray
from PIL import Image

from lightfusion_core import __version__
from lightfusion_core.shapes.judge import judge_edit, judge_prompt, judge_scene, read
from lightfusion_core.shapes.questions import caption
from lightfusion_core.shapes.samples import EditSample, PromptSample, Wanted
from lightfusion_core.shapes.world import Background, Scene, Thing, render
from tools.comfyui import numbers
from tools.workflows.catalogue import KINDS, TRAINING_KINDS, WORKFLOWS
from tools.workflows.schema import is_controlled, read_kind, recording
from tools.workflows.write import FOLDER, write

NAMES = list(WORKFLOWS)
APPS = {"text_to_image.app", "edit.app", "ask.app"}
"""Those that open as a form. A form is for pictures of one's own: there is one in every ComfyUI's input folder."""

NANO_TASKS = json.loads((PACK / "lightfusion_core" / "nano" / "config.json").read_text(encoding="utf-8"))["tasks"]
_WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")

Picture = NDArray[np.uint8]


def ui_of(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def api_of(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / "api" / f"{name}.json").read_text(encoding="utf-8"))


# The files


def test_files_are_what_the_builder_makes(tmp_path: Path) -> None:
    """A graph that was changed by hand is lost when the next one is made: `python -m tools.workflows build`."""
    for make in WORKFLOWS.values():
        write(make(), tmp_path)
    made = {file.relative_to(tmp_path): file.read_text(encoding="utf-8") for file in tmp_path.rglob("*.json")}
    committed = {file.relative_to(FOLDER): file.read_text(encoding="utf-8") for file in FOLDER.rglob("*.json")}
    assert made == committed


@pytest.mark.parametrize("name", NAMES)
def test_template_browser_has_a_picture(name: str) -> None:
    """It shows the .jpg of the same name, and every user of the pack downloads it."""
    file = FOLDER / f"{name}.jpg"
    with Image.open(file) as image:
        assert image.format == "JPEG"
        assert image.size == (320, 320)
    assert file.stat().st_size < 40_000


def test_recording_holds_the_classes_in_use() -> None:
    used = {node.kind.name for make in WORKFLOWS.values() for node in make().nodes}
    assert used == {*KINDS, *TRAINING_KINDS} == set(recording())


@pytest.mark.parametrize("name", NAMES)
def test_links_are_written_alike_at_both_ends(name: str) -> None:
    """The frontend drops a link that only one end knows, in silence."""
    ui = ui_of(name)
    nodes = {node["id"]: node for node in ui["nodes"]}
    for number, origin, slot, target, into, kind in ui["links"]:
        assert number in nodes[origin]["outputs"][slot]["links"]
        assert nodes[target]["inputs"][into]["link"] == number
        assert kind in (nodes[target]["inputs"][into]["type"], "*")
    ends = [link for node in ui["nodes"] for output in node["outputs"] for link in output["links"] or ()]
    assert sorted(ends) == sorted(link[0] for link in ui["links"]) == list(range(1, ui["last_link_id"] + 1))
    assert ui["last_node_id"] == max(nodes)


@pytest.mark.parametrize("name", NAMES)
def test_nodes_name_their_pack(name: str) -> None:
    """The manager offers to install what is missing by these properties."""
    for node in ui_of(name)["nodes"]:
        if node["type"] == "MarkdownNote":
            continue
        kind = recording()[node["type"]]
        named = (PACK_NAME, __version__) if kind.ours else ("comfy-core", kind.comfyui)
        assert (node["properties"]["cnr_id"], node["properties"]["ver"]) == named
        assert node["properties"]["Node name for S&R"] == node["type"]


@pytest.mark.parametrize("name", NAMES)
def test_note_says_what_to_do(name: str) -> None:
    """A graph that opens without a word is closed again; one that needs a file is red."""
    ui = ui_of(name)
    (note,) = [node["widgets_values"][0] for node in ui["nodes"] if node["type"] == "MarkdownNote"]
    assert "models/lightfusion" in note
    assert 40 <= len(note.split()) <= 200
    types = {node["type"] for node in ui["nodes"]}
    assert "LoadImage" not in types or name in APPS
    if "Before" in {node.get("title") for node in ui["nodes"]} and name != "generate_edit_upscale":
        assert "Load Image" in note
    models = [node["widgets_values"][0] for node in ui["nodes"] if node["type"] == "LightFusionLoad"]
    assert set(models) == {"nano (built in)"}


@pytest.mark.parametrize("name", [*sorted(APPS), "text_to_image", "instruction_edit", "ask_and_caption"])
def test_form_shows_what_there_is(name: str) -> None:
    """The frontend drops a row or an output that it does not find, in silence."""
    ui, graph = ui_of(name), WORKFLOWS[name]()
    nodes = {node["id"]: node for node in ui["nodes"]}
    assert ui["extra"]["linearMode"] == (name in APPS)
    form = ui["extra"]["linearData"]
    kinds = {node.id: node.kind for node in graph.nodes}
    assert all(kinds[number].input(row).widget for number, row in form["inputs"])
    wired = [[number, slot["name"]] for number in nodes for slot in nodes[number]["inputs"] if slot["link"]]
    assert not [row for row in form["inputs"] if row in wired]
    assert form["outputs"]
    shown = {nodes[number]["type"] for number in form["outputs"]}
    assert shown <= {"SaveImage", "LightFusionAsk"}


def test_other_graphs_are_no_forms() -> None:
    forms = {name for name in NAMES if "linearMode" in ui_of(name)["extra"]}
    assert forms == {*APPS, "text_to_image", "instruction_edit", "ask_and_caption"}


@pytest.mark.parametrize("name", NAMES)
def test_nodes_stand_apart_inside_of_titled_frames(name: str) -> None:
    """The title bar stands above a node's place."""
    ui = ui_of(name)
    title = 30
    boxes = [(*node["pos"], *node["size"]) for node in ui["nodes"]]
    boxes = [(x, y - title, x + width, y + height) for x, y, width, height in boxes]
    for a, b in combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], f"{a} and {b} overlap"
    frames = [group["bounding"] for group in ui["groups"]]
    assert all(group["title"] and re.fullmatch("#[0-9a-fA-F]{3,6}", group["color"]) for group in ui["groups"])
    for node, box in zip(ui["nodes"], boxes, strict=True):
        around = [
            frame
            for frame in frames
            if frame[0] <= box[0] and frame[1] <= box[1]
            and box[2] <= frame[0] + frame[2] and box[3] <= frame[1] + frame[3]
        ]  # fmt: skip
        assert len(around) == (node["type"] != "MarkdownNote"), node["type"]


# Their meaning to a real server


def as_the_frontend_sends(ui: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """The API-format graph that a frontend makes of one in its own format, with the server's node classes."""
    origins = {link[0]: [str(link[1]), link[2]] for link in ui["links"]}
    graph = {}
    for node in ui["nodes"]:
        if node["type"] == "MarkdownNote":
            continue
        info, values, inputs = known[node["type"]], iter(node["widgets_values"]), {}
        for group in ("required", "optional"):
            for name in info["input_order"].get(group, ()):
                kind, options = (*info["input"][group][name], {})[:2]
                if (isinstance(kind, list) or kind in _WIDGETS) and not options.get("forceInput"):
                    inputs[name] = next(values)
                    if is_controlled(name, kind, options):
                        assert next(values) in ("fixed", "randomize"), node["type"]
                    if options.get("image_upload"):
                        assert next(values) == "image"
        assert next(values, None) is None, f"{node['type']} has more values than widgets"
        inputs |= {slot["name"]: origins[slot["link"]] for slot in node["inputs"] if slot["link"] is not None}
        title = node.get("title", info["display_name"])
        graph[str(node["id"])] = {"inputs": inputs, "class_type": node["type"], "_meta": {"title": title}}
    return graph


@pytest.mark.comfy
@pytest.mark.parametrize("name", NAMES)
def test_both_formats_mean_the_same(client: Client, name: str) -> None:
    """Values go to widgets by their order alone: one too many, and the seed becomes the number of steps."""
    made_for(name, client.server.checkout.numbers)
    assert as_the_frontend_sends(ui_of(name), client.object_info()) == api_of(name)


@pytest.mark.comfy
@pytest.mark.parametrize("name", NAMES)
def test_choices_are_offered(client: Client, name: str) -> None:
    """A list's value that the server does not offer is a red widget."""
    made_for(name, client.server.checkout.numbers)
    known = client.object_info()
    for node in api_of(name).values():
        spec = known[node["class_type"]]["input"]
        for key, value in node["inputs"].items():
            kind, options = (*(spec["required"] | spec.get("optional", {}))[key], {})[:2]
            choices = kind if isinstance(kind, list) else options.get("options")
            assert choices is None or isinstance(value, list) or value in choices


@pytest.mark.comfy
def test_recording_is_the_servers(client: Client) -> None:
    """`python -m tools.workflows record` takes it anew. Newer servers may add outputs at the end."""
    known = client.object_info()
    served = client.server.checkout
    for name, kind in recording().items():
        if numbers(kind.comfyui) > served.numbers:
            continue
        live = read_kind(name, known[name], served.version)
        assert live.inputs == kind.inputs, name
        assert live.outputs[: len(kind.outputs)] == kind.outputs, name


# What they show


def _timed(names: Iterable[str]) -> list[Any]:
    """What is about the workflow that trains takes a minute of it."""
    return [pytest.param(name, marks=[pytest.mark.slow] if name.startswith("train_a_lora") else []) for name in names]


class Gallery:
    """Every workflow's one run on a server, and what its nodes showed."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.results: dict[str, Result] = {}

    def result(self, name: str) -> Result:
        made_for(name, self.client.server.checkout.numbers)
        if name not in self.results:
            self.results[name] = self.client.run(api_of(name))
        result = self.results[name]
        if result.failure is not None:
            pytest.fail(str(result.failure), pytrace=False)
        return result

    def shown(self, name: str, title: str, what: str) -> list[Any]:
        """The items of a kind on all nodes of a title."""
        ids = [number for number, node in api_of(name).items() if node["_meta"]["title"] == title]
        assert ids, f"{name} has no node {title!r}"
        return [item for number in ids for item in self.result(name).outputs.get(number, {}).get(what, ())]

    def pictures(self, name: str, title: str = "Save Image") -> list[Picture]:
        return [np.asarray(self.client.view(item).convert("RGB")) for item in self.shown(name, title, "images")]

    def texts(self, name: str, title: str) -> list[str]:
        return self.shown(name, title, "text")

    def described(self, name: str) -> str:
        """What all its pictures show and its texts say, for a failure."""
        lines = []
        for title in dict.fromkeys(node["_meta"]["title"] for node in api_of(name).values()):
            for picture in self.pictures(name, title):
                reading = read(picture)
                things = ", ".join(f"{thing.size} {thing.color} {thing.shape}" for thing in reading.things)
                lines.append(f"{title} shows {things or 'nothing'} on {reading.background}")
            lines += [f"{title} says {text!r}" for text in self.texts(name, title)]
        return "\n".join(lines)


@pytest.fixture(scope="module")
def gallery(server: Server) -> Iterator[Gallery]:
    client = Client(server)
    yield Gallery(client)
    client.close()


@pytest.mark.comfy
@pytest.mark.parametrize("name", _timed(NAMES))
def test_runs_as_soon_as_it_is_opened(gallery: Gallery, name: str) -> None:
    """With nothing but the pack: every node that shows something shows it."""
    result = gallery.result(name)
    assert result.status == "success"
    for number, node in api_of(name).items():
        shown = result.outputs.get(number, {})
        if node["class_type"] in ("SaveImage", "PreviewImage"):
            assert all(gallery.client.view(item).getbbox() for item in shown["images"])
            assert len(shown["images"]) == (4 if node["_meta"]["title"] == "Save all four" else 1)
        if node["class_type"] in ("LightFusionAsk", "LightFusionThink"):
            assert shown["text"][0].strip()
            assert gallery.client.read(shown["files"][0]) == shown["text"][0]


@pytest.mark.comfy
def test_edits_keep_the_size(gallery: Gallery) -> None:
    for name in ("instruction_edit", "masked_edit", "edit_other_model_edit"):
        (before,), (after,) = gallery.pictures(name, "Before"), gallery.pictures(name)
        assert before.shape == after.shape == (128, 128, 3)
    assert gallery.pictures("generate_edit_upscale")[0].shape == (512, 512, 3)


@pytest.mark.comfy
def test_mask_keeps_the_rest_to_the_bit(gallery: Gallery) -> None:
    """Half of the picture is the edit's, and half is as it was."""
    (before,), (after,) = gallery.pictures("masked_edit", "Before"), gallery.pictures("masked_edit")
    assert np.array_equal(before[:, :64], after[:, :64])
    assert not np.array_equal(before[:, 64:], after[:, 64:])


WHITE, PALE_GREEN, PALE_BLUE, PALE_YELLOW = (
    Background("plain", tint) for tint in ("white", "light green", "light blue", "light yellow")
)


def shows(picture: Picture, *wanted: tuple[str, str], background: Background | None = None) -> bool:
    """Whether a picture has exactly these (colour, shape)."""
    asked = tuple(Wanted(1, shape, color) for color, shape in wanted)
    return judge_prompt(PromptSample("free", "", Scene(()), asked, (), background), picture)


def measured(picture: Picture) -> Scene:
    """The scene that a picture shows, as a source for edits."""
    reading = read(picture)
    things = [Thing(str(thing.shape), str(thing.color), thing.size, *thing.centre) for thing in reading.things]
    return Scene(tuple(things), reading.background or Background())


def recolored(before: Picture, after: Picture, shape: str, color: str) -> bool:
    """Whether an edit changed the colour of a thing, and nothing else by more than a twentieth of full scale."""
    scene = measured(before)
    thing = next((thing for thing in scene.things if thing.shape == shape), None)
    if thing is None:
        return False
    changed = replace(thing, color=color)
    target = replace(scene, things=tuple(changed if other is thing else other for other in scene.things))
    done, elsewhere = judge_edit(EditSample("recolor", "", scene, target, thing, changed), before, after)
    return done and elsewhere < 0.05


def _one(name: str, *wanted: tuple[str, str], title: str = "Save Image", **asked: Any) -> Callable[[Gallery], bool]:
    return lambda gallery: shows(gallery.pictures(name, title)[0], *wanted, **asked)


def _batch(gallery: Gallery) -> bool:
    right = [
        shows(picture, ("green", "square"), ("pink", "heart"))
        for picture in gallery.pictures("batch_of_seeds", "Save all four")
    ]
    return sum(right) >= 3


def _recolored(name: str, shape: str, color: str) -> Callable[[Gallery], bool]:
    return lambda gallery: recolored(gallery.pictures(name, "Before")[0], gallery.pictures(name)[0], shape, color)


def _untaught(gallery: Gallery) -> bool:
    (picture,) = gallery.pictures("train_a_lora", "Without the LoRA")
    return [str(thing.shape) for thing in measured(picture).things] == ["circle"] and not shows(
        picture, ("purple", "circle"), background=PALE_GREEN
    )


def _references(gallery: Gallery) -> bool:
    first, second = (measured(picture) for picture in gallery.pictures("several_references", "Before"))
    wanted = Scene(first.things, second.background)
    return judge_scene(wanted, gallery.pictures("several_references")[0], places=False)


def _second_picture(gallery: Gallery) -> bool:
    picture = gallery.pictures("several_references", "Before")[1]
    return shows(picture, ("blue", "star"), background=PALE_GREEN)


def _app_edited(gallery: Gallery) -> bool:
    return recolored(render(EXAMPLE), gallery.pictures("edit.app")[0], "circle", "blue")


def _app_answered(gallery: Gallery) -> bool:
    return gallery.texts("ask.app", "Ask")[0].strip(" .").lower() == caption(EXAMPLE)


def _answered(gallery: Gallery) -> bool:
    return "pink star" in gallery.texts("ask_and_caption", "Ask")[0].lower()


def _captioned(gallery: Gallery) -> bool:
    (picture,) = gallery.pictures("ask_and_caption", "Before")
    return gallery.texts("ask_and_caption", "Caption")[0].strip(" .").lower() == caption(measured(picture))


JUDGED = {
    "text_to_image": ("generate", _one("text_to_image", ("red", "circle"), ("blue", "star"))),
    "text_to_image.app": ("generate", _one("text_to_image.app", ("red", "circle"), ("blue", "star"))),
    "stock_ksampler": (
        "generate",
        _one("stock_ksampler", ("blue", "star"), ("green", "square"), background=PALE_YELLOW),
    ),
    "batch_of_seeds": ("generate", _batch),
    "instruction_edit, before": (
        "generate",
        _one("instruction_edit", ("red", "circle"), ("yellow", "star"), title="Before", background=WHITE),
    ),
    "masked_edit, before": ("generate", _one("masked_edit", ("red", "circle"), ("green", "square"), title="Before")),
    "several_references, first": ("generate", _one("several_references", ("red", "circle"), title="Before")),
    "several_references, second": ("generate", _second_picture),
    "ask_and_caption, before": (
        "generate",
        _one("ask_and_caption", ("pink", "star"), ("green", "square"), title="Before"),
    ),
    "generate_edit_upscale, before": (
        "generate",
        _one("generate_edit_upscale", ("yellow", "heart"), ("cyan", "cross"), title="Before"),
    ),
    "regional_prompts": ("generate", _one("regional_prompts", ("red", "circle"), ("blue", "star"))),
    "fewer_steps": ("generate", _one("fewer_steps", ("red", "circle"), ("blue", "star"))),
    "train_a_lora": ("generate", _one("train_a_lora", ("purple", "circle"), background=PALE_GREEN)),
    "train_a_lora, without": ("generate", _untaught),
    "instruction_edit": ("edit", _recolored("instruction_edit", "circle", "blue")),
    "masked_edit": ("edit", _recolored("masked_edit", "square", "purple")),
    "several_references": ("edit", _references),
    "generate_edit_upscale": ("edit", _one("generate_edit_upscale", ("purple", "heart"), ("cyan", "cross"))),
    "edit_other_model_edit": ("edit", _one("edit_other_model_edit", ("blue", "circle"), background=PALE_BLUE)),
    "edit.app": ("edit", _app_edited),
    "ask.app": ("answer", _app_answered),
    "ask_and_caption, answer": ("answer", _answered),
    "ask_and_caption, caption": ("answer", _captioned),
}
"""What each workflow must show, and the task that nano must be trained for."""


@pytest.mark.comfy
@pytest.mark.parametrize("what", _timed(JUDGED))
def test_shows_what_was_asked(gallery: Gallery, what: str) -> None:
    """Measured from the pixels; a model that was not trained for a task is not held to it."""
    task, right = JUDGED[what]
    if task not in NANO_TASKS:
        pytest.skip(f"the nano that ships with the pack is not trained to {task} yet")
    assert right(gallery), gallery.described(what.split(",")[0])
