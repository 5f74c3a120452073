"""What is learned from: every form is read, and what is wrong is told in one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_trainings import write_picture
from tiny import CONFIG

from lightfusion_core.config import ModelConfig
from lightfusion_core.errors import InputError
from lightfusion_core.training.data import Example, read_examples, with_mirrored
from lightfusion_core.training.draws import Draws, Dropout, Pool
from lightfusion_core.training.loop import make_pools
from lightfusion_core.training.sizes import bucket, target_picture, target_size


def test_every_form_is_read(captions: Path, pairs: Path) -> None:
    assert [example.text for example in read_examples(captions)] == ["picture 0", "picture 1", "picture 2"]
    first = read_examples(pairs)[0]
    assert first == Example("change it", pairs / "after" / "0.png", (pairs / "before" / "0.png",))
    (pairs / "instruction.txt").unlink()
    for k in range(2):
        (pairs / "after" / f"{k}.txt").write_text(f"change {k}")
    assert [example.text for example in read_examples(pairs)] == ["change 0", "change 1"]


def test_rows_are_read(captions: Path) -> None:
    """With a byte order mark, Windows line ends and the names of a Hugging Face image folder."""
    rows = [
        {"image": "0.png", "prompt": "one"},
        {"file_name": "1.png", "text": "two"},
        {"before": "0.png", "after": "2.png", "instruction": "turn"},
        {"image": "0.png", "prompt": "both", "references": ["1.png", "2.png"]},
    ]
    file = captions / "metadata.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(map(json.dumps, rows)).encode())
    for source in (file, captions):
        found = read_examples(source)
        assert [example.text for example in found] == ["one", "two", "turn", "both"]
        assert [len(example.references) for example in found] == [0, 0, 1, 2]


def test_mirrored_examples_come_beside_the_others(pairs: Path) -> None:
    plain = read_examples(pairs)
    examples = with_mirrored(plain)
    assert examples[:2] == plain and [example.text for example in examples[2:]] == ["change it"] * 2
    for before, after in zip(plain, examples[2:], strict=True):
        for path in (before.target, *before.references):
            assert np.array_equal(np.asarray(after.picture(path)), np.asarray(before.picture(path))[:, ::-1])


def _without(name: str) -> Callable[[Path, Path], Path]:
    def change(captions: Path, pairs: Path) -> Path:
        folder = pairs if "/" in name or name == "instruction.txt" else captions
        (folder / name).unlink()
        return folder

    return change


def _written(name: str, content: bytes) -> Callable[[Path, Path], Path]:
    def change(captions: Path, pairs: Path) -> Path:
        (captions / name).write_bytes(content)
        return captions / name if name.endswith("jsonl") else captions

    return change


def _resized(captions: Path, pairs: Path) -> Path:
    write_picture(pairs / "after" / "1.png", (64, 64))
    return pairs


def _emptied(captions: Path, pairs: Path) -> Path:
    for file in captions.iterdir():
        file.unlink()
    return captions


def _thin(captions: Path, pairs: Path) -> Path:
    Image.new("RGB", (400, 4)).save(captions / "0.png")
    return captions


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without("1.txt"), r"1\.png: expected its caption in .*1\.txt, found no such file"),
        (_without("1.png"), r"1\.txt: expected its picture"),
        (_without("before/0.png"), r"after.0\.png: expected what it was"),
        (_without("after/0.png"), r"before.0\.png: expected what it becomes"),
        (_without("instruction.txt"), r"0\.png: expected its instruction .* \(and so for 1 more\)"),
        (_resized, r"after.1\.png: expected the size of .*before.1\.png, 64x96, found 64x64"),
        (_emptied, r"captions: expected pictures to learn from, found none"),
        (lambda captions, pairs: captions / "nowhere", "expected a folder of pictures or a .jsonl file"),
        (_thin, r"0\.png: Expected a picture of at most 16:1"),
        (_written("0.png", b"no picture"), r"0\.png: expected a picture"),
        (_written("0.txt", b"  \n"), r"0\.txt: expected a text, found an empty file"),
        (_written("0.txt", b"\xff\xfe\xff"), r"0\.txt: expected UTF-8 text"),
        (_written("0.jpg", b""), r"0\.png: expected one file of this name, found 0\.jpg too"),
        (_written("a.jsonl", b"\n"), r"a\.jsonl: expected JSON lines to learn from, found none"),
        (_written("a.jsonl", b'\n{"image": '), r"a\.jsonl, line 2: expected a JSON object"),
        (_written("a.jsonl", b"[1]"), r"line 1: expected a JSON object, found \[1\]"),
        (_written("a.jsonl", b'{"image": "0.png"}'), r"line 1: expected image and prompt .* found 'image'"),
        (_written("a.jsonl", b'{"image": "9.png", "prompt": "x"}'), r"expected the picture .*9\.png, found no such"),
        (_written("a.jsonl", b'{"image": 3, "prompt": "x"}'), r"expected the path of a picture, found 3"),
        (_written("a.jsonl", b'{"image": "0.png", "prompt": ""}'), r"expected a text as its prompt"),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(
    change: Callable[[Path, Path], Path], said: str, captions: Path, pairs: Path
) -> None:
    with pytest.raises(InputError, match=said) as raised:
        read_examples(change(captions, pairs))
    assert "\n" not in str(raised.value)
    assert not re.search(r"\.\.$", str(raised.value))


def test_buckets_keep_area_and_aspect() -> None:
    """All sides are multiples of a token, for every shape that is taken."""
    config = ModelConfig()
    for width, height in ((1024, 1024), (4000, 3000), (300, 900), (1600, 100), (37, 37), (1, 16)):
        wide, high = bucket(width, height, 1024, config)
        assert wide % config.token_size == high % config.token_size == 0
        assert wide * high == pytest.approx(1024**2 if width < 8 * height < 64 * width else 2048 * 128, rel=0.15)
        assert wide / high == pytest.approx(width / height, rel=0.25)
    assert bucket(64, 64, 64, CONFIG) == (64, 64)


def test_a_picture_is_cut_and_a_pair_is_not(captions: Path, pairs: Path) -> None:
    text, pair = read_examples(captions)[1], read_examples(pairs)[1]
    size = target_size(text, 64, CONFIG)
    assert target_picture(text, size).size == size == (64, 64)
    assert target_size(pair, 64, CONFIG) == (64, 96)


def test_draws_are_those_of_the_seed_and_the_step() -> None:
    """From any step on as from the first; every example of a pool before any comes again; levels and dropouts as often
    as published."""
    pools = make_pools([3, 4], [1.0, 3.0], [(64, 64)] * 2 + [(96, 64)] + [(64, 64)] * 4)
    assert pools == [Pool(2 / 3, (0, 1)), Pool(1 / 3, (2,)), Pool(3.0, (3, 4, 5, 6))]
    draws = Draws(pools, [0, 0, 0, 1, 1, 1, 1], 4, 5, 4.0, Dropout())
    steps = list(draws.steps(0, 500))
    assert list(draws.steps(123, 500)) == steps[123:]
    rows = [row for step in steps for row in step]
    edits = [row for row in rows if row.index >= 3]
    assert len(edits) / len(rows) == pytest.approx(0.75, abs=0.05)
    counts = [sum(row.index == k for row in edits) for k in range(3, 7)]
    assert max(counts) - min(counts) <= 1
    assert sum(not row.shown.text for row in rows) / len(rows) == pytest.approx(0.1, abs=0.03)
    assert sum(not row.shown.latents[0] for row in edits) / len(edits) == pytest.approx(0.1, abs=0.03)
    assert sum(not row.shown.vits[0] for row in edits) / len(edits) == pytest.approx(0.5, abs=0.05)
    sigmas = sorted(row.sigma for row in rows)
    assert sigmas[len(sigmas) // 2] == pytest.approx(0.8, abs=0.02)  # a half, warped by a shift of 4
    assert len({row.noise for row in rows}) == len(rows)


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, float("nan")], [1.0, -1.0]])
def test_weights_are_one_for_each_source(weights: list[float]) -> None:
    with pytest.raises(InputError, match="a weight above 0 for each of the 2 sources"):
        make_pools([1, 1], weights, [(64, 64)] * 2)
