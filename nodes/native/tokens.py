"""What ComfyUI calls tokens: a request to the understanding tower, as text encode nodes put it together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from torch import Tensor

from ...lightfusion_core.config import ModelConfig
from ...lightfusion_core.errors import InputError
from ...lightfusion_core.images import rgb, to_pil
from ...lightfusion_core.understanding.tokenizer import Tokenizer
from ...lightfusion_core.understanding.vision import Reference, vit_pixels
from .saving import understanding_documents

_READ = frozenset({"skip_template"})
_WITHOUT_MEANING = frozenset({"llama_template", "min_length", "prevent_empty_text", "thinking"})
"""Options that concern how another model's text is laid out."""
_FRAME_RATE = 24
"""Of the frames that a node hands over as a video, so many are a second, of which one is looked at."""
_PLACE_OF_A_PICTURE = re.compile(r"(Picture \d+: ?)?<\|vision_start\|>(<\|image_pad\|>)*<\|vision_end\|>")
"""Where nodes for Qwen's own models write a picture into the text; here pictures have their place before it."""
_FOREIGN_CHATS = ("<start_of_turn>", "<|turn>", "<|start_header_id|>")


@dataclass(frozen=True, eq=False, slots=True)
class PromptTokens:
    """One branch's request.

    texts: token ids of its text segments, framing tokens included (rule B2).
    references: its pictures, in order.
    prompt: the text alone, for a node that has it answered.
    template: whether it is then a question of a chat, and not a text to go on with.

    Other models' tokens are a dictionary by text encoder; a node that takes these for such a one is told so.
    """

    texts: tuple[Sequence[int], ...]
    references: tuple[Reference, ...] = ()
    prompt: str = ""
    template: bool = True

    def _foreign(self, *arguments: Any) -> NoReturn:
        name = f" ({arguments[0]!r})" if arguments else ""
        raise InputError(
            f"This node encodes for another model's text encoders{name}, and LightFusion has one of its own: use "
            "CLIPTextEncode, or LightFusion Encode."
        )

    __getitem__ = __setitem__ = __delitem__ = __contains__ = __iter__ = __len__ = _foreign
    keys = values = items = get = pop = copy = update = _foreign


class TextTokens:
    """ComfyUI's name for what turns a prompt into tokens. Prompts are literal: no `(word:1.2)` weights."""

    def __init__(self, tokenizer: Tokenizer, config: ModelConfig) -> None:
        self.tokenizer, self.config = tokenizer, config

    def tokenize_with_weights(
        self,
        text: str,
        return_word_ids: bool = False,
        images: Sequence[Tensor] = (),
        image: Tensor | None = None,
        video: Tensor | None = None,
        **options: Any,
    ) -> PromptTokens:
        """A prompt about pictures, or without any.

        Args:
            images, image: IMAGE batches, whose frames are looked at in order.
            video: an IMAGE batch of 24 frames a second.

        Raises:
            InputError: an option or a form of text that only another model reads.
        """
        check_options(options)
        if text.startswith(_FOREIGN_CHATS):
            raise InputError(
                "This node writes its text in the form of another model's chat: use TextGenerate or LightFusion Think."
            )
        pictures = [*images, *([] if image is None else [image]), *([] if video is None else [video[::_FRAME_RATE]])]
        references = tuple(Reference(vit_pixels(to_pil(frame), self.config)) for frame in frames(pictures))
        text = _PLACE_OF_A_PICTURE.sub("", text) if references else text
        return PromptTokens((self.segment(text),), references, text, not options.get("skip_template", False))

    def segment(self, text: str, literal: bool = False) -> list[int]:
        """The ids of one text segment (rule B2); see `Tokenizer.encode` for a literal one."""
        return self.tokenizer.segment(text, literal)

    def decode(self, token_ids: list[int], skip_special_tokens: bool = True) -> str:
        """The text of ids that the model wrote."""
        return self.tokenizer.decode(token_ids)

    def state_dict(self) -> dict[str, Tensor]:
        """What a saved CLIP needs beside its weights to be loaded again."""
        return understanding_documents(self.config, self.tokenizer)


def check_options(options: dict[str, Any]) -> None:
    """Refuse what a node asks of another model's tokenizer; nothing at all is asked by what is empty.

    Raises:
        InputError: it would change another model's text, and has no meaning for this one.
    """
    if options.get("tokenizer_options"):
        raise InputError("T5TokenizerOptions has no meaning for LightFusion, which has no T5: remove that node.")
    foreign = sorted(name for name in options.keys() - _READ - _WITHOUT_MEANING if _says_something(options[name]))
    if foreign:
        raise InputError(
            f"This node gives the text encoder {' and '.join(foreign)}, and LightFusion's reads a prompt and pictures: "
            "use CLIPTextEncode or LightFusion Encode, and for an answer TextGenerate without it or LightFusion Ask."
        )


def _says_something(value: Any) -> bool:
    return value is not None and not (isinstance(value, str | bool | list | tuple | dict) and not value)


def frames(images: Iterable[Tensor]) -> list[Tensor]:
    """Every frame (H, W, 3) of IMAGE batches, in order; transparency is laid on white."""
    return [frame for image in images for frame in rgb(image)]
