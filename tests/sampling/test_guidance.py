"""Guidance is rule B21, written out a second time in numpy."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import ids, latents, references
from torch import Tensor

from lightfusion_core import Guidance, InputError, LightFusion
from lightfusion_core.conditioning import Branch
from lightfusion_core.sampling.guidance import RENORMS

PATCH = 2


def norms(velocity: np.ndarray, renorm: str) -> np.ndarray:
    """One picture (C, 1, h, w): its norm, or the norm of each token's numbers at each of its positions."""
    if renorm == "global":
        return np.sqrt((velocity**2).sum())
    out = np.empty_like(velocity[:1])
    for row in range(0, velocity.shape[2], PATCH):
        for column in range(0, velocity.shape[3], PATCH):
            token = velocity[:, :, row : row + PATCH, column : column + PATCH]
            out[:, :, row : row + PATCH, column : column + PATCH] = np.sqrt((token**2).sum())
    return out


def rule(c: np.ndarray, n: np.ndarray, m: np.ndarray | None, g: Guidance) -> np.ndarray:
    """Rule B21 for one picture."""

    def factor(mixed: np.ndarray) -> np.ndarray:
        return np.clip(norms(c, g.renorm) / (norms(mixed, g.renorm) + 1e-8), g.renorm_min, 1)

    mixed = n + g.text * (c - n)
    if g.renorm == "text_channel":
        mixed = mixed * factor(mixed)
    if g.image > 1 and m is not None:
        mixed = m + g.image * (mixed - m)
    return mixed * factor(mixed) if g.renorm in ("global", "channel") else mixed


def velocities() -> tuple[Tensor, Tensor, Tensor]:
    """Three branches of three pictures with very different norms; guidance grows from column to column."""
    sizes = torch.tensor([0.1, 1.0, 10.0]).view(3, 1, 1, 1, 1)
    full, negative, no_image = (latents(3, 2, 3, seed) * sizes for seed in range(3))
    ramp = torch.linspace(0.0, 1.5, 6)
    return full, full + ramp * negative, full + 0.6 * ramp * no_image


@pytest.mark.parametrize("renorm", RENORMS)
@pytest.mark.parametrize("renorm_min", [0.0, 0.6])
@pytest.mark.parametrize("with_image", [False, True])
def test_the_rule(renorm: str, renorm_min: float, with_image: bool) -> None:
    """Guards the formula, which norm is taken over what, and that no picture of a batch changes another."""
    full, negative, no_image = (branch.double() for branch in velocities())
    guidance = Guidance(text=4.0, image=2.0, renorm=renorm, renorm_min=renorm_min)
    found = guidance.mix(full, negative, no_image if with_image else None, PATCH)
    for index in range(3):
        c, n, m = (branch[index].numpy() for branch in (full, negative, no_image))
        wanted = rule(c, n, m if with_image else None, guidance)
        np.testing.assert_allclose(found[index].numpy(), wanted, rtol=1e-9)


def test_renorm_types_differ() -> None:
    """Guards the test above: on its data every type and the least factor do something of their own."""
    full, negative, no_image = velocities()
    mixed = {
        (renorm, least): Guidance(4.0, 2.0, renorm, least).mix(full, negative, no_image, PATCH)
        for renorm in RENORMS
        for least in (0.0, 0.6)
        if renorm != "none" or least == 0
    }
    for one, other in itertools.combinations(mixed, 2):
        assert not torch.allclose(mixed[one], mixed[other]), (one, other)


@pytest.mark.parametrize("renorm", RENORMS[1:])
def test_renorm_never_enlarges(renorm: str) -> None:
    """Guards the upper clamp: a mix that is shorter than the prompted velocity stays as it is."""
    full = latents(2, 2, 3)
    found = Guidance(text=1.5, renorm=renorm).mix(full, 1.2 * full, None, PATCH)
    torch.testing.assert_close(found, (1.2 - 0.3) * full)


@pytest.mark.parametrize(
    ("interval", "timestep", "active"),
    [
        ((0.0, 1.0), 999, True),
        ((0.0, 1.0), 1, True),
        ((0.0, 1.0), 0, False),  # low is exclusive
        ((0.7, 1.0), 700, False),
        ((0.7, 1.0), 701, True),
        ((0.0, 0.6), 600, True),  # high is inclusive
        ((0.0, 0.6), 601, False),
        ((0.5, 0.5), 500, False),
    ],
)
def test_interval_edges(interval: tuple[float, float], timestep: int, active: bool) -> None:
    """Guards lo < t / 1000 <= hi."""
    assert Guidance(text=3.0, interval=interval).is_active(timestep) is active
    assert not Guidance(text=1.0, interval=interval).is_active(timestep)


def test_outside_of_the_interval_the_prompt_alone_is_run(model: LightFusion) -> None:
    """Guards both the value and the cost outside of the interval: one row a picture."""
    conditioning = model.encoder.encode([ids("a circle")], references(1), [ids("")])
    plain = model.guided(conditioning, 96, 64, Guidance(text=1.0))
    velocity = model.guided(conditioning, 96, 64, Guidance(text=4.0, image=2.0, interval=(0.7, 1.0)))
    rows: list[int] = []
    hook = model.generation.patch_embedding.register_forward_hook(lambda _, args, out: rows.append(len(out)))
    x = latents(2, 2, 3)
    try:
        inside, outside = velocity(x, 701), velocity(x, 700)
    finally:
        hook.remove()
    assert rows == [6, 2]
    assert torch.equal(outside, plain(x, 700))
    assert not torch.allclose(inside, plain(x, 701))


def poisoned(branch: Branch) -> Branch:
    """A branch that turns everything it touches into NaN."""
    return replace(branch, markers=torch.full_like(branch.markers, float("nan")))


@pytest.mark.parametrize("text", [1.0, 0.5, 0.0, -2.0])
def test_text_guidance_of_one_is_the_prompted_velocity(model: LightFusion, text: float) -> None:
    """Guards a <= 1: the other branches, even image guidance, are neither run nor needed."""
    full = model.encoder.encode([ids("a circle")], references(1), [ids("")])
    alone = replace(full, negative=None, no_image=None)
    spoiled = replace(full, negative=poisoned(full.negative), no_image=poisoned(full.no_image))
    x = latents(1, 2, 3)
    wanted = model.guided(alone, 96, 64, Guidance(text=1.0))(x, 600)
    for conditioning in (spoiled, alone):
        velocity = model.guided(conditioning, 96, 64, Guidance(text=text, image=3.0, renorm="global"))
        assert len(velocity.context.branches) == 1
        assert torch.equal(velocity(x, 600), wanted)


def test_image_guidance_of_one_ignores_the_branch_without_images(model: LightFusion) -> None:
    """Guards b <= 1: the third branch is not run."""
    conditioning = model.encoder.encode([ids("a circle")], references(1), [ids("")])
    spoiled = replace(conditioning, no_image=poisoned(conditioning.no_image))
    x = latents(1, 2, 3)
    for image in (1.0, 0.0):
        found = model.guided(spoiled, 96, 64, Guidance(3.0, image))(x, 600)
        assert torch.equal(found, model.guided(conditioning, 96, 64, Guidance(3.0, 1.0))(x, 600))
    assert model.guided(spoiled, 96, 64, Guidance(3.0, 1.1))(x, 600).isnan().any()


def test_text_guidance_needs_a_negative_branch(frozen: LightFusion) -> None:
    conditioning = frozen.encoder.encode([ids("a circle")])
    with pytest.raises(InputError, match="negative"):
        frozen.guided(conditioning, 96, 64, Guidance(text=3.0))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"renorm": "tokenwise"}, "tokenwise"),
        ({"renorm_min": -0.1}, "-0.1"),
        ({"renorm_min": 1.5}, "1.5"),
        ({"renorm_min": float("nan")}, "nan"),
        ({"interval": (0.8, 0.2)}, "0.8"),
        ({"interval": (float("nan"), 1.0)}, "nan"),
        ({"text": float("inf")}, "text guidance.*inf"),
        ({"image": float("nan")}, "image guidance.*nan"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, named: str) -> None:
    """Guards messages that say what was found."""
    with pytest.raises(InputError, match=named):
        Guidance(**settings)
