"""The understanding tower over whole batches, as training needs it.

The engine runs one request at a time, segment by segment; here many rows run at once, padded on the
right, with gradients where they are wanted. The rules are the same ones (positions, masks, markers).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lightfusion_core.config import ModelConfig
from lightfusion_core.generation.rope import apply_half_rope
from lightfusion_core.understanding.tower import UnderstandingTower
from lightfusion_core.understanding.vision import CLIP_MEAN, CLIP_STD, patchify


def vit_patches(pictures: Tensor, config: ModelConfig) -> tuple[Tensor, tuple[int, int]]:
    """Square pictures (B, H, W, 3) in 0..1 to flattened patches (B, n, numbers) and their grid."""
    side = round(pictures.shape[1] / config.vit_image.stride) * config.vit_image.stride
    pixels = ((pictures - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_STD)).permute(0, 3, 1, 2)
    pixels = F.interpolate(pixels, (side, side), mode="bicubic", antialias=True)
    parts = [patchify(one, config.vision) for one in pixels]
    return torch.stack([patches for patches, _ in parts]), parts[0][1]


def see(tower: UnderstandingTower, patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """Patches (B, n, numbers) of pictures of one size to merged features (B, n / 4, width).

    transformers' own tower loops over the pictures. Nano's vision blocks all attend fully, so they run
    on the batch as it is; the result is the same.
    """
    visual = tower.model.visual
    rows, columns = grid
    place = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), dim=-1)
    merge = visual.spatial_merge_size
    place = place.reshape(rows // merge, merge, columns // merge, merge, 2).transpose(1, 2).reshape(-1, 2)
    head = tower.config.vision.hidden_size // tower.config.vision.num_heads
    frequency = 1.0 / 10000.0 ** (torch.arange(0, head // 2, 2).float() / (head // 2))
    angle = (place[:, :, None] * frequency).flatten(1)
    angle = torch.cat([angle, angle], dim=-1)
    rope = (angle.cos(), angle.sin())
    batch, count = patches.shape[:2]
    # the convolution as the matrix product that it is: far faster backwards
    hidden = F.linear(patches, visual.patch_embed.proj.weight.flatten(1))
    for block in visual.blocks:
        normed = block.norm1(hidden)
        q, k, v = block.attn.qkv(normed).view(batch, count, 3, -1, head).permute(2, 0, 3, 1, 4)
        q, k = apply_half_rope(q, rope), apply_half_rope(k, rope)
        attended = F.scaled_dot_product_attention(q, k, v)
        hidden = hidden + block.attn.proj(attended.transpose(1, 2).flatten(2))
        hidden = hidden + block.mlp(block.norm2(hidden))
    return visual.merger(hidden).view(batch, count // merge**2, -1)


def run_layers(tower: UnderstandingTower, hidden: Tensor, positions: Tensor, mask: Tensor) -> list[Tensor]:
    """Every layer's raw output (B, n, width) for input embeddings (B, n, width).

    Args:
        positions: (3, B or 1, n). mask: (B or 1, 1, n, n), True where a row may attend.
    """
    text = tower.model.language_model
    rotary = text.rotary_emb(hidden, positions)
    states = []
    for layer in text.layers:
        output = layer(hidden, attention_mask=mask, position_embeddings=rotary)
        hidden = output if isinstance(output, Tensor) else output[0]
        states.append(hidden)
    return states


def padded(rows: list[list[int]], fill: int = 0) -> tuple[Tensor, Tensor]:
    """Token ids (B, longest) padded on the right, and each row's length (B,)."""
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.full((len(rows), int(lengths.max())), fill)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
    return ids, lengths
