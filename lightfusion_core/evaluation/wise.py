"""WISE, as verified in 2026 (github.com/PKU-YuanGroup/WISE).

Data: `data_verified/merge.json`, or the files of its three parts: {Prompt, Explanation, Category, Subcategory,
prompt_id}. Judged folder: `PROMPT_ID.png`. LightFusion's authors published no run; the settings are those of their text
to image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shlex import quote

from ..errors import InputError
from .benchmark import DRAWN, Benchmark, Item, Judging, Options, Problem, Rows
from .reading import Row, each, json_rows

_RESULTS = "Results-qwen35"


def read(data: Path, options: Options) -> Rows:
    """The merged list, or the lists of the parts; rewritten prompts are left out."""
    if options.pictures != 1:
        raise InputError(f"WISE judges one picture a prompt, found --pictures {options.pictures}: leave it out.")
    return each(_rows(_files(data)), _item)


def _files(data: Path) -> list[Path]:
    if data.is_file():
        return [data]
    for folder in (data / "data_verified", data / "data", data):
        if (folder / "merge.json").is_file():
            return [folder / "merge.json"]
        files = [file for file in sorted(folder.glob("*.json")) if not file.stem.endswith("_rewrite")]
        if files:
            return files
    raise InputError(f"{data}: expected WISE's merge.json or its parts (*.json), found none; download them there.")


def _rows(files: list[Path]) -> Iterator[Row | Problem]:
    for file in files:
        yield from json_rows(file)


def _item(row: Row) -> Item:
    number = row.value("prompt_id", int, "a number")
    if number < 0:
        raise row.bad("a number from 1 in 'prompt_id'", str(number), "correct the row")
    return Item(str(number), row.where, row.text("Prompt"), [f"{number}.png"])


def judge(judging: Judging) -> list[str]:
    out = quote(str(judging.out))
    return [
        "# in a checkout of github.com/PKU-YuanGroup/WISE, with Qwen3.5-35B-A3B served by vLLM at VLLM_API_BASE",
        f"IMAGE_DIR={out} VLLM_API_BASE=http://127.0.0.1:8000/v1 bash eval_qwen.sh",
        f"lightfusion evaluate table {quote(str(judging.out / _RESULTS))}",
    ]


BENCHMARK = Benchmark("wise", "WISE", replace(DRAWN, pictures=1), False, read, judge)
