"""Conversations: turns on what came before, nothing lost, nothing read twice, and folders that are whole or refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import CONFIG, make_model

from lightfusion_core import CapabilityError, Conversation, Decoding, InputError, LightFusion, Sampling, Step
from lightfusion_core.conversation import Settings, Turn
from lightfusion_core.conversation_files import LIST
from lightfusion_core.shapes.measure import read
from lightfusion_core.understanding.answer import CHAT_BOUND
from lightfusion_core.understanding.chat import ASSISTANT, USER, ChatReader, Message

SHORT = Settings(sampling=Sampling(steps=2), decoding=Decoding(6))
GREEN = Image.new("RGB", (70, 60), (20, 160, 40))


@pytest.fixture(scope="module")
def nano() -> LightFusion:
    return LightFusion.load("nano", device="cpu")


@pytest.fixture
def talk(frozen: LightFusion) -> Conversation:
    return Conversation(frozen, SHORT)


def pixels(turn: Turn) -> np.ndarray:
    assert turn.picture is not None
    return np.asarray(turn.picture)


def things(turn: Turn) -> list[tuple[str | None, str | None]]:
    return sorted((found.shape, found.color) for found in read(pixels(turn)).things)


def same(one: Conversation, other: Conversation) -> bool:
    pairs = list(zip(one.turns, other.turns, strict=True))
    told = all((a.kind, a.text, a.answer, a.parent) == (b.kind, b.text, b.answer, b.parent) for a, b in pairs)
    return told and all(
        (a.picture is None) == (b.picture is None) and (a.picture is None or np.array_equal(pixels(a), pixels(b)))
        for a, b in pairs
    )


def test_six_turns_with_nano(nano: LightFusion, tmp_path: Path) -> None:
    """Draw, edit, edit, ask, undo, edit: what is seen is what was said, and a folder brings all of it back."""
    talk = Conversation(nano, Settings(decoding=Decoding(24)), seed=1)
    assert things(talk.draw("a red circle left of a blue star")) == [("circle", "red"), ("star", "blue")]
    assert things(talk.edit("make the circle green")) == [("circle", "green"), ("star", "blue")]
    assert things(talk.edit("remove the star")) == [("circle", "green")]
    assert talk.answer("what color is the circle?").answer == "green"
    assert talk.undo().number == 4 and talk.undo().number == 3 and talk.head == 2
    assert things(talk.edit("make the star yellow")) == [("circle", "green"), ("star", "yellow")]
    assert [turn.number for turn in talk.path] == [1, 2, 5] and len(talk.turns) == 5
    talk.save(tmp_path / "kept")
    again = Conversation.load(tmp_path / "kept", nano)
    assert same(talk, again) and again.head == talk.head
    assert np.array_equal(pixels(talk.edit("remove the circle")), pixels(again.edit("remove the circle")))


def test_a_turn_goes_on_from_where_the_conversation_stands(talk: Conversation) -> None:
    """Guards what an edit is of: the last picture of the branch, a chosen one, or the one that came with it."""
    model, how = talk.model, {"sampling": SHORT.sampling, "seed": 0}
    first, second = talk.draw("a"), talk.draw("b")
    asked = {
        "last": (talk.edit("c"), second), "chosen": (talk.edit("c", source=1), first),
        "given": (talk.edit("c", [GREEN]), None),
    }  # fmt: skip
    for turn, of in asked.values():
        picture = GREEN if of is None else of.picture
        wanted = model.edit(picture, "c", **how)[0]
        assert np.array_equal(pixels(turn), (255 * wanted).trunc().to(torch.uint8).numpy())
        assert turn.settings["source"] == (0 if of is None else of.number)
    with_references = talk.edit("d", source=1, references=[2])
    wanted = model.edit(first.picture, "d", references=[second.picture], **how)[0]
    assert np.array_equal(pixels(with_references), (255 * wanted).trunc().to(torch.uint8).numpy())


def test_a_turn_that_was_made_elsewhere_is_gone_on_from(talk: Conversation) -> None:
    """As one that was made here: its picture is edited next, and it can be undone."""
    drawn = talk.add("draw", "a green one", picture=GREEN)
    said = talk.add("answer", "what is it?", answer="green")
    assert talk.path == (drawn, said) and talk.picture is GREEN
    wanted = talk.model.edit(GREEN, "c", sampling=SHORT.sampling, seed=0)[0]
    assert np.array_equal(pixels(talk.edit("c")), (255 * wanted).trunc().to(torch.uint8).numpy())
    with pytest.raises(InputError, match="'paint'"):
        talk.add("paint", "a")
    assert len(talk.turns) == 3


def test_undo_branch_and_redo_lose_nothing(talk: Conversation) -> None:
    assert talk.undo() is None
    with pytest.raises(InputError, match="say something first"):
        talk.redo()
    first = talk.draw("a")
    second = talk.edit("b")
    again = talk.redo()
    assert (again.parent, again.settings["seed"], again.settings["source"]) == (first.number, 1, first.number)
    assert not np.array_equal(pixels(again), pixels(second))
    assert np.array_equal(pixels(talk.redo(seed=0)), pixels(second))
    talk.go_to(second.number)
    assert talk.path == (first, second) and len(talk.turns) == 4
    talk.go_to(0)
    assert talk.path == () and talk.picture is None


@pytest.mark.parametrize("kind", ["draw", "edit", "answer"])
def test_a_turn_that_is_cancelled_leaves_no_trace(talk: Conversation, kind: str) -> None:
    """Guards cancel: it comes out as it is, and the next turn is what it would have been."""
    talk.draw("a")
    before, head = talk.turns, talk.head

    def cancel(_: Step | str) -> None:
        raise KeyboardInterrupt

    for again in (lambda **options: talk.say("b", kind=kind, **options), talk.redo):
        with pytest.raises(KeyboardInterrupt):
            again(on_step=cancel, on_text=cancel)
        assert talk.turns == before and talk.head == head
    fresh = Conversation(talk.model, SHORT)
    fresh.draw("a")
    talk.say("b", kind=kind)
    fresh.say("b", kind=kind)
    assert same(talk, fresh)


def test_a_follow_up_reads_only_what_is_new(frozen: LightFusion) -> None:
    """Guards the pictures, which are looked at once, and the tokens before, which no layer reads again."""
    talk, visual = Conversation(frozen, SHORT), frozen.understanding.model.visual.patch_embed
    layer, ran = frozen.understanding.model.language_model.layers[0], []
    frozen.answerer.forget()
    hooks = [visual.register_forward_hook(lambda *_: ran.append("vision"))]
    hooks.append(layer.register_forward_hook(lambda _, given, made: ran.append(given[0].shape[1])))
    try:
        talk.answer("what is it?", [GREEN])
        assert ran.count("vision") == 1
        ran.clear()
        talk.answer("and why?")
    finally:
        for hook in hooks:
            hook.remove()
    assert "vision" not in ran
    asked = len(frozen.tokenizer.encode("and why?")) + len(frozen.tokenizer.encode(talk.turns[0].answer))
    assert sum(ran) <= asked + 40  # the frames of two turns, and the new answer


def test_what_was_kept_changes_no_answer(frozen: LightFusion) -> None:
    """Guards the keys and values that are kept: bit for bit those of a chat that is read at once."""
    reader: ChatReader = frozen.answerer.reader
    seen = frozen.prepare(GREEN, vae=False)
    said = [Message(USER, "what?", (seen,)), Message(ASSISTANT, "a wall"), Message(USER, "of what?")]
    reader.forget()
    reader.read(said[:1])
    reader.read([said[0], Message(ASSISTANT, "a door"), Message(USER, "of what colour?")])
    kept, start = reader.read(said)
    reader.forget()
    fresh, again = reader.read(said)
    assert start == again and kept.next_start == fresh.next_start
    for one, other in zip(kept.memory, fresh.memory, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_a_long_conversation_gives_up_its_oldest_pictures_then_its_oldest_turns(frozen: LightFusion) -> None:
    reader, seen = frozen.answerer.reader, frozen.prepare(GREEN, vae=False)
    said = [Message(role, "x" * 20, (seen,) if role == USER else ()) for _ in range(4) for role in (USER, ASSISTANT)]
    said.append(Message(USER, "and?", (seen,)))
    counts = [
        (len(found), sum(len(message.pictures) for message in found))
        for bound in (1000, 340, 320, 290, 200, 20)
        for found in [reader.fitting(said, bound)]
    ]
    assert counts[0] == (9, 5) and counts[-1] == (1, 0)
    assert counts == sorted(counts, reverse=True) and len(set(counts)) >= 5
    fits = next(bound for bound in range(1000) if len(reader.fitting(said, bound)[0].pictures) == 1)
    some = reader.fitting(said, fits - 1)
    assert [len(message.pictures) for message in some] == [0, 0, 1, 0, 1, 0, 1, 0, 1]
    assert all(reader.fitting(said, bound)[0].role == USER for bound in range(20, 400, 7))


def test_a_conversation_longer_than_the_context_goes_on(frozen: LightFusion) -> None:
    """Guards the model's positions, of which there are 512 here."""
    talk = Conversation(frozen, Settings(decoding=Decoding(4)))
    for _ in range(5):
        talk.answer("why " * 30, [GREEN])
    assert len(talk.turns) == 5 and CHAT_BOUND > 512
    with pytest.raises(InputError, match="shorten the prompt"):
        talk.answer("why " * 200)
    assert talk.answer("so?").number == 6


def test_the_model_chooses_the_kind_by_three_likelihoods(frozen: LightFusion) -> None:
    talk = Conversation(frozen, SHORT)
    found = talk.kinds_of("something")
    assert set(found) == {"draw", "answer"} and sum(found.values()) == pytest.approx(1)  # nothing is there to edit
    turn = talk.say("something")
    assert turn.kind == max(found, key=lambda kind: found[kind]) and turn.kinds == found
    talk.draw("a")
    assert set(talk.kinds_of("something")) == {"draw", "edit", "answer"}
    assert talk.draw("a").kinds is None
    read = [Message(USER, "what?")]
    (whole,) = frozen.likelihoods(read, ["ab"])
    one, two = frozen.likelihoods(read, ["a", "b"])
    assert whole < one < 0 and two < 0


def test_a_model_that_cannot_converse_says_so(tmp_path: Path) -> None:
    talk = Conversation(make_model(tmp_path, replace(CONFIG, tasks=("generate", "edit", "answer"))), SHORT)
    with pytest.raises(CapabilityError, match="was not trained to tell"):
        talk.say("a red circle")
    assert talk.turns == ()


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda talk: talk.say("a", kind="paint"), "paint"),
        (lambda talk: talk.edit("a"), "no picture to edit yet"),
        (lambda talk: talk.edit("a", source=7), "no turn 7: there are 0"),
        (lambda talk: talk.say("a", kind="draw", source=1), "Only an edit"),
        (lambda talk: talk.go_to(3), "no turn 3"),
        (lambda talk: (talk.answer("a"), talk.edit("b", source=1)), "Turn 1 has no picture"),
    ],
)
def test_what_cannot_be_said_is_refused(talk: Conversation, call, named: str) -> None:
    with pytest.raises(InputError, match=named):
        call(talk)
    assert all(turn.kind == "answer" for turn in talk.turns)


# Folders


@pytest.fixture
def folder(talk: Conversation, tmp_path: Path) -> Path:
    talk.draw("a")
    talk.edit("b", [GREEN])
    talk.answer("c")
    talk.undo()
    talk.save(tmp_path / "talk")
    return tmp_path / "talk"


def test_a_folder_is_readable_and_grows(talk: Conversation, folder: Path, tmp_path: Path) -> None:
    assert sorted(file.name for file in folder.iterdir()) == [
        LIST, "turn-001.png", "turn-002-given-1.png", "turn-002.png",
    ]  # fmt: skip
    times = {file.name: file.stat().st_mtime_ns for file in folder.glob("*.png")}
    again = Conversation.load(folder, talk.model)
    assert same(talk, again) and again.head == talk.head == 2 and again.turns[2].settings == talk.turns[2].settings
    assert np.array_equal(again.turns[1].given[0], GREEN)
    talk.draw("d")
    talk.save(folder)
    assert {name: (folder / name).stat().st_mtime_ns for name in times} == times
    assert len(Conversation.load(folder, talk.model).turns) == 4
    other = Conversation(talk.model, SHORT)
    other.draw("another")
    with pytest.raises(InputError, match="found another conversation"):
        other.save(folder)
    assert len(Conversation.load(folder, talk.model).turns) == 4


def changed(folder: Path, **values: object) -> None:
    listed = json.loads((folder / LIST).read_text())
    (folder / LIST).write_text(json.dumps({**listed, **values}))


BROKEN = {
    "no folder": (shutil.rmtree, "expected a conversation's folder"),
    "half written": (lambda folder: (folder / LIST).write_bytes((folder / LIST).read_bytes()[:-40]), "no whole JSON"),
    "not text": (lambda folder: (folder / LIST).write_bytes(b"\xff\xfe\x00"), "no whole JSON"),
    "other JSON": (lambda folder: (folder / LIST).write_text("[1]"), "found other JSON"),
    "of a later version": (lambda folder: changed(folder, version=2), "version 1"),
    "of another model": (lambda folder: changed(folder, model="other"), "with tiny, found one with 'other'"),
    "a missing picture": (lambda folder: (folder / "turn-001.png").unlink(), r"turn-001.png: expected a picture"),
    "a damaged picture": (
        lambda folder: (folder / "turn-002.png").write_bytes((folder / "turn-002.png").read_bytes()[:99]), "turn-002",
    ),
    "no picture": (lambda folder: (folder / "turn-001.png").write_text("words"), "turn-001"),
    "no turns": (lambda folder: changed(folder, turns=None), "lacks its turns"),
    "a turn of nothing": (lambda folder: changed(folder, turns=[None], head=1), "turn 1 is none"),
    "a loop": (
        lambda folder: changed(folder, turns=[{**json.loads((folder / LIST).read_text())["turns"][0], "parent": 1}],
                               head=1), "turn 1 lacks",
    ),
    "standing nowhere": (lambda folder: changed(folder, head=9), "turn 9 of 3"),
    "a picture elsewhere": (
        lambda folder: changed(folder, turns=[{**json.loads((folder / LIST).read_text())["turns"][0],
                                               "picture": "../turn-001.png"}], head=1), "no file of this folder",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_folder_is_refused_by_name(talk: Conversation, folder: Path, how: str) -> None:
    damage, named = BROKEN[how]
    damage(folder)
    with pytest.raises(InputError, match=named):
        Conversation.load(folder, talk.model)
    assert talk.draw("goes on").number == 4


def test_another_model_may_go_on_where_that_is_said(talk: Conversation, folder: Path) -> None:
    changed(folder, model="other")
    assert len(Conversation.load(folder, talk.model, other_model=True).turns) == 3


def test_a_full_disk_leaves_the_folder_as_it_was(
    talk: Conversation, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (folder / LIST).read_bytes()
    talk.draw("d")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lightfusion_core.unfinished.os.replace", full)
    with pytest.raises(InputError, match="No space left"):
        talk.save(folder)
    assert (folder / LIST).read_bytes() == before
    assert not list(folder.glob(".*"))


def test_a_model_without_answers_still_draws_and_edits(tmp_path: Path) -> None:
    model = make_model(tmp_path, replace(CONFIG, tasks=("generate", "edit")))
    talk = Conversation(model, SHORT)
    talk.draw("a")
    talk.edit("b")
    with pytest.raises(CapabilityError, match="not trained to answer"):
        talk.answer("c")
    assert len(talk.turns) == 2
