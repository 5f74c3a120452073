"""Talking with nano in the editor of a real ComfyUI: turns, what comes of them, and the same as a graph."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request

import geometry
import numpy as np
import pytest
from editor import Editor
from talking import Talk, pixels

from lightfusion_core.shapes.judge import read

pytestmark = [pytest.mark.browser, pytest.mark.comfy]
SIX = [
    ("a red circle left of a blue star", None, {("red", "circle"), ("blue", "star")}),
    ("make the circle green", None, {("green", "circle"), ("blue", "star")}),
    ("remove the star", None, {("green", "circle")}),
    ("what color is the circle?", "ask", None),
    ("make the star yellow", "edit", {("green", "circle"), ("yellow", "star")}),
]
"""What is said, what it is said to be where the panel would not choose that itself, and what the picture then shows;
before the last the conversation goes back to the second."""


def things(picture: np.ndarray) -> set[tuple[str, str]]:
    """Colour and shape of what a picture shows."""
    return {(str(thing.color), str(thing.shape)) for thing in read(picture).things}


def test_six_turns(editor: Editor) -> None:
    """Draw, edit, edit, ask, undo, edit: what is seen is what was said, and the chain as a graph draws the same."""
    editor.begin()
    talk = Talk(editor)
    talk.set(steps=10, keep_seed=True, seed=1)
    pictures = []
    for number, (said, kind, wanted) in enumerate(SIX, 1):
        if number == len(SIX):
            for _ in range(2):
                talk.click(".pi-undo")
        turn = talk.say(said, kind)
        assert turn["state"] == "done", turn["said"]
        if wanted is None:
            assert turn["said"] == "green"
        else:
            pictures.append(pixels(turn["picture"]))
            assert things(pictures[-1]) == wanted
    shown = talk.turns()
    assert [turn["kind"] for turn in shown] == ["draw", "edit", "edit", "ask", "edit"]
    assert [turn["aside"] for turn in shown] == [False, False, True, True, False]
    talk.screenshot("six")
    _same_as_a_graph(editor, talk, [pictures[0], pictures[1], pictures[3]])
    _opens_from_its_picture(editor, talk, shown[1]["picture"])


def _same_as_a_graph(editor: Editor, talk: Talk, pictures: list[np.ndarray]) -> None:
    """The chain that led to the last turn, on the canvas and run from nothing."""
    talk.click(".pi-sitemap")
    editor.page.wait("app.graph.nodes.length > 0", 10)
    assert editor.missing() == []
    links = "app.graph.nodes.filter(({ type }) => type === 'LoadImage').length"
    assert editor.page.run(links) == 0, "a picture of the chain is loaded from its file"
    assert editor.page.run("app.graph.groups.length") == len(pictures) + 1
    editor.fit()
    assert geometry.problems_at_rest(editor) == []
    body = json.dumps({"unload_models": True, "free_memory": True}).encode()
    request = urllib.request.Request(f"{editor.url}/free", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=30).close()
    editor.rest(2)  # the worker takes this up between two graphs, and tells nobody when it has
    outputs = editor.run()
    editor.rest(1)
    talk.screenshot("as-graph")
    assert geometry.problems_at_rest(editor) == []
    saves = sorted(editor.ids("SaveImage"), key=int)
    drawn = [pixels(f"{editor.url}/view?{urllib.parse.urlencode(outputs[str(save)]['images'][0])}") for save in saves]
    different = [int((one != other).sum()) for one, other in zip(drawn, pictures, strict=True)]
    assert different == [0] * len(pictures)


def _opens_from_its_picture(editor: Editor, talk: Talk, address: str) -> None:
    """A picture dropped on the canvas opens the graph of its turn."""
    script = """
    const blob = await (await fetch(address)).blob();
    await app.handleFile(new File([blob], "turn.png", { type: blob.type }));
    return true;
    """
    editor.page.run(script, address=address)
    editor.page.wait("app.graph.nodes.length === 4", 20)
    kinds = editor.page.run("app.graph.nodes.map(({ type }) => type)")
    assert sorted(kinds) == ["LightFusionEdit", "LightFusionLoad", "LoadImage", "SaveImage"]
    assert editor.missing() == []
    editor.begin()


def test_a_turn_that_is_cancelled_leaves_the_next_one_working(editor: Editor) -> None:
    talk = Talk(editor)
    talk.set(steps=1000)
    number = talk.send("a red circle", "draw")
    running = "document.querySelectorAll('.turn')[number - 1].querySelector('progress')?.value > 0"
    editor.page.wait(running, 60, number=number)
    talk.screenshot("at-work")
    talk.click(".turn .pi-times", -1)
    assert talk.ended(number)["state"] == "cancelled"
    talk.set(steps=2)
    assert talk.say("a blue star", "draw")["state"] == "done"
