"""What the stages of nano's training rest on: resuming, and what is learned from."""

from __future__ import annotations

import math
import os
import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightfusion_core.layout import TokenKind, place, vlm_mask
from lightfusion_core.shapes.prompts import (
    CATEGORIES,
    EDITS,
    QUESTIONS,
    REFERENCES,
    sample_edit,
    sample_prompt,
    sample_question,
    sample_reference,
)
from lightfusion_core.shapes.samples import PromptSample
from lightfusion_core.shapes.scenes import random_scene
from lightfusion_core.shapes.world import COLORS, SHAPES, Scene, Thing
from tools.comfyui import PACK, free_port
from tools.nano.attention import bias_of, plain_attention
from tools.nano.readouts import GRID, UNKNOWN, cells, digest, whereabouts
from tools.nano.states import Row, Rows
from tools.nano.team import Team
from tools.nano.train_generation import tasks_of
from tools.nano.training import Training, optimizers_of
from tools.nano.words import asked, loosen, told


def trained(folder: Path, stops: list[int]) -> dict[str, Tensor]:
    """The weights and their mean after a small training that was stopped and resumed at `stops`."""
    for stop in stops:
        module, mean = (nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)) for _ in range(2))
        for part in (module, mean):
            for k, parameter in enumerate(part.parameters()):
                torch.nn.init.constant_(parameter, 0.1 * (k + 1))
        optimizers = optimizers_of(module, 0.01, ("0.",))
        training = Training(folder / "small.pt", module, mean, optimizers, rate=0.01, plan=40, seed=5)

        def losses(rng: random.Random, module: nn.Module = module) -> tuple[Tensor, dict[str, float]]:
            x = torch.randn(16, 4, generator=torch.Generator().manual_seed(rng.getrandbits(32)))
            loss = (module(x) - x.sum(1, keepdim=True)).square().mean()
            return loss, {"loss": float(loss.detach())}

        training.run(losses, math.inf, until=stop)
    return {**module.state_dict(), **{f"mean.{name}": value for name, value in mean.state_dict().items()}}


def test_a_resumed_training_is_the_same_training(tmp_path: Path) -> None:
    """Bit by bit: optimisers' states, the running mean, the chance of every step."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, parts = trained(tmp_path / "a", [40]), trained(tmp_path / "b", [13, 27, 40])
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the loopback interface has another name")
def test_a_team_trains_what_one_process_trains(tmp_path: Path) -> None:
    """Two processes on half of each batch, stopped and resumed, against one: gradients are averaged, every process
    ends with the same weights, and the shared optimiser's state comes back."""
    alone, team = tmp_path / "alone", tmp_path / "team"
    together = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    together += ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    for folder, start, stops in ((alone, [sys.executable], ["30"]), (team, together, ["13", "30"])):
        folder.mkdir()
        for stop in stops:
            command = [*start, "-m", "tests.nano.team_member", str(folder), stop]
            subprocess.run(command, cwd=PACK, env=environment, check=True, timeout=120, capture_output=True)
    wanted, *found = (torch.load(file) for file in (alone / "0.pt", team / "0.pt", team / "1.pt"))
    for name, tensor in wanted.items():
        assert torch.equal(found[0][name], found[1][name]), name
        assert torch.allclose(found[0][name], tensor, atol=1e-4), name


def test_attention_equals_torchs() -> None:
    """With fewer key heads than query heads, and a mask that leaves a row nothing."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(3, heads, 7, 16, generator=generator) for heads in (6, 2, 2))
    mask = torch.rand(3, 1, 7, 7, generator=generator) > 0.5
    mask[:, :, :, 0] = True
    wanted = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)
    assert torch.allclose(plain_attention(q, k, v, bias_of(mask, q.dtype)), wanted, atol=1e-6)


def test_masks_are_the_layouts() -> None:
    """A drawing context with two references as one row, against the rules' own mask."""
    row = Row((3, 4)).clean(4, 4).vit(5, 5).clean(4, 4).vit(5, 5).text([1, 9, 9, 2]).target(4, 4)
    kinds = [(TokenKind.CLEAN, 4, 4), (TokenKind.VIT, 5, 5)] * 2 + [(TokenKind.TEXT, 1, 4), (TokenKind.NOISY, 4, 4)]
    assert torch.equal(Rows([row]).mask[0, 0], vlm_mask(place(kinds)))


@pytest.mark.parametrize("held_out", [False, True])
def test_every_request_has_a_description_and_labels(held_out: bool) -> None:
    rng = random.Random(0)
    samples = [sample_prompt(rng, name, held_out) for name in CATEGORIES for _ in range(20)]
    samples += [sample_edit(rng, name, held_out) for name in EDITS for _ in range(20)]
    samples += [sample_reference(rng, name, held_out) for name in REFERENCES for _ in range(20)]
    for sample in samples:
        assert told(sample)
        labels = digest(sample)
        if isinstance(sample, PromptSample) and len(sample.relations) == 2:
            middle = SHAPES.index(sample.wanted[sample.relations[0].second].shape)
            assert np.flatnonzero(labels["relation"] == UNKNOWN).tolist() == [middle]
            labels["relation"] = np.delete(labels["relation"], middle)
            assert told(sample).count(" and ") >= 1
        assert all((value >= 0).all() or (value == UNKNOWN).all() for value in labels.values())


def test_cells_hold_every_thing() -> None:
    rng = random.Random(1)
    for _ in range(200):
        scene = random_scene(rng)
        found = cells(scene)
        assert (found["shape"] > 0).sum() == (found["color"] > 0).sum() == len(scene.things)
        assert all(len(value) == GRID**2 for value in found.values())


def test_whereabouts_are_those_of_single_things() -> None:
    """Two of a shape or of a colour are in no one place."""
    circle, star = Thing("circle", "red", "small", 0.1, 0.5), Thing("star", "blue", "small", 0.9, 0.3)
    both = Scene((circle, star, replace(circle, color="green", y=0.9)))
    found = dict(zip((*SHAPES, *COLORS), whereabouts(both).tolist(), strict=True))
    known = {name: place for name, place in found.items() if place != [UNKNOWN, UNKNOWN]}
    assert known == {"star": [1, 4], "red": [2, 0], "blue": [1, 4], "green": [4, 0]}


@pytest.mark.parametrize("kind", QUESTIONS)
def test_questions_name_things_of_their_scene(kind: str) -> None:
    """What the question's end is asked to know: the first is what the question is about."""
    rng = random.Random(2)
    for _ in range(200):
        sample = sample_question(rng, kind)
        assert all(thing in sample.scene.things for thing in sample.about)
        if sample.answer in ("left", "right", "above", "below"):
            first, second = sample.about
            towards = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}[sample.answer]
            assert (first.x - second.x) * towards[0] + (first.y - second.y) * towards[1] > 0.1


def test_loosening_keeps_the_words_that_matter() -> None:
    rng = random.Random(2)
    text = "put a small red circle to the left of the blue star"
    loosened = {loosen(rng, text) for _ in range(200)}
    assert len(loosened) > 10
    for said in loosened:
        assert {"small", "red", "circle", "left", "blue", "star"} <= set(said.split())


def test_objects_have_other_names() -> None:
    rng = random.Random(4)
    said = {loosen(rng, "how many red objects?").split("red ")[1].split(" ")[0] for _ in range(300)}
    assert {"objects?", "things?", "shapes?"} <= said
    assert any("the red thing" in loosen(rng, "remove the red object") for _ in range(100))


def test_questions_in_other_words_keep_what_decides_the_answer() -> None:
    """Words of chance letters stand where the wording is free, and only there."""
    rng = random.Random(3)
    said = [asked(rng, "compared to the blue star, where is the circle?") for _ in range(300)]
    assert sum("compared" not in text.lower() for text in said) > 30
    for text in said:
        assert {"blue", "star", "where", "circle"} <= set(re.findall("[a-z]+", text.lower()))


def test_a_team_learns_what_one_process_learns() -> None:
    """Of every step's two tasks each process takes another; prompts are in every step at first, then edits are."""
    team = Team()
    for step in range(100):
        team.count, team.rank = 1, 0
        both = tasks_of(step, 40, team)
        assert ("draw" if step < 40 else "edit") in both
        team.count, halves = 2, []
        for team.rank in range(2):
            halves += tasks_of(step, 40, team)
        assert sorted(halves) == sorted(both)
