"""`lightfusion chat` through a pipe: turns, branches, folders, and lines that cannot be done."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from command_results import Result, pixels

from lightfusion_core import Conversation, LightFusion, Sampling
from lightfusion_core.conversation import Settings


@pytest.fixture
def talk(run, monkeypatch: pytest.MonkeyPatch):
    """Say lines through a pipe."""

    def call(*said: str, options: tuple[str, ...] = ()) -> Result:
        monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(said) + "\n"))
        return run("chat", "--steps", 2, *options)

    return call


def test_a_conversation_through_a_pipe_is_kept_and_goes_on(talk, photo: Path) -> None:
    said = ("/draw a circle", "/edit make it \\", "blue", "/undo", f"/image {photo}", "/ask what is it?", "/seed 3",
            "/redo 5")  # fmt: skip
    code, out, _ = talk(*said, options=("made", "--json", "--quiet"))
    told = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [one["kind"] for one in told] == ["draw", "edit", "answer", "answer"]
    assert told[1]["text"] == "make it \nblue" and told[3]["settings"]["seed"] == 5
    assert [one["picture"] for one in told[:3]] == ["made/turn-001.png", "made/turn-002.png", None]
    assert Path("made/turn-003-given-1.png").exists()
    code, out, err = talk("/go 1", "/seed 0", "/edit make it \\", "blue", options=("made",))
    assert (code, out) == (0, "made/turn-005.png\n") and "4 turns; at turn 4" in err
    assert np.array_equal(pixels("made/turn-005.png"), pixels("made/turn-002.png"))
    assert json.loads(Path("made/conversation.json").read_text())["turns"][4]["parent"] == 1


def test_six_turns_through_a_pipe_are_those_of_the_python_interface(talk) -> None:
    """Draw, edit, edit, ask, undo, edit, with nano: the same pictures and the same answer."""
    settings = ("--model", "nano", "--width", 128, "--height", 128, "--steps", 4, "--seed", 1)
    code, out, _ = talk(
        "/draw a red circle left of a blue star", "/edit make the circle green", "/edit remove the star",
        "/ask what color is the circle?", "/undo", "/undo", "/edit make the star yellow",
        options=("made", "--json", "--quiet", *settings),
    )  # fmt: skip
    told = [json.loads(line) for line in out.splitlines()]
    same = Conversation(LightFusion.load("nano", device="cpu"), Settings(Sampling(4), width=128, height=128), seed=1)
    same.draw("a red circle left of a blue star")
    same.edit("make the circle green")
    same.edit("remove the star")
    same.answer("what color is the circle?")
    same.undo()
    same.undo()
    same.edit("make the star yellow")
    assert code == 0 and [one["kind"] for one in told] == [turn.kind for turn in same.turns]
    for one, turn in zip(told, same.turns, strict=True):
        assert one["answer"] == turn.answer
        if turn.picture is not None:
            assert np.array_equal(pixels(one["picture"]), np.asarray(turn.picture)), one["text"]


def test_a_line_that_cannot_be_done_stops_no_other(talk) -> None:
    code, out, err = talk(
        "/edit a", "/paint a", "/redo", "/go 4", "/seed x", "/image none.png", "/open none", "/draw a"
    )
    assert (code, out) == (1, "output/chat-1/turn-001.png\n")
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    wanted = ("no picture to edit", "/paint", "say something first", "no turn 4", "'x'", "none.png", "none: expected")
    assert len(lines) == len(wanted) and all(text in line for text, line in zip(wanted, lines, strict=True))


def test_the_kind_that_was_found_is_shown(talk) -> None:
    code, _, err = talk("something", options=("made",))
    assert code == 0 and ("(draw)" in err or "(answer)" in err)
    assert talk("/help", "/quit", "/draw never")[0:2] == (0, "")
