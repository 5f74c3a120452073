"""The whole model in one plain forward: every token at every layer, explicit masks, no caches.

What the tests hold the engine's towers, caches and contexts against. Of a loaded model it takes the weights, its
linear layers and norms, and the vision tower; layers of the VLM, Wan blocks, fusion, rotary tables and time are written
here from the rules (B3 to B18), the same for both kinds of checkpoint. Only where tokens stand and what they may see
is the engine's own (`layout.py`), which has tests of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightfusion_core import LightFusion, Reference
from lightfusion_core.generation.fusion import FusionLayer
from lightfusion_core.layout import Split, TokenKind, fusion_mask, is_und, place, position_ids, split_indices, vlm_mask
from lightfusion_core.understanding.vision import patchify

Piece = tuple[TokenKind, object]
"""One split's content: token ids (TEXT), pixels (VIT), or a latent (CLEAN, NOISY)."""


def pieces(texts: Sequence[Sequence[int]], references: Sequence[Reference] = ()) -> list[Piece]:
    """[VAE, ViT] of every reference, then the texts (rule B4)."""
    made: list[Piece] = []
    for reference in references:
        if reference.latent is not None:
            made.append((TokenKind.CLEAN, reference.latent))
        if reference.vit_pixels is not None:
            made.append((TokenKind.VIT, reference.vit_pixels))
    return [*made, *((TokenKind.TEXT, ids) for ids in texts)]


def velocity(model: LightFusion, context: Sequence[Piece], noisy: Tensor, timestep: int) -> Tensor:
    """The velocity (B, C, 1, h, w) of noisy latents, one image at a time."""
    return torch.cat([run(model, [*context, (TokenKind.NOISY, row[None])], timestep).velocity for row in noisy])


def logits(model: LightFusion, context: Sequence[Piece]) -> Tensor:
    """Scores (n, vocabulary) after each of the n tokens of the last split (rule B26)."""
    count = len(context[-1][1])
    hidden = run(model, context).hidden[0, -count:]
    return model.understanding.lm_head(model.understanding.model.language_model.norm(hidden))


@dataclass
class Result:
    """hidden (1, und tokens, width) after the last layer of all; velocity where the last piece is noisy."""

    hidden: Tensor
    velocity: Tensor | None


@torch.no_grad()
def run(model: LightFusion, contents: Sequence[Piece], timestep: int = 0) -> Result:
    """All pieces through all layers (rule B9)."""
    vlm, dit = model.understanding, model.generation
    splits = place([(kind, *_grid(model, kind, content)) for kind, content in contents])
    und, positions = is_und(splits), position_ids(splits)
    sees, vlm_sees = fusion_mask(splits), vlm_mask(splits)
    tables = _rotary_tables(model, positions)

    hidden = torch.cat([_und_input(model, kind, content) for kind, content in contents], dim=1)
    streams = {i: _embed(model, content) for i, (_, content) in enumerate(contents) if splits[i].is_generated}
    clocks = {i: _time(model, timestep if splits[i].kind is TokenKind.NOISY else 0) for i in streams}
    owner = split_indices(splits)[~und]
    learned = dit.text_embedding(dit.vgen_model_cross_att_context)
    und_tables = tuple(table[und] for table in tables)

    for i in range(max(vlm.num_layers, len(dit.blocks))):
        if i < vlm.num_layers:
            hidden = vlm_layer(model, i, hidden, vlm_sees, und_tables)
        if i < len(dit.blocks):
            streams = {
                index: wan_block(model, dit.blocks[i], x, clocks[index][1], splits[index], learned)
                for index, x in streams.items()
            }
        if i < len(dit.mm_attn_layers):
            gen = torch.cat([*streams.values(), torch.empty(1, 0, model.config.dit.dim)], dim=1)
            hidden, gen = fuse(dit.mm_attn_layers[i], hidden, gen, und, sees, tables, dit.coupled)
            streams = {index: gen[:, owner == index] for index in streams}
    if splits[-1].kind is not TokenKind.NOISY:
        return Result(hidden, None)
    last = len(splits) - 1
    return Result(hidden, _head(model, streams[last], clocks[last][0], splits[last]))


def fuse(
    layer: FusionLayer,
    hidden: Tensor,
    gen: Tensor,
    und: Tensor,
    sees: Tensor,
    tables: tuple[Tensor, Tensor],
    coupled: bool,
) -> tuple[Tensor, Tensor]:
    """One fusion layer over the unified sequence (rule B10)."""
    part = layer.mm_attn
    hidden_in, gen_in = layer.llm_norm(hidden), layer.vgen_norm(gen)

    def heads(und_proj: nn.Module | None, gen_proj: nn.Module) -> Tensor:
        unified = torch.zeros(len(und), gen_proj.out_features)
        unified[~und] = gen_proj(gen_in)[0]
        if und_proj is not None:
            unified[und] = und_proj(hidden_in)[0]
        return unified.unflatten(1, (part.heads, -1))  # (tokens, heads, head_dim)

    # a frozen model comes without the und queries: nothing reads what they would attend to
    q = _rotate(part.q_norm(heads(part.q_und_proj if coupled else None, part.q_gen_proj)), tables)
    k = _rotate(part.k_norm(heads(part.k_und_proj, part.k_gen_proj)), tables)
    v = heads(part.v_und_proj, part.v_gen_proj)
    out = _attend(q, k, v, sees)[None]
    if coupled:
        hidden = hidden + part.o_und_proj(out[:, und])
    return hidden, gen + part.o_gen_proj(out[:, ~und])


def vlm_layer(model: LightFusion, index: int, hidden: Tensor, sees: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    """One decoder layer of Qwen2.5-VL over all VLM tokens (rule B13)."""
    layer, text = model.understanding.model.language_model.layers[index], model.config.text
    part = layer.self_attn

    def heads(projection: nn.Module) -> Tensor:
        return projection(x)[0].unflatten(1, (-1, text.head_dim))  # (tokens, heads, head_dim)

    x = _rms(hidden, layer.input_layernorm.weight, text.rms_norm_eps)
    group = text.num_attention_heads // text.num_key_value_heads
    k, v = (t.repeat_interleave(group, dim=1) for t in (_rotate(heads(part.k_proj), tables), heads(part.v_proj)))
    hidden = hidden + part.o_proj(_attend(_rotate(heads(part.q_proj), tables), k, v, sees))[None]
    x = _rms(hidden, layer.post_attention_layernorm.weight, text.rms_norm_eps)
    return hidden + layer.mlp.down_proj(F.silu(layer.mlp.gate_proj(x)) * layer.mlp.up_proj(x))


def wan_block(model: LightFusion, block: nn.Module, x: Tensor, e0: Tensor, split: Split, learned: Tensor) -> Tensor:
    """One Wan block over one image's tokens x (1, N, D) (rules B15, B16)."""
    dit = model.config.dit
    shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (block.modulation + e0)[:, :, None].unbind(1)

    def normed(x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], eps=dit.eps)

    def attention(part: nn.Module, x: Tensor, seen: Tensor, places: Tensor | None) -> Tensor:
        q, k = (_rms(p(y), n.weight, dit.eps) for p, y, n in ((part.q, x, part.norm_q), (part.k, seen, part.norm_k)))
        q, k, v = (y.unflatten(1, (dit.num_heads, -1)) for y in (q, k, part.v(seen)))
        if places is not None:
            q, k = (
                torch.view_as_real(torch.view_as_complex(y.unflatten(-1, (-1, 2))) * places).flatten(-2) for y in (q, k)
            )
        return part.o(_attend(q, k, v, torch.ones(len(q), len(k), dtype=torch.bool)))[None]

    inner = normed(x) * (1 + scale) + shift
    x = x + attention(block.self_attn, inner[0], inner[0], _wan_turns(split, dit.head_dim)) * gate
    x = x + attention(block.cross_attn, block.norm3(x)[0], learned, None)
    inner = block.ffn[0](normed(x) * (1 + ffn_scale) + ffn_shift)
    return x + block.ffn[2](F.gelu(inner, approximate="tanh")) * ffn_gate


def _attend(q: Tensor, k: Tensor, v: Tensor, sees: Tensor) -> Tensor:
    """(queries, heads * head_dim) of q, k, v (tokens, heads, head_dim)."""
    scores = torch.einsum("qhd,khd->hqk", q, k) * q.shape[-1] ** -0.5
    shares = scores.masked_fill(~sees, float("-inf")).softmax(dim=-1)
    return torch.einsum("hqk,khd->qhd", shares, v).flatten(1)


def _rms(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x * (x.pow(2).mean(dim=-1, keepdim=True) + eps).rsqrt() * weight


def _wan_turns(split: Split, head_dim: int) -> Tensor:
    """Unit complex numbers (tokens, 1, head_dim / 2): time, row and column of an image that starts at zero."""
    spatial = 2 * (head_dim // 6)
    sizes = (head_dim - 2 * spatial, spatial, spatial)
    angles = []
    for row in range(split.rows):
        for column in range(split.columns):
            places = zip((0, row, column), sizes, strict=True)
            angles.append([place * 10000.0 ** (-j / size) for place, size in places for j in range(0, size, 2)])
    angle = torch.tensor(angles, dtype=torch.float64)[:, None]
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


def _grid(model: LightFusion, kind: TokenKind, content: object) -> tuple[int, int]:
    """Rows and columns of a piece's tokens; a text is one row."""
    if kind is TokenKind.TEXT:
        return 1, len(content)
    size = model.config.vision.token_size if kind is TokenKind.VIT else model.config.dit.patch_size
    return content.shape[-2] // size, content.shape[-1] // size


def _und_input(model: LightFusion, kind: TokenKind, content: object) -> Tensor:
    """Input embeddings of a piece's VLM tokens."""
    vlm = model.understanding
    if kind is TokenKind.TEXT:
        return vlm.embed(content)
    start, end = (vlm.embed([getattr(model.config.special_tokens, name)]) for name in ("sov_token_id", "eov_token_id"))
    inner = [vlm.see(*patchify(content, model.config.vision))] if kind is TokenKind.VIT else []
    return torch.cat([start, *inner, end], dim=1)


def _rotary_tables(model: LightFusion, positions: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin (tokens, 1, head_dim / 2): frequency j turns with the axis whose section it lies in."""
    text = model.config.text
    half = text.head_dim // 2
    axis = [a for a, length in enumerate(text.mrope_section) for _ in range(length)]
    angles = [positions[axis[j]].float() * (1.0 / text.rope_theta ** (torch.tensor(j) / half)) for j in range(half)]
    angle = torch.stack(angles, dim=-1)[:, None]
    return angle.cos(), angle.sin()


def _rotate(x: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    """x (tokens, heads, head_dim), its first half against its second."""
    cos, sin = tables
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def _embed(model: LightFusion, latent: Tensor) -> Tensor:
    """A latent's tokens, each 2x2 positions with the channel fastest (rule B14)."""
    p = model.config.dit.patch_size
    picture = latent[0, :, 0].permute(1, 2, 0)  # (h, w, channels)
    rows, columns = picture.shape[0] // p, picture.shape[1] // p
    tokens = [picture[r * p : r * p + p, c * p : c * p + p].flatten() for r in range(rows) for c in range(columns)]
    return model.generation.patch_embedding(torch.stack(tokens)[None])


def _time(model: LightFusion, timestep: int) -> tuple[Tensor, Tensor]:
    """e (1, D) and the six vectors e0 (1, 6, D) of an integer timestep (rule B17)."""
    dit = model.generation
    half = model.config.dit.freq_dim // 2
    angle = timestep * 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    e = dit.time_embedding(torch.cat([angle.cos(), angle.sin()])[None].float())
    return e, dit.time_projection(e).view(1, 6, -1)


def _head(model: LightFusion, x: Tensor, e: Tensor, split: Split) -> Tensor:
    """The velocity (1, C, 1, h, w) (rule B18)."""
    head, dit = model.generation.head, model.config.dit
    shift, scale = (head.modulation + e[:, None]).chunk(2, dim=1)
    tokens = head.head(F.layer_norm(x, x.shape[-1:], eps=dit.eps) * (1 + scale) + shift)[0]
    p = dit.patch_size
    out = torch.empty(1, dit.out_dim, 1, split.rows * p, split.columns * p)
    for index, token in enumerate(tokens):
        r, c = divmod(index, split.columns)
        out[0, :, 0, r * p : r * p + p, c * p : c * p + p] = token.view(p, p, -1).permute(2, 0, 1)
    return out
