"""Edits of a part of a picture: at a mask, and beyond the edges; all else is bit for bit what it was."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lightfusion_core import InputError, LightFusion, Sampling, Step
from lightfusion_core.config import SizeRule
from lightfusion_core.framing import CONTEXT, Part, box_around, feathered
from lightfusion_core.images import to_pil, to_tensor
from lightfusion_core.shapes.measure import read
from lightfusion_core.shapes.world import Background, Scene, Thing, render

RULE = SizeRule(128, 64, 32)
STAR = Thing("star", "blue", "small", 0.2, 0.75)
GROUND = Background("gradient", "light blue", "white", "horizontal")
SHORT = Sampling(steps=2)


@pytest.fixture(scope="module")
def nano() -> LightFusion:
    return LightFusion.load("nano", device="cpu")


def masked(width: int, height: int, box: tuple[int, int, int, int]) -> Tensor:
    mask = torch.zeros(height, width)
    mask[box[1] : box[3], box[0] : box[2]] = 1
    return mask


def test_a_mask_in_a_large_picture_has_a_token_grid_to_itself(nano: LightFusion) -> None:
    """A mask of 4 % in 2,000 x 1,500: the thing is whole and inside, all outside is untouched, and no seam shows."""
    source = Image.fromarray(render(Scene((STAR,), GROUND), (2000, 1500)))
    box = (1300, 600, 1646, 946)
    mask, before = masked(2000, 1500, box), to_tensor(source)
    sizes: list[torch.Size] = []
    made = nano.edit(
        source, "add a green square", mask=mask, seed=1, on_step=lambda step: sizes.append(step.x.shape)
    )[0]  # fmt: skip
    assert sizes[0][-2:] == (8, 8)  # 128 x 128 pixels for 433 x 433 of the picture's
    assert torch.equal(made[mask == 0], before[mask == 0])
    things = read(np.asarray(to_pil(made).resize((667, 500)))).things
    assert sorted((found.shape, found.color) for found in things) == [("square", "green"), ("star", "blue")]
    square = next(found for found in things if found.shape == "square")
    assert square.overlap > 0.85
    rows, columns = (np.flatnonzero(square.mask.any(axis=axis)) * 3 for axis in (1, 0))
    assert box[0] < columns[0] and columns[-1] < box[2] and box[1] < rows[0] and rows[-1] < box[3]
    assert seam(made, before, box) <= 3 / 255


def seam(made: Tensor, before: Tensor, box: tuple[int, int, int, int]) -> float:
    """The mean step at the border of a box, above what the picture had there."""
    left, top, right, bottom = box
    steps = []
    for picture in (made, before):
        across = [(picture[top:bottom, x] - picture[top:bottom, x - 1]).abs().mean() for x in (left, right)]
        down = [(picture[y, left:right] - picture[y - 1, left:right]).abs().mean() for y in (top, bottom)]
        steps.append(torch.stack([*across, *down]))
    return float((steps[0] - steps[1]).abs().max())


@pytest.mark.parametrize("edges", [(0, 0, 64, 0), (32, 16, 0, 0)])
def test_outpainting_keeps_the_picture_and_goes_on_with_it(nano: LightFusion, edges: tuple[int, ...]) -> None:
    left, top, right, bottom = edges
    source = Image.fromarray(render(Scene((STAR,), Background("plain", "light green")), 128))
    told: list[Tensor] = []
    made = nano.edit(source, "", seed=2, outpaint=edges, on_changed=told.append)
    assert made.shape == (1, 128 + top + bottom, 128 + left + right, 3)
    assert torch.equal(made[0, top : top + 128, left : left + 128], to_tensor(source))
    assert not bool(told[0][0, top : top + 128, left : left + 128].any())
    shown = read(np.asarray(to_pil(made[0])))
    assert [(found.shape, found.color) for found in shown.things] == [("star", "blue")]
    assert shown.background == Background("plain", "light green")


def test_a_small_picture_is_drawn_whole(frozen: LightFusion) -> None:
    """Guards files of before: where nothing is gained by a part, the whole is drawn, as without one."""
    mask = masked(100, 80, (30, 20, 70, 60))
    assert box_around(mask, None, RULE) is None
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8))
    whole, automatic = (
        frozen.edit(picture, "a", mask=mask, sampling=SHORT, context=context) for context in (math.inf, None)
    )
    assert torch.equal(whole, automatic)


@pytest.mark.parametrize(
    ("box", "context", "wanted"),
    [
        ((1000, 700, 1100, 800), None, (988, 688, 1112, 812)),
        ((1000, 700, 1100, 800), 2.0, (950, 650, 1150, 850)),
        ((0, 0, 100, 100), 2.0, (0, 0, 200, 200)),
        ((1900, 1400, 2000, 1500), 2.0, (1800, 1300, 2000, 1500)),
        ((1000, 700, 1400, 720), 1.0, (1000, 610, 1400, 810)),
        ((100, 100, 1900, 1400), 1.25, None),
        ((1000, 700, 1100, 800), math.inf, None),
    ],
)
def test_the_part_lies_around_the_mask_and_inside_of_the_picture(box, context, wanted) -> None:
    found = box_around(masked(2000, 1500, box), context, RULE)
    if wanted is None:
        assert found is None
    else:
        assert found is not None
        assert max(abs(one - other) for one, other in zip(found, wanted, strict=True)) <= 1
    assert CONTEXT == 1.25


def test_a_mask_fades_in_inside_of_itself() -> None:
    mask = masked(20, 10, (5, 0, 15, 10))
    faded = feathered(mask, 3)
    assert torch.equal(faded == 0, mask == 0)
    assert faded[5, 4:10].tolist() == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert float(faded[0, 10]) == 1.0  # the picture's own edge is no edge of the mask
    assert torch.equal(feathered(mask, 0), mask)
    assert torch.equal(feathered(torch.ones(4, 4), 2), torch.ones(4, 4))


def test_a_part_is_cut_and_placed_where_it_was() -> None:
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8))
    part = Part.of((400, 300), masked(400, 300, (200, 100, 260, 150)), (10, 0, 0, 5), 1.5, RULE)
    whole = part.whole(picture)
    assert whole.size == part.size == (410, 305)
    cut = part.cut(whole)
    assert cut.size == part.drawn_size and part.mask is not None and part.mask.shape == cut.size[::-1]
    assert torch.equal(part.placed(to_tensor(cut), to_tensor(whole)), to_tensor(whole))


def test_an_empty_mask_changes_nothing(frozen: LightFusion, picture: Image.Image) -> None:
    made = frozen.edit(picture, "a", mask=torch.zeros(80, 100), sampling=SHORT)
    assert torch.equal(made[0], to_tensor(picture))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"outpaint": (-1, 0, 0, 0)}, "0 or more each, found -1 0 0 0"),
        ({"outpaint": (1, 2)}, "found 1 2"),
        ({"outpaint": (2000, 0, 0, 0)}, "16:1"),
        ({"context": 0.5, "mask": torch.ones(80, 100)}, "1 or more"),
        ({"context": math.nan, "mask": torch.ones(80, 100)}, "nan"),
    ],
)
def test_what_cannot_be_is_refused(frozen: LightFusion, picture: Image.Image, options: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        frozen.edit(picture, "a", sampling=SHORT, **options)


def test_a_cancelled_edit_of_a_part_leaves_the_model_usable(frozen: LightFusion) -> None:
    picture = Image.new("RGB", (600, 500), (90, 120, 40))
    mask = masked(600, 500, (100, 100, 200, 200))

    def cancel(step: Step) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        frozen.edit(picture, "a", mask=mask, sampling=SHORT, on_step=cancel)
    first, again = (frozen.edit(picture, "a", mask=mask, sampling=SHORT) for _ in range(2))
    assert torch.equal(first, again)
