"""Text answers, token by token, with a key-value cache (rules B26, B29).

Two manners. "chat" is the VLM's own: its chat template and a causal mask throughout, as a frozen
Qwen2.5-VL was trained. "reference" is the authors': the segments of a drawing context, then a newline,
then one token after another; it is what "think, then draw" needs. Only the latter needs the generation
tower, and only for a coupled model.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Protocol

import torch
from torch import Tensor

from ..errors import InputError
from ..generation.context import ContextBuilder, SegmentKeys
from .chat import USER, ChatReader, Message
from .encoder import Encoder
from .passes import Pass, Prefix
from .tokenizer import Tokenizer
from .vision import Reference

log = logging.getLogger(__name__)

THINK_SYSTEM = (
    "You should first think about the planning process in the mind and then generate the image. \n"
    "The planning process is enclosed within <think> </think> tags, "
    "i.e. <think> planning process here </think> image here\n"
)
"""The system text of the published "think, then draw" script."""

REWRITE_REQUEST = (
    "Rewrite this prompt for an image generator as one detailed description of the picture. Keep everything that it "
    "names; add setting, composition, light and style. Answer with the description alone.\n"
)
"""What a chat is asked for with a prompt to rewrite; short, since small models have few positions."""

REWRITE_REFERENCES = "It speaks of the pictures above: name them by their order, as the first picture.\n"
"""What goes with it where there are references."""

_COLDEST = 1e-6
"""Temperatures below it choose as greedily as 0, and dividing by them overflows."""

CHAT, REFERENCE = "chat", "reference"

CHAT_BOUND = 8192
"""So many tokens of a chat are read, pictures included."""
_ANSWER = 512
"""For so many more a model has positions, or for a quarter of those that it has."""

OnToken = Callable[[int], None]
"""Told after each token how many there are; an exception from it ends the run."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How text is chosen: at most `max_tokens`, greedily at temperature 0, else drawn with `seed`."""

    max_tokens: int = 512
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise InputError(f"An answer needs a length of at least 1 token, found {self.max_tokens}.")
        if not 0 <= self.temperature < inf:
            raise InputError(f"The temperature must be 0 (greedy) or more, found {self.temperature}.")

    def chooser(self) -> Callable[[Tensor], int]:
        """A function from scores (vocabulary,) to a token id; its random numbers are its own."""
        if self.temperature < _COLDEST:
            return lambda scores: int(scores.argmax())
        generator = torch.Generator().manual_seed(self.seed)

        def draw(scores: Tensor) -> int:
            shares = torch.softmax(scores.float().cpu() / self.temperature, dim=-1)
            return int(torch.multinomial(shares, 1, generator=generator))

        return draw


THOUGHT = Decoding(2048)
"""How thoughts are written where nothing is said: as in the published runs, whose scripts ask for no sampling."""

REWRITTEN = Decoding(384, 0.3)
"""How prompts are rewritten where nothing is said."""


class Repetition:
    """Finds a text that goes round in a circle: the same tokens, at most 64, six times in a row and 96 tokens long.

    So long a circle is not left any more, least of all by a greedy choice; lists and refrains are shorter.
    """

    _longest, _times, _least = 64, 6, 96

    def __init__(self) -> None:
        self._written: list[int] = []
        self._same = [0] * (self._longest + 1)
        """By the length of a circle, how many tokens equal the one that far before them, up to here."""

    def found(self, token: int) -> bool:
        """Take the next token; whether it closes a circle."""
        self._written.append(token)
        for length in range(1, min(self._longest, len(self._written) - 1) + 1):
            self._same[length] = self._same[length] + 1 if self._written[-1 - length] == token else 0
            if self._same[length] + length >= max(self._times * length, self._least):
                return True
        return False


class FrozenWriter:
    """Continues a prefix with the VLM alone."""

    def __init__(self, encoder: Encoder, prefix: Prefix) -> None:
        self.encoder, self.prefix = encoder, prefix

    @property
    def room(self) -> int:
        """How many tokens can still be fed."""
        return self.encoder.room(self.prefix)

    def __call__(self, ids: Sequence[int]) -> Tensor:
        """Append tokens; the scores (vocabulary,) of the next one."""
        self.prefix = self.encoder.add_text(self.prefix, ids)
        last = self.prefix.segments[-1].hidden[-1:, -1:]
        self.prefix = self.prefix.ending()  # earlier states are not read again
        return self.encoder.tower.logits(last)[0, 0]


class CoupledWriter:
    """Continues a prefix with the VLM and the fusion layers, as a coupled model does."""

    def __init__(self, encoder: Encoder, prefix: Prefix, builder: ContextBuilder) -> None:
        self.encoder, self.builder = encoder, builder
        self.end = Prefix(prefix.segments[-1:])
        self.keys = SegmentKeys.join(builder.chain(prefix.segments))

    @property
    def room(self) -> int:
        """How many tokens can still be fed."""
        return self.encoder.room(self.end)

    def __call__(self, ids: Sequence[int]) -> Tensor:
        """Append tokens; the scores (vocabulary,) of the next one."""
        self.end = Prefix(self.encoder.add_text(self.end, ids).segments[-1:])
        made = self.builder.run(self.end.segments[0], self.keys)
        self.keys = SegmentKeys.join([part for part in (self.keys, made) if part])
        assert made.hidden is not None  # a coupled model keeps it
        return self.encoder.tower.logits(made.hidden[:, -1:])[0, 0]


Writer = Callable[[Sequence[int]], Tensor]


class BoundedWriter(Protocol):
    """A writer whose model takes so many tokens and no more."""

    @property
    def room(self) -> int: ...

    def __call__(self, ids: Sequence[int]) -> Tensor: ...


def write(
    writer: Writer,
    start: Sequence[int],
    decoding: Decoding,
    stop: Container[int],
    warn: Callable[[str], object] = log.warning,
) -> Iterator[int]:
    """Token ids, one at a time: `start` is fed first, then every choice, until one of `stop`, the length, or a text
    that repeats itself without end, which is said by `warn`, in the log unless it is given.

    Closing the iterator, or an exception where it is consumed, ends the run.
    """
    choose = decoding.chooser()
    for token in start[:-1]:
        writer([token])
    token, repetition = start[-1], Repetition()
    for count in range(1, decoding.max_tokens + 1):
        token = choose(writer([token]))
        if token in stop:
            return
        yield token
        if repetition.found(token):
            warn(f"The text repeats itself and was stopped after {count} tokens: ask in other words.")
            return


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


def stripped(pieces: Iterator[str]) -> Iterator[str]:
    """The pieces of a text without the white space around it."""
    held, begun = "", False
    for piece in pieces:
        held += piece
        text = held.rstrip() if begun else held.strip()
        if text:
            yield text
            held, begun = held[len(held.rstrip()) :], True


@torch.no_grad()
def open_writer(
    encoder: Encoder,
    texts: Sequence[Sequence[int]],
    references: Sequence[Reference],
    builder: Callable[[], ContextBuilder],
) -> BoundedWriter:
    """What continues a drawing context with text, one token at a time (rule B26).

    `builder` makes what runs a coupled model's fusion; it is not called for a frozen one.
    """
    prefix = encoder.extend(encoder.images(references), texts)
    return CoupledWriter(encoder, prefix, builder()) if encoder.coupled else FrozenWriter(encoder, prefix)


class Answerer:
    """What one model writes: answers, thoughts, prompts rewritten.

    Every method returns the text in pieces, as it is written. The last chat is kept, so that another question about
    the same pictures, or one that goes on with it, reads only what is new. Questions and prompts are read literally:
    what is spelled like a special token in them begins and ends no turn.

    Args:
        encoder: the model's own.
        tokenizer: its tokenizer.
        builder: as for `open_writer`; a chat does not need it.
        warn: told what a person should know of a text; in the log unless it is given.
    """

    def __init__(
        self,
        encoder: Encoder,
        tokenizer: Tokenizer,
        builder: Callable[[], ContextBuilder],
        warn: Callable[[str], object] = log.warning,
    ) -> None:
        self.encoder, self.tokenizer, self.builder, self.warn = encoder, tokenizer, builder, warn
        # the VLM alone, also where a coupled model's encoder gives inputs instead of states
        self._vlm = Encoder(encoder.tower, encoder.config, encoder.marker_ids, coupled=False)
        self.reader = ChatReader(self._vlm, tokenizer)

    def forget(self) -> None:
        """Drop the kept chat."""
        self.reader.forget()

    def answer(
        self,
        question: str,
        references: Sequence[Reference] = (),
        decoding: Decoding | None = None,
        manner: str | None = None,
        on_token: OnToken | None = None,
        history: Sequence[Message[Reference]] = (),
    ) -> Iterator[str]:
        """Answer a question.

        Args:
            manner: "chat" or "reference"; None is reference for a coupled model, else chat.
            history: what was said before. It is for a chat, and makes it one where nothing is said; its oldest
                pictures, then its oldest messages, are left out where it is longer than `CHAT_BOUND` or than the model
                takes.

        Raises:
            InputError: an unknown manner, one that knows no history, or more than the model's positions hold.
            CapabilityError: the model came without `lm_head` (with the first piece).
        """
        manner = manner or (REFERENCE if self.encoder.coupled and not history else CHAT)
        if manner == CHAT:
            return self._written(*self.chat(question, references, history), decoding or Decoding(), on_token)
        if manner == REFERENCE and history:
            raise InputError('The manner "reference" knows no history: answer in the manner "chat".')
        if manner == REFERENCE:
            writer = self._writer([question], references)
            return self._written(writer, self._newline(), decoding or Decoding(), on_token)
        raise InputError(f'There is no manner {manner!r} of answering: choose "chat" or "reference".')

    def think(
        self,
        prompt: str,
        references: Sequence[Reference] = (),
        system: str = THINK_SYSTEM,
        decoding: Decoding | None = None,
        on_token: OnToken | None = None,
    ) -> Iterator[str]:
        """The thought before drawing, without leading newlines (rule B29). References need their latents.

        It ends where the model would have no positions left to draw with it.
        """
        writer = self._writer([system, prompt], references)
        room = writer.room - len(self.tokenizer.segment(""))
        pieces = without_leading_newlines(self._written(writer, self._newline(), decoding or THOUGHT, on_token))
        return self._fitting(pieces, room)

    def _fitting(self, pieces: Iterator[str], room: int) -> Iterator[str]:
        """The pieces of a text of at most so many tokens, read anew."""
        text = ""
        for piece in pieces:
            text += piece
            # as many bytes as there is room for cannot be too many tokens
            if len(text.encode("utf-8", "replace")) > room and len(self.tokenizer.encode(text, literal=True)) > room:
                return
            yield piece

    def rewrite(
        self,
        prompt: str,
        references: Sequence[Reference] = (),
        decoding: Decoding | None = None,
        on_token: OnToken | None = None,
    ) -> Iterator[str]:
        """A detailed description in the place of a prompt, as the chat writes it."""
        request = f"{REWRITE_REQUEST}{REWRITE_REFERENCES if references else ''}\n{prompt}"
        return stripped(self._written(*self.chat(request, references), decoding or REWRITTEN, on_token))

    def chat(
        self, question: str, references: Sequence[Reference] = (), history: Sequence[Message[Reference]] = ()
    ) -> tuple[BoundedWriter, list[int]]:
        """Qwen2.5-VL's chat template up to the answer: all but its last token in a writer, and that token.

        Images come first in the user's turn. Everything is causal, ViT tokens too.
        """
        prefix, start = self.reader.read(self.within([*history, Message(USER, question, tuple(references))]))
        return FrozenWriter(self._vlm, prefix), start

    @torch.no_grad()
    def likelihoods(self, messages: Sequence[Message[Reference]], continuations: Sequence[str]) -> list[float]:
        """How likely the chat goes on with each of these texts: the sum of the logarithms of their tokens' shares. (A
        mean would favour words of many tokens: all but their first are certain.)

        Raises:
            InputError: more than the model's positions hold.
            CapabilityError: the model came without `lm_head`.
        """
        prefix, start = self.reader.read(self.within(messages))
        opened = FrozenWriter(self._vlm, prefix)
        first, found = opened(start), []
        for text in continuations:
            writer, scores, total = FrozenWriter(self._vlm, opened.prefix), first, 0.0
            ids = self.tokenizer.encode(text, literal=True)
            for index, token in enumerate(ids):
                scores = writer(ids[index - 1 : index]) if index else scores
                total += float(torch.log_softmax(scores.float(), dim=-1)[token])
            found.append(total)
        return found

    def within(self, messages: Sequence[Message[Reference]]) -> Sequence[Message[Reference]]:
        """What is read of a chat, so that there is room for an answer; of one question alone, all."""
        positions = self.encoder.config.text.max_position_embeddings
        bound = min(CHAT_BOUND, positions - min(_ANSWER, positions // 4))
        return self.reader.fitting(messages, bound) if len(messages) > 1 else messages

    @torch.no_grad()
    def go_on(self, text: str, references: Sequence[Reference] = ()) -> tuple[BoundedWriter, list[int]]:
        """The VLM after pictures and a raw text, without a template and with its special tokens: all but its last token
        in a writer, and that token. Everything is causal, ViT tokens too.

        Raises:
            InputError: an empty text.
        """
        ids = self.tokenizer.encode(text)
        if not ids:
            raise InputError("There is no text to go on with: write one, or ask in the model's own template.")
        passes: list[Pass] = []
        end = self._plan_pictures(Prefix(), references, passes)
        end = self._vlm.plan_text(end, ids[:-1], passes) if ids[:-1] else end
        return FrozenWriter(self._vlm, self._vlm.run(end, passes)), ids[-1:]

    def ids(
        self, writer: BoundedWriter, start: Sequence[int], decoding: Decoding, on_token: OnToken | None = None
    ) -> Iterator[int]:
        """The token ids that a writer goes on with after `start`, up to the end of a turn, the length, or the end of
        the model's positions."""
        # the last token that is chosen is not fed; a start that does not fit is refused by the writer
        length = min(decoding.max_tokens, max(1, writer.room - len(start) + 1))
        tokens = write(writer, start, replace(decoding, max_tokens=length), self.tokenizer.ends, self.warn)
        return tokens if on_token is None else _counted(tokens, on_token)

    def _plan_pictures(self, end: Prefix | Pass, references: Sequence[Reference], passes: list[Pass]) -> Prefix | Pass:
        """The pictures as the VLM's own template has them."""
        for reference in references:
            if reference.vit_pixels is not None:
                end = self._vlm.plan_vit(end, reference.vit_pixels, passes, causal=True)
        return end

    def _writer(self, texts: Sequence[str], references: Sequence[Reference]) -> BoundedWriter:
        segments = [self.tokenizer.segment(text, literal=True) for text in texts]
        return open_writer(self.encoder, segments, references, self.builder)

    def _written(
        self, writer: BoundedWriter, start: Sequence[int], decoding: Decoding, on_token: OnToken | None
    ) -> Iterator[str]:
        pieces = stream_text(self.ids(writer, start, decoding, on_token), self.tokenizer)
        while True:
            with torch.no_grad():  # entered for each piece: a suspended generator must not hold it
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    def _newline(self) -> Sequence[int]:
        return self.tokenizer.encode("\n")


def _counted(tokens: Iterator[int], on_token: OnToken) -> Iterator[int]:
    for count, token in enumerate(tokens, 1):
        on_token(count)
        yield token
