"""The judge of the nano world: right about drawn pictures, and not fooled by wrong ones."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from lightfusion_core.shapes.judge import (
    judge_chain,
    judge_edit,
    judge_prompt,
    judge_reference,
    judge_scene,
    outline_errors,
    read,
)
from lightfusion_core.shapes.manners import MANNERS, sample_manner
from lightfusion_core.shapes.prompts import (
    CATEGORIES,
    EDITS,
    REFERENCES,
    acceptance_prompts,
    sample_chain,
    sample_edit,
    sample_prompt,
    sample_reference,
)
from lightfusion_core.shapes.scenes import compose, random_scene
from lightfusion_core.shapes.world import BACKGROUNDS, COLORS, PLAIN, SHAPES, SIZES, Background, Scene, Thing, render

DAMAGES = {"clean": (0.0, 0.0), "blurred and noisy": (1.0, 8.0), "badly so": (1.4, 12.0)}


def damage(picture: np.ndarray, blur: float, noise: float, seed: int) -> np.ndarray:
    """The picture as a generative model might give it: float 0..1, blurred, noisy."""
    soft = ndimage.gaussian_filter(picture.astype(np.float32), (blur, blur, 0))
    soft += np.random.default_rng(seed).normal(0, noise, soft.shape)
    return np.clip(soft / 255, 0, 1)


@pytest.mark.parametrize("kind", DAMAGES)
def test_reads_every_thing_and_background(kind: str) -> None:
    rng = random.Random(11)
    scenes = [random_scene(rng) for _ in range(120)]
    right = sum(judge_scene(scene, damage(render(scene), *DAMAGES[kind], index)) for index, scene in enumerate(scenes))
    assert right >= 0.99 * len(scenes)


@pytest.mark.parametrize("size", [96, 160, (192, 128)])
def test_reads_other_sizes(size: int | tuple[int, int]) -> None:
    rng = random.Random(5)
    scenes = [random_scene(rng, 2) for _ in range(20)]
    assert all(judge_scene(scene, render(scene, size)) for scene in scenes)


def test_reads_every_background() -> None:
    assert [read(render(Scene((), item))).background for item in BACKGROUNDS] == list(BACKGROUNDS)


@pytest.mark.parametrize("category", CATEGORIES)
def test_right_pictures_of_prompts(category: str) -> None:
    rng = random.Random(7)
    samples = [sample_prompt(rng, category, held_out=index % 2 == 0) for index in range(40)]
    pictures = [
        damage(render(sample.scene), *DAMAGES["blurred and noisy"], index) for index, sample in enumerate(samples)
    ]
    assert all(judge_prompt(sample, picture) for sample, picture in zip(samples, pictures, strict=True))


@pytest.mark.parametrize("manner", MANNERS)
def test_a_manner_asks_for_the_same(manner: str) -> None:
    """What it wants is in its words, whatever becomes of them, and its scene is right."""
    rng = random.Random(3)
    for held_out in (False, True) * 10:
        sample = sample_manner(rng, manner, held_out)
        assert judge_prompt(sample, render(sample.scene))
        assert all(wanted.shape in sample.prompt.lower() for wanted in sample.wanted)
    assert manner != "digits" or set(sample.prompt) & set("234")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_perfect_outline_has_no_error(shape: str, size: str) -> None:
    """On any background, and a bump or a bite of two pixels has."""
    for background in PLAIN:
        picture = render(Scene((Thing(shape, "red", size, 0.45, 0.52),), background))
        (perfect,) = outline_errors(picture)[shape]
        shifted = picture.copy()
        shifted[60:] = np.roll(picture, 2, axis=1)[60:]
        (broken,) = outline_errors(shifted)[shape]
        assert perfect < 0.008
        assert broken > max(0.015, 3 * perfect)


def test_chains() -> None:
    """Each edit begins where the one before ended; the end is judged, wherever its things went."""
    rng = random.Random(9)
    for _ in range(20):
        chain = sample_chain(rng, 5, held_out=True)
        assert len(chain.edits) == 5
        for one, following in zip(chain.edits, chain.edits[1:], strict=False):
            assert one.target == following.source and one.kind != following.kind
        assert judge_chain(chain, render(chain.target))
        moved = replace(chain.target, things=compose(rng, chain.target.things))
        assert judge_chain(chain, render(moved))
        last = chain.edits[-1]
        assert last.kind == "move" or not judge_chain(chain, render(last.source))


def test_acceptance_prompts() -> None:
    samples = acceptance_prompts()
    assert len({sample.prompt for sample in samples}) == 60
    assert all(judge_prompt(sample, render(sample.scene)) for sample in samples)


def wrong_scenes(scene: Scene) -> dict[str, Scene]:
    """Ways to get a scene of one or two different things wrong."""
    first, *others = scene.things
    color = next(name for name in COLORS if all(thing.color != name for thing in scene.things))
    shape = next(name for name in SHAPES if all(thing.shape != name for thing in scene.things))
    small = replace(first, size="small")
    extra = next(
        replace(small, x=x, y=y)
        for x in (0.15, 0.85, 0.5)
        for y in (0.15, 0.85, 0.5)
        if all((x - thing.x) ** 2 + (y - thing.y) ** 2 > 0.47**2 for thing in scene.things)
    )
    wrong = {
        "wrong colour": replace(scene, things=(replace(first, color=color), *others)),
        "wrong shape": replace(scene, things=(replace(first, shape=shape), *others)),
        "one too many": replace(scene, things=(*scene.things, extra)),
        "one too few": replace(scene, things=tuple(others)),
        "nothing": Scene((), scene.background),
    }
    if others:
        second = others[0]
        wrong["swapped positions"] = replace(
            scene, things=(replace(first, x=second.x, y=second.y), replace(second, x=first.x, y=first.y))
        )
        wrong["swapped colours"] = replace(
            scene, things=(replace(first, color=second.color), replace(second, color=first.color))
        )
    return wrong


CATCHES = {
    "single_object": ("wrong shape", "one too many", "one too few", "nothing"),
    "two_objects": ("wrong shape", "one too many", "one too few", "nothing"),
    "colors": ("wrong colour", "wrong shape", "one too many", "one too few", "nothing"),
    "position": ("swapped positions", "wrong shape", "one too many", "one too few", "nothing"),
    "color_attribution": ("swapped colours", "wrong colour", "wrong shape", "one too many", "one too few", "nothing"),
    "several_things": ("wrong shape", "one too few", "nothing"),
    "three_related": ("swapped positions", "wrong shape", "one too few", "nothing"),
}


@pytest.mark.parametrize("category", CATCHES)
def test_wrong_pictures_of_prompts(category: str) -> None:
    rng = random.Random(13)
    for _ in range(15):
        sample = sample_prompt(rng, category, held_out=True)
        # Small things leave room for one too many.
        sample = replace(
            sample, scene=replace(sample.scene, things=tuple(replace(t, size="small") for t in sample.scene.things))
        )
        try:
            wrong = wrong_scenes(sample.scene)
        except StopIteration:
            continue
        assert judge_prompt(sample, render(sample.scene))
        for name in CATCHES[category]:
            assert not judge_prompt(sample, render(wrong[name])), (name, sample)


def test_wrong_sizes() -> None:
    rng = random.Random(5)
    for _ in range(10):
        sample = sample_prompt(rng, "sizes", held_out=True)
        first, second = sample.scene.things
        swapped = (replace(first, size=second.size), replace(second, size=first.size))
        assert judge_prompt(sample, render(sample.scene))
        assert not judge_prompt(sample, render(replace(sample.scene, things=swapped)))


def test_wrong_counts() -> None:
    rng = random.Random(3)
    for _ in range(25):
        sample = sample_prompt(rng, "counting", held_out=True)
        fewer = replace(sample.scene, things=sample.scene.things[1:])
        assert not judge_prompt(sample, render(fewer))
        other = replace(sample, wanted=(replace(sample.wanted[0], count=sample.wanted[0].count - 1),))
        assert not judge_prompt(other, render(sample.scene))


def test_wrong_background() -> None:
    rng = random.Random(4)
    for _ in range(25):
        sample = sample_prompt(rng, "free", background=True)
        other = rng.choice([item for item in BACKGROUNDS if item != sample.background])
        assert not judge_prompt(sample, render(replace(sample.scene, background=other)))


@pytest.mark.parametrize("picture", ["noise", "soft noise", "empty", "black", "red"])
def test_no_picture(picture: str) -> None:
    noise = np.random.default_rng(0).uniform(0, 1, (128, 128, 3))
    soft = ndimage.gaussian_filter(noise, (4, 4, 0))
    pictures = {
        "noise": noise,
        "soft noise": (soft - soft.min()) / np.ptp(soft),
        "empty": np.ones((128, 128, 3)),
        "black": np.zeros((128, 128, 3)),
        "red": np.ones((128, 128, 3)) * (0.86, 0.14, 0.16),
    }
    rng = random.Random(2)
    for category in CATEGORIES:
        assert not judge_prompt(sample_prompt(rng, category), pictures[picture])
    for kind in EDITS:
        sample = sample_edit(rng, kind)
        if sample.target.things:
            assert not judge_edit(sample, render(sample.source), pictures[picture])[0]


def test_blob_is_no_shape() -> None:
    """A blob that is none of the shapes does not pass for the nearest one."""
    y, x = np.mgrid[:128, :128]
    picture = np.full((128, 128, 3), 255, np.uint8)
    picture[(abs(x - 64) < 45) & (abs(y - 64) < 8)] = COLORS["red"]
    assert [thing.shape for thing in read(picture).things] == [None]


def test_touching_things_are_told_apart() -> None:
    scene = Scene((Thing("square", "red", "medium", 0.36, 0.5), Thing("square", "blue", "medium", 0.62, 0.5)))
    assert {(thing.shape, thing.color) for thing in read(render(scene)).things} == {
        ("square", "red"),
        ("square", "blue"),
    }


@pytest.mark.parametrize("kind", EDITS)
def test_edits(kind: str) -> None:
    rng = random.Random(17)
    for index in range(20):
        sample = sample_edit(rng, kind, held_out=index % 2 == 0)
        source, target = render(sample.source), render(sample.target)
        done, change = judge_edit(sample, source, target)
        assert done and change < 1e-3, sample
        done, change = judge_edit(sample, source, damage(target, *DAMAGES["blurred and noisy"], index))
        assert done and change < 0.06, sample
        done, change = judge_edit(sample, source, source)
        assert not done and change == 0, sample
        changed = np.abs(source.astype(int) - target).max(axis=2) > 0
        assert not (changed & ~sample.mask()).any(), sample


@pytest.mark.parametrize("kind", [kind for kind in EDITS if kind != "background"])
def test_edits_that_change_the_rest(kind: str) -> None:
    rng = random.Random(19)
    for _ in range(20):
        sample = sample_edit(rng, kind)
        source = render(sample.source)
        ground = "black" if sample.source.background.first != "black" else "white"
        _, change = judge_edit(sample, source, render(replace(sample.target, background=Background("plain", ground))))
        assert change > 0.3
        kept = [thing for thing in sample.target.things if thing is not sample.after]
        if kept:
            spoilt = replace(kept[0], color="red" if kept[0].color != "red" else "blue")
            things = tuple(spoilt if thing is kept[0] else thing for thing in sample.target.things)
            done, change = judge_edit(sample, source, render(replace(sample.target, things=things)))
            assert not done and change > 0.002


def test_edits_of_the_wrong_one() -> None:
    rng = random.Random(23)
    for _ in range(30):
        sample = sample_edit(rng, "the_one")
        other = sample.source.things[1]
        if sample.after is None:
            wrong = tuple(thing for thing in sample.source.things if thing is not other)
        else:
            changed = replace(other, shape=sample.after.shape, color=sample.after.color)
            wrong = tuple(changed if thing is other else thing for thing in sample.source.things)
        result = render(replace(sample.source, things=wrong))
        done, _ = judge_edit(sample, render(sample.source), result)
        assert not done


@pytest.mark.parametrize("kind", REFERENCES)
def test_references(kind: str) -> None:
    rng = random.Random(29)
    for _ in range(15):
        sample = sample_reference(rng, kind)
        assert judge_reference(sample, damage(render(sample.target), 1, 8, 0))
        for reference in sample.references:
            if reference != sample.target:
                assert not judge_reference(sample, render(reference))
