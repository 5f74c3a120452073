"""The two rotary embeddings are the libraries' own."""

from __future__ import annotations

import pytest
import torch
from samples import latents
from tiny import CONFIG

from lightfusion_core import LightFusion
from lightfusion_core.generation.rope import apply_half_rope, apply_wan_rope, multimodal_rope, wan_rope
from lightfusion_core.layout import TokenKind, place, position_ids


@pytest.mark.parametrize("head_dim", [32, 128])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 5), (64, 4)])
def test_wan_rope_equals_diffusers(head_dim: int, rows: int, columns: int) -> None:
    """Guards the split of the head (time gets what the two sides leave over) and row before column."""
    from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

    theirs = WanRotaryPosEmbed(head_dim, (1, 2, 2), 64)(torch.empty(1, 48, 1, 2 * rows, 2 * columns))
    ours = wan_rope(rows, columns, head_dim, "cpu")
    for table, wanted in zip(ours, theirs, strict=True):
        assert table.dtype is torch.float32
        torch.testing.assert_close(table, wanted[0, :, 0, ::2].float(), rtol=0, atol=1e-6)


def test_wan_rope_turns_neighbours() -> None:
    """Guards the interleaved form: Qwen's half-rotation with these tables looks as random as the right one."""
    x = latents(1, 2, 3).flatten()[: 6 * 32].view(1, 1, 6, 32)
    cos, sin = wan_rope(2, 3, 32, "cpu")
    turned = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * torch.complex(cos, sin)
    torch.testing.assert_close(apply_wan_rope(x, (cos, sin)), torch.view_as_real(turned).flatten(-2))


def test_multimodal_rope_equals_transformers(frozen: LightFusion) -> None:
    """Guards the fusion's tables, which must be the VLM's: far positions too, where a rounded frequency shows."""
    splits = place([(TokenKind.TEXT, 1, 7), (TokenKind.VIT, 3, 5), (TokenKind.NOISY, 4, 2)], start=1100)
    positions = position_ids(splits)
    sections = CONFIG.text.mrope_section
    theirs = frozen.understanding.rotary(positions)
    for table, wanted in zip(multimodal_rope(positions, sections, CONFIG.text.rope_theta, "cpu"), theirs, strict=True):
        if wanted.ndim == 4:  # transformers 4: (3, 1, tokens, head_dim), the sections not dealt out yet
            parts = wanted.split(list(sections) * 2, dim=-1)
            wanted = torch.cat([part[i % 3] for i, part in enumerate(parts)], dim=-1)
        torch.testing.assert_close(table, wanted[0], rtol=0, atol=1e-6)


def test_half_rotation_is_a_rotation() -> None:
    """Guards the sign and the pairing: a rotation keeps lengths, and one by a sum is one after another."""
    positions = torch.arange(5).expand(3, -1)
    x = latents(1, 2, 3).flatten()[: 5 * 32].view(1, 1, 5, 32)
    tables = [multimodal_rope(positions * factor, (4, 6, 6), 1e4, "cpu") for factor in (1, 2, 3)]
    once = apply_half_rope(x, tables[2])
    torch.testing.assert_close(apply_half_rope(apply_half_rope(x, tables[0]), tables[1]), once, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(once.norm(dim=-1), x.norm(dim=-1))
