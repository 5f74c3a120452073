"""Stage 2: the understanding side, a small Qwen2.5-VL, trained from nothing as a language and vision model.

Two kinds of batches take turns. Pictures with a question or the wish for a caption, in the chat
template, causal throughout; and text alone: prompts as the drawing context holds them, each followed
by a description of what it asks for, so that a prompt's states come to hold its meaning.

    python -m tools.nano.train_vlm --minutes 30
"""

from __future__ import annotations

import argparse
import math
import random
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lightfusion_core.layout import TokenKind, place, position_ids
from lightfusion_core.understanding.answer import CHAT_SYSTEM
from lightfusion_core.understanding.tokenizer import Tokenizer
from lightfusion_core.understanding.tower import UnderstandingTower

from .edits import sample_edit
from .model import RUNS, SIZE, TOKENIZER, nano_config
from .prompts import CATEGORIES, EDITS, sample_caption, sample_prompt, sample_question
from .questions import caption
from .states import padded, run_layers, see, vit_patches
from .world import render

CHECKPOINT = RUNS / "vlm.pt"
QUESTION_SHARES = {"what": 1, "color": 2, "count": 2, "where": 2, "yes_no": 2, "caption": 3}


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


class Tasks:
    """Batches of both kinds, from a random generator of their own."""

    def __init__(self, tokenizer: Tokenizer, seed: int) -> None:
        self.tokenizer, self.rng, self.config = tokenizer, random.Random(seed), nano_config()
        special = self.config.special_tokens
        self.bos, self.eos = special.bos, special.eos
        self.opening = tokenizer.encode(f"{self.bos}system\n{CHAT_SYSTEM}{self.eos}\n{self.bos}user\n")

    def visual(self, count: int, held_out: bool = False) -> tuple[Tensor, list[list[int]], list[list[int]]]:
        """Pictures (count, H, W, 3), the ids after the image up to the answer, and the answers' ids."""
        pictures, questions, answers = [], [], []
        for _ in range(count):
            kind = self.rng.choices(list(QUESTION_SHARES), list(QUESTION_SHARES.values()))[0]
            if kind == "caption":
                sample = sample_caption(self.rng, held_out)
            else:
                sample = sample_question(self.rng, kind, held_out)
            pictures.append(render(sample.scene, SIZE))
            questions.append(self.tokenizer.encode(f"{sample.question}{self.eos}\n{self.bos}assistant\n"))
            answers.append(self.tokenizer.encode(f"{sample.answer}{self.eos}"))
        return torch.from_numpy(np.stack(pictures)).float() / 255, questions, answers

    def written(self, count: int) -> tuple[list[list[int]], list[list[int]]]:
        """Prompts as segments, and what follows each: a newline and a description."""
        prompts, answers = [], []
        for _ in range(count):
            if self.rng.random() < 0.25:
                edit = sample_edit(self.rng, self.rng.choice(EDITS))
                text, said = edit.instruction, caption(edit.target) if edit.target.things else "nothing"
            else:
                prompt = sample_prompt(self.rng, self.rng.choice(CATEGORIES))
                text, said = prompt.prompt, caption(prompt.scene)
            prompts.append([self.tokenizer.bos, *self.tokenizer.encode(text), self.tokenizer.eos])
            answers.append(self.tokenizer.encode(f"\n{said}{self.eos}"))
        return prompts, answers


def visual_loss(tower: UnderstandingTower, tasks: Tasks, count: int) -> tuple[Tensor, float]:
    """The answers' loss, and the share of their tokens that are foreseen."""
    pictures, questions, answers = tasks.visual(count)
    patches, grid = vit_patches(pictures, tower.config)
    features = see(tower, patches, grid)
    merge = tower.config.vision.spatial_merge_size
    ids, lengths = padded([q + a for q, a in zip(questions, answers, strict=True)])
    splits = place(
        [
            (TokenKind.TEXT, 1, len(tasks.opening)),
            (TokenKind.VIT, grid[0] // merge, grid[1] // merge),
            (TokenKind.TEXT, 1, ids.shape[1]),
        ]
    )
    embed = tower.model.language_model.embed_tokens
    fixed = torch.tensor([[*tasks.opening, tasks.tokenizer.sov, tasks.tokenizer.eov]]).expand(count, -1)
    before, after = embed(fixed[:, :-1]), embed(fixed[:, -1:])
    hidden = torch.cat([before, features.to(before.dtype), after, embed(ids)], dim=1)
    mask = torch.ones(hidden.shape[1], hidden.shape[1], dtype=torch.bool).tril()[None, None]
    last = run_layers(tower, hidden, position_ids(splits)[:, None], mask)[-1]
    asked = torch.tensor([len(q) for q in questions])
    return _loss(tower, last[:, -ids.shape[1] :], ids, asked, lengths)


def written_loss(tower: UnderstandingTower, tasks: Tasks, count: int) -> tuple[Tensor, float]:
    """The loss over prompts and their descriptions, and the share of the latter that is foreseen."""
    prompts, answers = tasks.written(count)
    ids, lengths = padded([p + a for p, a in zip(prompts, answers, strict=True)])
    hidden = tower.model.language_model.embed_tokens(ids)
    positions = torch.arange(ids.shape[1]).expand(3, 1, -1)
    mask = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()[None, None]
    last = run_layers(tower, hidden, positions, mask)[-1]
    return _loss(tower, last, ids, torch.tensor([len(p) for p in prompts]), lengths)


def _loss(tower: UnderstandingTower, last: Tensor, ids: Tensor, asked: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    order = torch.arange(ids.shape[1] - 1)
    answer = (order >= asked[:, None] - 1) & (order < lengths[:, None] - 1)
    logits = tower.logits(last[:, :-1][answer]).float()
    targets = ids[:, 1:][answer]
    return F.cross_entropy(logits, targets), float((logits.argmax(-1) == targets).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30, help="how long to train")
    parser.add_argument("--plan", type=int, default=8000, help="steps over which the learning rate falls")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--visual", type=float, default=0.67, help="share of batches with pictures")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    RUNS.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(TOKENIZER, nano_config().special_tokens)
    tower = new_tower(options.seed)
    optimizer = torch.optim.AdamW(tower.parameters(), lr=options.rate, betas=(0.9, 0.98), weight_decay=0.02)
    step, history = 0, []
    if CHECKPOINT.exists():
        saved = torch.load(CHECKPOINT, weights_only=True)
        tower.load_state_dict(saved["tower"])
        optimizer.load_state_dict(saved["optimizer"])
        step, history = saved["step"], saved["history"]
        print(f"resumed at step {step}")
    started = saved_at = time.monotonic()
    while time.monotonic() - started < options.minutes * 60 and step < options.plan:
        tasks = Tasks(tokenizer, options.seed * 1_000_003 + step)
        warm = min(1.0, step / 200)
        share = 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / options.plan))
        for group in optimizer.param_groups:
            group["lr"] = options.rate * warm * (0.03 + 0.97 * share)
        with torch.autocast("cpu", torch.bfloat16):
            kind = visual_loss if tasks.rng.random() < options.visual else written_loss
            loss, right = kind(tower, tasks, options.batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        history.append((step, kind is visual_loss, float(loss.detach()), right))
        step += 1
        if step % 100 == 0:
            recent = history[-100:]
            said = [f"step {step}"]
            for name, visual in (("seen", True), ("read", False)):
                rows = [row[2:] for row in recent if row[1] is visual]
                if rows:
                    loss_mean, right_mean = np.mean(rows, axis=0)
                    said.append(f"{name} {loss_mean:.3f} ({right_mean:.3f})")
            print("  ".join(said), f" {(time.monotonic() - started) / 60:.1f} min", flush=True)
        if time.monotonic() - saved_at > 120:
            _save(tower, optimizer, step, history)
            saved_at = time.monotonic()
    _save(tower, optimizer, step, history)


def _save(tower: UnderstandingTower, optimizer: torch.optim.Optimizer, step: int, history: list) -> None:
    part = CHECKPOINT.with_suffix(".part")
    torch.save(
        {"tower": tower.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "history": history}, part
    )
    part.replace(CHECKPOINT)


if __name__ == "__main__":
    main()
