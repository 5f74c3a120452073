"""The context of one sampling run: every key and value that no step changes (rules B11, B12, B16).

Built once from conditionings, dropped at the end of the run. A frozen model's context comes from the
layer states that the conditioning holds. A coupled model's (`o_und_proj` not zero) runs the VLM's and
the DiT's layers interleaved while it is built, and its target markers run at every step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from ..conditioning import Branch, Segment
from ..config import TIMESTEPS, ModelConfig
from ..layout import Split
from .fusion import FusionLayer
from .hooks import StepHooks
from .layers import KeyValue, masked_attention
from .rope import AS_TRAINED, Rope, Stretch, multimodal_rope, wan_rope

if TYPE_CHECKING:
    from .tower import GenerationTower


class VLMLayers(Protocol):
    """What a coupled model needs of the understanding tower."""

    @property
    def num_layers(self) -> int: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def rotary(self, position_ids: Tensor) -> Any:
        """Position embeddings for ids (3, n), to hand to `layer`."""

    def layer(
        self, index: int, hidden: Tensor, rotary: Any, mask: Tensor, past: KeyValue | None
    ) -> tuple[Tensor, KeyValue]:
        """Run one layer on hidden (1, n, width); mask (n, past + n); returns it and its own keys, values."""


@dataclass(eq=False, slots=True)
class SegmentKeys:
    """A run of the context's tokens, in unified order: its fusion keys and values for every fusion
    layer, and for a coupled model the VLM's own for every VLM layer and the last hidden state."""

    fusion: list[KeyValue]
    vlm: list[KeyValue]
    hidden: Tensor | None = None

    @classmethod
    def join(cls, parts: Sequence[SegmentKeys]) -> SegmentKeys | None:
        """Several runs as one; None for no run."""
        if len(parts) < 2:
            return parts[0] if parts else None
        return cls(
            [_concat(layer) for layer in zip(*(part.fusion for part in parts), strict=True)],
            [_concat(layer) for layer in zip(*(part.vlm for part in parts), strict=True)],
            parts[-1].hidden,
        )


def _concat(pairs: Iterable[KeyValue]) -> KeyValue:
    keys, values = zip(*pairs, strict=True)
    return torch.cat(keys, dim=2), torch.cat(values, dim=2)


class Room:
    """Where the keys and values of branches lie while they are attended to, one branch after another, for every fusion
    layer (1, H, tokens, head_dim).

    It begins with the tokens that its branches share, those of references. Behind them each branch in turn puts its own
    tokens, and room for the noisy ones is left.

    Args:
        shared: the segments that they share; from then on their keys and values are views into the room.
        layers, like: how many fusion layers, and an empty tensor of the shape (1, H, 0, head_dim), of which the room
            takes heads, width, dtype and device.
    """

    def __init__(self, shared: Sequence[SegmentKeys], layers: int, like: Tensor) -> None:
        self.shared = list(shared)
        self.prefix = sum(part.fusion[0][0].shape[2] for part in self.shared) if layers else 0
        self.branches = 0
        self.keys = [like] * layers
        self.values = [like] * layers

    def reserve(self, tokens: int) -> None:
        """Have room for so many tokens. Layer by layer, so that at no time there are two of it."""
        for layer, old in enumerate(self.keys):
            if old.shape[2] >= tokens:
                continue
            keys, values = (old.new_empty(*old.shape[:2], tokens, old.shape[3]) for _ in range(2))
            start = 0
            for part in self.shared:
                k, v = part.fusion[layer]
                place = slice(start, start := start + k.shape[2])
                keys[:, :, place], values[:, :, place] = k, v
                part.fusion[layer] = keys[:, :, place], values[:, :, place]
            self.keys[layer], self.values[layer] = keys, values

    def put(self, layer: int, start: int, pair: KeyValue) -> int:
        """Write tokens from place `start` on; gives the place behind them."""
        end = start + pair[0].shape[2]
        self.keys[layer][:, :, start:end], self.values[layer][:, :, start:end] = pair
        return end

    def read(self, layer: int, start: int, end: int) -> KeyValue:
        """The tokens from place `start` to before `end`."""
        return self.keys[layer][:, :, start:end], self.values[layer][:, :, start:end]


@dataclass(eq=False, slots=True)
class BranchContext:
    """One branch's fusion keys and values: S + 2 + N tokens, in every fusion layer.

    The S context tokens come first, then the target's two markers, then its N noisy tokens, which every step writes
    before it attends. (A coupled model writes the markers too.)

    first: where in the room they begin. own: all that is not shared and that no step changes. tokens: how many steps
    write.
    """

    branch: Branch
    room: Room
    first: int
    own: list[KeyValue]
    tokens: int
    rope: Rope
    markers: TargetMarkers | None

    @property
    def length(self) -> int:
        """S + 2 + N."""
        own = self.own[0][0].shape[2] if self.own else 0
        return self.room.prefix - self.first + own + self.tokens

    def lay(self) -> None:
        """Put its own tokens into the room."""
        for layer, own in enumerate(self.own):
            self.room.put(layer, self.room.prefix, own)

    def held(self, layer: int) -> KeyValue:
        """All keys and values (1, H, S + 2 + N, head_dim), the noisy ones as the last step left them there."""
        return self.room.read(layer, self.first, self.first + self.length)

    def complete(self, layer: int, k: Tensor, v: Tensor) -> KeyValue:
        """Write this step's last tokens (1, H, n, head_dim) and return all keys and values."""
        room = self.room
        if torch.is_grad_enabled():  # rows that share a room would write over what the way back still needs
            return _concat([room.read(layer, self.first, room.prefix), self.own[layer], (k, v)])
        own = self.own[layer]
        if room.branches > 1:
            room.put(layer, room.prefix, own)
        end = room.put(layer, room.prefix + own[0].shape[2], (k, v))
        return room.read(layer, self.first, end)


class TargetMarkers:
    """The target's two marker tokens in a coupled model, where they depend on the noise: they run
    through the VLM's layers and through fusion at every step."""

    def __init__(self, vlm: VLMLayers, split: Split, embeddings: Tensor, past: SegmentKeys | None, rope: Rope) -> None:
        self.vlm, self.embeddings, self.rope = vlm, embeddings, rope
        self.hidden = embeddings
        self.past: list[KeyValue | None] = list(past.vlm) if past else [None] * vlm.num_layers
        self.rotary = vlm.rotary(split.und_position_ids())
        seen = past.vlm[0][0].shape[2] if past else 0
        self.mask = torch.ones(2, seen + 2, dtype=torch.bool, device=embeddings.device)

    def start(self) -> TargetMarkers:
        """A fresh stream for one row of one step (rows that share a branch must not share it)."""
        row = copy(self)
        row.hidden = self.embeddings
        return row

    def run_layer(self, index: int) -> None:
        """VLM layer `index`, where there is one."""
        if index < self.vlm.num_layers:
            self.hidden, _ = self.vlm.layer(index, self.hidden, self.rotary, self.mask, self.past[index])

    def join(self, layer: FusionLayer, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Put the markers' queries, keys and values before the noisy tokens'."""
        own_k, own_v = layer.und_keys_values(self.hidden, self.rope)
        own_q = layer.und_queries(self.hidden, self.rope)
        return torch.cat([own_q, q], dim=2), torch.cat([own_k, k], dim=2), torch.cat([own_v, v], dim=2)

    def take(self, layer: FusionLayer, attended: Tensor) -> Tensor:
        """Add the markers' part of the attention output to their stream; return the noisy tokens' part."""
        self.hidden = layer.add_to_und(self.hidden, attended[:, :, :2])
        return attended[:, :, 2:]


@dataclass(eq=False, slots=True)
class Context:
    """All that a run's steps share.

    cross: each block's cross-attention keys and values. rope: Wan's tables for the target's tokens.
    clock: the sinusoids of all timesteps, which a step would have to send to the device, and wait.
    branches: in the order in which they were asked for.
    """

    cross: list[KeyValue]
    rope: Rope
    clock: Tensor
    branches: list[BranchContext]
    _ropes: dict[tuple[BranchContext, ...], Rope] = field(default_factory=dict)

    def held(self) -> Iterator[KeyValue]:
        """All keys and values that it holds, each once."""
        yield from self.cross
        for room in {branch.room for branch in self.branches}:
            yield from zip(room.keys, room.values, strict=True)
        for branch in self.branches:
            yield from branch.own

    def row_ropes(self, rows: Sequence[BranchContext]) -> Rope:
        """The fusion's tables (R, 1, N, head_dim) of a batch whose row k is under `rows[k]`; stacked once."""
        key = tuple(rows)
        if key not in self._ropes:
            cos, sin = zip(*(row.rope for row in rows), strict=True)
            self._ropes[key] = torch.stack(cos)[:, None], torch.stack(sin)[:, None]
        return self._ropes[key]


class ContextBuilder:
    """Builds contexts for one tower; work on shared segments is done once.

    Args:
        tower: the generation tower, on the device where it is to run.
        vlm: the understanding tower's layers; needed for a coupled model alone.
        hooks: a host's part, of which references take the attention alone.
    """

    def __init__(
        self,
        tower: GenerationTower,
        device: torch.device | str,
        vlm: VLMLayers | None = None,
        hooks: StepHooks | None = None,
    ) -> None:
        self.tower, self.device, self.vlm = tower, torch.device(device), vlm
        self.hooks = hooks
        self.config: ModelConfig = tower.config
        context = tower.learned_context(self.device)
        self.cross = [block.cross_attn.keys_values(context) for block in tower.blocks]
        self.clock = tower.sinusoids(0, TIMESTEPS, self.device)
        self._clean_time: Tensor | None = None
        self._made: dict[tuple[int, ...], SegmentKeys] = {}
        self._rooms: dict[tuple[int, ...], Room] = {}
        heads, width = self.config.fusion.num_attention_heads, self.config.dit.head_dim
        empty = torch.empty(1, heads, 0, width, device=self.device, dtype=tower.dtype)
        self._nothing: KeyValue = empty, empty

    def build(self, branches: Sequence[Branch], rows: int, columns: int, stretch: Stretch = AS_TRAINED) -> Context:
        """The context for pictures of (rows, columns) tokens under these branches; `stretch` places their tokens."""
        rope = wan_rope(rows, columns, self.config.dit.head_dim, self.device, stretch=stretch)
        made = [self._branch(branch, branch.target(rows, columns), stretch) for branch in branches]
        for room in {one.room for one in made}:
            room.reserve(max(one.first + one.length for one in made if one.room is room))
        for one in made:
            one.lay()
        return Context(self.cross, rope, self.clock, made)

    def _branch(self, branch: Branch, target: Split, stretch: Stretch) -> BranchContext:
        chain = self.chain(branch.segments)
        rope = self._rope(target, stretch)
        marker_rope = (rope[0][[0, -1]], rope[1][[0, -1]])
        states = branch.target_markers(target.extent).to(self.device, self._und_dtype)
        shared = len(branch.references)
        markers, own = None, [part.fusion for part in chain[shared:]]
        if branch.coupled:
            markers = TargetMarkers(self._vlm(), target, states, SegmentKeys.join(chain), marker_rope)
        else:
            own.append(self._und_keys(states, marker_rope))
        room = self._room(branch.references, chain[:shared])
        room.branches += 1
        layers = len(self.tower.mm_attn_layers)
        return BranchContext(
            branch=branch,
            room=room,
            first=0 if shared else room.prefix,
            own=[_concat(part[i] for part in own) if own else self._nothing for i in range(layers)],
            tokens=target.rows * target.columns + (2 if branch.coupled else 0),
            rope=(rope[0][1:-1], rope[1][1:-1]),
            markers=markers,
        )

    def _room(self, segments: Sequence[Segment], parts: Sequence[SegmentKeys]) -> Room:
        """The room of the branches that begin with these segments; those that begin with none share any."""
        key = tuple(map(id, segments))
        if not key and self._rooms:
            return next(iter(self._rooms.values()))
        if key not in self._rooms:
            self._rooms[key] = Room(parts, len(self.tower.mm_attn_layers), self._nothing[0])
        return self._rooms[key]

    def chain(self, segments: Sequence[Segment]) -> list[SegmentKeys]:
        """Keys and values of every segment, each computed after those before it."""
        done: list[SegmentKeys] = []
        for index, segment in enumerate(segments):
            key = tuple(id(part) for part in segments[: index + 1])
            if key not in self._made:
                if self.tower.coupled or segment.latent is not None:
                    self._made[key] = self.run(segment, SegmentKeys.join(done))
                else:
                    self._made[key] = self._states(segment)
            done.append(self._made[key])
        return done

    def _states(self, segment: Segment) -> SegmentKeys:
        """A segment whose layer states are known: projections alone."""
        return SegmentKeys(self._und_keys(segment.hidden, self._rope(segment.split)), [])

    def _und_keys(self, hidden: Tensor, rope: Rope) -> list[KeyValue]:
        hidden = hidden.to(self.device, self.tower.dtype)
        last = len(hidden) - 1
        return [
            layer.und_keys_values(hidden[min(i, last)].unsqueeze(0), rope)
            for i, layer in enumerate(self.tower.mm_attn_layers)
        ]

    def run(self, segment: Segment, past: SegmentKeys | None) -> SegmentKeys:
        """Run one segment through the layers (rule B9) after `past`: a clean reference through the DiT
        at timestep 0, and in a coupled model its VLM tokens through the VLM."""
        tower, split = self.tower, segment.split
        rope = self._rope(split)
        und_rope = (rope[0][[0, -1]], rope[1][[0, -1]]) if split.is_generated else rope
        gen_rope = (rope[0][1:-1], rope[1][1:-1])
        hidden = segment.hidden.to(self.device, self._und_dtype)
        und = _UndStream(hidden, self._vlm() if tower.coupled else None, split, past)
        stream, wan = None, None
        if segment.latent is not None:
            stream = tower.embed(segment.latent.to(self.device))
            wan = wan_rope(split.rows, split.columns, self.config.dit.head_dim, self.device)
            if self._clean_time is None:
                self._clean_time = tower.embed_time(self.clock[:1])[1]
        fusion_mask = und.mask_after(past.fusion[0][0].shape[2] if past else 0)
        made: list[KeyValue] = []
        depth = self._vlm().num_layers if tower.coupled else 0  # text answers need the VLM's last layer
        for i in range(max(depth, len(tower.blocks), len(tower.mm_attn_layers))):
            und.run_layer(i)
            if stream is not None and i < len(tower.blocks):
                attention = self.hooks.block_attention(i) if self.hooks else None
                stream = tower.blocks[i](stream, self._clean_time, wan, self.cross[i], attention)
            if i >= len(tower.mm_attn_layers):
                continue
            layer: FusionLayer = tower.mm_attn_layers[i]
            attend = self.hooks.fusion_attention(i) if self.hooks else tower.attention
            own = layer.und_keys_values(und.state(i), und_rope)
            queries = None
            if stream is not None:
                queries, k, v = layer.gen_queries_keys_values(stream, gen_rope, tower.dtype)
                own = (_between(own[0], k), _between(own[1], v))
            made.append(own)
            keys, values = _concat([past.fusion[i], own]) if past else own
            if tower.coupled:
                q = layer.und_queries(und.hidden, und_rope)
                if queries is None:
                    und.hidden = layer.add_to_und(und.hidden, masked_attention(q, keys, values, fusion_mask))
                else:
                    und.hidden = layer.add_to_und(und.hidden, attend(q, keys, values))
            if stream is not None and queries is not None:
                stream = layer.add_to_gen(stream, attend(queries, keys, values))
        return SegmentKeys(made, und.made, und.hidden if tower.coupled else None)

    def _rope(self, split: Split, stretch: Stretch = AS_TRAINED) -> Rope:
        """The fusion's tables for all tokens of a split, of which a stretch moves the picture between the markers."""
        text, positions = self.config.text, split.position_ids()
        if stretch != AS_TRAINED:
            inside = stretch.place(positions[:, 1:-1])
            positions = torch.cat([positions[:, :1], inside, positions[:, -1:]], dim=1)
        cos, sin = multimodal_rope(positions, text.mrope_section, text.rope_theta, self.device)
        return cos.to(self.tower.dtype), sin.to(self.tower.dtype)

    @property
    def _und_dtype(self) -> torch.dtype:
        """A coupled model's understanding stream stays in its own tower's dtype."""
        return self._vlm().dtype if self.tower.coupled else self.tower.dtype

    def _vlm(self) -> VLMLayers:
        if self.vlm is None:
            raise ValueError("A coupled model's context needs the understanding tower: pass `vlm`.")
        return self.vlm


class _UndStream:
    """The VLM tokens of one segment while it runs: known states (frozen), or a live stream (coupled)."""

    def __init__(self, hidden: Tensor, vlm: VLMLayers | None, split: Split, past: SegmentKeys | None) -> None:
        self.vlm, self.states = vlm, hidden
        self.hidden = hidden[:1]
        self.made: list[KeyValue] = []
        self.causal = split.is_text
        if vlm is not None:
            self.past: list[KeyValue | None] = list(past.vlm) if past else [None] * vlm.num_layers
            self.rotary = vlm.rotary(split.und_position_ids())
            self.mask = self.mask_after(past.vlm[0][0].shape[2] if past else 0)

    def mask_after(self, seen: int) -> Tensor:
        """(n, seen + n): all that came before, and the own tokens causally (text) or fully."""
        n = self.hidden.shape[1]
        mask = torch.ones(n, seen + n, dtype=torch.bool, device=self.hidden.device)
        return mask.tril(seen) if self.causal else mask

    def run_layer(self, index: int) -> None:
        if self.vlm is not None and index < self.vlm.num_layers:
            self.hidden, own = self.vlm.layer(index, self.hidden, self.rotary, self.mask, self.past[index])
            self.made.append(own)

    def state(self, index: int) -> Tensor:
        """What fusion layer `index` reads, (1, n, width)."""
        if self.vlm is not None:
            return self.hidden
        return self.states[min(index, len(self.states) - 1)].unsqueeze(0)


def _between(markers: Tensor, content: Tensor) -> Tensor:
    """Start marker, content, end marker along the tokens of (1, H, n, head_dim)."""
    return torch.cat([markers[:, :, :1], content, markers[:, :, 1:]], dim=2)
