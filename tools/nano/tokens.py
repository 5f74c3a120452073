"""Nano's tokenizer: byte-level BPE over the world's wordings, so that any text is accepted."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from lightfusion_core.shapes.prompts import (
    CATEGORIES,
    EDITS,
    QUESTIONS,
    REFERENCES,
    sample_caption,
    sample_edit,
    sample_prompt,
    sample_question,
    sample_reference,
)
from lightfusion_core.understanding.answer import CHAT_SYSTEM, THINK_SYSTEM

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")


def texts(count: int, seed: int = 0) -> Iterator[str]:
    """Sentences of every task in training wordings."""
    rng = random.Random(seed)
    yield from (CHAT_SYSTEM, THINK_SYSTEM, "system\n", "user\n", "assistant\n") * 50
    for _ in range(count):
        yield sample_prompt(rng, rng.choice(CATEGORIES)).prompt
        yield sample_edit(rng, rng.choice(EDITS)).instruction
        yield sample_reference(rng, rng.choice(REFERENCES)).instruction
        question = sample_question(rng, rng.choice(QUESTIONS))
        caption = sample_caption(rng)
        yield from (question.question, question.answer, caption.question, caption.answer)


def train_tokenizer(path: Path, vocabulary: int = 832, sentences: int = 4000) -> None:
    """Write a tokenizer.json of this vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(sentences), trainer)
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))


if __name__ == "__main__":
    from .model import TOKENIZER

    train_tokenizer(TOKENIZER)
    print(f"wrote {TOKENIZER}")
