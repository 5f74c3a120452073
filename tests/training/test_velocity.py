"""What is trained is what draws: the same velocity, gradients in every layer, and nothing else is touched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from samples import ids, latents, references, relative_error
from small_trainings import Begin
from torch import Tensor

from lightfusion_core import LightFusion, Reference
from lightfusion_core.conditioning import Branch
from lightfusion_core.generation.context import ContextBuilder
from lightfusion_core.picture_files import load_image
from lightfusion_core.training.adapters import lora_layers, train_everything
from lightfusion_core.training.draws import Shown
from lightfusion_core.training.encoding import Encodings
from lightfusion_core.training.show import draw_samples, samples_of
from lightfusion_core.training.trainee import Row, Trainee, recompute_blocks

CLOSE = 1e-5


def _rows(model: LightFusion, timesteps: list[int]) -> list[Row]:
    """References of all sizes, some without a side or a text, and pictures of two sizes."""
    one, two, three = references(3)
    asked = [
        ([ids("a circle")], ()),
        ([], ()),
        ([ids("turn it")], (one, two)),
        ([ids("turn it")], (Reference(None, one.latent), Reference(three.vit_pixels, None))),
        ([], (two,)),
    ]
    sizes = [(3, 5), (2, 2), (3, 5), (2, 2), (3, 5)]
    rows = []
    for seed, ((texts, given), size, timestep) in enumerate(zip(asked, sizes, timesteps, strict=True)):
        (branch,) = model.encoder.branches([(given, texts)], 6)
        assert branch is not None
        clean, noise = latents(1, *size, seed=seed), latents(1, *size, seed=50 + seed)
        rows.append(Row(branch, clean, noise, timestep / 1000))
    return rows


def _drawn(model: LightFusion, branch: Branch, x: Tensor, timestep: int) -> Tensor:
    """The velocity as a sampling run computes it: alone, without gradients."""
    patch = model.config.dit.patch_size
    with torch.no_grad():
        builder = ContextBuilder(model.generation, model.device, model.understanding)
        context = builder.build([branch], x.shape[-2] // patch, x.shape[-1] // patch)
        return model.generation.velocity(x, timestep, context, context.branches)


def test_training_and_drawing_compute_the_same(model: LightFusion) -> None:
    """With references, dropouts and pictures of two sizes in one batch; also where blocks are computed twice."""
    timesteps = [999, 600, 37, 250, 800]
    with torch.no_grad():
        rows = _rows(model, timesteps)
    for recompute in (False, True):
        trainee = Trainee(model.generation, model.understanding)
        try:
            if recompute:
                recompute_blocks(model.generation)
            with torch.enable_grad():
                found = trainee.velocity(rows)
        finally:
            for block in model.generation.blocks:
                vars(block).pop("forward", None)
        for row, velocity, timestep in zip(rows, found, timesteps, strict=True):
            x = torch.lerp(row.clean, row.noise, timestep / 1000)
            assert relative_error(velocity, _drawn(model, row.branch, x, timestep)) <= CLOSE


def test_the_loss_is_that_of_rectified_flow(frozen: LightFusion) -> None:
    """Of every row its own: the mean square of velocity minus (noise minus picture)."""
    rows = _rows(frozen, [999, 600, 37, 250, 800])
    trainee = Trainee(frozen.generation)
    with torch.no_grad():
        losses, found = trainee(rows), trainee.velocity(rows)
    wanted = [((v - (row.noise - row.clean)) ** 2).mean() for row, v in zip(rows, found, strict=True)]
    assert torch.allclose(losses, torch.stack(wanted))


def test_gradients_reach_every_layer(begin: Begin) -> None:
    """Of a LoRA's pairs those that start at zero, with recomputation the same; the understanding side gets none."""
    grown = []
    for coupled, recompute in ((False, False), (False, True), (True, False)):
        training = begin(f"run{coupled}{recompute}", coupled, recompute=recompute)
        (batch,) = training.draws.steps(0, 1)
        training.trainee([training._row(draw) for draw in batch]).sum().backward()
        pairs = {name: tensor.grad for name, tensor in training.state.trained.items() if ".lora_B." in name}
        assert len(pairs) == len(lora_layers(training.model.generation))
        assert all(gradient is not None and gradient.abs().max() > 0 for gradient in pairs.values())
        assert all(parameter.grad is None for parameter in training.model.understanding.parameters())
        grown.append(torch.cat([gradient.flatten() for gradient in pairs.values() if gradient is not None]))
    assert relative_error(grown[1], grown[0]) <= CLOSE


def test_a_new_lora_changes_nothing(begin: Begin) -> None:
    """Nor does making one touch the global random state."""
    before = torch.get_rng_state()
    model = begin().model
    assert torch.equal(torch.get_rng_state(), before)
    x = latents(1, 2, 2)
    (branch,) = model.encoder.branches([((), [ids("a circle")])], 6)
    assert branch is not None
    with_lora = _drawn(model, branch, x, 500)
    for layer in lora_layers(model.generation).values():
        layer.enable_adapters(False)
    assert torch.equal(with_lora, _drawn(model, branch, x, 500))


def test_what_is_kept_on_disk_is_what_was_encoded(begin: Begin) -> None:
    """Bit for bit, and what the engine itself encodes; another run reads it and encodes nothing."""
    training = begin(steps=40)
    assert not begin("again", steps=40).missing()
    shown = [Shown(True, (True,), (True,)), Shown(False, (True,), (False,)), Shown(True, (False,), (False,))]
    for one in shown:
        made, read = (training.encodings.branch(3, one) for _ in range(2))
        assert len(made.segments) == len(read.segments) == sum((one.text, *one.latents, *one.vits))
        for a, b in zip(made.segments, read.segments, strict=True):
            assert a.split == b.split and torch.equal(a.hidden, b.hidden)
        assert torch.equal(made.target_markers(2), read.target_markers(2))
    example = training.examples[3]
    whole = training.model.encode(example.text, [load_image(path) for path in example.references]).full
    read = training.encodings.branch(3, shown[0])
    for a, b in zip(whole.segments, read.segments, strict=True):
        assert a.split == b.split and relative_error(b.hidden, a.hidden) <= CLOSE
    assert relative_error(read.target_markers(2), whole.target_markers(2)) <= CLOSE


def test_a_mirrored_example_is_that_of_mirrored_files(begin: Begin, tmp_path: Path) -> None:
    """Guards the kept encodings too: a picture's own are not taken for its mirror image's."""
    training = begin()
    example, size = training.examples[3], training.sizes[3]
    files = [tmp_path / f"{k}.png" for k in range(2)]
    for path, file in zip((example.target, *example.references), files, strict=True):
        ImageOps.mirror(Image.open(path)).save(file)
    examples = [example, replace(example, mirrored=True), replace(example, target=files[0], references=(files[1],))]
    encodings = Encodings(training.model, examples, [size] * 3, tmp_path / "kept")
    latents = [encodings.latent(index) for index in range(3)]
    states = [encodings.branch(index, Shown(True, (True,), (True,))).segments[1].hidden for index in range(3)]
    for plain, mirrored, wanted in (latents, states):
        assert torch.equal(mirrored, wanted) and not torch.equal(mirrored, plain)
    assert len({Encodings(training.model, [one], [size], tmp_path).digest() for one in examples}) == 3
    tiles = draw_samples(training.model, samples_of(examples, [size] * 3, 3), 0)
    plain, mirrored, wanted = (np.asarray(tile)[:, : size[0]] for tile, _ in tiles)
    assert np.array_equal(mirrored, wanted) and not np.array_equal(mirrored, plain)


def test_everything_but_the_understanding_side_is_trained(coupled: LightFusion) -> None:
    try:
        train_everything(coupled.generation)
        still = {name for name, one in coupled.generation.named_parameters() if not one.requires_grad}
        assert still and all("q_und_proj" in name or "o_und_proj" in name for name in still)
    finally:
        coupled.generation.requires_grad_(False)
