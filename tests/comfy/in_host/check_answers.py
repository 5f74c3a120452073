"""Ask and Think: the engine's own text, streamed, stopped and cached as a user needs it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import comfy.model_management
import torch
from harness import engine, live_tensors, load, load_again, node, offloaded, pack, raised, weight_budget
from server import PromptServer
from torch import Tensor

import nodes

QUESTION, PROMPT = "What is it?", "a red star"
DECODING = {"length": 24, "temperature": 0.8, "seed": 3}


def pictures(frames: int = 2) -> Tensor:
    """An IMAGE (frames, 80, 100, 3) of whole bytes."""
    return torch.randint(0, 256, (frames, 80, 100, 3), generator=torch.Generator().manual_seed(4)) / 255


def ask(name: str = "tiny/", clip: Any = None, **inputs: Any) -> str:
    """The answer of an Ask node."""
    given = {"question": QUESTION, **DECODING, **inputs}
    return node("LightFusionAsk", clip=load(name)[1] if clip is None else clip, **given)[0]


def think(mode: str, name: str = "tiny/", **inputs: Any) -> tuple[str, str, str]:
    """Prompt, thought and system text of a Think node."""
    return node("LightFusionThink", clip=load(name)[1], prompt=PROMPT, mode=mode, **{**DECODING, **inputs})


def _engine(name: str) -> tuple[Any, list[Any], Any]:
    to_pil = pack("lightfusion_core.images").to_pil
    decoding = pack("lightfusion_core.understanding.answer").Decoding(*DECODING.values())
    return engine(name), [to_pil(frame) for frame in pictures()], decoding


def check_ask_says_what_the_engine_says() -> dict[str, int]:
    """Both manners, both kinds of models, with the frames of a batch as pictures and without any."""
    found = {}
    for name in ("tiny", "coupled"):
        core, images, decoding = _engine(name)
        for manner in ("automatic", "chat", "reference"):
            wanted = {"decoding": decoding, "manner": None if manner == "automatic" else manner}
            text = ask(f"{name}/", manner=manner, image_2=pictures())
            assert text == "".join(core.answer(QUESTION, images, **wanted)), (name, manner)
            assert ask(f"{name}/", manner=manner) == "".join(core.answer(QUESTION, **wanted)) != text
            found[f"{name} {manner}"] = len(text)
            assert len(text) > 4, "too short to compare"
    return found


def check_think_says_what_the_engine_says() -> dict[str, int]:
    """The thought with its system text, after pictures that both towers see, and the rewritten prompt."""
    found, system = {}, pack("lightfusion_core.understanding.answer").THINK_SYSTEM
    for name in ("tiny", "coupled"):
        core, images, decoding = _engine(name)
        wired = {"image_1": pictures()[:1], "image_3": pictures()[1:]}
        thought = "".join(core.think(PROMPT, images, decoding=decoding))
        assert think("think", f"{name}/", vae=load(f"{name}/")[2], **wired) == (PROMPT, thought, system)
        rewritten = "".join(core.rewrite(PROMPT, images, decoding=decoding))
        assert think("rewrite", f"{name}/", **wired) == (rewritten, "", "")
        assert rewritten == rewritten.strip() and rewritten != think("rewrite", f"{name}/")[0]
        found[name] = len(thought)
    return found


def check_a_thought_goes_into_encode() -> None:
    """What Think gives is what Encode takes: with it the negative branch has no text (rule B29)."""
    _, clip, vae = load()
    prompt, thought, system = think("think")
    size = {"width": 64, "height": 64, "batch_size": 1}
    texts = {"prompt": prompt, "negative_prompt": "", "thought": thought, "system": system}
    made = node("LightFusionEncode", clip=clip, vae=vae, **texts, **size)
    core = engine()
    wanted = core.encode(PROMPT, system=system, thought=thought)
    for condition, branch in zip(made, (wanted.full, wanted.negative), strict=False):
        assert torch.allclose(condition[0][0].lightfusion.branch.markers, branch.markers, atol=1e-4)
    assert not made[1][0][0].lightfusion.branch.segments


def check_a_thought_is_letters() -> None:
    """What a model thought ends no segment, whatever it spells; a prompt is read as the reference reads it."""
    clip, size = load()[1], {"width": 64, "height": 64, "batch_size": 1}
    spelled = "a<|im_end|>b"

    def last(**texts: str) -> list[int]:
        given = {"prompt": "c", "negative_prompt": "", **texts}
        return node("LightFusionEncode", clip=clip, **given, **size)[0][0][0].lightfusion.tokens.texts[-1]

    tokenizer = clip.cond_stage_model.tokens.tokenizer
    assert last(thought=spelled) == tokenizer.segment(spelled, literal=True) != tokenizer.segment(spelled)
    assert last(prompt=spelled) == tokenizer.segment(spelled)


def check_text_is_sent_while_it_is_written() -> dict[str, int]:
    """Each message holds all text so far, and the last one is the answer."""
    with _messages() as sent:
        answer = ask(length=200, temperature=2.0)
    texts = [data["text"] for event, data in sent if event == "lightfusion.text"]
    assert texts[-1] == answer
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert {data["node"] for event, data in sent if event == "lightfusion.text"} == {"check"}
    return {"messages": len(texts), "characters": len(answer)}


@contextmanager
def _messages() -> Iterator[list[tuple[str, Any]]]:
    server, sent = PromptServer.instance, []
    send = server.send_sync

    def keep(event: str, data: Any, sid: str | None = None) -> None:
        sent.append((event, data))
        send(event, data, sid)

    server.send_sync = keep
    try:
        yield sent
    finally:
        server.send_sync = send


def check_cancel_ends_an_answer_at_once() -> None:
    """Cancel acts after the token that is written just then, and what comes next is the same as ever."""
    before, written, write = ask(), 0, pack("lightfusion_core.understanding.answer").FrozenWriter.__call__

    def counted(self: Any, ids: Any) -> Tensor:
        nonlocal written
        written += 1
        if written == 5:
            nodes.interrupt_processing(True)
        return write(self, ids)

    pack("lightfusion_core.understanding.answer").FrozenWriter.__call__ = counted
    try:
        ask(temperature=2.0)
    except comfy.model_management.InterruptProcessingException:
        pass
    else:
        raise AssertionError("the cancel was swallowed")
    finally:
        pack("lightfusion_core.understanding.answer").FrozenWriter.__call__ = write
    assert written == 5, written
    assert ask() == before
    assert torch.is_inference_mode_enabled()


def check_another_question_does_not_look_again() -> None:
    """Looking costs far more than asking; another LoRA on the CLIP, or another picture, must look anew."""
    parts = load_again()
    clip, image = parts[1], pictures(1)
    tower = clip.cond_stage_model.tower
    see, looked = tower.see, []
    tower.see = lambda *args: looked.append(1) or see(*args)
    first = ask(clip=clip, image_1=image)
    ask(clip=clip, image_1=image, question="And now?")
    assert len(looked) == 1, looked
    patched = clip.clone()
    name = next(name for name in clip.patcher.model_state_dict() if name.endswith("layers.0.mlp.up_proj.weight"))
    patched.add_patches({name: (torch.randn(256, 128, generator=torch.Generator().manual_seed(0)),)})
    assert ask(clip=patched, image_1=image) != first
    assert len(looked) == 2
    assert ask(clip=clip, image_1=image) == first


def check_partly_loaded_clip_answers_the_same() -> None:
    """Every weight that an answer needs is cast as it is used, `lm_head` too; of a coupled model the
    generation side as well."""
    for name in ("tiny/", "coupled/"):
        whole = ask(name, image_1=pictures(1))
        parts = load_again(name)
        clip = parts[1]
        with weight_budget(0.1), offloaded(clip.patcher, clip.cond_stage_model) as left:
            assert ask(clip=clip, image_1=pictures(1)) == whole
            assert left, "nothing was left on the offload device"


def check_a_model_without_lm_head_says_so() -> None:
    """A text encoder from another pack may have come without its output layer."""
    clip = load_again()[1]
    clip.cond_stage_model.tower.lm_head = None
    assert "lm_head" in raised(lambda: ask(clip=clip))
    assert "lm_head" in raised(lambda: node("LightFusionThink", clip=clip, prompt=PROMPT, mode="think", **DECODING))


def check_a_coupled_model_without_its_model_says_so() -> None:
    """Its CLIP names the MODEL without keeping it alive."""
    clip = load_again("coupled/")[1]
    comfy.model_management.unload_all_models()
    gc.collect()
    assert "run Load LightFusion" in raised(lambda: ask(clip=clip))
    assert ask(clip=clip, manner="chat") == ask("coupled/", manner="chat")


def check_wrong_wiring_is_explained() -> None:
    """Any CLIP can be wired, and pictures without the VAE."""

    class Foreign:
        cond_stage_model = None

    assert "CLIP of Load LightFusion" in raised(lambda: ask(clip=Foreign()))
    assert "wire the VAE" in raised(lambda: think("think", image_1=pictures()))


def check_answers_leave_no_tensor() -> None:
    """A cache of keys and values that stays is a gigabyte a question."""
    for seed in range(3):
        ask(seed=seed, image_1=pictures())
    before = live_tensors()
    for seed in range(10):
        ask(seed=seed, image_1=pictures(), question=f"What is {seed}?")
    after = live_tensors()
    assert after[0] <= before[0] and after[1] <= before[1], f"{before} tensors and bytes became {after}"
