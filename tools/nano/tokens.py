"""Nano's tokenizer: byte-level BPE over the world's wordings, so that any text is accepted, after a normaliser that
takes away what says nothing in this world.

    python -m tools.nano.tokens                       train it
    python -m tools.nano.tokens --normalize FILE      give a tokenizer.json this normaliser; its ids stay
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

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
from lightfusion_core.shapes.wordings import NUMBERS
from lightfusion_core.understanding.answer import THINK_SYSTEM
from lightfusion_core.understanding.chat import CHAT_SYSTEM

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")

SPELLINGS = {"colour": "color", "grey": "gray", "centre": "center", "\u2019": "'"}
"""What is read as what, also inside words."""


def normalizer() -> normalizers.Normalizer:
    """Case, spaces, a full stop or exclamation marks at the end, British spelling and numerals up to five: requests
    that differ in these alone become the same tokens. A question mark stays, since it tells a question from a wish;
    line breaks stay, since the chat template has them; and the system texts stay as they are."""
    steps: list[normalizers.Normalizer] = [
        normalizers.Replace(Regex(r"[ \t\u00a0]+"), " "),
        normalizers.Lowercase(),
        normalizers.Replace(Regex(r"\A +"), ""),
        normalizers.Replace(Regex(r"[ .!]+\z"), ""),
        *(normalizers.Replace(said, read) for said, read in SPELLINGS.items()),
        *(
            normalizers.Replace(Regex(rf"(?<![\w.,]){number}(?!\w|[.,]\w)"), word)
            for number, word in enumerate(NUMBERS)
        ),
    ]
    normalized = normalizers.Sequence(list(steps))
    for text in (f"system\n{CHAT_SYSTEM}", THINK_SYSTEM):
        steps.append(normalizers.Replace(normalized.normalize_str(text), text))
    return normalizers.Sequence(steps)


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
    tokenizer.normalizer = normalizer()
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


def main() -> None:
    from .model import TOKENIZER

    parser = argparse.ArgumentParser(prog="python -m tools.nano.tokens", description=__doc__.split("\n\n")[0])
    parser.add_argument("--normalize", type=Path, metavar="FILE", help="give this tokenizer.json the normaliser")
    chosen = parser.parse_args()
    if chosen.normalize:
        tokenizer = Tokenizer.from_file(str(chosen.normalize))
        tokenizer.normalizer = normalizer()
        tokenizer.save(str(chosen.normalize))
    else:
        train_tokenizer(TOKENIZER)
    print(f"wrote {chosen.normalize or TOKENIZER}")


if __name__ == "__main__":
    main()
