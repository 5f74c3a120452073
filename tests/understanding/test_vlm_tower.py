"""The understanding tower obeys the mask that it is given, and keeps its tables exact."""

from __future__ import annotations

from pathlib import Path

import torch
from samples import latents, reference
from tiny import CONFIG, write_model
from torch import Tensor

from lightfusion_core import LightFusion
from lightfusion_core.generation.layers import KeyValue
from lightfusion_core.layout import TokenKind, place, position_ids, vlm_mask
from lightfusion_core.understanding.vision import patchify


def hidden(count: int) -> Tensor:
    return latents(1, 5, 5).flatten()[: count * 128].view(1, count, 128)


def influence(model: LightFusion, mask: Tensor, position_ids: Tensor) -> Tensor:
    """(n, n) bool: the row's output changes with the column's input."""
    tower, n = model.understanding, len(mask)
    rotary = tower.rotary(position_ids)
    base, _ = tower.layer(0, hidden(n), rotary, mask, None)
    columns = []
    for token in range(n):
        changed = hidden(n).clone()
        changed[0, token] += 1.0
        columns.append((tower.layer(0, changed, rotary, mask, None)[0] - base)[0].abs().amax(dim=-1) > 0)
    return torch.stack(columns, dim=1)


def through(
    model: LightFusion, x: Tensor, positions: Tensor, mask: Tensor, past: list[KeyValue] | None = None
) -> tuple[list[Tensor], list[KeyValue]]:
    """Every layer's raw output, and its own keys and values."""
    tower, states, made = model.understanding, [], []
    rotary = tower.rotary(positions)
    for index in range(tower.num_layers):
        x, own = tower.layer(index, x, rotary, mask, past[index] if past else None)
        states.append(x)
        made.append(own)
    return states, made


def test_a_layer_follows_its_mask(frozen: LightFusion) -> None:
    """Guards the trap that a layer falls back to causal attention: ViT tokens attend both ways, text and
    a marker pair as the rules say (LIBRARIES: a lost mask costs 43 %)."""
    splits = place([(TokenKind.VIT, 2, 2), (TokenKind.TEXT, 1, 3), (TokenKind.NOISY, 2, 3)])
    mask = vlm_mask(splits)
    und = torch.cat([split.und_position_ids() for split in splits], dim=1)
    assert torch.equal(influence(frozen, mask, und), mask)
    full = torch.ones_like(mask)
    assert torch.equal(influence(frozen, full, und), full)


def test_a_past_equals_the_whole(frozen: LightFusion) -> None:
    """Guards the key-value memory: order, rotary of the new tokens, and a past that is not written to."""
    splits = place([(TokenKind.VIT, 2, 2), (TokenKind.TEXT, 1, 3)])
    tower, positions, mask, x = frozen.understanding, position_ids(splits), vlm_mask(splits), hidden(9)
    states, made = through(frozen, x, positions, mask)
    _, past = through(frozen, x[:, :6], positions[:, :6], mask[:6, :6])
    kept = [(k.clone(), v.clone()) for k, v in past]
    later, own = through(frozen, x[:, 6:], positions[:, 6:], mask[6:], past)
    torch.testing.assert_close(torch.cat(later), torch.cat(states)[:, 6:], rtol=1e-5, atol=1e-5)
    for layer in range(tower.num_layers):
        assert own[layer][0].shape[2] == 3
        torch.testing.assert_close(own[layer][1], made[layer][1][:, :, 6:], rtol=1e-5, atol=1e-5)
        assert torch.equal(past[layer][0], kept[layer][0])


def test_rotary_tables_survive_a_bfloat16_load(tmp_path: Path) -> None:
    """Guards `restore_tables`: a cast of the model rounds them, 1.3 rad off at position 1100."""
    model = LightFusion.load(write_model(tmp_path, vae=False), device="cpu", dtype=torch.bfloat16)
    text = model.understanding.model.language_model
    wanted = 1.0 / 1e6 ** (torch.arange(0, 32, 2, dtype=torch.float32) / 32)
    assert text.rotary_emb.inv_freq.dtype is torch.float32
    torch.testing.assert_close(text.rotary_emb.inv_freq, wanted, rtol=1e-6, atol=0)
    visual = model.understanding.model.visual.rotary_pos_emb
    assert visual.inv_freq.dtype is torch.float32
    assert visual.inv_freq.isfinite().all()
    torch.testing.assert_close(visual.inv_freq, 1e4 ** -(torch.arange(0, 8, 2) / 8), rtol=1e-6, atol=0)


def test_patches_stand_in_merge_order() -> None:
    """Guards rule B23: merge-block row, column, row and column in the block; channel, time, y, x."""
    pixels = reference((2, 3)).vit_pixels
    patches, grid = patchify(pixels, CONFIG.vision)
    assert grid == (4, 6)
    wanted = []
    for block in ((r, c) for r in range(2) for c in range(3)):
        for inner in ((y, x) for y in range(2) for x in range(2)):
            top, left = ((block[a] * 2 + inner[a]) * 14 for a in (0, 1))
            frame = pixels[:, top : top + 14, left : left + 14]
            wanted.append(torch.stack([frame, frame], dim=1).flatten())
    assert torch.equal(patches, torch.stack(wanted))


def test_vision_tokens_come_row_by_row(frozen: LightFusion) -> None:
    """Guards the order of the merged tokens: inside, the tower works window by window."""
    tower, pixels = frozen.understanding, reference((4, 8)).vit_pixels
    out = tower.see(*patchify(pixels, CONFIG.vision))
    assert out.shape == (1, 32, 128)
    for row, column in ((0, 7), (3, 2)):
        changed = pixels.clone()
        changed[:, 28 * row : 28 * row + 28, 28 * column : 28 * column + 28] += 3.0
        shift = (tower.see(*patchify(changed, CONFIG.vision)) - out)[0].norm(dim=-1)
        assert int(shift.argmax()) == 8 * row + column
