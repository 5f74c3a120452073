"""Stage 2: the understanding side, a small Qwen2.5-VL, trained from nothing as a language and vision model.

Four kinds of batches take turns:

- look: a picture in the chat template with up to three questions and often the wish for a caption;
- edit and compose: a drawing context (references, instruction) as the engine lays it out, followed by
  a description of the change and of the picture that it should give;
- read: a prompt alone, followed by what it asks for in plain words.

Answers are foreseen token by token. Beside that, linear readouts ask single states for their meaning
(`readouts.py`).

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
    EDITS,
    REFERENCES,
    sample_edit,
    sample_prompt,
    sample_question,
    sample_reference,
)
from lightfusion_core.shapes.questions import caption, question_about
from lightfusion_core.shapes.wordings import ASK, polish
from lightfusion_core.shapes.world import Scene, Thing, render
from lightfusion_core.understanding.chat import CHAT_SYSTEM
from lightfusion_core.understanding.tokenizer import Tokenizer
from lightfusion_core.understanding.tower import UnderstandingTower

from .model import RUNS, SIZE, TOKENIZER, nano_config
from .readouts import Readouts
from .states import Row, Rows, see, vit_patches
from .training import Training, optimizers_of, options
from .words import asked, loosen, told

CHECKPOINT = RUNS / "vlm.pt"
INNER = ("tower.model.language_model.layers.", "tower.model.visual.blocks.", "tower.model.visual.merger.")
SHARES = {"look": 6, "edit": 3, "compose": 1, "read": 2}
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
    saved = torch.load(checkpoint, weights_only=True)["mean"]
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
    ends: list[tuple[int, int]] = field(default_factory=list)
    about: list[tuple[Thing, ...]] = field(default_factory=list)


class Tasks:
    """Batches of every kind."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, config = tokenizer, nano_config()
        special = config.special_tokens
        self.turn = f"{special.eos}\n{special.bos}assistant\n"
        self.opening = tokenizer.encode(f"{special.bos}system\n{CHAT_SYSTEM}{special.eos}\n{special.bos}user\n")
        self.newline = tokenizer.encode("\n")
        side = round(SIZE / config.vit_image.stride)
        self.vit_grid = (side, side)
        self.token_grid = (SIZE // config.token_size,) * 2

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
            row = self.row().text(self.opening).vit(*self.vit_grid, causal=True)
            further = (question_about(rng, first.scene) for _ in range(2))
            for leaf, sample in enumerate((first, *further), start=1):
                if sample is None:
                    continue
                end = self.ask(row, asked(rng, sample.question), sample.answer, leaf)
                if sample.about:
                    ends.append((len(rows), end))
                    about.append(sample.about)
            if rng.random() < 0.5:
                self.ask(row, polish(rng, ASK["caption"].say(rng, False)), caption(first.scene), 4, CAPTION)
            rows.append(row)
            scenes.append(first.scene)
        return Batch(Rows(rows), scenes, ends=ends, about=about)

    def ask(self, row: Row, question: str, answer: str, leaf: int, weight: float = 1.0) -> int:
        """Append a question and its answer in the chat template; the place of the question's last token."""
        given = self.tokenizer.encode(question + self.turn)
        said = self.tokenizer.encode(answer)
        end = len(row.ids) + len(given) - 1
        row.text([*given, *said, self.tokenizer.eos], leaf, len(given), weight)
        return end

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

    def drawing(self, rng: random.Random, requests: list[tuple[tuple[Scene, ...], str, str, object]]) -> Batch:
        """Drawing contexts, each with a newline and a description behind it and the target's markers."""
        rows, scenes = [], []
        for references, text, said, _ in requests:
            row = self.row()
            for scene in references:
                row.clean(*self.token_grid).vit(*self.vit_grid)
                scenes.append(scene)
            row.text(self.tokenizer.segment(loosen(rng, text)))
            answer = self.tokenizer.encode(said)
            row.text([*self.newline, *answer, self.tokenizer.eos], 1, len(self.newline), CAPTION)
            rows.append(row.target(*self.token_grid, leaf=2))
        return Batch(Rows(rows), scenes, [request for *_, request in requests])


def features_of(tower: UnderstandingTower, scenes: list[Scene]) -> Tensor:
    """ViT features (pictures, tokens, width) of scenes, drawn here."""
    pictures = torch.from_numpy(np.stack([render(scene, SIZE) for scene in scenes])).float() / 255
    return see(tower, *vit_patches(pictures, tower.config))


def losses(
    learner: Learner, tasks: Tasks, kind: str, rng: random.Random, count: int
) -> tuple[Tensor, dict[str, float]]:
    """One batch of a kind (of `SHARES`)."""
    batch: Batch = getattr(tasks, kind)(rng, count // 2 if kind == "compose" else count)
    figures: dict[str, float] = {}
    loss = torch.zeros(())
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
        row, column = torch.tensor(batch.ends).unbind(1)
        aside, figures["things named"] = learner.readouts.named_loss(states, (row, column), batch.about)
        loss = loss + aside
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
    chosen = parser.parse_args()
    RUNS.mkdir(parents=True, exist_ok=True)
    tasks = Tasks(Tokenizer(TOKENIZER, nano_config().special_tokens))
    learner = Learner(chosen.seed)
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
        with torch.autocast("cpu", torch.bfloat16):
            return losses(learner, tasks, kind, rng, training.team.share(chosen.batch))

    training.run(step, chosen.minutes)


if __name__ == "__main__":
    main()
