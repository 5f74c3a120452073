"""Caches change nothing: a step against a built context equals one plain forward over everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import joint
import pytest
import torch
from samples import ids, latents, reference, references, relative_error
from tiny import CONFIG, make_model
from torch import Tensor

from lightfusion_core import Guidance, LightFusion, Reference
from lightfusion_core.conditioning import Branch, Conditioning
from lightfusion_core.config import FusionConfig
from lightfusion_core.generation.context import ContextBuilder

CLOSE = 5e-6
PROMPT, NEGATIVE = ids("a red circle on the left"), ids("blurred")
ROWS, COLUMNS = 3, 5


def cached(model: LightFusion, branches: Sequence[Branch], x: Tensor, timestep: int) -> Tensor:
    """Velocities of x, row k under branches[k]."""
    unique = list(dict.fromkeys(branches))
    patch = model.config.dit.patch_size
    builder = ContextBuilder(model.generation, model.device, model.understanding)
    with torch.no_grad():
        context = builder.build(unique, x.shape[-2] // patch, x.shape[-1] // patch)
        rows = [context.branches[unique.index(branch)] for branch in branches]
        return model.generation.velocity(x, timestep, context, rows)


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("batch", [1, 3])
def test_every_branch_equals_the_uncached_forward(model: LightFusion, count: int, batch: int) -> None:
    """Guards masks, positions, marker states, time of the references, and rows that overwrite each other."""
    images = references(count)
    conditioning = model.encoder.encode([PROMPT], images, [NEGATIVE])
    cases = [
        (conditioning.full, joint.pieces([PROMPT], images), 999),
        (conditioning.full, joint.pieces([PROMPT], images), 37),
        (conditioning.negative, joint.pieces([NEGATIVE], images), 600),
    ]
    if images:
        cases.append((conditioning.no_image, joint.pieces([PROMPT]), 600))
    x = latents(batch, ROWS, COLUMNS)
    for branch, context, timestep in cases:
        found = cached(model, [branch] * batch, x, timestep)
        assert relative_error(found, joint.velocity(model, context, x, timestep)) <= CLOSE


def test_branches_of_different_lengths_share_a_batch(model: LightFusion) -> None:
    """Guards against a row that attends with another row's keys, markers or positions."""
    images = references(3)
    conditioning = model.encoder.encode([PROMPT], images, [NEGATIVE])
    full, negative, no_image = conditioning.full, conditioning.negative, conditioning.no_image
    contexts = {
        full: joint.pieces([PROMPT], images),
        negative: joint.pieces([NEGATIVE], images),
        no_image: joint.pieces([PROMPT]),
    }
    order = [negative, full, no_image, full, negative]
    x = latents(len(order), ROWS, COLUMNS)
    found = cached(model, order, x, 600)
    for row, branch in enumerate(order):
        wanted = joint.velocity(model, contexts[branch], x[row : row + 1], 600)
        assert relative_error(found[row : row + 1], wanted) <= CLOSE


def test_guided_velocity_equals_the_mix_of_uncached_forwards(model: LightFusion) -> None:
    """Guards the order of the branches in the batch: negative and no-image swapped still look plausible."""
    images = references(1)
    conditioning = model.encoder.encode([PROMPT], images, [NEGATIVE])
    x = latents(2, ROWS, COLUMNS)
    token = model.config.token_size
    found = model.guided(conditioning, COLUMNS * token, ROWS * token, Guidance(4.0, 2.0))(x, 600)
    contexts = (joint.pieces([PROMPT], images), joint.pieces([NEGATIVE], images), joint.pieces([PROMPT]))
    c, n, m = (joint.velocity(model, context, x, 600) for context in contexts)
    g = n + 4 * (c - n)
    assert relative_error(found, m + 2 * (g - m)) <= 2e-5


@pytest.mark.parametrize("count", [0, 1])
def test_one_conditioning_serves_every_size(model: LightFusion, count: int) -> None:
    """Guards the markers by extent: the wrong pair costs a hundredth of the velocity and looks plausible."""
    images = references(count)
    kept = model.encoder.encode([PROMPT], images, [NEGATIVE])
    for rows, columns in ((2, 2), (3, 5), (6, 1)):
        x = latents(1, rows, columns)
        extent = max(rows, columns)
        fresh = model.encoder.encode([PROMPT], images, [NEGATIVE], max_extent=extent)
        for name, text in (("full", PROMPT), ("negative", NEGATIVE)):
            found = cached(model, [getattr(kept, name)], x, 600)
            assert relative_error(found, cached(model, [getattr(fresh, name)], x, 600)) <= CLOSE
            assert relative_error(found, joint.velocity(model, joint.pieces([text], images), x, 600)) <= CLOSE


@pytest.mark.parametrize("count", [0, 1])
def test_think_then_draw(model: LightFusion, count: int) -> None:
    """Guards rule B29: three text segments with their own frames, and a negative branch without any text
    (which without references has no context at all)."""
    images, texts = references(count), [ids("Think first. \n"), PROMPT, ids("It is round.")]
    conditioning = model.encoder.encode(texts, images, [])
    x = latents(1, ROWS, COLUMNS)
    cases = [(conditioning.full, joint.pieces(texts, images)), (conditioning.negative, joint.pieces([], images))]
    if images:
        cases.append((conditioning.no_image, joint.pieces(texts)))
    for branch, context in cases:
        assert relative_error(cached(model, [branch], x, 600), joint.velocity(model, context, x, 600)) <= CLOSE


@pytest.mark.parametrize("kept", ["vit_pixels", "latent"])
def test_a_reference_may_lack_one_side(model: LightFusion, kept: str) -> None:
    """Guards the layout where a reference is seen by one tower alone (condition dropout in training)."""
    both = reference()
    images = [Reference(**{kept: getattr(both, kept)})]
    conditioning = model.encoder.encode([PROMPT], images)
    x = latents(1, ROWS, COLUMNS)
    wanted = joint.velocity(model, joint.pieces([PROMPT], images), x, 600)
    assert relative_error(cached(model, [conditioning.full], x, 600), wanted) <= CLOSE


@pytest.mark.parametrize(
    ("layers", "blocks", "fusions"), [(4, 6, 3), (5, 3, 4), (5, 3, 2)], ids=["min", "deep VLM, max", "deep VLM, min"]
)
@pytest.mark.parametrize("is_coupled", [False, True], ids=["frozen", "coupled"])
def test_other_depths(tmp_path: Path, is_coupled: bool, layers: int, blocks: int, fusions: int) -> None:
    """Guards rule B9 beyond the published depths, where the VLM runs out of layers before the DiT does."""
    config = replace(
        CONFIG,
        text=replace(CONFIG.text, num_hidden_layers=layers),
        dit=replace(CONFIG.dit, num_layers=blocks),
        fusion=FusionConfig(fusions, CONFIG.dit.dim, CONFIG.dit.num_heads),
    )
    model = make_model(tmp_path, config, coupled=is_coupled, vae=False)
    images = references(1)
    x = latents(1, ROWS, COLUMNS)
    conditioning = model.encoder.encode([PROMPT], images)
    wanted = joint.velocity(model, joint.pieces([PROMPT], images), x, 600)
    assert relative_error(cached(model, [conditioning.full], x, 600), wanted) <= CLOSE
    written, start = [7, 8, 9], PROMPT
    writer = model.writer([start], images)
    context = [*joint.pieces([start], images), joint.pieces([written])[0]]
    found = torch.stack([writer([token]) for token in written])
    assert relative_error(found, joint.logits(model, context)) <= CLOSE


def test_moved_conditionings_stay_shared(model: LightFusion) -> None:
    """Guards `Conditioning.to`: segments that two branches share must be one object afterwards, or the
    references run through the generation tower once a branch."""
    conditioning = model.encoder.encode([PROMPT], references(1), [NEGATIVE])
    moved: Conditioning = conditioning.to("cpu")
    shared = zip(moved.full.segments[:2], moved.negative.segments[:2], strict=True)
    assert all(mine is other for mine, other in shared)
    assert moved.full.segments[2] is not moved.negative.segments[2]
    x = latents(1, ROWS, COLUMNS)
    assert torch.equal(cached(model, [moved.full], x, 600), cached(model, [conditioning.full], x, 600))


def test_shared_references_run_once_for_all_branches(model: LightFusion) -> None:
    """Guards the builder's work by identity: guidance must not triple the references' cost."""
    conditioning = model.encoder.encode([PROMPT], references(1), [NEGATIVE])
    calls: list[int] = []
    hook = model.generation.blocks[0].register_forward_hook(lambda *_: calls.append(1))
    try:
        builder = ContextBuilder(model.generation, model.device, model.understanding)
        with torch.no_grad():
            builder.build([conditioning.full, conditioning.negative, conditioning.no_image], ROWS, COLUMNS)
    finally:
        hook.remove()
    assert len(calls) == 1


@pytest.mark.parametrize("together", [True, False])
def test_branches_that_take_turns_in_one_room_are_as_if_alone(model: LightFusion, together: bool) -> None:
    """Guards a branch that reads what another left, and a room that is made larger for a later one."""
    images = references(2)
    conditioning = model.encoder.encode([PROMPT], images, [NEGATIVE * 5])
    branches = [conditioning.full, conditioning.negative, conditioning.no_image]
    x = latents(1, ROWS, COLUMNS)
    alone = torch.cat([cached(model, [branch], x, 600) for branch in branches])
    builder = ContextBuilder(model.generation, model.device, model.understanding)
    with torch.no_grad():
        if together:
            made = builder.build(branches, ROWS, COLUMNS).branches
        else:
            made = [builder.build([branch], ROWS, COLUMNS).branches[0] for branch in branches]
        context = builder.build(branches[:1], ROWS, COLUMNS)
        rows = [*made, *made[::-1]]
        found = model.generation.velocity(x.expand(len(rows), -1, -1, -1, -1), 600, context, rows)
    assert len({branch.room for branch in made}) == 1
    assert torch.equal(found[:3], found[3:].flip(0))
    assert relative_error(found[:3], alone) <= CLOSE
