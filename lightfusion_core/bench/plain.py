"""What the engine is held against: diffusers' Wan transformer, and a joint forward without any cache."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..conditioning import Branch, Conditioning
from ..config import DiTConfig
from ..generation.layers import masked_attention
from ..generation.rope import multimodal_rope, wan_rope
from ..generation.tower import GenerationTower
from ..layout import TokenKind, fusion_mask, is_und, position_ids, split_indices, vlm_mask
from ..understanding.tower import UnderstandingTower
from .presets import random_state
from .timing import Spread, interleaved


def diffusers_wan(dit: DiTConfig, device: torch.device, dtype: torch.dtype) -> Any:
    """diffusers' WanTransformer3DModel of the generation tower's size, with its stock processor."""
    from diffusers import WanTransformer3DModel

    with torch.device("meta"):
        model = WanTransformer3DModel(
            patch_size=(1, dit.patch_size, dit.patch_size),
            num_attention_heads=dit.num_heads,
            attention_head_dim=dit.head_dim,
            in_channels=dit.in_dim,
            out_channels=dit.out_dim,
            text_dim=dit.text_dim,
            freq_dim=dit.freq_dim,
            ffn_dim=dit.ffn_dim,
            num_layers=dit.num_layers,
            cross_attn_norm=True,
            eps=dit.eps,
        )
    kept = tuple(model._keep_in_fp32_modules or ())
    state = random_state(model, device, lambda name: torch.float32 if any(k in name for k in kept) else dtype)
    model.load_state_dict(state, assign=True)
    model.rope = type(model.rope)(dit.head_dim, (1, dit.patch_size, dit.patch_size), 1024).to(device)
    return model.eval().requires_grad_(False)


class JointForward:
    """The model as a plain implementation runs it: at every step the whole sequence through all layers of both
    towers, one branch after another, under a mask. The vision tower alone runs only once.

    Args:
        conditioning: a coupled encoder's, which holds the inputs of the understanding layers.
    """

    def __init__(self, tower: GenerationTower, vlm: UnderstandingTower, conditioning: Conditioning) -> None:
        self.tower, self.vlm, self.conditioning = tower, vlm, conditioning

    @torch.no_grad()
    def __call__(self, x: Tensor, timestep: int, text_guidance: float) -> Tensor:
        """The guided velocity of latents (1, C, 1, h, w)."""
        if self.conditioning.negative is None:
            raise ValueError("The joint forward guides, and needs a negative branch.")
        full = self.velocity(self.conditioning.full, x, timestep)
        negative = self.velocity(self.conditioning.negative, x, timestep)
        return negative + text_guidance * (full - negative)

    @torch.no_grad()
    def velocity(self, branch: Branch, x: Tensor, timestep: int) -> Tensor:
        """One branch: every token of the context and the noisy ones at every layer (rule B9)."""
        vlm, tower, config = self.vlm, self.tower, self.tower.config
        device, patch = x.device, config.dit.patch_size
        target = branch.target(x.shape[-2] // patch, x.shape[-1] // patch)
        splits = [*(segment.split for segment in branch.segments), target]
        und = is_und(splits).to(device)
        owner = split_indices(splits).to(device)[~und]
        positions = position_ids(splits)
        sees, vlm_sees = fusion_mask(splits).to(device)[~und], vlm_mask(splits).to(device)
        cos, sin = multimodal_rope(positions, config.text.mrope_section, config.text.rope_theta, device)
        tables = cos.to(tower.dtype), sin.to(tower.dtype)
        und_rope, gen_rope = ((tables[0][part], tables[1][part]) for part in (und, ~und))
        hidden = torch.cat([*(segment.hidden for segment in branch.segments), branch.markers[0]], dim=1).to(device)
        rotary = vlm.rotary(positions[:, und.cpu()])
        latents = {index: segment.latent for index, segment in enumerate(branch.segments)}
        latents[len(splits) - 1] = x
        streams = {index: tower.embed(latent.to(device)) for index, latent in latents.items() if latent is not None}
        clocks = {i: tower.time(timestep if splits[i].kind is TokenKind.NOISY else 0, device) for i in streams}
        ropes = {i: wan_rope(splits[i].rows, splits[i].columns, config.dit.head_dim, device) for i in streams}
        learned = tower.learned_context(device)
        for i in range(max(vlm.num_layers, len(tower.blocks))):
            if i < vlm.num_layers:
                hidden, _ = vlm.layer(i, hidden, rotary, vlm_sees, None)
            if i < len(tower.blocks):
                block = tower.blocks[i]
                for index, stream in streams.items():
                    keys_values = block.cross_attn.keys_values(learned)
                    streams[index] = block(stream, clocks[index][1], ropes[index], keys_values)
            if i < len(tower.mm_attn_layers):
                layer = tower.mm_attn_layers[i]
                gen = torch.cat(list(streams.values()), dim=1)
                q, *own = layer.gen_queries_keys_values(gen, gen_rope, tower.dtype)
                keys, values = (
                    _unified(u, g, und) for u, g in zip(layer.und_keys_values(hidden, und_rope), own, strict=True)
                )
                gen = layer.add_to_gen(gen, masked_attention(q, keys, values, sees))
                streams = {index: gen[:, owner == index] for index in streams}
        last = len(splits) - 1
        return tower.unfold(tower.head(streams[last], clocks[last][0]), target.rows)


def _unified(und_part: Tensor, gen_part: Tensor, und: Tensor) -> Tensor:
    """Two parts (1, H, n, head_dim) as one in unified order."""
    out = und_part.new_empty(1, und_part.shape[1], len(und), und_part.shape[3])
    out[:, :, und], out[:, :, ~und] = und_part, gen_part
    return out


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of one large matrix product: what the device gives in practice."""
    side = 8192 if device.type == "cuda" else 256
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    times = interleaved({"matmul": lambda: F.linear(a, b)}, 9, device, warmup=3)
    return 2 * side**3 / Spread.of(times["matmul"]).median
