"""The conversation's panel in the real frontend, where there is no ComfyUI: its structure, its keys, and what goes
wrong."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from editor import Editor
from frontend import RecordedServer
from talking import PANEL, Talk

pytestmark = pytest.mark.browser
NAMED = {"button", "radio", "textbox", "combobox", "spinbutton", "checkbox", "radiogroup", "group", "toolbar", "list"}
"""Roles that a screen reader says nothing of without a name."""


@pytest.fixture(scope="module")
def editor(opened: Editor) -> Editor:
    return opened


@pytest.fixture
def talk(editor: Editor, server: RecordedServer) -> Talk:
    """The panel with an empty conversation, over an empty canvas."""
    server.refusal = None
    editor.empty()
    talk = Talk(editor)
    if talk.turns():
        talk.click(".pi-plus")
        confirm(talk)
        editor.page.wait("document.querySelectorAll('.turn').length === 0", 10)
    return talk


def confirm(talk: Talk) -> None:
    """Say yes to the editor's question."""
    script = """
    const buttons = [...document.querySelectorAll("[role=dialog] button, [role=alertdialog] button")];
    const yes = buttons.find((button) => ["Confirm", "OK", "Yes"].includes(button.innerText.trim()));
    yes?.click();
    return Boolean(yes);
    """
    talk.page.wait(script, 10)
    talk.page.wait("document.querySelector('[role=dialog], [role=alertdialog]') === null", 10)


def queued(server: RecordedServer, kind: str) -> dict[str, Any]:
    """What the node of a type was given in the prompt that was queued last."""
    (found,) = (node for node in server.prompts[-1]["prompt"].values() if node["class_type"] == kind)
    return found["inputs"]


def node_of(server: RecordedServer, kind: str) -> str:
    prompt = server.prompts[-1]["prompt"]
    return next(key for key, node in prompt.items() if node["class_type"] == kind)


def drawn(talk: Talk, server: RecordedServer, colour: str = "red") -> dict[str, Any]:
    """A turn that draws a plain picture."""
    before = len(server.prompts)
    number = talk.send("a circle", "draw")
    arrived(server, before + 1)
    image = {"filename": f"{colour}.png", "subfolder": "LightFusion", "type": "output"}
    server.end({node_of(server, "SaveImage"): {"images": [image]}})
    return talk.ended(number)


def asked(talk: Talk, server: RecordedServer, question: str, answer: str, history: str | None) -> None:
    """A turn that is answered, by a model that goes on from what was said if there is a history."""
    before = len(server.prompts)
    number = talk.send(question, "ask")
    arrived(server, before + 1)
    goes_on = {"lightfusion_history": [history]} if history else {}
    server.end({node_of(server, "LightFusionAsk"): {"text": [answer]} | goes_on})
    assert talk.ended(number)["said"] == answer


def arrived(server: RecordedServer, count: int) -> None:
    """Wait for so many prompts."""
    end = time.monotonic() + 20
    while len(server.prompts) < count:
        assert time.monotonic() < end, "nothing was queued"
        time.sleep(0.05)


# What it is made of


def test_every_control_has_a_role_and_a_name(talk: Talk, server: RecordedServer) -> None:
    """As the browser tells screen readers, with every kind of turn in the list."""
    drawn(talk, server)
    talk.page.run(f"{PANEL}.querySelector('details').open = true; return true")
    place = talk.page.call("Runtime.evaluate", expression=PANEL)["result"]["objectId"]
    nodes = talk.page.call("Accessibility.queryAXTree", objectId=place)["nodes"]
    told = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    assert [role for role, name in told if role in NAMED and not name.strip()] == []
    assert {("region", "Conversation with LightFusion"), ("radio", "draw"), ("radio", "edit"), ("radio", "ask"),
            ("button", "Send"), ("list", "Turns"), ("textbox", "What to draw, change or ask"),
            ("image", "a circle"), ("combobox", "model"), ("spinbutton", "steps")} <= set(told)  # fmt: skip
    assert [role for role, _ in told].count("status") == 1
    talk.screenshot("settings")
    talk.page.run(f"{PANEL}.querySelector('details').open = false; return true")


def test_keys_alone_will_do(talk: Talk, server: RecordedServer) -> None:
    """Tab goes from the top to the line, arrows choose, Shift+Enter breaks a line and Enter sends."""
    focus = "document.activeElement"
    talk.page.run(f"{PANEL}.querySelector('.bar button:not(:disabled)').focus(); return true")
    walked = []
    for _ in range(30):
        if not talk.page.run(f"{PANEL}.contains({focus})"):
            break
        walked.append(talk.page.run(f"{focus}.title || {focus}.name || {focus}.textContent || {focus}.tagName"))
        talk.page.press("Tab")
    assert walked[0] == "Put the whole chain on the canvas"
    order = [walked.index(name) for name in ("lightfusion-talk-kind", "Add pictures from files", "Send")]
    assert order == sorted(order)
    talk.page.run(f"{PANEL}.querySelector('[type=radio]:checked').focus(); return true")
    talk.page.press("ArrowRight")
    assert talk.kind == "edit"
    talk.page.press("ArrowLeft")
    assert talk.kind == "draw"
    before = len(server.prompts)
    talk.page.press("Tab")
    talk.page.type("a red circle")
    talk.page.press("Enter", shift=True)
    talk.page.type("on grey")
    assert len(server.prompts) == before and not talk.turns()
    talk.page.press("Enter")
    arrived(server, before + 1)
    assert queued(server, "LightFusionEncode")["prompt"] == "a red circle\non grey"
    assert talk.page.run(f"{focus}.tagName") == "TEXTAREA"
    assert talk.status == "Sent: draw."
    server.end({}, "interrupted")
    assert talk.ended(1)["state"] == "cancelled"
    assert talk.status == "Cancelled."


# What turns are


def test_a_turn_is_what_the_panel_says_and_acts_on_the_last_picture(talk: Talk, server: RecordedServer) -> None:
    assert talk.kind == "draw"
    talk.set(steps=7, keep_seed=True, seed=5)
    drawn(talk, server)
    assert queued(server, "LightFusionSampler")["steps"] == 7
    assert queued(server, "LightFusionSampler")["seed"] == 5
    assert talk.kind == "edit"
    workflow = server.prompts[-1]["extra_data"]["extra_pnginfo"]["workflow"]
    assert {node["type"] for node in workflow["nodes"]} >= {"LightFusionEncode", "LightFusionSampler", "SaveImage"}
    assert not any(key.isdigit() for key in server.prompts[-1]["prompt"]), "results would show on nodes of the canvas"
    before = len(server.prompts)
    number = talk.send("make it blue")
    arrived(server, before + 1)
    assert queued(server, "LoadImage")["image"] == "LightFusion/red.png [output]"
    assert queued(server, "LightFusionEdit")["instruction"] == "make it blue"
    assert queued(server, "LightFusionEdit")["image_1"] == [node_of(server, "LoadImage"), 0]
    talk.page.wait("document.querySelector('.turn:last-child').dataset.state === 'running'", 10)
    server.send("execution_start", {"prompt_id": str(before + 1)})
    server.send("progress", {"prompt_id": str(before + 1), "node": "1", "value": 3, "max": 9})
    talk.page.wait("document.querySelector('.turn:last-child progress').value === 3", 10)
    image = {"filename": "blue.png", "subfolder": "", "type": "output"}
    server.end({node_of(server, "SaveImage"): {"images": [image]}})
    assert "blue.png" in talk.ended(number)["picture"]
    number = talk.send("what is it?", "ask")
    arrived(server, before + 2)
    assert queued(server, "LoadImage")["image"] == "blue.png [output]"
    ask = node_of(server, "LightFusionAsk")
    server.send("execution_start", {"prompt_id": str(before + 2)})
    talk.page.wait("document.querySelector('.turn:last-child').dataset.state === 'running'", 10)
    server.send("lightfusion.text", {"node": ask, "text": "a bl"})
    talk.page.wait("document.querySelector('.turn:last-child .answer')?.textContent === 'a bl'", 10)
    server.end({ask: {"text": ["a blue circle"]}})
    assert talk.ended(number)["said"] == "a blue circle"
    assert talk.status == "a blue circle"
    assert talk.kind == "ask", "questions come in a row"
    talk.choose("edit")
    talk.click(".pi-undo")
    talk.click(".pi-undo")
    assert [turn["aside"] for turn in talk.turns()] == [False, True, True]
    talk.click(".turn .pi-reply", -1)
    assert [turn["aside"] for turn in talk.turns()] == [False, False, False]
    number = len(talk.turns()) + 1
    talk.click(".turn .pi-refresh", -1)
    arrived(server, before + 3)
    again = queued(server, "LightFusionEdit")
    assert again["instruction"] == "make it blue" and again["seed"] != 5
    assert queued(server, "LoadImage")["image"] == "LightFusion/red.png [output]"
    server.end({}, "interrupted")
    talk.ended(number)
    assert [turn["aside"] for turn in talk.turns()] == [False, True, True, False]


def test_a_question_goes_on_from_the_one_before_it(talk: Talk, server: RecordedServer) -> None:
    """On the way on which the conversation stands, and with the pictures that it was about."""
    drawn(talk, server)
    asked(talk, server, "what is it?", "a circle", "the first history")
    assert "history" not in queued(server, "LightFusionAsk")
    drawn(talk, server, "blue")
    asked(talk, server, "and this?", "a star", "the second history")
    assert queued(server, "PrimitiveStringMultiline")["value"] == "the first history"
    ask = queued(server, "LightFusionAsk")
    assert ask["history"] == [node_of(server, "PrimitiveStringMultiline"), 0]
    shown = [server.prompts[-1]["prompt"][ask[f"image_{k}"][0]]["inputs"]["image"] for k in (1, 2)]
    assert shown == ["LightFusion/blue.png [output]", "LightFusion/red.png [output]"]
    for _ in range(2):
        talk.click(".pi-undo")
    asked(talk, server, "how many?", "1", None)
    assert queued(server, "PrimitiveStringMultiline")["value"] == "the first history"
    asked(talk, server, "really?", "yes", None)
    assert queued(server, "PrimitiveStringMultiline")["value"] == "the first history", "no history came meanwhile"
    for _ in range(2):
        talk.click(".pi-undo")
    talk.click(".turn .pi-reply", 3)
    talk.click(".pi-sitemap")
    wired = """
    const asks = app.graph.nodes.filter(({ type }) => type === "LightFusionAsk");
    return asks.map(({ inputs }) => inputs.find(({ name }) => name === "history").link !== null);
    """
    assert talk.page.run(wired) == [False, True]
    assert "PrimitiveStringMultiline" not in talk.page.run("return app.graph.nodes.map(({ type }) => type)")


def test_a_turn_that_fails_says_why_and_the_next_one_works(talk: Talk, server: RecordedServer) -> None:
    said = "Prompt outputs failed validation"
    server.refusal = {"error": {"type": "prompt", "message": said, "details": "", "extra_info": {}}, "node_errors": {}}
    assert talk.say("a circle") | {"state": "failed", "said": said} == talk.turns()[0]
    reason = {"message": "Value not in list", "details": "model: 'gone'"}
    server.refusal["node_errors"] = {"1": {"class_type": "LightFusionLoad", "errors": [reason]}}
    assert talk.say("a circle")["said"] == "Value not in list: model: 'gone'"
    server.refusal, before = None, len(server.prompts)
    number = talk.send("a circle")
    arrived(server, before + 1)
    message = "<b>bold</b><img src=x onerror='window.broken = true'>"
    server.end({}, "error", exception_message=message, exception_type="InputError", node_id="1", node_type="x")
    assert talk.ended(number)["said"] == message
    talk.page.run("document.querySelector('[role=dialog] button[aria-label=Close]')?.click(); return true")
    assert drawn(talk, server)["state"] == "done"
    assert talk.page.run("window.broken === undefined")


def test_what_cannot_be_sent_is_said(talk: Talk, server: RecordedServer) -> None:
    before = len(server.prompts)
    talk.send("   ")
    assert talk.status == "Type something first."
    talk.send("make it blue", "edit")
    assert talk.status == "An edit needs a picture: draw one first, or add one."
    talk.page.run(f"{PANEL}.querySelector('textarea').value = ''; return true")
    talk.send("a circle", "draw")
    arrived(server, before + 1)
    talk.send("a star", "draw")
    assert talk.status == "The last turn is still at work: wait for it, or cancel it."
    assert len(talk.turns()) == 1 and len(server.prompts) == before + 1
    talk.page.run(f"{PANEL}.querySelector('textarea').value = ''; return true")
    server.end({}, "interrupted")
    talk.ended(1)


# Pictures that a person brings


_GIVE = f"""
const data = new DataTransfer();
const canvas = Object.assign(document.createElement("canvas"), {{ width: 8, height: 8 }});
const blob = real ? await new Promise((done) => canvas.toBlob(done)) : new Blob(["none"]);
data.items.add(new File([blob], name, {{ type: real ? "image/png" : "text/plain" }}));
const event = kind === "drop"
  ? new DragEvent("drop", {{ dataTransfer: data, bubbles: true, cancelable: true }})
  : new ClipboardEvent("paste", {{ clipboardData: data, bubbles: true, cancelable: true }});
{PANEL}.querySelector("textarea").dispatchEvent(event);
return true;
"""


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_picture_that_is_given_is_edited_and_what_is_none_is_refused(
    talk: Talk, server: RecordedServer, kind: str
) -> None:
    talk.page.run(_GIVE, kind=kind, real=False, name="notes.png")
    said = "Expected a picture, found notes.png, which the browser cannot read as one; give a PNG, JPEG or WebP."
    talk.page.wait(f"{PANEL}.querySelector('[role=status]').textContent === said", 10, said=said)
    talk.page.run(_GIVE, kind=kind, real=True, name="photo.png")
    talk.page.wait(f"{PANEL}.querySelectorAll('.given img').length === 1", 10)
    assert talk.kind == "edit"
    assert talk.page.run("app.graph.nodes.length") == 0, "the editor took it too"
    before = len(server.prompts)
    talk.send("make it blue")
    arrived(server, before + 1)
    assert queued(server, "LoadImage")["image"] == "photo.png"
    server.end({}, "interrupted")
    talk.ended(1)
    assert talk.page.run(f"{PANEL}.querySelectorAll('.given img').length") == 1, "the picture is what the talk is about"


# Kept, saved and opened


_OPEN_FILE = f"""
const data = new DataTransfer();
data.items.add(new File([content], "talk.json", {{ type: "application/json" }}));
const input = {PANEL}.querySelector("input[type=file][accept*=json]");
input.files = data.files;
input.dispatchEvent(new Event("change"));
return true;
"""
_SAVE = f"""
const real = URL.createObjectURL;
let blob = null;
URL.createObjectURL = (made) => real.call(URL, (blob = made));
HTMLAnchorElement.prototype.click = () => {{}};
{PANEL}.querySelector(".pi-download").click();
URL.createObjectURL = real;
delete HTMLAnchorElement.prototype.click;
return await blob.text();
"""


def test_the_conversation_is_kept_saved_and_opened(talk: Talk, server: RecordedServer) -> None:
    """By the browser, through a reload; and in a file, which holds names of pictures and none of their bytes."""
    drawn(talk, server)
    before = talk.turns()
    reopened = """
    const { Panel } = await import(`/extensions/comfyui-lightfusion/talk/panel.js`);
    const panel = new Panel();
    await panel.open();
    return [...panel.element.querySelectorAll(".turn")].map((turn) => turn.dataset.state);
    """
    assert talk.page.run(reopened) == ["done"]
    saved = talk.page.run(_SAVE)
    assert "red.png" in saved and len(saved) < 3000
    talk.click(".pi-plus")
    confirm(talk)
    talk.page.wait("document.querySelectorAll('.turn').length === 0", 10)
    talk.page.run(_OPEN_FILE, content=saved)
    talk.page.wait("document.querySelectorAll('.turn').length === 1", 10)
    assert talk.turns() == before


def test_a_file_that_is_no_conversation_is_refused_in_one_sentence(talk: Talk, server: RecordedServer) -> None:
    drawn(talk, server)
    before, good = talk.turns(), json.loads(talk.page.run(_SAVE))
    (turn,) = good["turns"]
    bad = {
        "": "no whole JSON", json.dumps(good)[:-20]: "no whole JSON", "[]": "other JSON", "null": "other JSON",
        json.dumps({"nodes": [], "links": []}): "other JSON", json.dumps(good | {"version": 2}): "version 1",
        **{
            json.dumps(good | {"turns": [turn | changes]}): "missing or changed"
            for changes in (
                {"parent": 1}, {"number": 2}, {"kind": "sing"}, {"given": [{"filename": 3}]}, {"seed": "x"},
                {"picture": {"filename": "a.png", "subfolder": "", "type": "elsewhere"}}, {"settings": {"steps": []}},
                {"said": 3}, {"history": []}, {"earlier": [{"filename": "a.png"}]},
            )
        },
        json.dumps(good | {"head": 2}): "missing or changed",
        json.dumps(good | {"turns": [None]}): "missing or changed",
    }  # fmt: skip
    for content, reason in bad.items():
        talk.page.run(f"{PANEL}.querySelector('[role=status]').textContent = ''; return true")
        talk.page.run(_OPEN_FILE, content=content)
        talk.page.wait(f"{PANEL}.querySelector('[role=status]').textContent !== ''", 10)
        assert talk.status.startswith("talk.json: expected") and reason in talk.status, content
    assert talk.turns() == before


def test_nothing_of_it_made_the_page_complain(editor: Editor) -> None:
    assert editor.complaints() == []
