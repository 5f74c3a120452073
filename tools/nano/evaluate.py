"""The scores of `lightfusion bench shapes` for the checkpoints of a training, in a quarter of the time: many requests
run in one batch. Questions and talk alone while there is no generation side.

    python -m tools.nano.evaluate --count 50 --seed 1
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from lightfusion_core import LightFusion
from lightfusion_core.commands.sheet import contact_sheet
from lightfusion_core.generation.tower import GenerationTower
from lightfusion_core.sampling.guidance import Guidance
from lightfusion_core.sampling.loop import Sampling
from lightfusion_core.shapes import PARTS
from lightfusion_core.shapes.bench import Engine, Picture, run
from lightfusion_core.shapes.bench_painting import Painting
from lightfusion_core.shapes.talks import TalkSample
from lightfusion_core.understanding.tokenizer import Tokenizer

from .draw import draw
from .drawings import Pictures, Requests
from .flow import new_generation
from .model import DEVICE, RUNS, SIZE, TOKENIZER, nano_config, read_vae_config
from .states import Rows
from .train_generation import CHECKPOINT
from .train_vlm import Tasks, load_tower


class Many:
    """An artist (see `shapes.bench`) who takes requests in batches. `sides`: see `Drawings.batch`."""

    def __init__(
        self,
        requests: Requests,
        tower: GenerationTower | None,
        guidance: Guidance,
        sides: tuple[str, ...] = ("vit", "vae"),
    ) -> None:
        self.requests, self.tower, self.guidance, self.sides = requests, tower, guidance, sides
        self.pictures = Pictures()
        self.tasks: Sequence[str] = (("generate", "edit") if tower else ()) + ("answer", "converse")
        config = replace(requests.vlm.config, tasks=("generate", "edit", "answer", "converse"))
        # chats have one request at a time in the engine itself: they are short
        nothing = tower or new_generation(config).to(DEVICE)
        self.engine = Engine(LightFusion(config, requests.vlm, nothing, self.pictures.vae, requests.tokenizer))
        defaults = requests.vlm.config.defaults
        self.sampling = Sampling(defaults.steps, defaults.shift)

    def draw(self, prompts: Sequence[str], seed: int, side: int | None = None) -> Iterable[Picture]:
        return self._draw([(prompt, ()) for prompt in prompts], seed, side or SIZE)

    def paint(self, asked: Sequence[Painting], seed: int) -> Iterable[Picture]:
        return self.engine.paint(asked, seed)

    def edit(self, asked: Sequence[tuple[Picture, str]], seed: int) -> Iterable[Picture]:
        return self._draw([(text, (picture,)) for picture, text in asked], seed, SIZE)

    def _draw(self, asked: Sequence[tuple[str, Sequence[Picture]]], seed: int, side: int) -> list[Picture]:
        assert self.tower is not None
        return draw(
            self.tower, self.requests, self.pictures, asked, seed, self.sampling, self.guidance, self.sides, side
        )  # fmt: skip

    @torch.no_grad()
    def answer(self, asked: Sequence[tuple[Picture, str]]) -> Iterable[str]:
        tasks, tower = Tasks(self.requests.tokenizer), self.requests.vlm
        for start in range(0, len(asked), 50):
            part = asked[start : start + 50]
            seen = torch.cat([self.requests.features(picture[None]) for picture, _ in part])
            said: list[list[int]] = [[] for _ in part]
            for _ in range(32):
                rows = []
                for (_, question), answer in zip(part, said, strict=True):
                    row = tasks.chats.row().vit(*tasks.vit_grid, causal=True)
                    ids = self.requests.tokenizer.encode(question, literal=True)
                    rows.append(row.text([*ids, *tasks.chats.answering, *answer]))
                last = Rows(rows).run(tower, seen)[-1]
                ends = torch.tensor([len(row.ids) - 1 for row in rows], device=last.device)
                chosen = tower.logits(last[torch.arange(len(rows), device=last.device), ends]).argmax(-1).tolist()
                for answer, token in zip(said, chosen, strict=True):
                    if not answer or answer[-1] != self.requests.tokenizer.eos:
                        answer.append(token)
                if all(answer[-1] == self.requests.tokenizer.eos for answer in said):
                    break
            yield from (self.requests.tokenizer.decode(answer).strip() for answer in said)

    def kinds(self, asked: Sequence[TalkSample]) -> Iterable[str]:
        return self.engine.kinds(asked)

    def reply(self, asked: Sequence[TalkSample]) -> Iterable[str]:
        return self.engine.reply(asked)

    def rewrite(self, prompts: Sequence[str]) -> Iterable[str]:
        return self.engine.rewrite(prompts)


def trained(checkpoint: Path = CHECKPOINT) -> GenerationTower:
    """The running mean of a generation side in training."""
    tower = new_generation(nano_config(read_vae_config()))
    tower.load_state_dict(torch.load(checkpoint, weights_only=True, map_location=DEVICE)["mean"])
    return tower.to(DEVICE).eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--guidance", type=float, default=nano_config().defaults.text_guidance)
    parser.add_argument("--questions", action="store_true", help="the understanding side alone")
    parser.add_argument("--json", type=Path, help="write the scores here")
    parser.add_argument("--wrong", action="store_true", help="print what was answered wrong")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--sheet", type=Path, default=RUNS / "evaluation.png")
    chosen = parser.parse_args()
    config = nano_config(read_vae_config())
    requests = Requests(Tokenizer(TOKENIZER, config.special_tokens), load_tower())
    tower = None if chosen.questions else trained()
    artist = Many(requests, tower, Guidance(chosen.guidance))
    report = run(artist, chosen.seed, chosen.count, lambda phase: None, lambda: None, chosen.parts)
    print(report.table())
    if chosen.json:
        chosen.json.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    if chosen.wrong:
        for result in report.results.values():
            print(*(f"WRONG: {caption}" for caption in result.wrong), sep="\n")
    page: Image.Image = contact_sheet(report.tiles(), columns=8)
    page.save(chosen.sheet)
    print(chosen.sheet)


if __name__ == "__main__":
    main()
