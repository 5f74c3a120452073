"""nano's own world in GenEval's form: its prompts and what they ask for as lines of metadata, and its judge.

Data: made here, or a file of such lines, where classes are shapes. Judged folder: as GenEval's. The judge measures
pixels (`lightfusion_core/shapes`) and writes GenEval's results.jsonl into the record.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..picture_files import load_image, write_whole
from ..texts import shortened
from . import geneval
from .benchmark import Benchmark, Judging, Options, Published, Rows
from .record import Record

if TYPE_CHECKING:
    from ..shapes.samples import PromptSample

TAGS = {
    "single_object": "single_object",
    "two_objects": "two_object",
    "counting": "counting",
    "colors": "colors",
    "position": "position",
    "color_attribution": "color_attr",
}
"""GenEval's names of the world's categories."""
JUDGE = "lightfusion shapes"
"""What tells its results from GenEval's."""


def made(record: Record, options: Options) -> Path:
    """The world's held-out prompts, those of `bench shapes`, as a file in the record: `count` of each category."""
    from ..shapes.bench import prompts_of

    samples = [sample for category in TAGS for sample in prompts_of(category, options.seed, options.count)]
    lines = "".join(json.dumps(metadata(sample)) + "\n" for sample in samples)
    file = record.folder / geneval.NAMES[1]
    write_whole(file, lines.encode(), what="prompts")
    return file


def metadata(sample: PromptSample) -> dict[str, Any]:
    """A prompt and what it asks for, as GenEval writes it."""
    include: list[dict[str, Any]] = []
    for wanted in sample.wanted:
        thing = {"class": wanted.shape, "count": wanted.count}
        include.append(thing if wanted.color is None else {**thing, "color": wanted.color})
    for relation in sample.relations:
        include[relation.first]["position"] = [relation.name, relation.second]
    return {"tag": TAGS[sample.category], "include": include, "prompt": sample.prompt}


def asked(line: Mapping[str, Any]) -> PromptSample:
    """What such a line asks for.

    Raises:
        ValueError: something that is not of nano's world.
    """
    from ..shapes.samples import PromptSample, Relation, Wanted
    from ..shapes.scenes import RELATIONS
    from ..shapes.world import COLORS, SHAPES, Scene

    wanted, relations = [], []
    for number, thing in enumerate(line["include"]):
        shape, color, count = thing.get("class"), thing.get("color"), thing.get("count", 1)
        if shape not in SHAPES or color not in (None, *COLORS) or not isinstance(count, int):
            raise ValueError(shortened(thing))
        wanted.append(Wanted(count, shape, color))
        if "position" in thing:
            name, other = thing["position"]
            if name not in RELATIONS or not 0 <= other < len(line["include"]):
                raise ValueError(shortened(thing))
            relations.append(Relation(number, name, other))
    return PromptSample(line["tag"], line["prompt"], Scene(()), tuple(wanted), tuple(relations))


def verdicts(out: Path, on_done: Callable[[], None] = lambda: None) -> Iterator[dict[str, Any]]:
    """A line of GenEval's results for every picture of a judged folder.

    Raises:
        InputError: no such folder, or metadata that are not of nano's world.
    """
    import numpy as np

    from ..shapes.judge import judge_prompt

    for folder in folders(out):
        line = _line(folder / "metadata.jsonl")
        try:
            sample = asked(line)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{folder / 'metadata.jsonl'}: expected shapes of nano's world, found {error}; judge GenEval's own "
                "prompts with its detector."
            ) from None
        for picture in sorted((folder / "samples").glob("*.png")):
            right = judge_prompt(sample, np.asarray(load_image(picture)))
            yield {
                "filename": str(picture), "tag": line["tag"], "prompt": line["prompt"], "correct": right, "reason": "",
                "metadata": json.dumps(line), "details": "{}", "judge": JUDGE,
            }  # fmt: skip
        on_done()


def folders(out: Path) -> list[Path]:
    """The folders of prompts. Raises InputError where there are none."""
    found = sorted(
        folder for folder in out.glob("*") if folder.name.isdigit() and (folder / "metadata.jsonl").is_file()
    )
    if not found:
        raise InputError(
            f"{out}: expected a folder that `lightfusion evaluate shapes` wrote, found no 00000/metadata.jsonl; give "
            "its --out."
        )
    return found


def judged(out: Path, lines: Sequence[Mapping[str, Any]]) -> Path:
    """Write verdicts into the folder's record."""
    file = Record(out).folder / "results.jsonl"
    write_whole(file, "".join(json.dumps(line) + "\n" for line in lines).encode(), what="results")
    return file


def _line(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: expected a line of metadata, found: {error}; draw the folder again.") from None
    return found if isinstance(found, dict) else {}


def read(data: Path, options: Options) -> Rows:
    return geneval.read(data, options)


def judge(judging: Judging) -> list[str]:
    results = quote(str(judging.record.folder / "results.jsonl"))
    return [f"lightfusion evaluate judge {quote(str(judging.out))}", f"lightfusion evaluate table {results}"]


BENCHMARK = Benchmark("shapes", "nano's own world", Published(0, {}, {}), False, read, judge, made=made)
