"""What the frozen parts make of the examples: conditionings and latents, computed once and kept on disk.

A file's name is a digest of all that makes its content: texts, picture files, sizes, and the weights that read them. So
several trainings share a folder, and what has changed is made anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from ..conditioning import Branch, Segment
from ..errors import CapabilityError, InputError
from ..images import resize, resized_size, to_tensor
from ..layout import Split, TokenKind
from ..pipeline import LightFusion
from ..understanding.vision import Reference, vit_pixels
from .data import Example
from .draws import Draw, Shown
from .files import read_tensors, write_tensors
from .sizes import target_picture

_ENDS = 1024
"""Numbers at both ends of a tensor that tell weights apart."""


class Encodings:
    """The latents and branches of some examples.

    Args:
        sizes: the (width, height) in pixels at which each example's picture is drawn.
        folder: where files are kept.

    Raises:
        CapabilityError: a model without a VAE or a tokenizer.
    """

    def __init__(
        self, model: LightFusion, examples: Sequence[Example], sizes: Sequence[tuple[int, int]], folder: Path
    ) -> None:
        if model.vae is None or model.tokenizer is None:
            raise CapabilityError(
                "To train takes a model with its VAE and its tokenizer: name them with --vae and --tokenizer PATH."
            )
        self.model, self.examples, self.sizes, self.folder = model, examples, sizes, folder
        self._vae, self._vlm = fingerprint(model.vae), fingerprint(model.understanding)
        self._digest = cache(_file_digest)

    def digest(self) -> str:
        """What tells these examples from others."""
        told = [
            (example.text, size, [self._looks(example, path) for path in (example.target, *example.references)])
            for example, size in zip(self.examples, self.sizes, strict=True)
        ]
        return hashlib.blake2b(repr(told).encode(), digest_size=16).hexdigest()

    def missing(self, draws: Iterable[Draw]) -> list[tuple[int, Shown | None]]:
        """What is to be encoded before these rows can be learned: latents (None) first, then branches."""
        rows = list(dict.fromkeys((draw.index, draw.shown) for draw in draws))
        seen = sorted({index for index, _ in rows})
        latents = [(index, None) for index in seen if not all(file.is_file() for file in self._latent_files(index))]
        # in this order what precedes a text is read once
        rows.sort(key=lambda row: (row[0], row[1].latents, row[1].vits, row[1].text))
        return [*latents, *((index, shown) for index, shown in rows if not self._branch_file(index, shown).is_file())]

    def encode(self, index: int, shown: Shown | None) -> None:
        """Encode and keep one of what is missing."""
        if shown is None:
            self.latent(index)
            for place in range(len(self.examples[index].references)):
                self._reference_latent(index, place)
        else:
            self.branch(index, shown)

    def latent(self, index: int) -> Tensor:
        """The normalised latent (1, C, 1, h, w) of an example's picture."""
        file = self._target_file(index)
        return self._kept_latent(file, lambda: target_picture(self.examples[index], self.sizes[index]))

    def branch(self, index: int, shown: Shown) -> Branch:
        """What conditions an example's picture."""
        file, extent = self._branch_file(index, shown), self._extent(index)
        latents = [self._reference_latent(index, k) for k, there in enumerate(shown.latents) if there]
        found = read_tensors(file)
        if found is None:
            branch = self._read(index, shown)
            splits = torch.tensor([_numbers(segment.split) for segment in branch.segments]).view(-1, 4)
            states = [*(segment.hidden for segment in branch.segments), branch.target_markers(extent)]
            write_tensors(file, {"splits": splits, "hidden": torch.cat(states, dim=1)})
            return branch
        held = [Split(TokenKind(kind), *rest) for kind, *rest in found[0]["splits"].tolist()]
        *hidden, markers = found[0]["hidden"].split([*(split.und_length for split in held), 2], dim=1)
        clean = iter(latents)
        segments = [
            Segment(split, states, next(clean) if split.kind is TokenKind.CLEAN else None)
            for split, states in zip(held, hidden, strict=True)
        ]
        coupled = self.model.generation.coupled
        # all entries are the one of this picture's extent, which no other is asked of
        return Branch(tuple(segments), markers.expand(1 if coupled else extent, *markers.shape), coupled)

    def _read(self, index: int, shown: Shown) -> Branch:
        example = self.examples[index]
        references = []
        for place, (latent, vit) in enumerate(zip(shown.latents, shown.vits, strict=True)):
            if latent or vit:
                pixels = vit_pixels(example.picture(example.references[place]), self.model.config) if vit else None
                references.append(Reference(pixels, self._reference_latent(index, place) if latent else None))
        try:
            return self.model.encode_branch([example.text] if shown.text else [], references, self._extent(index))
        except InputError as error:  # a text that is too long
            raise InputError(f"{example}: {error}") from None

    def _reference_latent(self, index: int, place: int) -> Tensor:
        def picture():
            example = self.examples[index]
            image = example.picture(example.references[place])
            return resize(image, resized_size(*image.size, self.model.config.vae_image))

        return self._kept_latent(self._reference_file(index, place), picture)

    def _kept_latent(self, file: Path, picture) -> Tensor:
        found = read_tensors(file)
        if found is not None:
            return found[0]["latent"]
        latent = self.model.encode_picture(to_tensor(picture())).cpu()
        write_tensors(file, {"latent": latent})
        return latent

    def _latent_files(self, index: int) -> list[Path]:
        places = range(len(self.examples[index].references))
        return [self._target_file(index), *(self._reference_file(index, place) for place in places)]

    def _reference_file(self, index: int, place: int) -> Path:
        example = self.examples[index]
        looks = self._looks(example, example.references[place])
        return self._file("latent", self._vae, looks, self.model.config.vae_image)

    def _target_file(self, index: int) -> Path:
        example = self.examples[index]
        manner = "whole" if example.references else "middle"
        return self._file("latent", self._vae, self._looks(example, example.target), self.sizes[index], manner)

    def _branch_file(self, index: int, shown: Shown) -> Path:
        example, config = self.examples[index], self.model.config
        seen = [
            (self._looks(example, path), latent, vit)
            for path, latent, vit in zip(example.references, shown.latents, shown.vits, strict=True)
            if latent or vit
        ]
        assert self.model.tokenizer is not None
        ids = list(self.model.tokenizer.segment(example.text)) if shown.text else None
        rules = (config.vae_image, config.vit_image) if seen else None
        return self._file("branch", self._vlm, self.model.generation.coupled, ids, seen, rules, self._extent(index))

    def _looks(self, example: Example, path: Path) -> str:
        """What tells one of an example's pictures, as it is learned from, from others."""
        return f"{self._digest(path)} mirrored" if example.mirrored else self._digest(path)

    def _extent(self, index: int) -> int:
        return max(self.sizes[index]) // self.model.config.token_size

    def _file(self, *content: object) -> Path:
        digest = hashlib.blake2b(repr(content).encode(), digest_size=16).hexdigest()
        return self.folder / f"{digest}.safetensors"


def fingerprint(module: nn.Module) -> str:
    """What tells a module's weights from others: names, shapes, dtypes, and the numbers at both ends of each tensor."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        flat = tensor.detach().reshape(-1)
        for end in (flat[:_ENDS], flat[-_ENDS:]):
            digest.update(end.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _file_digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _numbers(split: Split) -> list[int]:
    return [int(split.kind), split.start, split.rows, split.columns]
