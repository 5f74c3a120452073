"""From a prompt and references to a conditioning: the understanding tower's one pass.

Segments attend to the keys and values of those before, so that an image prefix is computed once: shared by the
branches of a request, and kept for the next one. All segments of a request pass a layer before any passes the next:
weights that do not fit into memory are read from the disk, or sent to the device, once a request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..conditioning import Branch, Conditioning, Segment
from ..config import ModelConfig
from ..errors import InputError
from ..layout import Split, TokenKind
from .tower import KeyValue, UnderstandingTower
from .vision import Reference, patchify


@dataclass(frozen=True, eq=False, slots=True)
class Prefix:
    """Segments, and the VLM's keys and values of all of them (empty for a coupled model, whose states
    need the generation tower too)."""

    segments: tuple[Segment, ...] = ()
    memory: Sequence[KeyValue] = ()

    @property
    def next_start(self) -> int:
        return self.segments[-1].split.next_start if self.segments else 0

    @property
    def seen(self) -> int:
        """How many tokens it has."""
        return self.memory[0][0].shape[2] if self.memory else 0

    def finished(self) -> Prefix:
        """Itself; of a `Pass` the prefix that it came to be."""
        return self


class Pass:
    """One segment on its way through the VLM's layers, behind a prefix that may be on its way too."""

    def __init__(
        self,
        tower: UnderstandingTower,
        before: Prefix | Pass,
        split: Split,
        hidden: Tensor,
        own: Tensor,
        positions: Tensor,
        latent: Tensor | None = None,
    ) -> None:
        """`own` (n, n): which of its own tokens each sees, beside the whole prefix."""
        self.tower, self.before, self.split, self.latent = tower, before, split, latent
        self.seen: int = before.seen + len(own)
        self.mask = torch.cat([torch.ones(len(own), before.seen, dtype=torch.bool, device=own.device), own], dim=1)
        self.hidden, self.rotary = hidden, tower.rotary(positions)
        self.states: list[Tensor] = []
        self.memory: list[KeyValue] = []
        self._finished: Prefix | None = None

    @property
    def next_start(self) -> int:
        return self.split.next_start

    def layer(self, index: int) -> None:
        """Run the next layer; the prefix has run it already."""
        past = self.before.memory[index] if self.before.memory else None
        self.hidden, (k, v) = self.tower.layer(index, self.hidden, self.rotary, self.mask, past)
        self.states.append(self.hidden)
        self.memory.append((k, v) if past is None else (torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)))

    def all_states(self) -> Tensor:
        """(layers, n, width), every layer's raw output."""
        made = torch.cat(self.states)
        self.states.clear()
        return made

    def finished(self) -> Prefix:
        """The prefix with this segment behind it, after all layers; the same one each time."""
        if self._finished is None:
            segment = Segment(self.split, self.all_states(), self.latent)
            self._finished = Prefix((*self.before.finished().segments, segment), self.memory)
        return self._finished


class Encoder:
    """Encodes requests with one understanding tower.

    Args:
        tower: on the device where it is to run.
        config: the model's configuration.
        marker_ids: token ids of the start and end marker of an image.
        coupled: give inputs instead of states (see `conditioning.Segment`).
    """

    def __init__(
        self, tower: UnderstandingTower, config: ModelConfig, marker_ids: tuple[int, int], coupled: bool
    ) -> None:
        self.tower, self.config, self.coupled = tower, config, coupled
        self.marker_ids = marker_ids
        self._kept: tuple[bytes, Prefix] | None = None

    def encode(
        self,
        texts: Sequence[Sequence[int]],
        references: Sequence[Reference] = (),
        negative_texts: Sequence[Sequence[int]] | None = None,
        max_extent: int | None = None,
    ) -> Conditioning:
        """All branches of a request (rules B4, B21).

        Args:
            texts: token ids of each text segment, framing tokens included.
            references: input images, in order.
            negative_texts: the negative branch's text segments in place of `texts`; an empty sequence
                is a branch without any text; None makes no negative branch.
            max_extent: the largest max(rows, columns) of a picture to come; the model's own when None.
        """
        negative = None if negative_texts is None else (references, negative_texts)
        asked = [(references, texts), negative, ((), texts) if references else None]
        full, *others = self.branches(asked, max_extent)
        assert full is not None  # there is always a prompt
        return Conditioning(full, *others)

    def branches(
        self,
        asked: Sequence[tuple[Sequence[Reference], Sequence[Sequence[int]]] | None],
        max_extent: int | None = None,
    ) -> list[Branch | None]:
        """Branches, all in one pass through the layers: the references of each (the same ones, or none), and its texts.
        None stays None. No tensor of theirs is one that is kept."""
        references = next((one[0] for one in asked if one and one[0]), ())
        key = digest(references) if references else None
        images, passes = self._images(references, key)
        ends: list[tuple[Prefix | Pass, Pass | None] | None] = []
        for one in asked:
            if one is None:
                ends.append(None)
                continue
            end: Prefix | Pass = images if one[0] else Prefix()
            for ids in one[1]:
                end = self.plan_text(end, ids, passes)
            leaf = None if self.coupled else self._plan_markers(end, max_extent or self.config.max_extent, passes)
            ends.append((end, leaf))
        self.run(images, passes)
        self._keep(key, images.finished())
        copied = _Copies()
        return [None if end is None else self._branch(copied(end[0].finished()), end[1]) for end in ends]

    def images(self, references: Sequence[Reference]) -> Prefix:
        """The prefix of the references, [VAE, ViT] each (rule B4); the last one made is kept."""
        key = digest(references) if references else None
        prefix = self.run(*self._images(references, key))
        self._keep(key, prefix)
        return prefix

    def forget(self) -> None:
        """Drop the kept image prefix."""
        self._kept = None

    def extend(self, prefix: Prefix, texts: Sequence[Sequence[int]]) -> Prefix:
        """The prefix with text segments behind it."""
        end: Prefix | Pass = prefix
        passes: list[Pass] = []
        for ids in texts:
            end = self.plan_text(end, ids, passes)
        return self.run(end, passes)

    def room(self, prefix: Prefix) -> int:
        """How many text tokens fit behind a prefix."""
        return self.config.text.max_position_embeddings - prefix.next_start

    def add_text(self, prefix: Prefix, ids: Sequence[int]) -> Prefix:
        """A causal text segment of these ids.

        Raises:
            InputError: the sequence would outgrow the model's positions.
        """
        passes: list[Pass] = []
        return self.run(self.plan_text(prefix, ids, passes), passes)

    def run(self, end: Prefix | Pass, passes: Sequence[Pass]) -> Prefix:
        """Run what was planned, one layer of all passes after another; what `end` comes to be."""
        for index in range(self.tower.num_layers if passes else 0):
            for one in passes:
                one.layer(index)
        return end.finished()

    def _images(self, references: Sequence[Reference], key: bytes | None) -> tuple[Prefix | Pass, list[Pass]]:
        """The references' prefix, and the passes that are still to be run for it."""
        kept = self._kept  # once: another thread may put another pair in its place
        if key is not None and kept is not None and kept[0] == key:
            return kept[1], []
        end: Prefix | Pass = Prefix()
        passes: list[Pass] = []
        for reference in references:
            if reference.latent is not None:
                end = self.plan_latent(end, reference.latent.clone(), passes)  # the caller may write into theirs
            if reference.vit_pixels is not None:
                end = self.plan_vit(end, reference.vit_pixels, passes)
        return end, passes

    def _keep(self, key: bytes | None, prefix: Prefix) -> None:
        if key is not None:
            self._kept = key, prefix

    def plan_text(self, before: Prefix | Pass, ids: Sequence[int], passes: list[Pass]) -> Prefix | Pass:
        """As `add_text`, behind what may still be to be run; so is what comes of it."""
        room = self.config.text.max_position_embeddings - before.next_start
        if len(ids) > room:
            raise InputError(
                f"The prompt has {len(ids)} tokens at position {before.next_start}, and this model takes "
                f"{self.config.text.max_position_embeddings} in all: shorten the prompt or use fewer references."
            )
        beyond = next((number for number in ids if not 0 <= number < self.config.text.vocab_size), None)
        if beyond is not None:
            raise InputError(
                f"The prompt has a token of the id {beyond}, and this model knows 0 to "
                f"{self.config.text.vocab_size - 1}: leave that out, or use the tokenizer that belongs to the model."
            )
        return self._add(before, Split(TokenKind.TEXT, before.next_start, 1, len(ids)), self.tower.embed(ids), passes)

    def plan_vit(
        self, before: Prefix | Pass, pixels: Tensor, passes: list[Pass], causal: bool = False
    ) -> Prefix | Pass:
        """An image segment for the VLM: (3, H, W) as `Reference.vit_pixels`."""
        patches, (rows, columns) = patchify(pixels, self.config.vision)
        merge = self.config.vision.spatial_merge_size
        split = Split(TokenKind.VIT, before.next_start, rows // merge, columns // merge)
        start, end = self._markers()
        hidden = torch.cat([start, self.tower.see(patches, (rows, columns)), end], dim=1)
        return self._add(before, split, hidden, passes, causal=causal)

    def plan_latent(self, before: Prefix | Pass, latent: Tensor, passes: list[Pass]) -> Prefix | Pass:
        """An image segment for the generation tower: (1, C, 1, h, w) as `Reference.latent`."""
        patch = self.config.dit.patch_size
        split = Split(TokenKind.CLEAN, before.next_start, latent.shape[-2] // patch, latent.shape[-1] // patch)
        return self._add(before, split, torch.cat(self._markers(), dim=1), passes, latent)

    def _plan_markers(self, before: Prefix | Pass, max_extent: int, passes: list[Pass]) -> Pass:
        """The target's marker pairs: independent leaves of one pass, each of which sees the whole prefix and itself."""
        start, end = self._markers()
        targets = [Split(TokenKind.NOISY, before.next_start, 1, extent) for extent in range(1, max_extent + 1)]
        positions = torch.cat([target.und_position_ids() for target in targets], dim=1)
        pairs = torch.block_diag(*[torch.ones(2, 2)] * max_extent).bool().to(self.tower.device)
        hidden = torch.cat([start, end], dim=1).repeat(1, max_extent, 1)
        passes.append(Pass(self.tower, before, targets[-1], hidden, pairs, positions))
        return passes[-1]

    def _branch(self, prefix: Prefix, leaf: Pass | None) -> Branch:
        if leaf is None:
            markers = torch.stack([torch.cat(self._markers(), dim=1)])
            return Branch(prefix.segments, markers, coupled=True)
        return Branch(prefix.segments, leaf.all_states().unflatten(1, (-1, 2)).transpose(0, 1).contiguous())

    def _add(
        self,
        before: Prefix | Pass,
        split: Split,
        hidden: Tensor,
        passes: list[Pass],
        latent: Tensor | None = None,
        causal: bool = False,
    ) -> Prefix | Pass:
        if self.coupled:
            return Prefix((*before.finished().segments, Segment(split, hidden, latent)))
        own = torch.ones(split.und_length, split.und_length, dtype=torch.bool, device=hidden.device)
        own = own.tril() if split.is_text or causal else own
        passes.append(Pass(self.tower, before, split, hidden, own, split.und_position_ids(), latent))
        return passes[-1]

    def _markers(self) -> tuple[Tensor, Tensor]:
        start, end = self.tower.embed(self.marker_ids).split(1, dim=1)
        return start, end


class _Copies:
    """Segments in memory of their own, so that writing into a conditioning changes nothing that is kept; one copy of
    each, which branches share."""

    def __init__(self) -> None:
        self._made: dict[int, Segment] = {}

    def __call__(self, prefix: Prefix) -> Prefix:
        return Prefix(tuple(map(self._copy, prefix.segments)))

    def _copy(self, segment: Segment) -> Segment:
        if id(segment) not in self._made:
            latent = None if segment.latent is None else segment.latent.clone()
            self._made[id(segment)] = replace(segment, hidden=segment.hidden.clone(), latent=latent)
        return self._made[id(segment)]


def digest(references: Sequence[Reference]) -> bytes:
    """A key for the content of the references: equal pixels and latents give an equal key."""
    digest = hashlib.blake2b(digest_size=16)
    for reference in references:
        for part in (reference.latent, reference.vit_pixels):
            digest.update(b"-" if part is None else repr(tuple(part.shape)).encode())
            if part is not None:
                digest.update(part.detach().cpu().contiguous().numpy().tobytes())
    return digest.digest()
