"""Text answers, token by token, with a key-value cache (rules B26, B29).

Two manners. "chat" is the VLM's own: its chat template and a causal mask throughout, as a frozen
Qwen2.5-VL was trained. "reference" is the authors': the segments of a drawing context, then a newline,
then one token after another; it is what "think, then draw" needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from ..generation.context import ContextBuilder, SegmentKeys
from .encoder import Encoder, Prefix
from .tokenizer import Tokenizer
from .vision import Reference

THINK_SYSTEM = (
    "You should first think about the planning process in the mind and then generate the image. \n"
    "The planning process is enclosed within <think> </think> tags, "
    "i.e. <think> planning process here </think> image here\n"
)
"""The system text of the published "think, then draw" script."""

CHAT_SYSTEM = "You are a helpful assistant."


@dataclass(frozen=True, slots=True)
class Decoding:
    """How text is chosen: at most `max_tokens`, greedily at temperature 0, else drawn with `seed`."""

    max_tokens: int = 512
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise InputError(f"An answer needs a length of at least 1 token, found {self.max_tokens}.")
        if not self.temperature >= 0:
            raise InputError(f"The temperature must be 0 (greedy) or more, found {self.temperature}.")

    def chooser(self) -> Callable[[Tensor], int]:
        """A function from scores (vocabulary,) to a token id; its random numbers are its own."""
        if self.temperature == 0:
            return lambda scores: int(scores.argmax())
        generator = torch.Generator().manual_seed(self.seed)

        def draw(scores: Tensor) -> int:
            shares = torch.softmax(scores.float().cpu() / self.temperature, dim=-1)
            return int(torch.multinomial(shares, 1, generator=generator))

        return draw


class FrozenWriter:
    """Continues a prefix with the VLM alone."""

    def __init__(self, encoder: Encoder, prefix: Prefix) -> None:
        self.encoder, self.prefix = encoder, prefix

    def __call__(self, ids: Sequence[int]) -> Tensor:
        """Append tokens; the scores (vocabulary,) of the next one."""
        self.prefix = self.encoder.add_text(self.prefix, ids)
        last = self.prefix.segments[-1].hidden[-1:, -1:]
        self.prefix = Prefix(self.prefix.segments[-1:], self.prefix.memory)  # earlier states are not read again
        return self.encoder.tower.logits(last)[0, 0]


class CoupledWriter:
    """Continues a prefix with the VLM and the fusion layers, as a coupled model does."""

    def __init__(self, encoder: Encoder, prefix: Prefix, builder: ContextBuilder) -> None:
        self.encoder, self.builder = encoder, builder
        self.end = Prefix(prefix.segments[-1:])
        self.keys = SegmentKeys.join(builder.chain(prefix.segments))

    def __call__(self, ids: Sequence[int]) -> Tensor:
        """Append tokens; the scores (vocabulary,) of the next one."""
        self.end = Prefix(self.encoder.add_text(self.end, ids).segments[-1:])
        made = self.builder.run(self.end.segments[0], self.keys)
        self.keys = SegmentKeys.join([part for part in (self.keys, made) if part])
        assert made.hidden is not None  # a coupled model keeps it
        return self.encoder.tower.logits(made.hidden[:, -1:])[0, 0]


Writer = Callable[[Sequence[int]], Tensor]


def write(writer: Writer, start: Sequence[int], decoding: Decoding, stop: Sequence[int]) -> Iterator[int]:
    """Token ids, one at a time: `start` is fed first, then every choice, until one of `stop` or the length.

    Closing the iterator, or an exception where it is consumed, ends the run.
    """
    choose = decoding.chooser()
    for token in start[:-1]:
        writer([token])
    token = start[-1]
    for _ in range(decoding.max_tokens):
        token = choose(writer([token]))
        if token in stop:
            return
        yield token


def stream_text(tokens: Iterator[int], tokenizer: Tokenizer) -> Iterator[str]:
    """Pieces of text as their tokens arrive; a character whose bytes are still coming is held back."""
    ids: list[int] = []
    said = 0
    for token in tokens:
        ids.append(token)
        text = tokenizer.decode(ids)
        if len(text) > said and not text.endswith("\ufffd"):
            yield text[said:]
            said = len(text)
    text = tokenizer.decode(ids)
    if len(text) > said:
        yield text[said:]


def without_leading_newlines(pieces: Iterator[str]) -> Iterator[str]:
    """The pieces of a text from its first character on that is no newline (rule B29)."""
    begun = False
    for piece in pieces:
        piece = piece if begun else piece.lstrip("\n")
        begun = begun or bool(piece)
        if piece:
            yield piece


def chat_prefix(
    encoder: Encoder, tokenizer: Tokenizer, question: str, references: Sequence[Reference], system: str = CHAT_SYSTEM
) -> tuple[Prefix, list[int]]:
    """Qwen2.5-VL's chat template up to the answer: all but the last token as a prefix, and that token.

    Images come first in the user's turn. Everything is causal, ViT tokens too.
    """
    bos, eos = encoder.config.special_tokens.bos, encoder.config.special_tokens.eos
    prefix = encoder.add_text(Prefix(), tokenizer.encode(f"{bos}system\n{system}{eos}\n{bos}user\n"))
    for reference in references:
        if reference.vit_pixels is not None:
            prefix = encoder.add_vit(prefix, reference.vit_pixels, causal=True)
    ids = tokenizer.encode(f"{question}{eos}\n{bos}assistant\n")
    return encoder.add_text(prefix, ids[:-1]), ids[-1:]
