"""Stage 2: the understanding side, a small Qwen2.5-VL, trained from nothing as a language and vision model.

Six kinds of batches take turns:

- look: a picture in the chat template with up to three questions and often the wish for a caption;
- edit and compose: a drawing context (references, instruction) as the engine lays it out, followed by
  a description of the change and of the picture that it should give;
- read: a prompt alone, followed by what it asks for in plain words;
- talk: chats of several turns, which kind of turn the next sentence asks for, and questions that lean on what came
  before;
- rewrite: prompts to rewrite, followed by all that they name and what they leave open.

Answers are foreseen token by token. Beside that, linear readouts ask single states for their meaning
(`readouts.py`).

A generation side reads the states of drawing contexts in every layer. With `--keep` they are held near those of the
weights that a training begins with, for all requests that these know, so that the generation side which was trained on
them goes on being right while the understanding side learns more.

    python -m tools.nano.train_vlm --minutes 30
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightfusion_core.shapes.manners import MANNERS, sample_manner
from lightfusion_core.shapes.prompts import (
    CATEGORIES,
    COMPOSITION,
    EDITS,
    REFERENCES,
    sample_edit,
    sample_prompt,
    sample_question,
    sample_reference,
)
from lightfusion_core.shapes.question_wordings import ASK
from lightfusion_core.shapes.questions import caption, question_about
from lightfusion_core.shapes.wordings import polish
from lightfusion_core.shapes.world import Scene, Thing, render
from lightfusion_core.understanding.answer import THINK_SYSTEM
from lightfusion_core.understanding.tokenizer import Tokenizer
from lightfusion_core.understanding.tower import UnderstandingTower

from .chats import TURNS, Chats
from .model import DEVICE, RUNS, SIZE, TOKENIZER, nano_config
from .readouts import Readouts
from .states import Row, Rows, see, vit_patches
from .training import Training, optimizers_of, options
from .words import Sample, asked, loosen, thought, told

CHECKPOINT = RUNS / "vlm.pt"
INNER = ("tower.model.language_model.layers.", "tower.model.visual.blocks.", "tower.model.visual.merger.")
SHARES = {"look": 2, "edit": 2, "compose": 1, "read": 2, "talk": 8, "rewrite": 4}
PARTS = {"compose": 1 / 2, "rewrite": 1 / 3}
"""Rows of a kind as a part of a batch, where they are longer than the others; chats are the fewer the longer."""
THINKING = 0.2
"""How many drawing contexts are those of "think, then draw"."""
QUESTION_SHARES = {"what": 2, "color": 1, "count": 2, "where": 5, "yes_no": 4}
CAPTION = 0.5
"""What a token of a caption weighs against one of an answer."""


def new_tower(seed: int = 0) -> UnderstandingTower:
    """An untrained tower; its numbers come from the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tower = UnderstandingTower(nano_config())
        for name, parameter in tower.named_parameters():
            if parameter.ndim > 1:
                fan_in = parameter[0].numel()
                torch.nn.init.normal_(parameter, std=0.02 if "embed" in name else fan_in**-0.5)
            elif name.endswith("bias"):
                torch.nn.init.zeros_(parameter)
        for layer in tower.model.language_model.layers:
            layer.self_attn.o_proj.weight.data.mul_(0.3)
            layer.mlp.down_proj.weight.data.mul_(0.3)
    return tower


def load_tower(checkpoint: Path = CHECKPOINT) -> UnderstandingTower:
    """The trained tower (the running mean of its weights), frozen."""
    tower = new_tower()
    saved = torch.load(checkpoint, weights_only=True, map_location="cpu")["mean"]
    tower.load_state_dict({name[6:]: value for name, value in saved.items() if name.startswith("tower.")})
    return tower.eval().requires_grad_(False)


class Learner(nn.Module):
    """The tower with the readouts that only training has."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.tower = new_tower(seed)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.readouts = Readouts(nano_config().text.hidden_size)


@dataclass
class Batch:
    """Rows, the scenes of their pictures in order, and the requests whose markers stand at the rows' ends; or
    where each question ends, (row, column), and the things that it names."""

    rows: Rows
    scenes: list[Scene]
    requests: list = field(default_factory=list)
    known: list[bool] = field(default_factory=list)
    """Of each request, whether a generation side that is there already may know its kind."""
    ends: list[tuple[int, int]] = field(default_factory=list)
    about: list[tuple[Thing, ...]] = field(default_factory=list)


class Tasks:
    """Batches of every kind."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, config = tokenizer, nano_config()
        self.newline = tokenizer.encode("\n")
        side = round(SIZE / config.vit_image.stride)
        self.vit_grid = (side, side)
        self.token_grid = (SIZE // config.token_size,) * 2
        self.chats = Chats(tokenizer, self.vit_grid)

    def row(self) -> Row:
        return Row((self.tokenizer.sov, self.tokenizer.eov))

    def look(self, rng: random.Random, count: int) -> Batch:
        rows: list[Row] = []
        scenes: list[Scene] = []
        ends: list[tuple[int, int]] = []
        about: list[tuple[Thing, ...]] = []
        for _ in range(count):
            kind = rng.choices(list(QUESTION_SHARES), list(QUESTION_SHARES.values()))[0]
            first = sample_question(rng, kind)
            row = self.chats.row().vit(*self.vit_grid, causal=True)
            further = (question_about(rng, first.scene) for _ in range(2))
            for leaf, sample in enumerate((first, *further), start=1):
                if sample is None:
                    continue
                end = self.chats.ask(row, asked(rng, sample.question), sample.answer, leaf)
                if sample.about:
                    ends.append((len(rows), end))
                    about.append(sample.about)
            if rng.random() < 0.5:
                self.chats.ask(row, polish(rng, ASK["caption"].say(rng, False)), caption(first.scene), 4, CAPTION)
            rows.append(row)
            scenes.append(first.scene)
        return Batch(Rows(rows), scenes, ends=ends, about=about)

    def edit(self, rng: random.Random, count: int) -> Batch:
        samples = [sample_edit(rng, rng.choice(EDITS)) for _ in range(count)]
        return self.drawing(rng, [((one.source,), one.instruction, told(one), one) for one in samples])

    def compose(self, rng: random.Random, count: int) -> Batch:
        samples = [sample_reference(rng, rng.choice(REFERENCES)) for _ in range(count)]
        return self.drawing(rng, [(one.references, one.instruction, told(one), one) for one in samples])

    def read(self, rng: random.Random, count: int) -> Batch:
        kinds = (*CATEGORIES, *MANNERS)
        samples = [
            sample_manner(rng, kind) if kind in MANNERS else sample_prompt(rng, kind)
            for kind in (rng.choice(kinds) for _ in range(count))
        ]
        return self.drawing(rng, [((), one.prompt, told(one), one) for one in samples])

    def talk(self, rng: random.Random, count: int) -> Batch:
        turns = rng.choice(TURNS)  # all of a batch alike: rows of one length need no padding
        made = [self.chats.talk(rng, turns) for _ in range(max(1, 2 * count // (2 + turns)))]
        ends = [(at, end) for at, (_, _, questions) in enumerate(made) for end, _ in questions]
        about = [things for _, _, questions in made for _, things in questions]
        scenes = [scene for _, scenes, _ in made for scene in scenes]
        return Batch(Rows([row for row, _, _ in made]), scenes, ends=ends, about=about)

    def rewrite(self, rng: random.Random, count: int) -> Batch:
        made = [self.chats.rewriting(rng) for _ in range(count)]
        return Batch(Rows([row for row, _ in made]), [scene for _, scenes in made for scene in scenes])

    def drawing(self, rng: random.Random, requests: list[tuple[tuple[Scene, ...], str, str, Sample]]) -> Batch:
        """Drawing contexts, each with a newline and a description behind it and the target's markers."""
        rows, scenes, known = [], [], []
        for references, text, said, sample in requests:
            row = self.row()
            for scene in references:
                row.clean(*self.token_grid).vit(*self.vit_grid)
                scenes.append(scene)
            thinks = rng.random() < THINKING
            known.append(not thinks and getattr(sample, "category", "") not in COMPOSITION)
            if thinks:
                row.text(self.tokenizer.segment(THINK_SYSTEM))
                said = thought(sample)
            row.text(self.tokenizer.segment(loosen(rng, text)))
            if thinks and rng.random() < 0.5:
                row.text(self.tokenizer.segment(said))
                rows.append(row.target(*self.token_grid))
                continue
            answer = self.tokenizer.encode(said)
            row.text([*self.newline, *answer, self.tokenizer.eos], 1, len(self.newline), CAPTION)
            rows.append(row.target(*self.token_grid, leaf=2))
        return Batch(Rows(rows), scenes, [request for *_, request in requests], known)


def features_of(tower: UnderstandingTower, scenes: list[Scene]) -> Tensor:
    """ViT features (pictures, tokens, width) of scenes, drawn here."""
    pictures = torch.from_numpy(np.stack([render(scene, SIZE) for scene in scenes])).to(DEVICE).float() / 255
    return see(tower, *vit_patches(pictures, tower.config))


def away(rows: Rows, known: list[bool], states: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """How far the states (B, n, width) of all layers are from those that are wanted, in the contexts and the target's
    markers of the known requests: the mean squared error as a part of the states' own."""
    read = rows.context.clone()
    read[torch.arange(len(read), device=read.device)[:, None], rows.last_two] = True
    read &= torch.tensor(known, device=read.device)[:, None]
    parts = [
        (found[read].float() - there[read].float()).square().mean() / there[read].float().square().mean()
        for found, there in zip(states, wanted, strict=True)
    ]
    return torch.stack(parts).mean()


def losses(
    learner: Learner,
    tasks: Tasks,
    kind: str,
    rng: random.Random,
    count: int,
    begun: UnderstandingTower | None = None,
    keep: float = 0.0,
) -> tuple[Tensor, dict[str, float]]:
    """One batch of a kind (of `SHARES`); the states of drawing contexts are held near those of the tower `begun` by the
    weight `keep`."""
    batch: Batch = getattr(tasks, kind)(rng, max(1, round(count * PARTS.get(kind, 1))))
    figures: dict[str, float] = {}
    loss = torch.zeros((), device=DEVICE)
    features = None
    if batch.scenes:
        features = features_of(learner.tower, batch.scenes)
        aside, figures["shapes seen"] = learner.readouts.cell_loss(features, batch.scenes)
        loss = loss + aside
    states = batch.rows.run(learner.tower, features)
    if batch.scenes:
        aside, seen = learner.readouts.picture_loss(states, batch.rows.seen, batch.scenes)
        figures |= seen
        loss = loss + 0.5 * aside
    if batch.about:
        row, column = torch.tensor(batch.ends, device=DEVICE).unbind(1)
        aside, figures["things named"] = learner.readouts.named_loss(states, (row, column), batch.about)
        loss = loss + aside
    if begun is not None and any(batch.known):
        with torch.no_grad():
            wanted = batch.rows.run(begun, features_of(begun, batch.scenes) if batch.scenes else None)
        moved = away(batch.rows, batch.known, states, wanted)
        figures["moved"] = float(moved.detach())
        loss = loss + keep * moved
    if batch.requests:
        aside, figures[f"{kind} marked"] = learner.readouts.digest_loss(states, batch.rows.last_two, batch.requests)
        loss = loss + 0.2 * aside
    scores, ids, weight = batch.rows.foreseen(learner.tower, states[-1])
    said = F.cross_entropy(scores, ids, reduction="none")
    loss = loss + (said * weight).sum() / weight.sum()
    right = (scores.argmax(-1) == ids).float()
    figures |= {f"{kind} loss": float(said.detach().mean()), f"{kind} right": float(right.mean())}
    if kind == "look":
        figures["answers right"] = float(right[weight == 1].mean())
    return loss, figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options(parser, minutes=80, plan=6000, batch=32, rate=2e-3)
    parser.add_argument(
        "--keep", type=float, default=0.0, help="how strongly drawing contexts stay as they are (default: %(default)s)"
    )
    parser.add_argument(
        "--begun", type=Path, default=RUNS / "begun.pt", help="weights to keep to (default: %(default)s)"
    )
    chosen = parser.parse_args()
    RUNS.mkdir(parents=True, exist_ok=True)
    tasks = Tasks(Tokenizer(TOKENIZER, nano_config().special_tokens))
    learner = Learner(chosen.seed)
    begun = load_tower(chosen.begun).to(DEVICE) if chosen.keep else None
    training = Training(
        CHECKPOINT,
        learner,
        Learner(chosen.seed),
        optimizers_of(learner, chosen.rate, INNER),
        rate=chosen.rate,
        plan=chosen.plan,
        seed=chosen.seed,
    )

    def step(rng: random.Random) -> tuple[Tensor, dict[str, float]]:
        (kind,) = random.Random(f"kind {chosen.seed} {training.step}").choices(list(SHARES), list(SHARES.values()))
        with torch.autocast(DEVICE.type, torch.bfloat16):
            return losses(learner, tasks, kind, rng, training.team.share(chosen.batch), begun, chosen.keep)

    training.run(step, chosen.minutes, finish=chosen.finish)


if __name__ == "__main__":
    main()
