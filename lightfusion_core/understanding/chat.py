"""A chat in the VLM's own template, with pictures in it; what was read is kept, so that a chat that goes on reads only
what is new.

Everything is causal, as Qwen2.5-VL was trained, ViT tokens too. A chat is read in chunks: its texts, up to where a
picture or an answer begins, and its pictures. What a chunk comes to be depends on those before it and on nothing else,
so a chat that is read again from a file gives the same numbers as one that went on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeAlias, TypeVar

import torch

from ..errors import InputError
from .encoder import Encoder, digest
from .passes import Memory, Pass, Prefix
from .tokenizer import Tokenizer
from .tower import KeyValue
from .vision import Reference

CHAT_SYSTEM = "You are a helpful assistant."

USER, ASSISTANT = "user", "assistant"

PictureType = TypeVar("PictureType")

Chunk: TypeAlias = tuple[int, ...] | Reference
"""Token ids, or a picture."""


@dataclass(frozen=True, eq=False, slots=True)
class Message(Generic[PictureType]):
    """What one side of a chat says: pictures, then a text."""

    role: str
    text: str
    pictures: tuple[PictureType, ...] = ()

    def __post_init__(self) -> None:
        if self.role not in (USER, ASSISTANT):
            raise InputError(f'A message is of "user" or "assistant", found {self.role!r}.')


def check_answerable(messages: Sequence[Message[Any]]) -> None:
    """Raises InputError where there is no message of the user to answer."""
    if not messages or messages[-1].role != USER:
        raise InputError("A chat that is to be answered ends with a message of the user.")


@dataclass(frozen=True, eq=False, slots=True)
class _Read:
    """A chat that was read: its chunks' keys, the prefix behind each without its layer states, and the VLM's keys and
    values of all."""

    keys: tuple[object, ...] = ()
    ends: tuple[Prefix, ...] = ()


class ChatReader:
    """Reads chats with one model's VLM.

    Args:
        encoder: of the VLM alone.
        tokenizer: the model's.
    """

    def __init__(self, encoder: Encoder, tokenizer: Tokenizer) -> None:
        self.encoder, self.tokenizer = encoder, tokenizer
        self._kept = _Read()

    def forget(self) -> None:
        """Drop what was read."""
        self._kept = _Read()

    @torch.no_grad()
    def read(self, messages: Sequence[Message[Reference]]) -> tuple[Prefix, list[int]]:
        """A chat up to the answer that is to come: all but its last token, and that token.

        Raises:
            InputError: no messages, or more than the model's positions hold.
        """
        chunks, start = self._chunks(messages)
        keys = tuple(chunk if isinstance(chunk, tuple) else digest([chunk]) for chunk in chunks)
        kept = self._kept  # read once: another thread may put another in its place
        known = next((k for k, (old, new) in enumerate(zip(kept.keys, keys, strict=False)) if old != new), None)
        known = min(len(kept.keys), len(keys)) if known is None else known
        ends: list[Prefix | Pass] = list(kept.ends[:known])
        passes: list[Pass] = []
        end: Prefix | Pass = ends[-1] if ends else Prefix()
        for chunk in chunks[known:]:
            if isinstance(chunk, tuple):
                end = self.encoder.plan_text(end, chunk, passes)
            elif chunk.vit_pixels is not None:
                end = self.encoder.plan_vit(end, chunk.vit_pixels, passes, causal=True)
            ends.append(end)
        # each chunk is a group of its own: which of them were kept changes no bit
        whole = self.encoder.run(end, *([one] for one in passes)).memory
        finished = tuple(_ended(one.finished(), whole) for one in ends)
        self._kept = _Read(keys, finished)
        return finished[-1], start

    def fitting(self, messages: Sequence[Message[Reference]], bound: int) -> list[Message[Reference]]:
        """The messages within so many tokens: without the oldest pictures, then without the oldest messages. The last
        message is always there, and its pictures are given up last."""
        messages, sizes = list(messages), [self._tokens(message) for message in messages]
        opening = len(self._opening())
        over = opening + sum(text + sum(pictures) for text, pictures in sizes) - bound
        for index, (_, pictures) in enumerate(sizes):
            dropped = 0
            while over > 0 and dropped < len(pictures):
                over -= pictures[dropped]
                dropped += 1
            if dropped:
                messages[index] = replace(messages[index], pictures=messages[index].pictures[dropped:])
        first = 0
        while over > 0 and first < len(messages) - 1:
            over -= sizes[first][0]
            first += 1
        while first < len(messages) - 1 and messages[first].role != USER:  # an answer without its question says nothing
            first += 1
        return messages[first:]

    def _chunks(self, messages: Sequence[Message[Reference]]) -> tuple[list[Chunk], list[int]]:
        check_answerable(messages)
        chunks: list[Chunk] = [tuple(self._opening(messages[0].role))]
        ids: list[int] = []
        for message, after in zip(messages, [*messages[1:], None], strict=True):
            if message.pictures:
                chunks += [*([tuple(ids)] if ids else []), *message.pictures]
                ids = []
            role = ASSISTANT if after is None else after.role
            ids = [*ids, *self.tokenizer.encode(message.text, literal=True), *self._turn(role)]
            # where the answer was to be written, reading stopped before the last token
            read = len(ids) - (role == ASSISTANT)
            chunks.append(tuple(ids[:read]))
            ids = ids[read:]
        return chunks, ids

    def _tokens(self, message: Message[Reference]) -> tuple[int, list[int]]:
        """How many tokens a message's text with its frame takes, and each of its pictures."""
        side = self.encoder.config.vision.token_size
        seen = [one.vit_pixels.shape for one in message.pictures if one.vit_pixels is not None]
        text = len(self.tokenizer.encode(message.text, literal=True)) + len(self._turn(message.role))
        return text, [2 + (height // side) * (width // side) for _, height, width in seen]

    def _opening(self, role: str = USER) -> list[int]:
        bos, eos = self.encoder.config.special_tokens.bos, self.encoder.config.special_tokens.eos
        return self.tokenizer.encode(f"{bos}system\n{CHAT_SYSTEM}{eos}\n{bos}{role}\n")

    def _turn(self, role: str) -> list[int]:
        bos, eos = self.encoder.config.special_tokens.bos, self.encoder.config.special_tokens.eos
        return self.tokenizer.encode(f"{eos}\n{bos}{role}\n")


def _ended(prefix: Prefix, whole: Sequence[KeyValue]) -> Prefix:
    """A prefix without the states that nothing reads, its keys and values a view of those of the whole chat."""
    last, seen = prefix.segments[-1], prefix.seen
    memory = Memory(seen, [(keys[:, :, :seen], values[:, :, :seen]) for keys, values in whole])
    return Prefix((replace(last, hidden=last.hidden[-1:, -1:].clone()),), (memory,))
