"""From a prompt and references to a conditioning: the understanding tower's one pass.

Segments attend to the keys and values of those before, so that an image prefix is computed once: shared by the
branches of a request, and kept for the next one. All segments of a request pass a layer before any passes the next:
weights that do not fit into memory are read from the disk, or sent to the device, once a request. They pass it in two
groups, each packed into one call: the images, then all that is behind them. So whether the images were kept changes no
bit of the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..conditioning import Branch, Conditioning, Segment
from ..config import ModelConfig
from ..errors import InputError
from ..layout import Split, TokenKind
from .passes import Pass, Prefix, packed
from .tower import UnderstandingTower
from .vision import Reference, patchify


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
        images, first = self._images(references, key)
        behind: list[Pass] = []
        ends: list[tuple[Prefix | Pass, Pass | None] | None] = []
        for one in asked:
            if one is None:
                ends.append(None)
                continue
            end: Prefix | Pass = images if one[0] else Prefix()
            for ids in one[1]:
                end = self.plan_text(end, ids, behind)
            leaf = None if self.coupled else self._plan_markers(end, max_extent or self.config.max_extent, behind)
            ends.append((end, leaf))
        kept = self.run(images, first, behind)
        self._keep(key, kept)
        copies = {id(segment): _copy(segment) for segment in kept.segments}
        return [None if end is None else self._branch(end[0].finished(), end[1], copies) for end in ends]

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
        return self.extend(prefix, [ids])

    def run(self, end: Prefix | Pass, *groups: Sequence[Pass]) -> Prefix:
        """Run what was planned, one layer of all groups after another; what `end` comes to be.

        A group goes through a layer in one call (see `packed`), whose rounding depends on all of it: what is to be the
        same however much was kept, is a group of its own.
        """
        packs = [pack for group in groups for pack in packed(self.tower, group)]
        for index in range(self.tower.num_layers if packs else 0):
            for pack in packs:
                pack.layer(index)
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
        pairs = torch.block_diag(*[torch.ones(2, 2)] * max_extent).bool()
        hidden = torch.cat([start, end], dim=1).repeat(1, max_extent, 1)
        passes.append(Pass(before, targets[-1], hidden, pairs, positions))
        return passes[-1]

    def _branch(self, prefix: Prefix, leaf: Pass | None, copies: Mapping[int, Segment]) -> Branch:
        segments = tuple(copies.get(id(segment), segment) for segment in prefix.segments)
        if leaf is None:
            return Branch(segments, torch.stack([torch.cat(self._markers(), dim=1)]), coupled=True)
        return Branch(segments, leaf.states.unflatten(1, (-1, 2)).transpose(0, 1).contiguous())

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
        own = torch.ones(split.und_length, split.und_length, dtype=torch.bool)
        own = own.tril() if split.is_text or causal else own
        passes.append(Pass(before, split, hidden, own, split.und_position_ids(), latent))
        return passes[-1]

    def _markers(self) -> tuple[Tensor, Tensor]:
        start, end = self.tower.embed(self.marker_ids).split(1, dim=1)
        return start, end


def _copy(segment: Segment) -> Segment:
    """A segment in memory of its own, so that writing into a conditioning changes nothing that is kept."""
    latent = None if segment.latent is None else segment.latent.clone()
    return replace(segment, hidden=segment.hidden.clone(), latent=latent)


def digest(references: Sequence[Reference]) -> bytes:
    """A key for the content of the references: equal pixels and latents give an equal key."""
    digest = hashlib.blake2b(digest_size=16)
    for reference in references:
        for part in (reference.latent, reference.vit_pixels):
            digest.update(b"-" if part is None else repr(tuple(part.shape)).encode())
            if part is not None:
                digest.update(part.detach().cpu().contiguous().numpy().tobytes())
    return digest.digest()
