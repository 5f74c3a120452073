"""What the generation side learns from: pictures of every size, worn ones, and texts in their segments."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lightfusion_core.shapes.judge import judge_scene
from lightfusion_core.shapes.scenes import random_scene
from lightfusion_core.understanding.answer import THINK_SYSTEM
from lightfusion_core.understanding.tokenizer import Tokenizer
from tools.nano.drawings import OTHER_SIZES, TASKS, Drawings, Pictures, Requests, Shown, request
from tools.nano.model import SIZE, TOKENIZER, nano_config
from tools.nano.train_vlm import load_tower
from tools.nano.unpack import unpack


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Requests]:
    """The understanding side that ships, with its parts where training looks for them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("nano"))
        unpack(generation=False)
        yield Requests(Tokenizer(TOKENIZER, nano_config().special_tokens), load_tower())


def test_every_task_has_what_its_name_says() -> None:
    rng = random.Random(0)
    made = {task: [request(task, rng) for _ in range(300)] for task in TASKS}
    assert {one.target.size for one in made["sized"]} == set(OTHER_SIZES)
    assert all(one.target.size == (SIZE, SIZE) for task in ("draw", "edit", "compose") for one in made[task])
    assert {len(one.references) for one in made["edit"]} == {1} and {len(one.references) for one in made["draw"]} == {0}
    thinking = [one for one in made["draw"] if len(one.texts) > 1]
    assert thinking and all(one.texts[0] == THINK_SYSTEM and one.text == one.texts[1] for one in thinking)
    assert {shown.worn for one in made["edit"] for shown in one.references} == {True, False}
    assert not any(one.target.worn for task in TASKS for one in made[task])


@pytest.mark.parametrize("kept", [80, -80])
def test_a_picture_goes_on_beyond_its_edge(kept: int) -> None:
    """Its own side is the scene's; from the edge on every column is like the last."""
    scene = random_scene(random.Random(1), 3)
    whole, cut = Shown(scene).render(), Shown(scene, kept=kept).render()
    own, beyond = (slice(0, 80), slice(79, SIZE)) if kept > 0 else (slice(SIZE - 80, SIZE), slice(0, SIZE - 79))
    assert np.array_equal(whole[:, own], cut[:, own])
    assert (cut[:, beyond] == cut[:, 79 if kept > 0 else SIZE - 80][:, None]).all()


def test_a_view_is_a_part_of_the_picture() -> None:
    """Drawn as sharp as a whole one: the part of a picture of 256 pixels that it names."""
    scene = random_scene(random.Random(1), 3)
    seen = Shown(scene, view=(0.25, 0.5, 0.5)).render()
    assert np.array_equal(seen, Shown(scene, size=(256, 256)).render()[128:256, 64:192])
    rng = random.Random(5)
    views = {shown.view for _ in range(400) for shown in request("edit", rng).references}
    assert len(views) > 10 and all(left + side <= 1 + 1e-9 and top + side <= 1 + 1e-9 for left, top, side in views)


@pytest.mark.slow
def test_a_store_gives_what_was_asked_for(requests: Requests, tmp_path: Path) -> None:
    """Batches of one size with their contexts; latents that decode to the scenes; the same from the kept file."""
    counts = {"draw": 6, "edit": 6, "compose": 3, "sized": 8}
    store = Drawings(requests, counts, "a", tmp_path / "kept.pt")
    for task in TASKS:
        with torch.autocast("cpu", torch.bfloat16):  # as it is learned from
            context, target = store.batch(task, random.Random(2), 4)
        rows, columns = context.grid
        assert target.shape == (4, 16, 1, 2 * rows, 2 * columns)
        assert context.mask.shape[2] == (context.slots + 1) * rows * columns
    right = []
    for task in ("draw", "sized"):
        for one, place in zip(store.made[task], store.places[task], strict=True):
            (picture,) = Pictures().decode(store.latents[place[-1]][None].float())
            assert picture.shape[:2] == one.target.size[::-1]
            right.append(judge_scene(one.target.scene, picture))
    assert sum(right) >= len(right) - 1
    again = Drawings(requests, counts, "a", tmp_path / "kept.pt")
    assert all(torch.equal(one, other) for one, other in zip(store.latents, again.latents, strict=True))
