"""Values and surroundings that callers in Python bring: a sentence, or what they would have had without."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from PIL import Image
from samples import latents
from torch import Tensor

from lightfusion_core import Decoding, Guidance, InputError, LightFusion, Sampling

SHORT = Sampling(steps=3)


def requests(model: LightFusion, picture: Image.Image) -> list[Tensor]:
    """One of everything."""
    model._forget()
    size, mask = {"width": 64, "height": 64}, torch.zeros(picture.size[::-1])
    mask[20:40] = 1
    answer = "".join(model.answer("why?", [picture], decoding=Decoding(4, 0.7)))
    thought = "".join(model.think("why?", [picture], decoding=Decoding(3)))
    return [
        model.generate("a", sampling=SHORT, guidance=Guidance(3.0, 1.5, "text_channel"), **size),
        model.edit(picture, "b", sampling=SHORT, mask=mask, **size),
        model.edit(picture, "b", sampling=Sampling(4, solver="dpm++", denoise=0.5, cache=0.1), **size),
        *(torch.tensor([*text.encode()]) for text in (answer, thought)),
    ]


@pytest.fixture
def default_dtype() -> Iterator[Callable[[torch.dtype], None]]:
    yield torch.set_default_dtype
    torch.set_default_dtype(torch.float32)


def test_the_default_dtype_changes_nothing(
    frozen: LightFusion, picture: Image.Image, default_dtype: Callable[[torch.dtype], None]
) -> None:
    """Guards noise, rotary tables and the VAE's numbers: another picture came back, or a traceback of a solver's."""
    wanted = requests(frozen, picture)
    for dtype in (torch.float64, torch.bfloat16):
        default_dtype(dtype)
        for found, one in zip(requests(frozen, picture), wanted, strict=True):
            assert found.dtype == one.dtype and torch.equal(found, one), dtype


def test_autocast_changes_nothing(model: LightFusion, picture: Image.Image) -> None:
    """Guards what is float32 on purpose: a training script calls from inside of its autocast."""
    wanted = requests(model, picture)
    with torch.autocast("cpu", torch.bfloat16):
        found = requests(model, picture)
        assert torch.is_autocast_enabled("cpu")
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    "given",
    [
        {"noise": torch.zeros(1, 48, 1, 4, 3)},
        {"noise": torch.zeros(48, 1, 4, 4)},
        {"noise": torch.zeros(())},
        {"noise": torch.zeros(1, 16, 1, 4, 4)},
        {"latent": torch.zeros(1, 48, 4, 4), "mask": torch.zeros(1, 1, 1, 4, 4)},
        {"latent": torch.zeros(3, 48, 1, 4, 4), "batch": 2},
        {"latent": torch.zeros(1, 48, 1, 4, 4), "mask": torch.zeros(4, 4)},
        {"latent": torch.zeros(1, 48, 1, 4, 4), "mask": torch.zeros(1, 1, 1, 8, 8)},
    ],
    ids=lambda given: ", ".join(f"{name} {tuple(getattr(value, 'shape', ()))}" for name, value in given.items()),
)
def test_tensors_of_another_shape_are_refused(frozen: LightFusion, given: dict[str, Tensor]) -> None:
    """Guards broadcasting: what does not fit would be stretched over the picture, or end in the middle of the run."""
    conditioning = frozen.encode("a", negative_prompt="")
    with pytest.raises(InputError, match=r"of shape \(.*64x64 pixels, found"):
        frozen.sample(conditioning, 64, 64, sampling=SHORT, **given)


def test_noise_of_other_numbers_is_taken(frozen: LightFusion) -> None:
    conditioning, noise = frozen.encode("a", negative_prompt=""), latents(2, 2, 2)
    wanted = frozen.sample(conditioning, 64, 64, sampling=SHORT, noise=noise)
    assert torch.equal(frozen.sample(conditioning, 64, 64, sampling=SHORT, noise=noise.double()), wanted)


@pytest.mark.parametrize("shape", [(48, 1, 4, 4), (1, 16, 1, 4, 4), (1, 48, 4, 4), (1, 48, 2, 4, 4), (0, 48, 1, 4, 4)])
def test_latents_of_another_shape_are_not_decoded(frozen: LightFusion, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="Expected latents of shape"):
        frozen.decode(torch.zeros(shape))


def test_a_mask_of_another_size_is_refused_before_anything_is_drawn(frozen: LightFusion, picture: Image.Image) -> None:
    for shape in ((100, 80), (1, 80, 100), (80, 100, 1), (8, 10)):
        with pytest.raises(InputError, match="mask of the picture's height and width"):
            frozen.edit(picture, "a", mask=torch.ones(shape), on_step=lambda step: pytest.fail("drawn"))


def test_a_negative_prompt_beside_a_thought_is_refused(frozen: LightFusion) -> None:
    with pytest.raises(InputError, match="give no negative prompt"):
        frozen.encode("a", negative_prompt="b", thought="c")


def test_settings_beyond_what_draws_are_refused() -> None:
    for made in (
        lambda: Sampling(shift=1e15),
        lambda: Sampling(shift=1e-300, steps=2),
        lambda: Sampling(steps=10**12),
        lambda: Guidance(text=1e30),
        lambda: Guidance(image=-1e30),
        lambda: Guidance(text=float("nan")),
        lambda: Guidance(interval=(-1.0, 0.5)),
        lambda: Guidance(interval=(0.0, float("inf"))),
        lambda: Guidance(interval=(float("nan"), 1.0)),
        lambda: Decoding(temperature=float("inf")),
    ):
        with pytest.raises(InputError):
            made()


@pytest.mark.parametrize("temperature", [1e-38, 1e-320, 1e30])
def test_any_temperature_chooses(temperature: float) -> None:
    """Guards numbers that overflow: a cold one takes the likeliest, a hot one anything."""
    choose = Decoding(temperature=temperature).chooser()
    scores = torch.tensor([0.0, 30.0, -30.0, 29.0])
    chosen = {choose(scores) for _ in range(60)}
    assert chosen == ({1} if temperature < 1 else {0, 1, 2, 3})
