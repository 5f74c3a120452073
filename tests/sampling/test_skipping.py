"""Passes that a run does without: what they cost in the picture, who decides, and what is counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from samples import ids, references, relative_error
from torch import Tensor

from lightfusion_core import Guidance, InputError, LightFusion, Passes, Sampling
from lightfusion_core.sampling.schedule import make_schedule
from lightfusion_core.sampling.skipping import Skipping

CACHED = Sampling(24, cache=0.1)
GUIDED = Guidance(3.0)


@pytest.fixture(scope="module")
def nano() -> LightFusion:
    return LightFusion.load("nano", device="cpu")


def drawn(model: LightFusion, sampling: Sampling, guidance: Guidance = GUIDED, **settings) -> tuple[Tensor, Passes]:
    passes = Passes()
    conditioning = settings.pop("conditioning", None) or model.encode("a red circle above a blue square")
    return model.sample(conditioning, 128, 128, 5, sampling, guidance, passes=passes, **settings), passes


def rows_run(model: LightFusion, draw: Callable[[], object]) -> int:
    """How many rows the network runs while something is drawn."""
    rows: list[int] = []
    hook = model.generation.patch_embedding.register_forward_hook(lambda _, args, out: rows.append(len(out)))
    try:
        draw()
    finally:
        hook.remove()
    return sum(rows)


def test_off_it_is_the_same_run_bit_for_bit(nano: LightFusion) -> None:
    """Guards the default, and that a cache which never foresees changes nothing but the path."""
    plain, passes = drawn(nano, Sampling(8))
    assert passes == Passes(8, 0, 16, 16)
    assert torch.equal(drawn(nano, Sampling(8, cache=0.0), Guidance(3.0, every=1))[0], plain)
    assert torch.equal(drawn(nano, Sampling(8, cache=1e-9))[0], plain)


@pytest.mark.parametrize(
    "solver", ["unipc", pytest.param("euler", marks=pytest.mark.slow), pytest.param("dpm++", marks=pytest.mark.slow),
               pytest.param("heun", marks=pytest.mark.slow)],
)  # fmt: skip
def test_half_of_the_passes_draw_nearly_the_same(nano: LightFusion, solver: str) -> None:
    """Guards the worth of it, with every solver's own history: nearer to the full run than a run of as many passes."""
    full, _ = drawn(nano, Sampling(40, solver=solver))
    cached, passes = drawn(nano, Sampling(40, solver=solver, cache=0.06))
    fewer, _ = drawn(nano, Sampling(round(40 * passes.run / passes.plain), solver=solver))
    assert passes.run < 0.6 * passes.plain
    assert relative_error(cached, full) < relative_error(fewer, full) < 0.1


def test_what_is_counted_is_what_ran(nano: LightFusion) -> None:
    """Guards the figures that people are told, against the network's own rows."""
    for guidance in (Guidance(3.0, interval=(0.5, 0.9), every=2), Guidance(1.0)):
        for sampling in (Sampling(6), CACHED):
            seen: list[Passes] = []
            ran = rows_run(nano, lambda g=guidance, s=sampling, seen=seen: seen.append(drawn(nano, s, g, batch=2)[1]))
            assert ran == seen[0].run, (guidance, sampling)
            assert seen[0].steps == 2 * sampling.steps
            assert seen[0].plain == 2 * sampling.steps * (2 if guidance.text > 1 else 1)


def test_a_picture_is_the_same_alone_and_in_a_batch(nano: LightFusion) -> None:
    """Guards the decision of each row for itself: pictures of one batch skip different steps."""
    together, passes = drawn(nano, CACHED, Guidance(3.0, every=2), batch=3)
    alone = Passes()
    conditioning = nano.encode("a red circle above a blue square")
    for k in range(3):
        one = nano.sample(conditioning, 128, 128, 5 + k, CACHED, Guidance(3.0, every=2), passes=alone)
        torch.testing.assert_close(together[k : k + 1], one, rtol=1e-4, atol=1e-4)
    assert alone == passes


def test_an_interval_keeps_its_kinds_apart(nano: LightFusion) -> None:
    """Guards the edges of the interval: a guided velocity foresees no unguided one."""
    guidance = Guidance(6.0, interval=(0.4, 0.8))
    full, _ = drawn(nano, Sampling(30), guidance)
    cached, passes = drawn(nano, Sampling(30, cache=0.03), guidance)
    assert passes.foreseen > 3
    assert relative_error(cached, full) < 0.03


def test_under_a_mask_the_rest_stays(nano: LightFusion) -> None:
    """Guards that skipped steps are masked as others are."""
    latent, _ = drawn(nano, Sampling(4))
    mask = torch.zeros(1, 1, 1, *latent.shape[-2:])
    mask[..., : latent.shape[-1] // 2] = 1
    full, _ = drawn(nano, Sampling(24), latent=latent, mask=mask)
    cached, passes = drawn(nano, Sampling(24, cache=0.1), latent=latent, mask=mask)
    assert passes.foreseen > 3
    assert torch.equal(cached[..., latent.shape[-1] // 2 :], latent[..., latent.shape[-1] // 2 :])
    assert relative_error(cached, full) < 0.05


def test_a_coupled_model_skips_too(coupled: LightFusion) -> None:
    """Guards the markers that run with every row: fewer rows must get their own."""
    conditioning = coupled.encoder.encode([ids("a circle")], references(1), [ids("")])
    passes = Passes()

    def draw(seed: int, batch: int) -> Tensor:
        sampling, guidance = Sampling(12, cache=5.0), Guidance(4.0, 2.0, every=2)
        return coupled.sample(conditioning, 96, 64, seed, sampling, guidance, batch=batch, passes=passes)

    together = draw(1, 2)
    assert 0 < passes.foreseen < passes.steps
    torch.testing.assert_close(together, torch.cat([draw(1, 1), draw(2, 1)]), rtol=1e-4, atol=1e-4)


def test_guidance_between_its_steps_is_what_it_last_was(nano: LightFusion) -> None:
    """Guards k: every k-th step runs all branches, the others one, and the picture is far nearer than without any."""
    full, _ = drawn(nano, Sampling(18))
    kept, passes = drawn(nano, Sampling(18), Guidance(3.0, every=3))
    assert (passes.run, passes.foreseen) == (24, 0)
    unguided, _ = drawn(nano, Sampling(18), Guidance(1.0))
    assert relative_error(kept, full) < relative_error(unguided, full) / 3


def test_a_straight_flow_needs_three_passes() -> None:
    """Guards the estimate: where velocities lie on a line nothing is off it, whatever the threshold."""
    calls: list[float] = []
    skipping = Skipping(1e-6, 1, Passes())
    start, slope = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).double()

    for sigma in make_schedule(20).sigmas[:-1]:

        def evaluate(pictures: Sequence[int], guided: bool, sigma: float = sigma) -> tuple[Tensor, Tensor]:
            calls.append(sigma)
            velocity = (start + sigma * slope)[None][list(pictures)]
            return velocity, velocity

        found = skipping(1, sigma, True, 1, 1, evaluate)
        torch.testing.assert_close(found[0], start + sigma * slope)
    assert len(calls) == 3


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match=r"threshold must be 0 .* found -0.1"):
        Sampling(cache=-0.1)
    with pytest.raises(InputError, match=r"every so many, found 0"):
        Guidance(every=0)
