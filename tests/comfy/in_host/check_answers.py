"""Ask and Think: the engine's own text, streamed, stopped and cached as a user needs it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
import torch
from harness import engine, live_tensors, load, load_again, node, offloaded, pack, raised, weight_budget
from server import PromptServer
from torch import Tensor

import nodes

QUESTION, PROMPT = "What is it?", "a red star"
SHORT, HOT = 4, 2.0
"""Tokens of an answer that leaves the tiny models room for more, and a temperature at which it varies."""
DECODING = {"length": 24, "temperature": 0.8, "seed": 3}
BRIEFLY = {"length": SHORT, "temperature": HOT}


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


def talk(name: str = "tiny/", **inputs: Any) -> tuple[str, str]:
    """Answer and history of an Ask node."""
    clip = inputs.pop("clip", None) or load(name)[1]
    return node("LightFusionAsk", clip=clip, **{"question": QUESTION, **DECODING, **BRIEFLY, **inputs})


def check_a_history_is_gone_on_with() -> dict[str, int]:
    """Three questions in a row say what the engine's chat says, and read each picture once: one that is wired again,
    too. A coupled model goes on in the manner of a chat."""
    found = {}
    for name in ("tiny", "coupled"):
        core, images, decoding = _engine(name)
        decoding = replace(decoding, max_tokens=SHORT, temperature=HOT)
        chat = pack("lightfusion_core.understanding.chat")
        clip = load_again(f"{name}/")[1]
        looked = _counted_looks(clip)
        answer, history = talk(clip=clip, image_1=pictures(1), manner="chat")
        said = [chat.Message("user", QUESTION, tuple(images[:1])), chat.Message("assistant", answer.strip())]
        for question, more, count in (
            ("And now?", {"image_1": pictures(1)}, 1),
            ("And it?", {"image_2": pictures()}, 2),
        ):
            answer, history = talk(clip=clip, question=question, history=history, **more)
            new = tuple(images[1:]) if "image_2" in more else ()
            asked = chat.Message("user", question, new)
            assert answer == "".join(core.chat([*said, asked], decoding=decoding)), (name, question)
            said += [asked, chat.Message("assistant", answer.strip())]
            assert len(looked) == count, (name, question, looked)
        assert answer != talk(clip=clip, question=question, image_2=pictures(), manner="chat")[0], "it forgot"
        found[name] = len(history)
    return found


def _counted_looks(clip: Any) -> list[int]:
    tower, looked = clip.cond_stage_model.tower, []
    see = tower.see
    tower.see = lambda *args: looked.append(1) or see(*args)
    return looked


def check_a_history_whose_pictures_are_gone_takes_them_again() -> None:
    """The host empties its temporary folder: the history then says what it lacks, and takes the same picture wired
    again; another one is no help. A file that holds another picture by now is none."""
    history = talk(image_1=pictures(1))[1]
    wanted = talk(question="And now?", history=history)
    (kept,) = [file for file in Path(folder_paths.get_temp_directory()).glob("lightfusion_seen_*")
               if file.stem.removeprefix("lightfusion_seen_") in history]  # fmt: skip
    for spoil in (lambda: kept.write_bytes(kept.read_bytes()[:-40]), kept.unlink):
        spoil()
        for inputs in ({}, {"image_1": pictures()[1:]}):
            told = raised(lambda inputs=inputs: talk(question="And now?", history=history, **inputs))
            assert "1 of them are not at hand" in told and "give those pictures again" in told, told
    assert talk(question="And now?", history=history, image_1=pictures(1)) == wanted
    assert talk(question="And now?", history=history) == wanted, "the picture that was wired again is not kept"


def check_what_is_no_history_is_refused_in_a_sentence() -> None:
    """Texts of every kind can be wired, and files are cut off."""
    history = talk()[1]
    asked = {"question": "And now?"}
    assert talk(history="", **asked)[0] == talk(history=" \n", **asked)[0] == ask(**BRIEFLY, **asked)
    for strange in (
        "a red star",
        history[:-5],
        "[1, 2]",
        "{}",
        history.replace('"version": 1', '"version": 9'),
        history.replace("assistant", "user"),
        history.replace("assistant", "system"),
        "[" * 100_000,
    ):
        told = raised(lambda strange=strange: talk(history=strange, **asked))
        assert "history" in told and "\n" not in told and len(told) < 400, told
    assert "knows no history" in raised(lambda: talk(history=history, manner="reference"))
    clip = load_again()[1]
    model = clip.cond_stage_model
    model.config = replace(model.config, tasks=("generate", "answer"))
    assert "not trained to go on" in raised(lambda: talk(clip=clip, history=history))


def check_a_history_longer_than_the_context_loses_its_oldest() -> None:
    """It is answered from what is left, and the node says what was left out."""
    history = pack("lightfusion_core.understanding.history")
    message = pack("lightfusion_core.understanding.chat").Message
    said = [message(role, f"{role} {k} " * 40) for k in range(200) for role in ("user", "assistant")]
    with _messages() as sent, caught_texts() as told:
        answer, out = talk(history=history.written_history(said))
    assert len(history.read_history(out)) == 402 and answer
    assert any("messages were left out" in text for text in told), told
    with caught_texts() as told:
        talk(history=talk()[1])
    assert "".join(told) == "", told
    assert sent


@contextmanager
def caught_texts() -> Iterator[list[str]]:
    """What is shown on the running node."""
    server, texts = PromptServer.instance, []
    send = server.send_progress_text
    server.send_progress_text = lambda text, *args, **options: texts.append(text)
    try:
        yield texts
    finally:
        server.send_progress_text = send


def check_a_text_that_repeats_itself_is_told_on_the_node() -> None:
    """A log is not read by who asks; the next answer takes the word back."""
    repetition = pack("lightfusion_core.understanding.answer").Repetition
    found, repetition.found = repetition.found, lambda self, token: True
    try:
        for write in (talk, lambda: think("rewrite")):
            with caught_texts() as told:
                write()
            assert "repeats itself" in told[-1], told
    finally:
        repetition.found = found
    with caught_texts() as told:
        talk()
    assert told == [""], told


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
