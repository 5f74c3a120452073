"""What stock nodes do to our CLIP and CONDITIONING: it acts, or one sentence says what to use instead."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comfy.hooks
import torch
from check_edit import picture
from harness import NEGATIVE, PROMPT, empty, encode, engine, ksample, largest, load, load_again, node, pack, raised
from torch import Tensor

import nodes

OTHERS = {
    "CLIPTextEncodeFlux": {"clip_l": "a", "t5xxl": "b", "guidance": 3.5},
    "CLIPTextEncodeHiDream": {"clip_l": "a", "clip_g": "a", "t5xxl": "b", "llama": "c"},
    "CLIPTextEncodeHunyuanDiT": {"bert": "a", "mt5xl": "b"},
    "CLIPTextEncodeKandinsky5": {"clip_l": "a", "qwen25_7b": "b"},
    "CLIPTextEncodeSD3": {"clip_l": "a", "clip_g": "", "t5xxl": "b", "empty_padding": "none"},
    "CLIPTextEncodeSDXL": {
        "width": 64, "height": 64, "crop_w": 0, "crop_h": 0, "target_width": 64, "target_height": 64, "text_g": "a",
        "text_l": "a b c",
    },
}  # fmt: skip
"""Text nodes for models with several text encoders."""

ENTRIES = (
    "guidance", "control", "gligen", "unclip_conditioning", "clip_vision_output", "concat_image", "crop_w",
    "aesthetic_score", "vace_frames", "frame_rate", "reference_latents_method",
)  # fmt: skip


def check_text_nodes_of_other_models_say_what_to_use() -> dict[str, int]:
    """They take the tokens for a dictionary by text encoder, and would end in an error about types."""
    clip, told = load()[1], 0
    for name, inputs in OTHERS.items():
        if name in nodes.NODE_CLASS_MAPPINGS:
            text = raised(functools.partial(node, name, clip=clip, **inputs))
            assert "use CLIPTextEncode, or LightFusion Encode" in text, name
            told += 1
    assert told >= 5
    tokens = clip.tokenize("a red circle")
    for use in (dict, list, len, lambda t: "l" in t, lambda t: t.get("l"), lambda t: t.items()):
        assert "one of its own" in raised(lambda use=use: use(tokens))
    for options in ({"lyrics": "la la"}, {"image_embeds": torch.zeros(1)}, {"bpm": 120}):
        assert next(iter(options)) in raised(lambda options=options: clip.tokenize("a", **options))
    assert clip.tokenize("a", lyrics="", images=[], llama_template="{}", min_length=1).texts == clip.tokenize("a").texts
    return {"told": told}


def check_what_a_node_writes_into_is_not_what_is_kept() -> None:
    """A CONDITIONING that some node changes in its place; the next one of the same request is what it was."""
    size = {"width": 64, "height": 64, "batch_size": 1}

    def made() -> list[Tensor]:
        given = {"clip": load()[1], "prompt": PROMPT, "negative_prompt": NEGATIVE, **size}
        return [conditioning[0][0] for conditioning in node("LightFusionEncode", **given)[:3]]

    first = made()
    wanted = [(tensor.clone(), tensor.lightfusion.branch.segments[0].hidden.clone()) for tensor in first]
    for tensor in first:
        tensor.zero_()
    for tensor, (states, hidden) in zip(made(), wanted, strict=True):
        assert torch.equal(tensor, states)
        assert torch.equal(tensor.lightfusion.branch.segments[0].hidden, hidden)


def check_settings_of_other_text_encoders_are_refused() -> None:
    """CLIP skip and T5's padding have no effect here, in stock nodes and in ours."""
    clip = load()[1]
    skipped = node("CLIPSetLastLayer", clip=clip, stop_at_clip_layer=-2)[0]
    padded = node("T5TokenizerOptions", clip=clip, min_padding=3, min_length=3)[0]
    size = {"negative_prompt": "", "width": 64, "height": 64, "batch_size": 1}
    for changed, name in ((skipped, "CLIPSetLastLayer"), (padded, "T5TokenizerOptions")):
        for call in (
            lambda clip: node("CLIPTextEncode", clip=clip, text=PROMPT),
            lambda clip: node("LightFusionEncode", clip=clip, prompt=PROMPT, **size),
            lambda clip: node("LightFusionAsk", clip=clip, question="?", length=1, temperature=0.0, seed=0),
        ):
            assert name in raised(lambda call=call, changed=changed: call(changed))
    last = node("CLIPSetLastLayer", clip=clip, stop_at_clip_layer=-1)[0]
    assert torch.equal(node("CLIPTextEncode", clip=last, text=PROMPT)[0][0][0], encode(PROMPT)[0][0])


@contextmanager
def _warnings() -> Iterator[list[str]]:
    lines: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    keeper = Keeper(logging.WARNING)
    logging.getLogger().addHandler(keeper)
    try:
        yield lines
    finally:
        logging.getLogger().removeHandler(keeper)


def _with(conditioning: Any, **entries: Any) -> Any:
    return [[tensor, {**rest, **entries}] for tensor, rest in conditioning]


def check_entries_for_other_models_are_refused_by_name() -> None:
    """What another model reads out of a conditioning would change its picture; nothing of it passes in silence."""
    for name in ENTRIES:
        positive = _with(encode(PROMPT), **{name: "anything"})
        if name != "control":  # the host asks it for its hooks before ours reads
            assert name in raised(lambda positive=positive: ksample(positive=positive)), name
        told = pack("nodes.native.references").read({"cross_attn": positive[0][0], name: object()}, load()[0].model)
        assert name in str(told), name
    assert "text_guidance" in raised(lambda: ksample(positive=node("FluxGuidance", conditioning=encode(PROMPT),
                                                                   guidance=3.5)[0]))  # fmt: skip
    plain = ksample()
    for conditioning in (
        node("FluxDisableGuidance", conditioning=encode(PROMPT))[0],
        _with(encode(PROMPT), guidance=None, width=512, prompt_type="positive"),
    ):
        with _warnings() as lines:
            assert torch.equal(ksample(positive=conditioning), plain)
        assert not [line for line in lines if "LightFusion" in line]
    with _warnings() as lines:
        assert torch.equal(ksample(positive=_with(encode(PROMPT), something_new=1)), plain)
    assert [line for line in lines if line.startswith("LightFusion:") and "something_new" in line]


def check_an_unusable_negative_that_nobody_reads_is_fine() -> None:
    """Graphs for few steps zero the negative out and set cfg to 1, where no guidance runs."""
    zero = node("ConditioningZeroOut", conditioning=encode(PROMPT))[0]
    foreign = [[torch.zeros(1, 77, 768), {"pooled_output": torch.zeros(1, 768)}]]
    guided = _with(encode(NEGATIVE), guidance=3.5)
    wanted = ksample(cfg=1.0)
    inputs = {
        "model": load()[0], "positive": encode(PROMPT), "latent": empty(), "seed": 1, "steps": 2, "shift": 4.0,
        "solver": "unipc", "denoise": 1.0, "image_guidance": 1.0, "renorm": "none", "renorm_min": 0.0,
        "interval_start": 0.0, "interval_end": 1.0,
    }  # fmt: skip

    def own(text_guidance: float, negative: Any) -> Tensor:
        given = {**inputs, "text_guidance": text_guidance, "negative": negative}
        return node("LightFusionSampler", **given)[0]["samples"]

    for negative in (zero, foreign, guided):
        assert torch.equal(ksample(cfg=1.0, negative=negative), wanted)
        assert torch.equal(own(1.0, negative), own(1.0, encode(NEGATIVE)))
        for told in (raised(lambda n=negative: ksample(negative=n)), raised(lambda n=negative: own(3.0, n))):
            assert "CLIP of Load LightFusion" in told or "FluxGuidance" in told
        assert raised(lambda n=negative: ksample(cfg=1.0, positive=n))


def _latent(width: int = 64, height: int = 64, frames: int = 1) -> dict[str, Tensor]:
    return node("VAEEncode", pixels=picture(width, height, frames), vae=load()[2])[0]


def _kinds(conditioning: Any) -> list[str]:
    """The kinds of a condition's segments, as the model reads it."""
    tensor, rest = conditioning[0]
    branch = pack("nodes.native.references").read({"cross_attn": tensor, **rest}, load()[0].model)
    return [segment.split.kind.name for segment in branch.segments]


def check_reference_latents_are_references() -> dict[str, float]:
    """ReferenceLatent and InstructPixToPix: the picture that the engine draws with the same latents before the text,
    which the VLM does not see."""
    model, clip, vae = load()
    first, second = _latent(), _latent(96, 64, 2)
    chained = encode(PROMPT)
    for latent in (first, second):
        chained = node("ReferenceLatent", conditioning=chained, latent=latent)[0]
    assert _kinds(chained) == ["CLEAN", "CLEAN", "CLEAN", "TEXT"]
    core, reference = engine(), pack("lightfusion_core.understanding.vision").Reference
    given = [
        model.model.process_latent_in(frame).unsqueeze(2)
        for latent in (first, second)
        for frame in latent["samples"].split(1)
    ]
    wanted = core.encode(PROMPT, [reference(latent=latent) for latent in given]).full
    made = pack("nodes.native.references").read({"cross_attn": chained[0][0], **chained[0][1]}, model.model)
    found = largest(made.markers - wanted.markers)
    for ours, theirs in zip(made.segments, wanted.segments, strict=True):
        found = max(found, largest(ours.hidden - theirs.hidden))
    assert found <= 1e-4, found

    drawn = ksample(positive=chained)
    assert largest(drawn - ksample()) > 0.01
    assert torch.equal(drawn, ksample(positive=chained))
    pix = node("InstructPixToPixConditioning", positive=encode(PROMPT), negative=encode(NEGATIVE), vae=vae,
               pixels=picture(64, 64))  # fmt: skip
    assert _kinds(pix[0]) == _kinds(pix[1]) == ["CLEAN", "TEXT"]
    one = node("ReferenceLatent", conditioning=encode(PROMPT), latent=first)[0]
    other = node("ReferenceLatent", conditioning=encode(NEGATIVE), latent=first)[0]
    assert torch.equal(ksample(positive=pix[0], negative=pix[1]), ksample(positive=one, negative=other))
    own = node("LightFusionEncode", clip=clip, vae=vae, prompt=PROMPT, negative_prompt="", width=64, height=64,
               batch_size=1, image_1=picture())[0]  # fmt: skip
    assert _kinds(own) == ["CLEAN", "VIT", "TEXT"]
    assert _kinds(node("ReferenceLatent", conditioning=own, latent=first)[0]) == ["CLEAN", "VIT", "CLEAN", "TEXT"]
    return {"difference": found}


def check_another_seed_encodes_no_reference_again() -> None:
    """The text goes through the understanding tower once for its latents, not once a run."""
    model, clip, _ = load_again()
    encoded = node("CLIPTextEncode", clip=clip, text=PROMPT)[0]
    positive = node("ReferenceLatent", conditioning=encoded, latent=_latent())[0]
    tower = clip.cond_stage_model.tower
    layer, runs = tower.layer, []
    tower.layer = lambda *args: runs.append(1) or layer(*args)
    ksample(model, positive=positive)
    once = len(runs)
    assert once > 0
    ksample(model, positive=positive, seed=8)
    assert len(runs) == once


def check_qwens_edit_nodes_give_references() -> None:
    """TextEncodeQwenImageEdit and ...Plus: pictures that the VLM sees, and with a VAE the generation side too."""
    clip, vae = load()[1:]
    image, other = picture(), picture(60, 90, seed=1)
    seen = node("TextEncodeQwenImageEdit", clip=clip, prompt=PROMPT, image=image)[0]
    assert _kinds(seen) == ["VIT", "TEXT"]
    names = {"image1": image, "image3": other}
    plus = node("TextEncodeQwenImageEditPlus", clip=clip, prompt=PROMPT, **names)[0]
    assert _kinds(plus) == ["VIT", "VIT", "TEXT"]
    text = encode(PROMPT)[0][0].shape
    assert plus[0][0].shape == text, "the places of the pictures were read as text"
    assert _kinds(node("ReferenceLatent", conditioning=plus, latent=_latent())[0]) == ["CLEAN", "VIT", "VIT", "TEXT"]
    whole = plus
    for width, height in ((100, 75), (60, 90)):
        whole = node("ReferenceLatent", conditioning=whole, latent=_latent(width, height))[0]
    assert _kinds(whole) == ["CLEAN", "VIT", "CLEAN", "VIT", "TEXT"]
    drawn = [ksample(positive=positive) for positive in (encode(PROMPT), seen, plus, whole)]
    # its latents are of a million pixels, which is more than this small model takes
    large = node("TextEncodeQwenImageEditPlus", clip=clip, vae=vae, prompt=PROMPT, image1=image)[0]
    assert "LightFusion Encode" in raised(lambda: ksample(positive=large))
    for index, one in enumerate(drawn):
        assert all(largest(one - two) > 1e-3 for two in drawn[:index])


def check_references_without_their_text_encoder_are_explained() -> None:
    """A conditioning names the CLIP that it needs without keeping it alive."""
    import gc

    import comfy.model_management

    model, clip, _ = load_again()
    positive = node("CLIPTextEncode", clip=clip, text=PROMPT)[0]
    referred = node("ReferenceLatent", conditioning=positive, latent=_latent())[0]
    del clip
    comfy.model_management.unload_all_models()
    gc.collect()
    assert "LightFusion Encode" in raised(lambda: ksample(model, positive=referred))
    assert torch.equal(ksample(model, positive=positive), ksample())
    foreign = {"samples": torch.zeros(1, 4, 8, 8)}
    again = node("ReferenceLatent", conditioning=encode(PROMPT), latent=foreign)[0]
    assert "channels" in raised(lambda: ksample(positive=again))


def check_hooks_on_the_clip_act() -> dict[str, float]:
    """A LoRA hook changes what is encoded, as the host encodes and in our node, and travels to the conditioning."""
    clip, found = load_again()[1], {}
    name = next(name for name in clip.patcher.model_state_dict() if name.endswith("layers.0.mlp.up_proj.weight"))
    layer = f"text_encoders.{name.removesuffix('.weight')}"
    draw = torch.Generator().manual_seed(0)
    lora = {
        f"{layer}.lora_down.weight": torch.randn(4, 128, generator=draw),
        f"{layer}.lora_up.weight": torch.randn(256, 4, generator=draw),
    }
    hooks = comfy.hooks.create_hook_lora(lora=lora, strength_model=0.0, strength_clip=1.0)
    size = {"negative_prompt": "", "width": 64, "height": 64, "batch_size": 1}

    def encodings(clip: Any) -> list[Any]:
        own = node("LightFusionEncode", clip=clip, prompt=PROMPT, **size)[0]
        # what the stock text node calls; one ComfyUI's owner has written another, which drops hooks
        return [clip.encode_from_tokens_scheduled(clip.tokenize(PROMPT)), own]

    before = encodings(clip)
    for scheduled in (False, True):
        hooked = node("SetClipHooks", clip=clip, schedule_clip=scheduled, apply_to_conds=True, hooks=hooks)[0]
        stock, own = encodings(hooked)
        assert torch.equal(stock[0][0], own[0][0])
        assert stock[0][1]["hooks"] is own[0][1]["hooks"] is hooks
        found[f"scheduled {scheduled}"] = largest(stock[0][0] - before[0][0][0])
        assert found[f"scheduled {scheduled}"] > 0.01, "the hook did not act"
        after = encodings(clip)
        assert all(torch.equal(a[0][0], b[0][0]) for a, b in zip(after, before, strict=True))
    return found
