"""Text out of a CLIP's understanding model, with progress and cancel after every token."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import comfy.sd
from torch import Tensor

from ...lightfusion_core.errors import InputError
from ...lightfusion_core.understanding.answer import THINK_SYSTEM, Answerer, Decoding, OnToken
from ...lightfusion_core.understanding.vision import Reference
from .encoding import check_clip, prepare
from .showing import LiveText
from .tokens import frames
from .writing import counted

Text = Callable[[Answerer, list[Reference], OnToken], Iterator[str]]


def ask(clip: comfy.sd.CLIP, question: str, images: Iterable[Tensor], manner: str | None, decoding: Decoding) -> str:
    """The answer to a question about every frame of IMAGE batches; see `Answerer.answer` for the manner.

    Raises:
        InputError: another model's CLIP, or more than the model's positions hold.
        CapabilityError: the understanding model came without `lm_head`.
    """

    def write(answers: Answerer, references: list[Reference], on_token: OnToken) -> Iterator[str]:
        return answers.answer(question, references, decoding, manner, on_token)

    return _shown(clip, None, images, decoding, write, drawing=manner != "chat")


def rewrite(clip: comfy.sd.CLIP, prompt: str, images: Iterable[Tensor], decoding: Decoding) -> str:
    """A detailed prompt in the place of a short one; raises as `ask`."""

    def write(answers: Answerer, references: list[Reference], on_token: OnToken) -> Iterator[str]:
        return answers.rewrite(prompt, references, decoding, on_token)

    return _shown(clip, None, images, decoding, write, drawing=False)


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

    return _shown(clip, vae, images, decoding, write, drawing=True), THINK_SYSTEM


def _shown(
    clip: comfy.sd.CLIP,
    vae: comfy.sd.VAE | None,
    images: Iterable[Tensor],
    decoding: Decoding,
    write: Text,
    drawing: bool,
) -> str:
    """The whole text; it is shown on the node while it is written.

    Args:
        drawing: whether the text goes on from a drawing context, for which a coupled model needs its generation
            side too.
    """
    model = check_clip(clip)
    references = [prepare(frame, model, vae) for frame in frames(images)]
    answers = model.load(clip, with_generation=drawing)
    on_token, live, text = counted(decoding.max_tokens), LiveText(), ""
    for piece in write(answers, references, on_token):
        text += piece
        live.show(text)
    live.show(text, last=True)
    on_token(decoding.max_tokens)
    return text
