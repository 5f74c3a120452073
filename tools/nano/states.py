"""The understanding tower over whole batches, as training needs it.

The engine runs one request at a time, segment by segment; here many rows run at once, padded on the
right, with gradients where they are wanted. The rules are the same ones (positions, masks, markers).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from lightfusion_core.config import ModelConfig, VisionConfig
from lightfusion_core.generation.rope import apply_half_rope, multimodal_frequencies
from lightfusion_core.layout import Split, TokenKind
from lightfusion_core.understanding.tower import UnderstandingTower
from lightfusion_core.understanding.vision import CLIP_MEAN, CLIP_STD

from .attention import autocast_dtype, bias_of, plain_attention
from .graphs import to_device


class Row:
    """One sequence of VLM tokens: a context, and leaves behind it that do not see each other.

    Every leaf (an answer, the markers of the picture to come) starts where the context ends, so that
    one pass over the context serves several of them.
    """

    def __init__(self, markers: tuple[int, int]) -> None:
        self.markers = markers
        self.splits: list[Split] = []
        self.ids: list[int] = []
        self.positions: list[Tensor] = []
        self.leaf: list[int] = []
        self.part: list[int] = []
        """Which segment a token belongs to, counted from 0."""
        self.both_ways: list[bool] = []
        """Whether all tokens of its segment see each other."""
        self.seen: list[bool] = []
        """Where a ViT feature stands instead of an embedding."""
        self.weight: list[float] = []
        """How much it matters that a token is foreseen."""

    @property
    def end(self) -> int:
        """The next position id of the context."""
        return self.splits[-1].next_start if self.splits else 0

    def text(self, ids: Sequence[int], leaf: int = 0, learn: int | None = None, weight: float = 1.0) -> Row:
        """Append a causal text; from token `learn` on it is to be foreseen."""
        split = Split(TokenKind.TEXT, self.end, 1, len(ids))
        first = len(ids) if learn is None else learn
        return self._add(split, ids, leaf, False, [weight if k >= first else 0.0 for k in range(len(ids))])

    def vit(self, rows: int, columns: int, causal: bool = False) -> Row:
        """Append a picture for the VLM; `causal` in the chat template."""
        split = Split(TokenKind.VIT, self.end, rows, columns)
        return self._add(split, [self.markers[0], *[0] * (rows * columns), self.markers[1]], 0, not causal)

    def clean(self, rows: int, columns: int) -> Row:
        """Append the two markers of a picture for the generation tower."""
        return self._add(Split(TokenKind.CLEAN, self.end, rows, columns), self.markers, 0, True)

    def target(self, rows: int, columns: int, leaf: int = 1) -> Row:
        """Append the two markers of the picture to come."""
        return self._add(Split(TokenKind.NOISY, self.end, rows, columns), self.markers, leaf, True)

    def _add(
        self, split: Split, ids: Sequence[int], leaf: int, both_ways: bool, weight: list[float] | None = None
    ) -> Row:
        count = len(ids)
        if leaf == 0:
            self.splits.append(split)
        self.ids += ids
        self.leaf += [leaf] * count
        self.part += [len(self.positions)] * count
        self.both_ways += [both_ways] * count
        self.positions.append(split.und_position_ids())
        self.seen += [split.kind is TokenKind.VIT and 0 < k < count - 1 for k in range(count)]
        self.weight += weight or [0.0] * count
        return self


class Rows:
    """A batch of rows, padded on the right: tensors (B, n), `positions` (B, 3, n), `mask` (B, 1, n, n)."""

    def __init__(self, rows: Sequence[Row], step: int = 1) -> None:
        """`step`: the padded length is a multiple of it."""
        longest = -(-max(len(row.ids) for row in rows) // step) * step
        self.ids = _padded([row.ids for row in rows], longest)
        self.part = _padded([row.part for row in rows], longest)
        self.seen = _padded([row.seen for row in rows], longest).bool()
        self.weight = _padded([row.weight for row in rows], longest)
        leaf = _padded([row.leaf for row in rows], longest)
        both_ways = _padded([row.both_ways for row in rows], longest).bool()
        positions = [torch.cat(row.positions, dim=1) for row in rows]
        self.positions = torch.stack([F.pad(one, (0, longest - one.shape[1])) for one in positions])
        lengths = torch.tensor([len(row.ids) for row in rows])
        order = torch.arange(longest)
        self.valid = order < lengths[:, None]
        earlier = order <= order[:, None]
        together = (self.part[:, :, None] == self.part[:, None, :]) & both_ways[:, :, None]
        known = (leaf[:, None, :] == 0) | (leaf[:, None, :] == leaf[:, :, None])
        self.mask = ((earlier | together) & known & self.valid[:, None, :])[:, None]
        self.context = (leaf == 0) & self.valid
        """Where the rows' contexts are, without their leaves and the padding."""
        self.last_two = lengths[:, None] + torch.tensor([-2, -1])
        """Where the target's markers are, if they were appended last."""

    def run(self, tower: UnderstandingTower, features: Tensor | None) -> list[Tensor]:
        """Every layer's raw output (B, n, width). `features` (pictures, tokens, width) of all rows' pictures. The rows
        move to the tower's device."""
        to_device(self, tower.model.language_model.embed_tokens.weight.device)
        hidden = tower.model.language_model.embed_tokens(self.ids)
        if features is not None:
            hidden = hidden.masked_scatter(self.seen[:, :, None], features.to(hidden.dtype))
        return run_layers(tower, hidden, self.positions.transpose(0, 1), self.mask)

    def foreseen(self, tower: UnderstandingTower, last: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores (m, vocabulary) of the tokens to foresee, their ids and weights (m,)."""
        wanted = self.weight[:, 1:] > 0
        return tower.logits(last[:, :-1][wanted]).float(), self.ids[:, 1:][wanted], self.weight[:, 1:][wanted]


def _padded(rows: Sequence[Sequence[float]], longest: int) -> Tensor:
    return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])


@cache
def _resize(before: int, after: int, device: torch.device) -> Tensor:
    """Antialiased bicubic resizing of one axis as a matrix (after, before)."""
    eye = torch.eye(before)[None, None]
    return F.interpolate(eye, (after, before), mode="bicubic", antialias=True)[0, 0].to(device)


@cache
def _clip_statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(one, device=device).view(1, -1, 1, 1) for one in (CLIP_MEAN, CLIP_STD))
    return mean, std


@cache
def _vision_angles(rows: int, columns: int, merge: int, head: int, device: torch.device) -> Tensor:
    """The rotary angles (n, head) of patches in the order of `vit_patches`."""
    place = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), dim=-1)
    place = place.reshape(rows // merge, merge, columns // merge, merge, 2).transpose(1, 2).reshape(-1, 2)
    frequency = 1.0 / 10000.0 ** (torch.arange(0, head // 2, 2).float() / (head // 2))
    angle = (place[:, :, None] * frequency).flatten(1)
    return torch.cat([angle, angle], dim=-1).to(device)


def vit_patches(pictures: Tensor, config: ModelConfig) -> tuple[Tensor, tuple[int, int]]:
    """Square pictures (B, H, W, 3) in 0..1 to flattened patches (B, n, numbers) and their grid."""
    side = round(pictures.shape[1] / config.vit_image.stride) * config.vit_image.stride
    matrix = _resize(pictures.shape[1], side, pictures.device)
    resized = (matrix @ pictures.permute(0, 3, 1, 2) @ matrix.T).clamp(0, 1)
    mean, std = _clip_statistics(pictures.device)
    pixels = (resized - mean) / std
    return _patchify(pixels, config.vision), (side // config.vision.patch_size,) * 2


def _patchify(pixels: Tensor, config: VisionConfig) -> Tensor:
    """`vision.patchify` for a batch (B, 3, H, W)."""
    size, merge = config.patch_size, config.spatial_merge_size
    frames = pixels.unsqueeze(2).expand(-1, -1, config.temporal_patch_size, -1, -1)
    return rearrange(
        frames,
        "b c t (gh mh ph) (gw mw pw) -> b (gh gw mh mw) (c t ph pw)",
        mh=merge, mw=merge, ph=size, pw=size,
    )  # fmt: skip


def see(tower: UnderstandingTower, patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """Patches (B, n, numbers) of pictures of one size to merged features (B, n / 4, width).

    transformers' own tower loops over the pictures. Nano's vision blocks all attend fully, so they run
    on the batch as it is; the result is the same.
    """
    visual = tower.model.visual
    merge = visual.spatial_merge_size
    head = tower.config.vision.hidden_size // tower.config.vision.num_heads
    angle = _vision_angles(*grid, merge, head, patches.device)
    dtype = autocast_dtype(patches)
    rope = (angle.cos().to(dtype), angle.sin().to(dtype))
    batch, count = patches.shape[:2]
    # the convolution as the matrix product that it is: far faster backwards
    hidden = F.linear(patches, visual.patch_embed.proj.weight.flatten(1))
    for block in visual.blocks:
        normed = _normal(block.norm1, hidden).to(dtype)
        q, k, v = block.attn.qkv(normed).view(batch, count, 3, -1, head).permute(2, 0, 3, 1, 4)
        attended = plain_attention(apply_half_rope(q, rope), apply_half_rope(k, rope), v)
        hidden = hidden + block.attn.proj(attended.transpose(1, 2).flatten(2))
        hidden = hidden + block.mlp(_normal(block.norm2, hidden).to(dtype))
    return visual.merger(hidden).view(batch, count // merge**2, -1)


def run_layers(tower: UnderstandingTower, hidden: Tensor, positions: Tensor, mask: Tensor) -> list[Tensor]:
    """Every layer's raw output (B, n, width) for input embeddings (B, n, width): the layers of transformers
    written out, with fewer casts and plain attention.

    Args:
        positions: (3, B or 1, n). mask: (B or 1, 1, n, n), True where a row may attend.
    """
    text, config = tower.model.language_model, tower.config.text
    dtype = autocast_dtype(hidden)
    cos, sin = batch_rope(positions, tower.config)
    rope, bias = (cos.to(dtype), sin.to(dtype)), bias_of(mask, dtype)
    heads = (*hidden.shape[:2], -1, config.hidden_size // config.num_attention_heads)
    states = []
    for layer in text.layers:
        attention, mlp = layer.self_attn, layer.mlp
        x = _normal(layer.input_layernorm, hidden).to(dtype)
        parts = (attention.q_proj(x), attention.k_proj(x), attention.v_proj(x))
        q, k, v = (part.view(heads).transpose(1, 2) for part in parts)
        attended = plain_attention(apply_half_rope(q, rope), apply_half_rope(k, rope), v, bias)
        hidden = hidden + attention.o_proj(attended.transpose(1, 2).flatten(2))
        x = _normal(layer.post_attention_layernorm, hidden).to(dtype)
        hidden = hidden + mlp.down_proj(F.silu(mlp.gate_proj(x)) * mlp.up_proj(x))
        states.append(hidden)
    return states


def _normal(norm: Any, x: Tensor) -> Tensor:
    """One of transformers' RMS norms, in one operation."""
    return F.rms_norm(x.float(), x.shape[-1:], norm.weight, norm.variance_epsilon)


def batch_rope(positions: Tensor, config: ModelConfig) -> tuple[Tensor, Tensor]:
    """The VLM's and the fusion's tables (B, 1, n, head_dim) for positions (3, B, n), as the engine's `multimodal_rope`
    has them, on the device where the positions are."""
    frequency, axis = _rope_frequencies(config.text.mrope_section, config.text.rope_theta, positions.device)
    angle = positions[axis].movedim(0, -1).float() * frequency
    angle = torch.cat([angle, angle], dim=-1)[:, None]
    return angle.cos(), angle.sin()


@cache
def _rope_frequencies(sections: tuple[int, ...], theta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    frequency, axis = multimodal_frequencies(sections, theta)
    return frequency.to(device), axis.to(device)
