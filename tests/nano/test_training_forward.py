"""The forward passes that nano is trained with are the engine's: what was learned is what is run."""

from __future__ import annotations

from random import Random

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from lightfusion_core import Guidance, LightFusion
from lightfusion_core.conversation import EDIT
from lightfusion_core.shapes.bench import Engine, pictures_of
from lightfusion_core.shapes.talks import sample_turn
from lightfusion_core.shapes.world import render
from lightfusion_core.understanding.answer import REWRITE_REQUEST, Answerer
from lightfusion_core.understanding.chat import CHAT_SYSTEM
from lightfusion_core.understanding.vision import CLIP_MEAN, CLIP_STD, Reference, patchify, vit_pixels
from tools.nano.chats import Chats
from tools.nano.flow import Context, Layout, new_generation, stacked, velocity
from tools.nano.model import SIZE, nano_config
from tools.nano.states import Row, Rows, see, vit_patches
from tools.nano.train_vlm import new_tower

PROMPTS = [[1, 40, 41, 42, 2], [1, 2], [1, 50, 51, 52, 53, 54, 55, 56, 2]]
MARKERS = (3, 4)


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def resized(pictures: Tensor) -> Tensor:
    """The VLM's pixels (B, 3, 140, 140) of pictures (B, 128, 128, 3) in 0..1."""
    pixels = F.interpolate(pictures.permute(0, 3, 1, 2), (140, 140), mode="bicubic", antialias=True).clamp(0, 1)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    return (pixels - mean) / std


@pytest.fixture(scope="module")
def model() -> LightFusion:
    config = nano_config()
    generation = new_generation(config)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in generation.named_parameters():
        if name.endswith("o_gen_proj.weight") or name == "head.head.weight":  # zero before training
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.05
    lf = LightFusion(config, new_tower(), generation, None, None)
    lf.encoder.marker_ids = MARKERS
    return lf


@torch.no_grad()
@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (2, 3)])
def test_a_padded_batch_equals_the_engine(model: LightFusion, rows: int, columns: int) -> None:
    """Guards padding, masks and positions of prompts of different lengths in one batch."""
    x = random(1, 3, 16, 1, 2 * rows, 2 * columns)
    timesteps = [900, 500, 20]
    contexts = [Row(MARKERS).text(prompt) for prompt in PROMPTS]
    context = Context(model.understanding, Layout(contexts, (rows, columns)), None, None)
    found = velocity(model.generation, x, torch.tensor(timesteps).float(), context)
    for row, prompt in enumerate(PROMPTS):
        conditioning = model.encode(prompt, negative_prompt=[1, 2])
        guided = model.guided(conditioning, columns * 32, rows * 32, Guidance(text=1.0))
        wanted = guided(x[row : row + 1], timesteps[row])
        assert relative(found[row : row + 1], wanted) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("slots", [0, 1])
def test_a_picture_is_drawn_alone_too(model: LightFusion, slots: int) -> None:
    """Guards the products of a batch of one in bfloat16: near those of float32, and no error."""
    clean = [[random(3, 16, 1, 8, 8)] * slots]
    row = Row(MARKERS)
    for _ in range(slots):
        row.clean(4, 4)
    context = Context(model.understanding, Layout([row.text(PROMPTS[0])], (4, 4)), None, stacked(clean))
    x, timesteps = random(1, 1, 16, 1, 8, 8), torch.tensor([500.0])
    wanted = velocity(model.generation, x, timesteps, context)
    with torch.autocast("cpu", torch.bfloat16):
        found = velocity(model.generation, x, timesteps, context)
    assert relative(found.float(), wanted) < 0.05


@torch.no_grad()
def test_references_equal_the_engine(model: LightFusion) -> None:
    """One batch of an edit, a composition of two pictures, and references that dropout left only to the VLM or
    only to the VAE: guards the clean latents' masks, positions and timestep, and which picture is whose."""
    latents = [random(seed, 16, 1, 8, 8) for seed in range(4)]
    pictures = torch.rand(4, 128, 128, 3, generator=torch.Generator().manual_seed(2))
    patches, grid = vit_patches(pictures, model.config)
    features = see(model.understanding, patches, grid)
    # which pictures each row has, and what is left of each
    wanted = [[(0, "both")], [(1, "both"), (2, "both")], [(3, "vit")], [(0, "vae"), (1, "both")]]
    rows, clean, seen = [], [], []
    for prompt, parts in zip([*PROMPTS, PROMPTS[0]], wanted, strict=True):
        row = Row(MARKERS)
        clean.append([latents[picture] for picture, left in parts if left != "vit"])
        for picture, left in parts:
            if left != "vit":
                row.clean(4, 4)
            if left != "vae":
                row.vit(5, 5)
                seen.append(picture)
        rows.append(row.text(prompt))
    x, timesteps = random(1, 4, 16, 1, 8, 8), [900, 500, 20, 700]
    context = Context(model.understanding, Layout(rows, (4, 4)), features[seen], stacked(clean))
    found = velocity(model.generation, x, torch.tensor(timesteps).float(), context)
    pixels = resized(pictures)
    for row, parts in enumerate(wanted):
        references = [
            Reference(None if left == "vae" else pixels[picture], None if left == "vit" else latents[picture][None])
            for picture, left in parts
        ]
        conditioning = model.encode([*PROMPTS, PROMPTS[0]][row], references, negative_prompt=[1, 2])
        guided = model.guided(conditioning, 128, 128, Guidance(text=1.0))
        assert relative(found[row : row + 1], guided(x[row : row + 1], timesteps[row])) < 1e-5


@torch.no_grad()
def test_answers_equal_the_engine(model: LightFusion) -> None:
    """Two questions about one picture in one row: neither sees the other, and both are as in the chat template."""

    class Words:
        """A tokenizer of two questions, what stands before them, and what after."""

        def encode(self, text: str, literal: bool = False) -> list[int]:
            known = {"a": [20, 21], "b": [30, 31, 32]}
            return [70, 71, 72] if CHAT_SYSTEM in text else known.get(text, [40])

    picture = torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(3))
    patches, grid = vit_patches(picture, model.config)
    row = Row(MARKERS).text([70, 71, 72]).vit(5, 5, causal=True).text([20, 21, 40], 1).text([30, 31, 32, 40], 2)
    last = Rows([row]).run(model.understanding, see(model.understanding, patches, grid))[-1]
    pixels = resized(picture)
    answers = Answerer(model.encoder, Words(), None)  # type: ignore[arg-type]
    for question, end in (("a", -5), ("b", -1)):
        writer, start = answers.chat(question, [Reference(pixels[0])])
        assert relative(model.understanding.logits(last[:1, end]), writer(start)) < 1e-5


@pytest.fixture(scope="module")
def talker() -> LightFusion:
    """What ships, in the precision that training is compared in."""
    lf = LightFusion.load("nano", device="cpu", dtype=torch.float32)
    lf.understanding.float()  # also what is kept as it is stored
    return lf


@torch.no_grad()
@pytest.mark.parametrize("seed", range(4))
def test_chats_equal_the_conversation(talker: LightFusion, seed: int) -> None:
    """A chat of several turns with pictures, and the request that finds a sentence's kind: token for token what the
    conversation gives to be read, the same positions, and the same scores of what is written next."""
    draw = Random(seed)
    sample = sample_turn(draw, ("draw", "edit", "answer")[seed % 3], turns=seed)
    pictures = [Image.fromarray(render(scene, SIZE)) for said in sample.history for scene in said.scenes]
    pictures += [Image.fromarray(render(scene, SIZE)) for scene in sample.given]
    chats = Chats(talker.tokenizer, (5, 5))
    row = chats.context(sample.history, sample.given)
    chats.ask_kind(row, sample.sentence, sample.answer, 1)
    heard: list[tuple[list, list[str]]] = []
    talk = Engine(talker).conversation(sample)
    likelihoods = talker.likelihoods
    talker.likelihoods = lambda messages, texts: heard.append((messages, texts)) or likelihoods(messages, texts)
    try:
        found = talk.kinds_of(sample.sentence, pictures_of(sample.given))
    finally:
        del talker.likelihoods
    messages = talker._messages(heard[0][0])
    chunks, start = talker.answerer.reader._chunks(messages)
    read = (chunk if isinstance(chunk, tuple) else (3, *[0] * 25, 4) for chunk in (*chunks, tuple(start)))
    ids = [one for part in read for one in part]
    answer = [*talker.tokenizer.encode(sample.answer), talker.tokenizer.eos]
    assert row.ids == [*ids, *answer]
    assert (EDIT in found) == bool(pictures)
    features = None
    if pictures:
        pixels = torch.stack([vit_pixels(picture, talker.config) for picture in pictures])
        patches = torch.stack([patchify(one, talker.config.vision)[0] for one in pixels])
        features = see(talker.understanding, patches, (10, 10))
    last = Rows([row]).run(talker.understanding, features)[-1]
    writer, start = talker.answerer.chat(messages[-1].text, messages[-1].pictures, messages[:-1])
    found = talker.understanding.logits(last[:1, len(row.ids) - len(answer) - 1])
    assert relative(found, writer(start)) < 1e-4


@torch.no_grad()
def test_rewriting_equals_the_engine(talker: LightFusion) -> None:
    """Several prompts behind one request are each what the engine reads of it alone."""
    chats, prompts = Chats(talker.tokenizer, (5, 5)), ["a red circle", "Two stars.", "a heart left of 3 crosses"]
    row = chats.row().text(talker.tokenizer.encode(REWRITE_REQUEST))
    ends = [chats.ask(row, f"\n{prompt}", "a", leaf) for leaf, prompt in enumerate(prompts, start=1)]
    last = Rows([row]).run(talker.understanding, None)[-1]
    for prompt, end in zip(prompts, ends, strict=True):
        writer, start = talker.answerer.chat(f"{REWRITE_REQUEST}\n{prompt}")
        assert relative(talker.understanding.logits(last[:1, end]), writer(start)) < 1e-4


@torch.no_grad()
def test_vision_on_a_batch_equals_the_tower(model: LightFusion) -> None:
    """Guards the batched vision pass against transformers' own, which takes a picture at a time."""
    pictures = torch.rand(2, 128, 128, 3, generator=torch.Generator().manual_seed(2))
    patches, grid = vit_patches(pictures, model.config)
    wanted = torch.cat([model.understanding.see(one, grid) for one in patches])
    assert relative(see(model.understanding, patches, grid), wanted) < 1e-5
    assert patchify(torch.zeros(3, 140, 140), model.config.vision)[0].shape == patches.shape[1:]


def test_pictures_for_the_vlm_equal_the_engine(model: LightFusion) -> None:
    """Guards the resizing by a matrix against PIL's, up to PIL's rounding to whole levels."""
    from lightfusion_core.shapes.world import Scene, Thing, render
    from lightfusion_core.understanding.vision import vit_pixels

    picture = render(Scene((Thing("star", "red", "large", 0.4, 0.6),)))
    found = vit_patches(torch.from_numpy(picture)[None].float() / 255, model.config)[0][0]
    wanted = patchify(vit_pixels(Image.fromarray(picture), model.config), model.config.vision)[0]
    assert (found - wanted).abs().max() < 0.1 and (found - wanted).abs().mean() < 0.01
