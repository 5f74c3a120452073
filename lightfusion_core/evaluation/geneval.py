"""GenEval (github.com/djghosh13/geneval), with its own prompts or the long ones that the paper uses.

Data: `evaluation_metadata.jsonl` or `evaluation_metadata_long.jsonl`, a line {tag, include, exclude?, prompt} a prompt.
Judged folder: `00000/metadata.jsonl`, that line, and `00000/samples/00000.png` to `00003.png`.
"""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote

from .benchmark import DRAWN, Benchmark, Item, Judging, Options, Rows
from .reading import Row, each, find, json_lines

NAMES = ("evaluation_metadata_long.jsonl", "evaluation_metadata.jsonl")


def read(data: Path, options: Options) -> Rows:
    """The long prompts of a folder, or where it has none the official ones."""
    names = [f"{folder}{name}" for name in NAMES for folder in ("", "prompts/")]
    file = find(data, names, "GenEval's prompts")
    return each(json_lines(file), lambda row: _item(row, options.pictures))


def _item(row: Row, pictures: int) -> Item:
    row.text("tag")
    for thing in row.value("include", list, "a list of things"):
        if not isinstance(thing, dict) or not isinstance(thing.get("class"), str):
            raise row.bad("things with a class and a count in 'include'", str(thing), "correct the line")
    folder = f"{row.fields['#']:05d}"
    return Item(
        id=folder,
        where=row.where,
        prompt=row.text("prompt"),
        files=[f"{folder}/samples/{k:05d}.png" for k in range(pictures)],
        pictures=pictures,
        texts={f"{folder}/metadata.jsonl": json.dumps({k: v for k, v in row.fields.items() if k != "#"})},
    )


def judge(judging: Judging) -> list[str]:
    out, results = quote(str(judging.out)), quote(str(judging.record.folder / "results.jsonl"))
    return [
        "# in a checkout of github.com/djghosh13/geneval, with mmdetection 2.x and the detector that",
        "# evaluation/download_models.sh fetches into DETECTOR",
        f"python evaluation/evaluate_images.py {out} --outfile {results} --model-path DETECTOR",
        f"lightfusion evaluate table {results}",
    ]


BENCHMARK = Benchmark("geneval", "GenEval", DRAWN, False, read, judge)
