"""Text, token by token: progress and cancel after each, and the choices that ComfyUI's own text node offers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import comfy.model_management
import comfy.utils
import torch
from torch import Tensor

from ...lightfusion_core.understanding.answer import Answerer, BoundedWriter, Decoding, OnToken


def counted(length: int) -> OnToken:
    """A progress bar of so many tokens, which acts on a cancel too."""
    bar = comfy.utils.ProgressBar(length)

    def on_token(count: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(count)

    return on_token


@dataclass(frozen=True, slots=True)
class ChosenByHost(Decoding):
    """Tokens chosen by the host's own sampling of text; greedily where `do_sample` is False."""

    do_sample: bool = True
    top_k: int = 50
    top_p: float = 0.95
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0

    def chooser(self) -> Callable[[Tensor], int]:
        """A function from scores (vocabulary,) to a token id; its random numbers are its own."""
        from comfy.text_encoders.llama import BaseGenerate

        written: list[int] = []
        generator = torch.Generator().manual_seed(self.seed or 0)

        def choose(scores: Tensor) -> int:
            token = BaseGenerate.sample_token(
                None, scores.float().cpu().clone().unsqueeze(0), self.temperature, self.top_k, self.top_p, self.min_p,
                self.repetition_penalty, written, generator, self.do_sample, self.presence_penalty,
            )  # fmt: skip
            written.append(int(token))
            return written[-1]

        return choose


def list_ids(answers: Answerer, writer: BoundedWriter, start: Sequence[int], decoding: Decoding) -> list[int]:
    """The ids that a writer goes on with."""
    with torch.no_grad():
        return list(answers.ids(writer, start, decoding, counted(decoding.max_tokens)))
