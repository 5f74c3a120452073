"""A picture is coded as diffusers' own model codes it, with fewer products and without copies for further frames."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d
from samples import relative_error
from torch import Tensor

from lightfusion_core.bench.counts import counted
from lightfusion_core.bench.presets import preset, random_vae
from lightfusion_core.generation.single_frame import PictureConv
from lightfusion_core.generation.vae import ImageVAE

CODED = pytest.mark.parametrize(
    "coded",
    [lambda vae, tile: vae.encode(pixels(), tile), lambda vae, tile: vae.decode(latent(), tile)],
    ids=["encode", "decode"],
)
Coded = Callable[[ImageVAE, int | None], Tensor]


def pixels(*shape: int) -> Tensor:
    return torch.rand(*(shape or (2, 3, 96, 160)), generator=torch.Generator().manual_seed(0)) * 2 - 1


def latent(*shape: int) -> Tensor:
    return torch.randn(*(shape or (2, 48, 1, 6, 10)), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def vae() -> ImageVAE:
    return random_vae(preset("tiny"), torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def plain() -> ImageVAE:
    """The same weights in diffusers' model as it is."""
    made = random_vae(preset("tiny"), torch.device("cpu"), torch.float32)
    model = AutoencoderKLWan.from_config(made.model.config)
    model.load_state_dict(made.model.state_dict(), assign=True)
    made.model = model.eval().requires_grad_(False)
    return made


def assert_near(found: Tensor, wanted: Tensor, bound: float = 1e-6) -> None:
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    assert relative_error(found, wanted) <= bound


@CODED
@pytest.mark.parametrize("tile", [None, 64], ids=["whole", "tiled"])
def test_a_picture_is_coded_as_diffusers_does(vae: ImageVAE, plain: ImageVAE, coded: Coded, tile: int | None) -> None:
    """A batch, sides that differ, tiles that are cut off at the edges; a copy too, as hosts make of models."""
    assert_near(coded(vae, tile), coded(plain, tile))
    assert_near(coded(deepcopy(vae), tile), coded(plain, tile))


def test_no_convolution_meets_zeros(vae: ImageVAE, plain: ImageVAE) -> None:
    """Guards the causal convolutions one and all: what is left is the third of them that acts, and the layers that were
    two-dimensional before."""
    assert {type(layer) for layer in vae.model.modules() if isinstance(layer, WanCausalConv3d)} == {PictureConv}
    for coded in (lambda vae: vae.encode(pixels()), lambda vae: vae.decode(latent())):
        assert counted(lambda run=coded: run(vae)) < 0.45 * counted(lambda run=coded: run(plain))


def test_nothing_is_kept_for_further_frames(vae: ImageVAE, plain: ImageVAE) -> None:
    """Guards the memory of a run, more than half of which held copies: none is there when the last layer runs."""

    def held(of: ImageVAE) -> int:
        seen: list[int] = []

        def look(layer: object, given: object) -> None:
            seen.append(sum(isinstance(kept, Tensor) for kept in of.model._feat_map or ()))

        hook = of.model.decoder.conv_out.register_forward_pre_hook(look)
        of.decode(latent())
        hook.remove()
        return max(seen)

    assert held(plain) > 10
    assert held(vae) == 0


def test_more_frames_go_diffusers_way(vae: ImageVAE, plain: ImageVAE) -> None:
    """A video of five frames, whose first is a picture, and a picture after it, which finds nothing of it."""
    moving, frames = pixels(1, 3, 5, 64, 64), latent(1, 48, 2, 4, 4)
    for _ in range(2):
        assert_near(vae.model.encode(moving).latent_dist.mode(), plain.model.encode(moving).latent_dist.mode(), 1e-5)
        assert_near(vae.model.decode(frames).sample, plain.model.decode(frames).sample, 1e-5)
        assert_near(vae.encode(pixels()), plain.encode(pixels()))


@pytest.mark.parametrize("padding", [0, 1])
def test_a_convolution_is_its_parents_elsewhere(padding: int) -> None:
    """Former frames, more frames, and a kernel that finds too few frames (as of the layers that halve time)."""
    layer = WanCausalConv3d(3, 4, 3, stride=(2, 1, 2), padding=(padding, 2, 0)).requires_grad_(False)
    ours = deepcopy(layer)
    ours.__class__ = PictureConv
    frame, former = pixels(2, 3, 1, 8, 9), pixels(2, 3, 2, 8, 9)
    assert torch.equal(ours(former.repeat(1, 1, 2, 1, 1)), layer(former.repeat(1, 1, 2, 1, 1)))
    if padding:
        assert torch.equal(ours(frame, former), layer(frame, former))
        assert_near(ours(frame), layer(frame))
    else:
        with pytest.raises(RuntimeError):
            ours(frame)


def test_weights_keep_their_names_and_shapes(vae: ImageVAE, plain: ImageVAE) -> None:
    """Guards every layout of checkpoints, which are read by them."""
    shapes = [{name: tensor.shape for name, tensor in of.model.state_dict().items()} for of in (vae, plain)]
    assert shapes[0] == shapes[1]
