"""nano's own world in GenEval's form: from prompts to pictures to verdicts to a table."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from benchmark_data import notes
from PIL import Image

from lightfusion_core.evaluation.shapes import TAGS, asked, metadata
from lightfusion_core.shapes.bench import prompts_of
from lightfusion_core.shapes.judge import judge_prompt
from lightfusion_core.shapes.prompts import sample_prompt
from lightfusion_core.shapes.world import render

NANO = ("--model", "nano", "--device", "cpu")


def test_metadata_say_all_that_the_judge_needs() -> None:
    """The same verdicts on right pictures and on others', after a way through JSON."""
    rng = random.Random(1)
    samples = [sample_prompt(rng, category, held_out=True) for category in TAGS for _ in range(2)]
    pictures = [render(sample.scene, 128) for sample in samples]
    for sample, picture in zip(samples, pictures, strict=True):
        line = json.loads(json.dumps(metadata(sample)))
        assert set(line) == {"tag", "include", "prompt"}
        again = asked(line)
        assert judge_prompt(again, picture)
        for other in rng.sample(pictures, 2):
            assert judge_prompt(again, other) == judge_prompt(sample, other)


def test_from_prompts_to_a_table(run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, said, err = run("shapes", *NANO, "--out", out, "--count", 1, "--steps", 4, model=False)
    assert code == 0, err
    assert f"lightfusion evaluate judge {out}" in said
    prompts = [json.loads(line)["prompt"] for line in (tmp_path / "out.record/evaluation_metadata.jsonl").open()]
    assert prompts == [prompts_of(category, 0, 1)[0].prompt for category in TAGS]
    code, said, err = run("judge", out, model=False)
    assert code == 0, err
    assert f"of 6 right: {tmp_path / 'out.record/results.jsonl'}" in said
    code, table, _ = run("table", tmp_path / "out.record/results.jsonl", model=False)
    assert code == 0
    assert "nano's own world" in table
    assert "**GenEval**" not in table  # its scores are no GenEval scores
    assert len([line for line in table.splitlines() if line.startswith("| **")]) == 1
    # pictures that show something else are wrong, and the judge is asked anew
    for picture in out.glob("*/samples/*.png"):
        Image.fromarray(np.full((128, 128, 3), 255, np.uint8)).save(picture)
    assert "0 of 6 right" in run("judge", out, model=False)[1]


@pytest.mark.slow
def test_scores_are_those_of_the_shapes_benchmark(run, tmp_path: Path) -> None:
    """The same prompts, other seeds: every category within three deviations, and so is the whole."""
    from lightfusion_core import LightFusion, Sampling
    from lightfusion_core.shapes.bench import Engine
    from lightfusion_core.shapes.bench import run as examine

    count, out = 30, tmp_path / "out"
    assert run("shapes", *NANO, "--out", out, "--count", count, "--steps", 8, model=False)[0] == 0
    assert run("judge", out, model=False)[0] == 0
    lines = [json.loads(line) for line in (tmp_path / "out.record/results.jsonl").open()]
    assert len(lines) == 6 * count
    engine = Engine(LightFusion.load("nano", device="cpu"), sampling=Sampling(8))
    report = examine(engine, 0, count, lambda title: None, lambda: None, ["text_to_image"])
    totals = []
    for category, tag in TAGS.items():
        mine = sum(line["correct"] for line in lines if line["tag"] == tag) / count
        theirs = report.results[category].share
        share = (mine + theirs) / 2
        print(category, mine, theirs)
        assert abs(mine - theirs) <= 3 * (2 * max(share * (1 - share), 1 / count) / count) ** 0.5
        totals.append((mine, theirs))
    mine, theirs = np.mean(totals, axis=0)
    assert abs(mine - theirs) <= 3 * (2 * max(mine * (1 - mine), 1 / (6 * count)) / (6 * count)) ** 0.5


def test_what_is_not_of_the_world_is_not_judged(run, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "00000"
    (folder / "samples").mkdir(parents=True)
    good = {"tag": "colors", "include": [{"class": "circle", "count": 1}], "prompt": "a circle"}
    for change in (
        {"include": [{"class": "bench", "count": 1}]},
        {"include": [{"class": "circle", "count": 1, "color": "brown"}]},
        {"include": [{"class": "circle", "count": 1, "position": ["beside", 0]}]},
        {"include": [{"class": "circle", "count": 1, "position": ["above", 7]}]},
        {"include": ["circle"]},
        {"include": None},
    ):
        (folder / "metadata.jsonl").write_text(json.dumps({**good, **change}), encoding="utf-8")
        code, out, err = run("judge", tmp_path / "out", model=False)
        (line,) = notes(err)
        assert (code, out) == (1, "")
        assert "expected shapes of nano's world" in line
    for place in (tmp_path / "nowhere", tmp_path):
        code, _, err = run("judge", place, model=False)
        assert code == 1
        assert "lightfusion evaluate shapes" in notes(err)[0]
