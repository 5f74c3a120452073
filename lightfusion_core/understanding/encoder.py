"""From a prompt and references to a conditioning: the understanding tower's one pass.

Segments run one after another, each against the keys and values of those before, so that an image
prefix is computed once: shared by the branches of a request, and kept for the next one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

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
    memory: tuple[KeyValue, ...] = ()

    @property
    def next_start(self) -> int:
        return self.segments[-1].split.next_start if self.segments else 0


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
        extent = max_extent or self.config.max_extent
        images = self.images(references)
        full = self.branch(self.extend(images, texts), extent)
        negative = None if negative_texts is None else self.branch(self.extend(images, negative_texts), extent)
        no_image = self.branch(self.extend(Prefix(), texts), extent) if references else None
        return Conditioning(full, negative, no_image)

    def images(self, references: Sequence[Reference]) -> Prefix:
        """The prefix of the references, [VAE, ViT] each (rule B4); the last one made is kept."""
        if not references:
            return Prefix()
        key = digest(references)
        if self._kept is None or self._kept[0] != key:
            prefix = Prefix()
            for reference in references:
                if reference.latent is not None:
                    prefix = self.add_latent(prefix, reference.latent)
                if reference.vit_pixels is not None:
                    prefix = self.add_vit(prefix, reference.vit_pixels)
            self._kept = (key, prefix)
        return self._kept[1]

    def forget(self) -> None:
        """Drop the kept image prefix."""
        self._kept = None

    def extend(self, prefix: Prefix, texts: Sequence[Sequence[int]]) -> Prefix:
        """The prefix with text segments behind it."""
        for ids in texts:
            prefix = self.add_text(prefix, ids)
        return prefix

    def room(self, prefix: Prefix) -> int:
        """How many text tokens fit behind a prefix."""
        return self.config.text.max_position_embeddings - prefix.next_start

    def add_text(self, prefix: Prefix, ids: Sequence[int]) -> Prefix:
        """A causal text segment of these ids.

        Raises:
            InputError: the sequence would outgrow the model's positions.
        """
        if len(ids) > self.room(prefix):
            raise InputError(
                f"The prompt has {len(ids)} tokens at position {prefix.next_start}, and this model takes "
                f"{self.config.text.max_position_embeddings} in all: shorten the prompt or use fewer references."
            )
        split = Split(TokenKind.TEXT, prefix.next_start, 1, len(ids))
        return self._add(prefix, split, self.tower.embed(ids))

    def add_vit(self, prefix: Prefix, pixels: Tensor, causal: bool = False) -> Prefix:
        """An image segment for the VLM: (3, H, W) as `Reference.vit_pixels`."""
        patches, (rows, columns) = patchify(pixels, self.config.vision)
        merge = self.config.vision.spatial_merge_size
        split = Split(TokenKind.VIT, prefix.next_start, rows // merge, columns // merge)
        start, end = self._markers()
        hidden = torch.cat([start, self.tower.see(patches, (rows, columns)), end], dim=1)
        return self._add(prefix, split, hidden, causal=causal)

    def add_latent(self, prefix: Prefix, latent: Tensor) -> Prefix:
        """An image segment for the generation tower: (1, C, 1, h, w) as `Reference.latent`."""
        patch = self.config.dit.patch_size
        split = Split(TokenKind.CLEAN, prefix.next_start, latent.shape[-2] // patch, latent.shape[-1] // patch)
        return self._add(prefix, split, torch.cat(self._markers(), dim=1), latent)

    def branch(self, prefix: Prefix, max_extent: int) -> Branch:
        """The prefix as a branch, with the target's markers for every extent up to `max_extent`.

        The pairs run as independent leaves of one pass: each sees the whole prefix and itself alone.
        """
        start, end = self._markers()
        if self.coupled:
            return Branch(prefix.segments, torch.stack([torch.cat([start, end], dim=1)]), coupled=True)
        targets = [Split(TokenKind.NOISY, prefix.next_start, 1, extent) for extent in range(1, max_extent + 1)]
        positions = torch.cat([target.und_position_ids() for target in targets], dim=1)
        pairs = torch.block_diag(*[torch.ones(2, 2)] * max_extent).bool().to(self.tower.device)
        mask = self._after(prefix, pairs)
        hidden = torch.cat([start, end], dim=1).repeat(1, max_extent, 1)
        states, _ = self.tower.run(hidden, positions, mask, prefix.memory)
        return Branch(prefix.segments, torch.cat(states).unflatten(1, (max_extent, 2)).transpose(0, 1).contiguous())

    def _add(
        self, prefix: Prefix, split: Split, hidden: Tensor, latent: Tensor | None = None, causal: bool = False
    ) -> Prefix:
        if self.coupled:
            return Prefix((*prefix.segments, Segment(split, hidden, latent)))
        own = torch.ones(split.und_length, split.und_length, dtype=torch.bool, device=hidden.device)
        own = own.tril() if split.is_text or causal else own
        states, made = self.tower.run(hidden, split.und_position_ids(), self._after(prefix, own), prefix.memory)
        return Prefix((*prefix.segments, Segment(split, torch.cat(states), latent)), _joined(prefix.memory, made))

    def _after(self, prefix: Prefix, own: Tensor) -> Tensor:
        """The mask `own` (n, n) with the whole prefix visible before it."""
        seen = prefix.memory[0][0].shape[2] if prefix.memory else 0
        return torch.cat([torch.ones(len(own), seen, dtype=torch.bool, device=own.device), own], dim=1)

    def _markers(self) -> tuple[Tensor, Tensor]:
        start, end = self.tower.embed(self.marker_ids).split(1, dim=1)
        return start, end


def _joined(memory: Sequence[KeyValue], made: Sequence[KeyValue]) -> tuple[KeyValue, ...]:
    if not memory:
        return tuple(made)
    return tuple(
        (torch.cat([old[0], new[0]], dim=2), torch.cat([old[1], new[1]], dim=2))
        for old, new in zip(memory, made, strict=True)
    )


def digest(references: Sequence[Reference]) -> bytes:
    """A key for the content of the references: equal pixels and latents give an equal key."""
    digest = hashlib.blake2b(digest_size=16)
    for reference in references:
        for part in (reference.latent, reference.vit_pixels):
            digest.update(b"-" if part is None else repr(tuple(part.shape)).encode())
            if part is not None:
                digest.update(part.detach().cpu().contiguous().numpy().tobytes())
    return digest.digest()
