"""Core's own text node with our CLIP: it says what LightFusion Ask says."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import torch
from check_answers import QUESTION, ask, pictures
from harness import load, node, pack, raised
from torch import Tensor

import nodes

ON = {
    "sampling_mode": "on", "temperature": 0.9, "top_k": 40, "top_p": 0.95, "min_p": 0.02, "repetition_penalty": 1.1,
    "presence_penalty": 0.1, "seed": 3,
}  # fmt: skip
OFF = {"sampling_mode": "off"}
_THERE = "TextGenerate" in nodes.NODE_CLASS_MAPPINGS
"""Older hosts have no such node."""


def generate(name: str = "tiny/", **inputs: Any) -> str:
    """What TextGenerate writes."""
    given = {"prompt": QUESTION, "max_length": 24, "sampling_mode": OFF, **inputs}
    return node("TextGenerate", clip=load(name)[1], **given)[0]


def check_text_generate_says_what_ask_says() -> dict[str, int]:
    """Greedily, about pictures and without any; a coupled model as its chat."""
    found = {}
    for name in ("tiny/", "coupled/") if _THERE else ():
        for wired, image in (({}, {}), ({"image": pictures()}, {"image_1": pictures()})):
            text = generate(name, **wired)
            assert text == ask(name, length=24, temperature=0.0, manner="chat", **image)
            assert generate(name, thinking=True, **wired) == text, "it has no mode of thinking"
            found[f"{name} {len(wired)}"] = len(text)
        assert generate(name, image=pictures()) != generate(name)
    return found


def check_text_generate_samples_as_the_host_does() -> None:
    """By its own choice of tokens, with its own random numbers."""
    if not _THERE:
        return
    before = torch.random.get_rng_state()
    text = generate(sampling_mode=ON)
    assert text == generate(sampling_mode=ON)
    assert text != generate(sampling_mode={**ON, "seed": 4})
    assert torch.equal(torch.random.get_rng_state(), before)
    one = {**ON, "top_k": 1, "repetition_penalty": 1.0, "presence_penalty": 0.0}
    assert generate(sampling_mode=one) == generate(), "the likeliest token alone is the greedy choice"


def check_text_generate_takes_a_raw_text_and_frames() -> None:
    """Without the template the text is gone on with; of a video's 24 frames a second one is looked at."""
    if not _THERE:
        return
    clip = load()[1]
    raw = generate(use_default_template=False)
    assert raw != generate()
    ids = clip.tokenizer.tokenizer.encode(QUESTION)
    answers = clip.cond_stage_model.answers
    writer, start = answers.go_on(QUESTION)
    assert start == ids[-1:]
    decoding = pack("lightfusion_core.understanding.answer").Decoding(24)
    assert raw == clip.decode(list(answers.ids(writer, start, decoding)))
    frames = torch.cat([pictures(1)] * 24 + [pictures(2)[1:]] * 2)
    assert generate(video=frames) == generate(image=pictures(2)) != generate(image=pictures(1))


def check_text_generate_is_cancelled_after_a_token() -> None:
    """As Ask is, with the progress bar's own count."""
    if not _THERE:
        return
    before, writer, written = generate(), pack("lightfusion_core.understanding.answer").FrozenWriter, []
    write = writer.__call__

    def counted(self: Any, ids: Any) -> Tensor:
        written.append(ids)
        if len(written) == 5:
            nodes.interrupt_processing(True)
        return write(self, ids)

    writer.__call__ = counted
    try:
        generate(max_length=200)
    except comfy.model_management.InterruptProcessingException:
        pass
    else:
        raise AssertionError("the cancel was swallowed")
    finally:
        writer.__call__ = write
    assert len(written) == 5, written
    assert generate() == before


def check_what_text_generate_cannot_have_is_said() -> None:
    """Sound, another model's form of chat, and no text at all."""
    if not _THERE:
        return
    sound = {"waveform": torch.zeros(1, 1, 8), "sample_rate": 8}
    assert "audio" in raised(lambda: generate(audio=sound))
    assert "no text to go on with" in raised(lambda: generate(prompt="", use_default_template=False))
    prompt = {"clip": load()[1], "prompt": "a fox", "max_length": 8, "sampling_mode": OFF}
    assert "use TextGenerate or LightFusion Think" in raised(lambda: node("TextGenerateLTX2Prompt", **prompt))
