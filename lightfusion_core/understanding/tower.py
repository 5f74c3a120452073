"""The understanding tower: Qwen2.5-VL's own layers from transformers, run one by one (rule B13).

transformers' classes are used as they are; what is ours is the mask (ViT tokens attend both ways), the
order, and that every layer's raw output is kept. Both major versions of transformers that are
supported differ in what a layer returns and in the form of its position embeddings: the differences
end in this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..config import ModelConfig, TextConfig, VisionConfig
from ..errors import CapabilityError
from ..generation.layers import KeyValue, Layers


class UnderstandingTower(nn.Module):
    """Qwen2.5-VL under transformers' present names: `model.visual`, `model.language_model`, `lm_head`.

    Args:
        config: the model's sizes.
        layers: leaf layers to build with, see `generation/layers.py`; None for torch's own.
        with_lm_head: False for weights without the output projection (they cannot answer).
    """

    model: Any  # transformers' classes, whose attributes torch's types do not know
    runs_on: torch.device | None = None
    """Where it runs, for weights that lie elsewhere until they are used; None: where they are."""

    def __init__(self, config: ModelConfig, *, layers: Layers | None = None, with_lm_head: bool = True) -> None:
        super().__init__()
        self.config = config
        self.model = nn.Module()
        self.model.visual = _vision_model(config.vision)
        self.model.language_model = _text_model(config.text)
        linear = layers.Linear if layers else nn.Linear
        self.lm_head = linear(config.text.hidden_size, config.text.vocab_size, bias=False) if with_lm_head else None
        if layers is not None:
            use_layers(self.model, layers)

    @property
    def num_layers(self) -> int:
        return len(self.model.language_model.layers)

    @property
    def dtype(self) -> torch.dtype:
        return self.model.language_model.norm.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.runs_on or self.model.language_model.norm.weight.device

    def restore_tables(self) -> None:
        """Make the rotary tables anew in float32: a build without allocation leaves them empty, and a
        cast of the whole model rounds them."""
        text = self.model.language_model
        text.rotary_emb = type(text.rotary_emb)(config=text.config)
        for layer in text.layers:
            if hasattr(layer.self_attn, "rotary_emb"):  # transformers 4: a table a layer, never read
                layer.self_attn.rotary_emb = text.rotary_emb
        visual, config = self.model.visual, self.config.vision
        table = type(visual.rotary_emb) if hasattr(visual, "rotary_emb") else type(visual.rotary_pos_emb)
        try:
            visual.rotary_pos_emb = table(visual.config)
        except TypeError:  # transformers 4 takes the table's width
            visual.rotary_pos_emb = table(config.hidden_size // config.num_heads // 2)
        text.rotary_emb.to(self.device)
        visual.rotary_pos_emb.to(self.device)

    def embed(self, ids: Sequence[int]) -> Tensor:
        """Token ids to input embeddings (1, n, width)."""
        rows = self.model.language_model.embed_tokens(torch.tensor([list(ids)], device=self.device))
        return rows.to(self.dtype)  # the table may be held in less than what is computed in

    def see(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """Flattened patches (n, numbers) of one image with a grid of (rows, columns) patches to merged
        features (1, n / 4, width), row-major."""
        grid_thw = torch.tensor([[1, *grid]], device=self.device)
        features = self.model.visual(patches.to(self.device, self.dtype), grid_thw=grid_thw)
        if not isinstance(features, Tensor):  # transformers 5 wraps them
            features = features.pooler_output
        return features.unsqueeze(0)

    def rotary(self, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Position embeddings for ids (3, n), in the form that this transformers' layers take."""
        text = self.model.language_model
        like = torch.empty((), dtype=self.dtype, device=self.device)
        return text.rotary_emb(like, position_ids.to(self.device).unsqueeze(1))

    def layer(
        self, index: int, hidden: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor, past: KeyValue | None
    ) -> tuple[Tensor, KeyValue]:
        """Run decoder layer `index`.

        Args:
            hidden: (1, n, width).
            rotary: of `rotary` for the n tokens.
            mask: (n, past + n) bool, True where a token may attend. Always given: without one the layer
                would attend causally.
            past: keys and values (1, kv heads, past, head_dim) of the tokens before, or None.

        Returns:
            The raw output (1, n, width), and the n tokens' own keys (after rotary) and values.
        """
        memory = _Memory(past)
        # by place: the fourth is `past_key_values` until transformers 5.23 and `cache` from 5.24 on
        output = self.model.language_model.layers[index](
            hidden, mask[None, None], None, memory, position_embeddings=rotary, use_cache=True
        )
        output = output if isinstance(output, Tensor) else output[0]  # transformers 4 returns a tuple
        if output.shape != hidden.shape:
            raise RuntimeError(f"A Qwen2.5-VL layer returned {tuple(output.shape)} for {tuple(hidden.shape)}.")
        return output, memory.own

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the next token (1, n, vocabulary) from the last layer's output (1, n, width).

        Raises:
            CapabilityError: the weights came without `lm_head`.
        """
        if self.lm_head is None:
            raise CapabilityError(
                "This understanding model came without lm_head.weight, so it conditions pictures but cannot answer; "
                "load a complete Qwen2.5-VL for text answers."
            )
        return self.lm_head(self.model.language_model.norm(hidden))


class _Memory:
    """The cache of one layer call: gives the past, keeps what the call adds apart from it,
    so that branches can share a past without copying it."""

    def __init__(self, past: KeyValue | None) -> None:
        self.past = past

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: object, **__: object) -> KeyValue:
        self.own = (keys, values)
        if self.past is None:
            return self.own
        return torch.cat([self.past[0], keys], dim=2), torch.cat([self.past[1], values], dim=2)


def _text_model(config: TextConfig) -> nn.Module:
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLTextModel

    settings = Qwen2_5_VLTextConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        max_position_embeddings=config.max_position_embeddings,
        rms_norm_eps=config.rms_norm_eps,
        rope_theta=config.rope_theta,
        rope_scaling={"type": "mrope", "mrope_section": list(config.mrope_section)},
        use_sliding_window=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    # the attention is named: a bare configuration falls back to eager, which takes other masks
    return Qwen2_5_VLTextModel._from_config(settings, attn_implementation="sdpa")


def _vision_model(config: VisionConfig) -> nn.Module:
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

    settings = Qwen2_5_VLVisionConfig(
        depth=config.depth,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_heads=config.num_heads,
        in_channels=config.in_channels,
        patch_size=config.patch_size,
        temporal_patch_size=config.temporal_patch_size,
        spatial_merge_size=config.spatial_merge_size,
        window_size=config.window_size,
        out_hidden_size=config.out_hidden_size,
        fullatt_block_indexes=list(config.fullatt_block_indexes),
    )
    return Qwen2_5_VisionTransformerPretrainedModel._from_config(settings, attn_implementation="sdpa")


def use_layers(module: nn.Module, layers: Layers) -> None:
    """Put `layers`' classes in place of a library model's plain linear, convolution and embedding layers."""
    for name, child in module.named_children():
        made = None
        if type(child) is nn.Linear:
            made = layers.Linear(child.in_features, child.out_features, bias=child.bias is not None)
        elif type(child) is nn.Embedding:
            made = layers.Embedding(child.num_embeddings, child.embedding_dim)
        elif type(child) is nn.Conv3d:
            made = layers.Conv3d(
                child.in_channels,
                child.out_channels,
                kernel_size=child.kernel_size,
                stride=child.stride,
                padding=child.padding,
                bias=child.bias is not None,
            )
        if made is None:
            use_layers(child, layers)
        else:
            setattr(module, name, made)
