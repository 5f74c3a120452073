"""What the generation side learns from: requests, and what each should give, drawn and encoded once."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightfusion_core.checkpoints.loader import load_vae
from lightfusion_core.checkpoints.reader import Checkpoint
from lightfusion_core.config import VAEConfig
from lightfusion_core.images import padded_levels
from lightfusion_core.shapes.edit_wordings import ADD
from lightfusion_core.shapes.manners import MANNERS, sample_manner
from lightfusion_core.shapes.prompt_wordings import FRAME
from lightfusion_core.shapes.prompts import REFERENCES, sample_edit, sample_prompt, sample_reference
from lightfusion_core.shapes.rewriting import description, edit_description
from lightfusion_core.shapes.samples import EditSample
from lightfusion_core.shapes.scenes import compose, random_scene, reach, usual_thing
from lightfusion_core.shapes.talk_wordings import ASK_TO_DRAW, BEYOND, OTHERWORLDLY
from lightfusion_core.shapes.talks import in_talk
from lightfusion_core.shapes.wordings import noun
from lightfusion_core.shapes.world import COLORS, Scene, render
from lightfusion_core.understanding.answer import THINK_SYSTEM
from lightfusion_core.understanding.tokenizer import Tokenizer
from lightfusion_core.understanding.tower import UnderstandingTower

from .flow import Context, Layout, stacked
from .model import DEVICE, SIZE, VAE_EXPORT, nano_config, read_vae_config
from .single_frame import decode, encode
from .states import Row, see, vit_patches
from .words import loosen, thought

TASKS = ("draw", "edit", "compose", "sized")
CATEGORY_SHARES = {
    "single_object": 1, "two_objects": 2, "counting": 2, "colors": 2, "position": 2, "color_attribution": 2, "free": 1,
    "several_things": 3, "three_related": 2, "sizes": 2,
}  # fmt: skip
MANNERS_SHARE = 0.2
"""How many prompts are written as strangers write them."""
EDIT_SHARES = {"recolor": 1, "replace": 4, "add": 3, "remove": 1, "move": 1, "background": 1, "the_one": 1}
"""Replaced and added objects have to be drawn as from a prompt, and take the longest to learn."""
TALK_SHARE, REWRITTEN_SHARE, THOUGHT_SHARE, STRANGE_SHARE = 0.2, 0.1, 0.05, 0.03
"""How many requests are worded as in a conversation, rewritten, thought about before, or not of this world."""
WORN_SHARE = 0.5
"""How many references went through the VAE before."""
BEYOND_SHARE = 0.1
"""How many edits go on beyond an edge of the picture."""
VIEW_SHARE = 0.15
"""How many edits of a thing see but the surroundings of it, as edits at a mask do."""
OTHER_SIZES = (
    (96, 96), (160, 160), (192, 192), (192, 192), (192, 192), (256, 256), (256, 256), (256, 256), (256, 256),
    (192, 128), (128, 192), (256, 160), (160, 96),
)  # fmt: skip
"""Widths and heights of the pictures of the task "sized"; what comes more often stands there more often."""
DROP_TEXT, DROP_LATENT, DROP_VIT = 0.1, 0.1, 0.5
"""How often a condition is left out, as in the paper."""


class Pictures:
    """The trained VAE on single pictures: uint8 (B, H, W, 3) to normalised latents (B, C, 1, h, w), and back."""

    def __init__(self, folder: Path = VAE_EXPORT) -> None:
        config: VAEConfig = read_vae_config(folder)
        whole = nano_config(config)
        self.vae = load_vae(Checkpoint.open(folder), whole, torch.float32, DEVICE)
        self.mean, self.std = (
            torch.tensor(values, device=DEVICE).view(1, -1, 1, 1) for values in (config.mean, config.std)
        )

    @torch.no_grad()
    def encode(self, pictures: NDArray[np.uint8] | Tensor) -> Tensor:
        pixels = torch.as_tensor(pictures).to(DEVICE).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.autocast(DEVICE.type, torch.bfloat16):
            latents = encode(self.vae.model, pixels)[0].float()
        return ((latents - self.mean) / self.std).unsqueeze(2)

    def decode(self, latents: Tensor) -> NDArray[np.uint8]:
        return self._levels(latents).cpu().numpy()

    def worn(self, pictures: Tensor) -> Tensor:
        """Pictures after one trip through the VAE, on the device."""
        return self._levels(self.encode(pictures))

    @torch.no_grad()
    def _levels(self, latents: Tensor) -> Tensor:
        with torch.autocast(DEVICE.type, torch.bfloat16):
            pixels = decode(self.vae.model, latents.squeeze(2) * self.std + self.mean)
        return (pixels.float().clamp(-1, 1) * 127.5 + 127.5).byte().permute(0, 2, 3, 1)


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of a scene.

    size: width and height in pixels. worn: it went once through the VAE, as what was drawn or edited before has.
    kept: how many pixels from the left (negative: from the right) are the scene's; what lies beyond is the colours that
        they end in, as where the engine draws beyond a picture's edges.
    view: left, top and side of the part that is seen, of a whole of 1 by 1, as where the engine draws at a mask.
    """

    scene: Scene
    size: tuple[int, int] = (SIZE, SIZE)
    worn: bool = False
    kept: int = 0
    view: tuple[float, float, float] = (0.0, 0.0, 1.0)

    def render(self) -> NDArray[np.uint8]:
        """uint8 (H, W, 3), not worn yet."""
        left, top, side = self.view
        if side < 1:
            whole = round(SIZE / side)
            x, y = (min(round(at * whole), whole - SIZE) for at in (left, top))
            return render(self.scene, whole)[y : y + SIZE, x : x + SIZE]
        picture = render(self.scene, self.size)
        if not self.kept:
            return picture
        beyond = self.size[0] - abs(self.kept)
        if self.kept > 0:
            return padded_levels(picture[:, : self.kept], (0, 0, beyond, 0))
        return padded_levels(picture[:, beyond:], (beyond, 0, 0, 0))


@dataclass(frozen=True, slots=True)
class Request:
    """Texts, each a segment of its own, the pictures that they speak of, and the picture that they should give."""

    texts: tuple[str, ...]
    references: tuple[Shown, ...]
    target: Shown

    @property
    def text(self) -> str:
        """What was asked for, without the texts of "think, then draw"."""
        return self.texts[len(self.texts) // 2]


def request(task: str, rng: random.Random) -> Request:
    """A request of one task (of `TASKS`) in a training wording."""
    if task == "draw":
        return _draw(rng)
    if task == "sized":
        return replace(one := _draw(rng), target=replace(one.target, size=rng.choice(OTHER_SIZES)))
    worn = rng.random() < WORN_SHARE
    if task == "edit":
        return _edit(rng, worn)
    composition = sample_reference(rng, rng.choice(REFERENCES))
    references = tuple(Shown(scene, worn=worn) for scene in composition.references)
    return Request((composition.instruction,), references, Shown(composition.target))


def _draw(rng: random.Random) -> Request:
    chance = rng.random()
    if chance < STRANGE_SHARE:
        return _strange(rng)
    if chance < MANNERS_SHARE:
        prompt = sample_manner(rng, rng.choice(tuple(MANNERS)))
    else:
        category = rng.choices(list(CATEGORY_SHARES), list(CATEGORY_SHARES.values()))[0]
        frame = ASK_TO_DRAW if rng.random() < TALK_SHARE else FRAME
        prompt = sample_prompt(rng, category, frame=frame)
    chance = rng.random()
    texts: tuple[str, ...] = (prompt.prompt,)
    if chance < REWRITTEN_SHARE:
        texts = (description(prompt),)
    elif chance < REWRITTEN_SHARE + THOUGHT_SHARE:
        texts = (THINK_SYSTEM, prompt.prompt, thought(prompt))
    return Request(texts, (), Shown(prompt.scene))


def _strange(rng: random.Random) -> Request:
    """A prompt for things of another world: circles of the colour that is asked for stand for them."""
    word, color, count = OTHERWORLDLY.say(rng, False), rng.choice((None, *COLORS)), rng.choice((1, 1, 1, 2))
    circle = usual_thing("circle", count)
    things = compose(rng, [replace(circle, color=color or circle.color)] * count)
    text = noun(word, color, count=count)
    return Request((rng.choice((FRAME, ASK_TO_DRAW)).say(rng, False, x=text),), (), Shown(Scene(things)))


def _edit(rng: random.Random, worn: bool) -> Request:
    if rng.random() < BEYOND_SHARE:
        return _beyond(rng, worn)
    edit = sample_edit(rng, rng.choices(list(EDIT_SHARES), list(EDIT_SHARES.values()))[0])
    if edit.kind in ("recolor", "replace", "add", "remove") and rng.random() < VIEW_SHARE:
        view = _view(rng, edit)
        shown = Shown(edit.source, worn=worn, view=view)
        return Request((edit.instruction,), (shown,), Shown(edit.target, view=view))
    text = edit.instruction
    if rng.random() < REWRITTEN_SHARE:
        text = edit_description(edit)
    elif rng.random() < TALK_SHARE:
        text = in_talk(rng, edit)
    return Request((text,), (Shown(edit.source, worn=worn),), Shown(edit.target))


def _view(rng: random.Random, edit: EditSample) -> tuple[float, float, float]:
    """What is seen of a picture around the thing that an edit changes: a square as around a mask on it."""
    thing = edit.after or edit.before
    assert thing is not None
    side = min(1.0, max(0.4, 2 * reach(thing.size) * rng.uniform(1.2, 2.5)))
    left, top = (min(max(at - side * rng.uniform(0.4, 0.6), 0.0), 1 - side) for at in (thing.x, thing.y))
    return left, top, side


def _beyond(rng: random.Random, worn: bool) -> Request:
    """To go on beyond an edge of a picture, where a thing may be wanted."""
    left = rng.random() < 0.5
    kept = rng.choice((64, 80, 96))
    scene = random_scene(rng)
    edge = kept / SIZE if left else 1 - kept / SIZE
    hidden = [thing for thing in scene.things if (thing.x > edge) == left]
    near = [thing for thing in scene.things if abs(thing.x - edge) < reach(thing.size)]
    if near or len(hidden) > 1:
        return _beyond(rng, worn)
    text = ADD.say(rng, False, y=noun(hidden[0].shape, hidden[0].color)) if hidden else BEYOND.say(rng, False)
    return Request((text,), (Shown(scene, worn=worn, kept=kept if left else -kept),), Shown(scene))


class Requests:
    """Drawing contexts for the frozen towers' inputs.

    Attributes:
        deep: every fusion layer reads the VLM layer beside it, as the paper has it; else all read the last one.
    """

    def __init__(self, tokenizer: Tokenizer, vlm: UnderstandingTower) -> None:
        self.deep = True
        self.tokenizer, self.vlm, config = tokenizer, vlm.to(DEVICE), vlm.config
        side = round(SIZE / config.vit_image.stride)
        self.vit_grid, self.grid = (side, side), self.grid_of((SIZE, SIZE))

    def grid_of(self, size: tuple[int, int]) -> tuple[int, int]:
        """(rows, columns) of tokens of a picture of a (width, height)."""
        token = self.vlm.config.token_size
        return size[1] // token, size[0] // token

    @torch.no_grad()
    def features(self, pictures: NDArray[np.uint8] | Tensor) -> Tensor:
        """ViT features (B, tokens, width) of pictures uint8 (B, H, W, 3)."""
        return see(self.vlm, *vit_patches(torch.as_tensor(pictures).to(DEVICE).float() / 255, self.vlm.config))

    def layout(
        self,
        texts: Sequence[Sequence[str]],
        clean: Sequence[int],
        seen: Sequence[int],
        grid: tuple[int, int] | None = None,
        step: int = 1,
    ) -> Layout:
        """Where each text stands behind so many references as clean latents and as ViT tokens; either may be 0, which
        leaves the references out of that side."""
        rows = []
        for segments, latents, features in zip(texts, clean, seen, strict=True):
            row = Row((self.tokenizer.sov, self.tokenizer.eov))
            for _ in range(max(latents, features)):
                if latents:
                    row.clean(*self.grid)
                if features:
                    row.vit(*self.vit_grid)
            for text in segments:
                row.text(self.tokenizer.segment(text))
            rows.append(row)
        return Layout(rows, grid or self.grid, step)

    @torch.no_grad()
    def placed(self, layout: Layout, clean: Tensor | None, features: Tensor | None) -> Context:
        """The context of a layout; see there."""
        context = Context(self.vlm, layout, features, clean)
        if not self.deep:
            context.states = context.states[-1:] * len(context.states)
        return context

    def context(
        self,
        texts: Sequence[Sequence[str]],
        latents: Sequence[Sequence[Tensor]],
        features: Sequence[Sequence[Tensor]],
        grid: tuple[int, int] | None = None,
    ) -> Context:
        """The context of each text with the latents (C, 1, h, w) and the ViT features (tokens, width) of its
        references, in order."""
        layout = self.layout(texts, [len(one) for one in latents], [len(one) for one in features], grid)
        every = [one for seen in features for one in seen]
        return self.placed(layout, stacked(latents), torch.stack(every) if every else None)


@dataclass(frozen=True, slots=True)
class Given:
    """What is given of a request: its texts, and whether its references' clean latents and ViT tokens are."""

    texts: tuple[str, ...]
    latents: bool
    vit: bool


def given(rng: random.Random, one: Request, sides: tuple[str, ...]) -> Given:
    """A request with conditions dropped by chance, in looser words. `sides` are those through which references are
    shown at all."""
    text, no_latent, no_vit = (rng.random() < share for share in (DROP_TEXT, DROP_LATENT, DROP_VIT))
    if len(sides) < 2:  # the only side that shows the references stays
        no_latent, no_vit = "vae" not in sides, "vit" not in sides
    if text:
        said: tuple[str, ...] = ("",)
    else:
        said = one.texts if len(one.texts) > 1 else (loosen(rng, one.text),)
    return Given(said, not no_latent, not no_vit)


class Drawings:
    """A store of requests of every task, whose pictures are drawn and encoded once for all epochs.

    Args:
        counts: how many requests of each task.
        kept: a file that keeps the latents between runs, for as long as the scenes are the same.
    """

    def __init__(self, requests: Requests, counts: dict[str, int], seed: str, kept: Path) -> None:
        self.requests = requests
        self.made: dict[str, list[Request]] = {}
        shown: list[Shown] = []
        self.places: dict[str, list[range]] = {}
        self.sized: dict[str, dict[tuple[int, int], list[int]]] = {}
        """The requests of each task, by the size of what they should give."""
        for task, count in counts.items():
            rng = random.Random(f"{task}/{seed}")
            self.made[task] = [request(task, rng) for _ in range(count)]
            self.places[task], self.sized[task] = [], {}
            for index, one in enumerate(self.made[task]):
                self.sized[task].setdefault(one.target.size, []).append(index)
                self.places[task].append(range(len(shown), len(shown) + len(one.references) + 1))
                shown += (*one.references, one.target)
        self.latents = self._latents(shown, kept)
        looked_at = sorted({k for places in self.places.values() for place in places for k in place[:-1]})
        self.row_of = {k: row for row, k in enumerate(looked_at)}
        self.features = self._features([shown[k] for k in looked_at])

    def _latents(self, shown: list[Shown], kept: Path) -> list[Tensor]:
        """The latents (C, 1, h, w) of every picture."""
        drawn = hashlib.sha256(repr(shown).encode()).hexdigest()
        if kept.exists():
            saved = torch.load(kept, weights_only=True, map_location=DEVICE)
            if saved["drawn"] == drawn:
                return _apart(saved["latents"], saved["order"])
        pictures = Pictures()
        order: list[list[int]] = []
        together: list[Tensor] = []
        for group in _groups(shown):
            order.append(group)
            parts = []
            for start in range(0, len(group), 64):
                parts.append(pictures.encode(_drawn([shown[k] for k in group[start : start + 64]], pictures)).half())
                if start // 64 % 100 == 0:
                    print(f"drew {start} of {len(group)} pictures of {len(shown)}", flush=True)
            together.append(torch.cat(parts))
        torch.save({"drawn": drawn, "latents": together, "order": order}, kept)
        return _apart(together, order)

    @torch.no_grad()
    def _features(self, shown: list[Shown]) -> Tensor:
        """ViT features (pictures, tokens, width) of all references, which are of one size."""
        found = torch.empty(len(shown), *self._feature_shape(), dtype=torch.bfloat16, device=DEVICE)
        pictures = Pictures()
        for group in _groups(shown):
            for start in range(0, len(group), 64):
                part = group[start : start + 64]
                with torch.autocast(DEVICE.type, torch.bfloat16):
                    seen = self.requests.features(_drawn([shown[k] for k in part], pictures))
                found[part] = seen.bfloat16()
        return found

    def _feature_shape(self) -> tuple[int, int]:
        rows, columns = self.requests.vit_grid
        return rows * columns, self.requests.vlm.config.text.hidden_size

    def batch(
        self, task: str, rng: random.Random, count: int, sides: tuple[str, ...] = ("vit", "vae")
    ) -> tuple[Context, Tensor]:
        """Contexts of `count` requests, conditions dropped by chance (see `given`), and the latents that they should
        give."""
        texts, latents, features = [], [], []
        sizes = self.sized[task]
        size = rng.choices(list(sizes), [len(found) for found in sizes.values()])[0]
        chosen = rng.choices(sizes[size], k=count)
        for index in chosen:
            place = self.places[task][index]
            left = given(rng, self.made[task][index], sides)
            texts.append(left.texts)
            latents.append([self.latents[k].float() for k in place[:-1]] if left.latents else [])
            features.append([self.features[self.row_of[k]] for k in place[:-1]] if left.vit else [])
        target = torch.stack([self.latents[self.places[task][index][-1]].float() for index in chosen])
        return self.requests.context(texts, latents, features, self.requests.grid_of(size)), target


def _groups(shown: Sequence[Shown]) -> list[list[int]]:
    """Pictures that are drawn alike: of one size, and worn or not."""
    groups: dict[tuple[tuple[int, int], bool], list[int]] = {}
    for k, one in enumerate(shown):
        groups.setdefault((one.size, one.worn), []).append(k)
    return list(groups.values())


def _apart(together: list[Tensor], order: list[list[int]]) -> list[Tensor]:
    """Every picture's own of the groups' latents, in the pictures' order."""
    found: dict[int, Tensor] = {}
    for latents, group in zip(together, order, strict=True):
        found |= dict(zip(group, latents.unbind(), strict=True))
    return [found[k] for k in range(len(found))]


def _drawn(shown: Sequence[Shown], pictures: Pictures) -> NDArray[np.uint8]:
    """Pictures (B, H, W, 3) that are drawn alike; worn ones have been through the VAE."""
    made = np.stack([one.render() for one in shown])
    return pictures.decode(pictures.encode(made)) if shown[0].worn else made
