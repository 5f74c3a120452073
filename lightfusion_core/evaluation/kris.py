"""KRIS-Bench (github.com/mercurystraw/Kris_Bench; its judge as in ByteDance-Seed's BAGEL, which reads PNGs).

Data: `CATEGORY/annotation.json`, id to {ori_img, ins_en}, beside the pictures, or one flat list of {id, type, ori_img,
ins_en}. ori_img is a name or several. Judged folder: `CATEGORY/ID.png`, and the thought in `CATEGORY/ID.txt`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shlex import quote

from ..errors import InputError
from .benchmark import THOUGHT_OVER, Benchmark, Item, Judging, Options, Problem, Rows
from .reading import Row, each, json_rows

_LISTS = ("final_data.json", "final_300_data.json")
_PICTURES = "KRIS_Bench"
_METRICS = ("common", "knowledge", "multi_element", "temporal_prediction", "view_change")


def read(data: Path, options: Options) -> Rows:
    """The rows of a flat list, or of all categories of a folder."""
    listed = data if data.is_file() else next((data / name for name in _LISTS if (data / name).is_file()), None)
    folder = data.parent if data.is_file() else data
    roots = [root for root in (folder / _PICTURES, folder) if root.is_dir()]
    rows = _annotated(data, roots) if listed is None else json_rows(listed)
    return each(rows, lambda row: _item(row, roots))


def _annotated(data: Path, roots: list[Path]) -> Iterator[Row | Problem]:
    files = [file for root in roots for file in sorted(root.glob("*/annotation.json"))]
    if not files:
        raise InputError(
            f"{data}: expected KRIS-Bench's CATEGORY/annotation.json or {_LISTS[0]}, found "
            "neither; download it into this folder."
        )
    for file in files:
        for row in json_rows(file):
            yield row if isinstance(row, Problem) else _of_category(row, file.parent.name)


def _of_category(row: Row, category: str) -> Row:
    return Row(row.where, {**row.fields, "id": row.fields["#"], "type": category})


def _item(row: Row, roots: list[Path]) -> Item:
    category, number = row.name("type"), row.name("id")
    given = row.value("ori_img", (str, list), "a picture's name, or several")
    names = [given] if isinstance(given, str) else given
    if not names:
        raise row.bad("at least one picture in 'ori_img'", "none", "correct the row")
    sources = [row.picture([root / category for root in roots], "ori_img", name) for name in names]
    place = f"{category}/{number}"
    return Item(place, row.where, row.text("ins_en"), [f"{place}.png"], sources=sources, thought=f"{place}.txt")


def judge(judging: Judging) -> list[str]:
    out = quote(str(judging.out))
    asked = f"--results_dir {out} --models '' --annotation_file annotation.json"
    return [
        "# in eval/ of a checkout of github.com/ByteDance-Seed/Bagel with its KRIS scripts, and a key for GPT-4o in",
        "# OPENAI_API_KEY",
        *(f"python gen/kris/metrics_{name}.py {asked}" for name in _METRICS),
        f"python gen/kris/summarize.py --results_dir {out}",
        f"lightfusion evaluate table {out}/results.json",
    ]


BENCHMARK = Benchmark("kris", "KRIS-Bench", replace(THOUGHT_OVER, enlarged=True), True, read, judge)
