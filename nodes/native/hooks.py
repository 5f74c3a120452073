"""ComfyUI's model patches as hooks of a step, and word of those that nothing in this network calls.

What acts is what acts on the host's own Wan: the attention override, whole blocks replaced or followed by a
call ("double_block"), attention patches in Wan's form. Beyond it, what guidance by attention needs: self-attention
replaced in the "middle", and patches of the attention's output, which here is where the prompt is read.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from einops import rearrange
from torch import Tensor

from ...lightfusion_core.generation.hooks import BlockAttention, RunBlock, StepHooks
from ...lightfusion_core.generation.layers import Attention
from ...lightfusion_core.generation.rope import AS_TRAINED, Rope, Stretch

OVERRIDE = "optimized_attention_override"
_READ = (OVERRIDE, "patches", "patches_replace")
_OF_OTHER_MODELS = {
    "a2v_cross_attn": "LTXVModalityGuidance",
    "animate2_cache": "WanAnimate2Cache",
    "chroma_radiance_options": "ChromaRadianceOptions",
    "stg_self_attn_blocks": "LTXVSpatioTemporalGuidance",
}
"""Options that only another model reads, and the nodes that set them."""
Options = dict[str, Any]
"""The host's `transformer_options` of one call."""


def hooks_of(options: Options, attention: Callable[..., Tensor], blocks: int) -> HostHooks | None:
    """The hooks of one call of the network; None where nothing is patched."""
    return HostHooks(options, attention, blocks) if patched_inside(options) else None


def patched_inside(options: Options) -> bool:
    """Whether anything is called inside of blocks or in place of them."""
    return any(options.get(name) for name in _READ)


def attention_hooks(options: Options, attention: Callable[..., Tensor]) -> StepHooks | None:
    """The attention override alone, for what is read once a run; None where there is none."""
    return StepHooks(partial(attention, options=options)) if OVERRIDE in options else None


def stretch_of(options: Options) -> Stretch:
    """Where the host's `rope_options` place the picture's tokens."""
    found = options.get("rope_options")
    if not found:
        return AS_TRAINED
    scale, shift = (
        tuple(float(found.get(f"{what}_{axis}", default)) for axis in "tyx")
        for what, default in (("scale", 1.0), ("shift", 0.0))
    )
    return Stretch(scale, shift)


def unused_patches(options: Options, hooks: HostHooks | None) -> list[str]:
    """The names of what a patched MODEL asks for and nothing here does."""
    names = [] if hooks is None else list(hooks.unused())
    if stretch_of(options).scale[0] != 1:
        names.append("ScaleROPE (scale_t)")
    return [*names, *(f"{node} ({name})" for name, node in _OF_OTHER_MODELS.items() if name in options)]


class HostHooks(StepHooks):
    """The patches of one call of the network.

    Args:
        options: the host's transformer options, in which patches find where they are called from.
        attention: attention(q, k, v, options=...) of the host.
        blocks: how many blocks the network has.
    """

    def __init__(self, options: Options, attention: Callable[..., Tensor], blocks: int) -> None:
        super().__init__(partial(attention, options=options))
        self.options, self.blocks = options, blocks
        patches = options.get("patches", {})
        self.after_attention = [patch for patch in patches.get("attn1_patch", ()) if _takes_one_argument(patch)]
        self.after_block = patches.get("double_block", ())
        self.on_output = _output_patches(patches)
        replaced = options.get("patches_replace", {})
        self.replaced, self.replaced_attention = replaced.get("dit", {}), replaced.get("attn1", {})
        options["total_blocks"], options["block_type"] = blocks, "double"

    def block(self, layer: int, stream: Tensor, modulation: Tensor, rope: Rope, run: RunBlock) -> Tensor:
        self.options["block_index"], self.options["block"] = layer, ("double_block", layer)
        replace = self.replaced.get(("double_block", layer))
        if replace is None:
            stream = super().block(layer, stream, modulation, rope, run)
        else:

            def original(given: dict[str, Any]) -> dict[str, Any]:
                return {**given, "img": run(given["img"], given["vec"], given["pe"], self.block_attention(layer))}

            given = {"img": stream, "txt": None, "vec": modulation, "pe": rope, "transformer_options": self.options}
            stream = replace(given, {"original_block": original})["img"]
        for patch in self.after_block:
            given = {"img": stream, "vec": modulation, "block_index": layer, "img_offset": 0}
            stream = patch({**given, "transformer_options": self.options})["img"]
        return stream

    def block_attention(self, layer: int) -> BlockAttention:
        return partial(self._inside, self._replacement(layer)), self._on_shared()

    def fusion_attention(self, layer: int) -> Attention:
        return self._on_shared()

    def fused(self, layer: int, attended: Tensor) -> Tensor:
        for patch in self.on_output:
            attended = _split(patch(_merged(attended), self._extra(attended)), attended)
        return attended

    def _inside(self, replacement: Callable[..., Tensor] | None, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Self-attention with its patches."""
        if replacement is None:
            out = self.attention(q, k, v)
        else:
            out = _split(replacement(_merged(q), _merged(k), _merged(v), self._extra(q)), q)
        for patch in self.after_attention:
            heads = {"q": q.transpose(1, 2), "k": k.transpose(1, 2)}
            out = _split(patch({"x": _merged(out), **heads, "transformer_options": self.options}), q)
        return out

    def _on_shared(self) -> Attention:
        """The attention where keys and values are the run's: an override may write into what it is given."""
        if OVERRIDE not in self.options:
            return self.attention
        return lambda q, k, v: self.attention(q, k.clone(), v.clone())

    def _replacement(self, layer: int) -> Callable[..., Tensor] | None:
        names = [("double_block", layer)]
        if layer == self.blocks // 2:
            names += [("middle", 0), ("middle", 0, 0)]
        return next((self.replaced_attention[name] for name in names if name in self.replaced_attention), None)

    def _extra(self, heads: Tensor) -> Options:
        return {**self.options, "n_heads": heads.shape[1], "dim_head": heads.shape[3], "attn_precision": None}

    def unused(self) -> Iterator[str]:
        """Each patch that this network never calls, by the node that made it and what it patches."""
        called = {id(patch) for patch in (*self.after_attention, *self.after_block, *self.on_output)}
        for name, patches in self.options.get("patches", {}).items():
            for patch in patches:
                if id(patch) not in called:
                    yield f"{_maker(patch)} ({name})"
        for kind, table in self.options.get("patches_replace", {}).items():
            for place, patch in table.items():
                if not self._is_called(kind, place):
                    yield f"{_maker(patch)} ({kind}: {' '.join(str(part) for part in place)})"

    def _is_called(self, kind: str, place: tuple[Any, ...]) -> bool:
        if place[0] == "double_block":
            return kind in ("dit", "attn1") and place[1] < self.blocks
        if kind == "dit" and place[0] == "single_block":  # one node names both kinds, for networks that have them
            return any(self._is_called(kind, other) for other in self.replaced if other[0] == "double_block")
        return kind == "attn1" and place in (("middle", 0), ("middle", 0, 0))


def _output_patches(patches: dict[str, list[Any]]) -> list[Any]:
    """The patches of an attention's output, but for those that undo what the same node does to its input."""
    makers = {_maker(patch) for patch in patches.get("attn1_patch", ()) if not _takes_one_argument(patch)}
    return [patch for patch in patches.get("attn1_output_patch", ()) if _maker(patch) not in makers]


def _takes_one_argument(patch: Callable[..., Any]) -> bool:
    """Whether an attention patch has Wan's form, patch({...}), and not the U-Net's, patch(q, k, v, options)."""
    try:
        parameters = inspect.signature(patch).parameters.values()
    except (TypeError, ValueError):  # a callable that does not tell
        return False
    needed = [p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(needed) == 1


def _maker(patch: Any) -> str:
    """The name of what made a patch: a node's class, since most are functions inside of its method."""
    while isinstance(patch, partial):
        patch = patch.func
    return getattr(patch, "__qualname__", type(patch).__qualname__).split(".")[0]


def _merged(heads: Tensor) -> Tensor:
    return rearrange(heads, "b h l d -> b l (h d)")


def _split(merged: Tensor, like: Tensor) -> Tensor:
    return rearrange(merged, "b l (h d) -> b h l d", h=like.shape[1])
