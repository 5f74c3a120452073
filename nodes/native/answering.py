"""Text out of a CLIP's understanding model, with progress and cancel after every token."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import comfy.sd
from PIL import Image
from torch import Tensor

from ...lightfusion_core.errors import CapabilityError, InputError
from ...lightfusion_core.images import to_pil
from ...lightfusion_core.understanding.answer import THINK_SYSTEM, Answerer, Decoding, OnToken
from ...lightfusion_core.understanding.chat import ASSISTANT, USER, Message
from ...lightfusion_core.understanding.history import name_of, read_history, with_pictures, written_history
from ...lightfusion_core.understanding.vision import Reference, vit_pixels
from . import seen
from .clip import UnderstandingModel
from .encoding import check_clip, prepare
from .showing import LiveText
from .telling import take_back, tell
from .tokens import frames
from .writing import counted

Text = Callable[[Answerer, list[Reference], OnToken], Iterator[str]]


def ask(
    clip: comfy.sd.CLIP,
    question: str,
    images: Iterable[Tensor],
    manner: str | None,
    decoding: Decoding,
    history: str = "",
) -> tuple[str, str]:
    """The answer to a question about every frame of IMAGE batches, and the history with both; see `Answerer.answer` for
    the manner.

    Args:
        history: what was said before. A picture that it has shown is not shown again.

    Raises:
        InputError: another model's CLIP, no history or one whose pictures are gone, or more than the model's positions
            hold.
        CapabilityError: the understanding model came without `lm_head`, or was not trained to converse.
    """
    model, said = check_clip(clip), read_history(history)
    if said and not goes_on(clip):
        raise CapabilityError(
            f"The model {model.config.name} was not trained to go on with what was said before: ask without a history."
        )
    given = [(name_of(picture), picture) for picture in map(to_pil, frames(images))]
    shown, at_hand = {name for message in said for name in message.pictures}, dict(given)
    asked = Message(USER, question, tuple(name for name, _ in given if name not in shown))
    pictures = with_pictures([*said, asked], lambda name: at_hand.get(name) or seen.find(name))
    *past, last = (replace(one, pictures=tuple(_reference(p, model) for p in one.pictures)) for one in pictures)

    def write(answers: Answerer, references: list[Reference], on_token: OnToken) -> Iterator[str]:
        _tell_what_is_left_out(answers, [*past, last])
        return answers.answer(question, references, decoding, manner, on_token, past)

    answer = _shown(clip, list(last.pictures), decoding, write, drawing=manner != "chat" and not past)
    for name, picture in at_hand.items():
        seen.keep(name, picture)
    return answer, written_history([*said, asked, Message(ASSISTANT, answer.strip())])


def goes_on(clip: comfy.sd.CLIP) -> bool:
    """Whether the model was trained to go on from a history."""
    return "converse" in check_clip(clip).config.tasks


def _reference(picture: Image.Image, model: UnderstandingModel) -> Reference:
    return Reference(vit_pixels(picture, model.config))


def _tell_what_is_left_out(answers: Answerer, messages: list[Message[Reference]]) -> None:
    """Say so where a conversation is longer than what is read of it."""
    read = answers.within(messages)
    pictures = sum(len(one.pictures) for one in messages) - sum(len(one.pictures) for one in read)
    if pictures or len(read) < len(messages):
        tell(
            f"The conversation is longer than the model reads: its oldest {pictures} pictures and "
            f"{len(messages) - len(read)} messages were left out."
        )


def rewrite(clip: comfy.sd.CLIP, prompt: str, images: Iterable[Tensor], decoding: Decoding) -> str:
    """A detailed prompt in the place of a short one; raises as `ask`."""

    def write(answers: Answerer, references: list[Reference], on_token: OnToken) -> Iterator[str]:
        return answers.rewrite(prompt, references, decoding, on_token)

    return _shown(clip, _references(clip, None, images), decoding, write, drawing=False)


def think(
    clip: comfy.sd.CLIP, vae: comfy.sd.VAE | None, prompt: str, images: list[Tensor], decoding: Decoding
) -> tuple[str, str]:
    """The thought before drawing, and the system text that belongs to it.

    Raises:
        InputError: pictures without a VAE; and as `ask`.
    """
    if images and vae is None:
        raise InputError("A thought about pictures needs the VAE: wire the VAE of Load LightFusion into this node.")

    def write(answers: Answerer, references: list[Reference], on_token: OnToken) -> Iterator[str]:
        return answers.think(prompt, references, THINK_SYSTEM, decoding, on_token)

    return _shown(clip, _references(clip, vae, images), decoding, write, drawing=True), THINK_SYSTEM


def _references(clip: comfy.sd.CLIP, vae: comfy.sd.VAE | None, images: Iterable[Tensor]) -> list[Reference]:
    model = check_clip(clip)
    return [prepare(frame, model, vae) for frame in frames(images)]


def _shown(clip: comfy.sd.CLIP, references: list[Reference], decoding: Decoding, write: Text, drawing: bool) -> str:
    """The whole text; it is shown on the node while it is written.

    Args:
        drawing: whether the text goes on from a drawing context, for which a coupled model needs its generation
            side too.
    """
    take_back()
    answers = check_clip(clip).load(clip, with_generation=drawing)
    on_token, live, text = counted(decoding.max_tokens), LiveText(), ""
    for piece in write(answers, references, on_token):
        text += piece
        live.show(text)
    live.show(text, last=True)
    on_token(decoding.max_tokens)
    return text
