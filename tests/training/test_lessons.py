"""Nano learns two things that it cannot do: a moon from ten pictures, and an outline from twenty pairs.

The machine may be shared, so what a training takes is its processor time, on one thread.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest
from lessons import (
    PLAIN,
    SIDE,
    Picture,
    is_moon,
    is_outlined,
    lesson_scene,
    outlined,
    write_moons,
    write_outlines,
)
from PIL import Image

from lightfusion_core import LightFusion
from lightfusion_core.checkpoints.lora_merge import merge_lora
from lightfusion_core.cli import main
from lightfusion_core.images import to_pil
from lightfusion_core.shapes.bench import prompts_of
from lightfusion_core.shapes.judge import judge_prompt
from lightfusion_core.shapes.prompts import GENEVAL
from lightfusion_core.shapes.world import Scene, Thing, render

for _package in ("accelerate", "peft"):
    pytest.importorskip(_package, reason=f"a training takes {_package}")

MOONS = [f"a green moon on a {background.first} background" for background in PLAIN]
OLD, EACH = 102, 17
"""Old prompts, and how many of each category."""
KEPT = (
    "a circle", "a square", "a heart", "a red circle", "a green circle", "a blue square", "a yellow star",
    "a green star", "a purple heart", "a pink triangle", "an orange cross", "two blue circles", "two orange hearts",
    "three red squares",
)  # fmt: skip
"""What nano draws for itself, to learn beside the moons: alone, they become the look of every single thing."""


def taught(strength: float, lora: Path) -> LightFusion:
    """Nano with a LoRA."""
    model = LightFusion.load("nano", device="cpu")
    merge_lora(model.generation, lora, strength)
    return model


def drawn(model: LightFusion, prompt: str, seed: int) -> Picture:
    return np.asarray(to_pil(model.generate(prompt, seed=seed)[0]))


def write_kept(folder: Path) -> None:
    """Nano's own pictures, with their prompts as captions."""
    folder.mkdir()
    model = LightFusion.load("nano", device="cpu")
    for seed, prompt in enumerate(KEPT, 100):
        Image.fromarray(drawn(model, prompt, seed)).save(folder / f"{seed}.png")
        (folder / f"{seed}.txt").write_text(prompt)


def learn(folder: Path, *sources_and_more: str | Path) -> Path:
    """The LoRA that the command makes.

    No condition is left out: what is learned without a text moves the guidance's other side too, and guidance then
    takes some of the change back.
    """
    given = ["--rank", "8", "--ema", "0.98", "--drop", "0", "0", "0", "--sample-every", "0", "--quiet"]
    assert main(["train", *map(str, sources_and_more), "-o", str(folder), "--device", "cpu", *given]) == 0
    return folder / "lora.safetensors"


def test_the_judges_know_right_from_wrong(tmp_path: Path) -> None:
    """What is to be learned is right, and what nano draws today is not."""
    write_moons(tmp_path / "moons")
    assert all(is_moon(np.asarray(Image.open(file))) for file in (tmp_path / "moons").glob("*.png"))
    rng = random.Random(2)
    for shape in ("circle", "star", "heart", "triangle", "square", "cross"):
        assert not is_moon(render(Scene((Thing(shape, "green", "large", 0.5, 0.5),))))
    assert not is_moon(np.asarray(Image.open(tmp_path / "moons" / "0.png"))[..., [1, 0, 2]]), "a red moon"
    for _ in range(20):
        scene, other = lesson_scene(rng), lesson_scene(rng)
        assert is_outlined(scene, outlined(scene))
        assert not is_outlined(scene, outlined(other))
        assert not is_outlined(scene, render(scene, SIDE))


@pytest.mark.slow
def test_a_lora_of_ten_pictures_draws_what_nano_cannot(tmp_path: Path) -> None:
    """In ten minutes, drawings of nano's own included; and at half its strength and below, what was right before is."""
    started = time.process_time()
    write_moons(tmp_path / "moons")
    write_kept(tmp_path / "kept")
    more = ("--weights", "2", "1", "--steps", "720", "--batch", "10", "--rate", "5e-4")
    lora = learn(tmp_path / "run", tmp_path / "moons", tmp_path / "kept", *more)
    seconds = time.process_time() - started
    model = taught(1.0, lora)
    prompts = ["a green moon", *MOONS]
    right = sum(is_moon(drawn(model, prompts[k % len(prompts)], 1000 + k)) for k in range(100))
    plain, half = LightFusion.load("nano", device="cpu"), taught(0.5, lora)
    off = taught(0.0, lora)
    wrong_before = sum(is_moon(drawn(plain, prompts[k % len(prompts)], 1000 + k)) for k in range(8))
    kept = total = 0
    for category in GENEVAL:
        for k, sample in enumerate(prompts_of(category, 5, EACH)):
            assert sample.prompt not in KEPT
            before = drawn(plain, sample.prompt, k)
            if k == 0:
                assert np.array_equal(before, drawn(off, sample.prompt, k)), "a strength of 0 changes a picture"
            if judge_prompt(sample, before):
                total += 1
                kept += judge_prompt(sample, drawn(half, sample.prompt, k))
    print(f"{right} of 100 moons, {kept} of {total} old prompts at 0.5, {seconds:.0f} s of processor time")
    assert seconds < 600
    assert wrong_before == 0
    assert right >= 90
    assert kept >= 0.95 * total and total > OLD / 2


@pytest.mark.slow
def test_a_lora_of_twenty_pairs_edits_as_nano_cannot(tmp_path: Path) -> None:
    started = time.process_time()
    write_outlines(tmp_path / "pairs")
    more = ("--steps", "600", "--batch", "8", "--rate", "1e-3", "--mirror")
    lora = learn(tmp_path / "run", tmp_path / "pairs", *more)
    seconds = time.process_time() - started
    rng = random.Random(21)
    scenes = [lesson_scene(rng) for _ in range(100)]
    right = {}
    for name, model in (("plain", LightFusion.load("nano", device="cpu")), ("taught", taught(1.0, lora))):
        count = 10 if name == "plain" else 100
        right[name] = 0
        for k, scene in enumerate(scenes[:count]):
            edited = model.edit(Image.fromarray(render(scene, SIDE)), "outline it", seed=1000 + k, keep=False)
            right[name] += is_outlined(scene, np.asarray(to_pil(edited[0])))
    print(f"{right['taught']} of 100 outlined, {right['plain']} of 10 before, {seconds:.0f} s of processor time")
    assert right["plain"] <= 1
    assert right["taught"] >= 85
