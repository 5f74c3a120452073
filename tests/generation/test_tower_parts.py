"""What stands around the blocks: folding, the clock, the precision of the stream."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from samples import ids, latents, references, relative_error
from tiny import write_model

from lightfusion_core import Guidance, LightFusion
from lightfusion_core.generation.tower import keeps_float32


def test_tokens_hold_their_patch_channel_fastest(frozen: LightFusion) -> None:
    """Guards rule B14: channel-first folding costs nine tenths of the velocity."""
    latent = latents(2, 2, 3)
    tokens = frozen.generation.fold(latent)
    assert tokens.shape == (2, 6, 192)
    number = (1 * 2 + 0) * 48 + 7  # patch row 1, patch column 0, channel 7
    assert tokens[1, 4, number] == latent[1, 7, 0, 2 * 1 + 1, 2 * 1 + 0]  # token (1, 1)
    assert torch.equal(frozen.generation.unfold(tokens, 2), latent)


@pytest.mark.parametrize("timestep", [0, 1, 999])
def test_time_embedding_is_cosines_first(frozen: LightFusion, timestep: int) -> None:
    """Guards rule B17 against diffusers' own sinusoid (float32, so to 1e-4) and MLPs."""
    from diffusers.models.embeddings import Timesteps

    tower, dit = frozen.generation, frozen.config.dit
    sinusoid = Timesteps(dit.freq_dim, flip_sin_to_cos=True, downscale_freq_shift=0)(torch.tensor([timestep]))
    wanted = tower.time_embedding(sinusoid)
    embedding, modulation = tower.time(timestep, torch.device("cpu"))
    assert relative_error(embedding, wanted) <= 1e-4
    assert modulation.shape == (1, 6, dit.dim)
    assert torch.equal(modulation.flatten(), tower.time_projection(embedding).flatten())


@pytest.mark.parametrize("is_coupled", [False, True], ids=["frozen", "coupled"])
def test_bfloat16_stays_near_float32(tmp_path: Path, is_coupled: bool) -> None:
    """Guards rule B27: the stream, the clock and the head stay float32 in a bfloat16 model."""
    folder = write_model(tmp_path, coupled=is_coupled, vae=False)
    exact, rounded = (LightFusion.load(folder, device="cpu", dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    dtypes = {name: parameter.dtype for name, parameter in rounded.generation.named_parameters()}
    assert all((dtype is torch.float32) == keeps_float32(name) for name, dtype in dtypes.items())
    assert dtypes["blocks.0.ffn.0.weight"] is torch.bfloat16
    assert dtypes["blocks.0.norm3.weight"] is dtypes["head.head.weight"] is torch.float32
    streams: list[torch.Tensor] = []
    for block in rounded.generation.blocks:
        block.register_forward_hook(lambda _, args, out: streams.append(out))
    x = latents(1, 3, 5)
    velocities = []
    for model in (exact, rounded):
        conditioning = model.encoder.encode([ids("a circle")], references(1), [ids("")])
        velocities.append(model.guided(conditioning, 160, 96, Guidance(3.0, 2.0))(x, 600))
    assert velocities[1].dtype is torch.float32
    assert {stream.dtype for stream in streams} == {torch.float32}
    assert not any(torch.equal(stream, stream.bfloat16().float()) for stream in streams)
    assert relative_error(velocities[1], velocities[0]) <= 0.03


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-6), (torch.bfloat16, 0.05)])
def test_the_stream_stays_float32_whatever_the_weights_are(tmp_path: Path, dtype: torch.dtype, close: float) -> None:
    """Guards sums with what layers of more bits make: they would widen the stream, which its norms do not take."""
    folder = write_model(tmp_path)
    found, wanted = [], None
    for each in (torch.float32, dtype):
        model = LightFusion.load(folder, device="cpu", dtype=each)
        block = model.generation.blocks[0]
        look = block.register_forward_hook(lambda _, given, made: found.append((given[0].dtype, made.dtype)))
        with torch.no_grad():
            token = model.config.token_size
            velocity = model.guided(model.encoder.encode([ids("a red circle")]), 6 * token, 4 * token, Guidance(1.0))
            made = velocity(latents(1, 4, 6), 600)
        look.remove()
        wanted = made if wanted is None else wanted
    assert set(found) == {(torch.float32, torch.float32)}
    assert made.dtype == torch.float32 and relative_error(made, wanted) <= close
