"""GEdit-Bench (github.com/stepfun-ai/Step1X-Edit, GEdit-Bench).

Data: the hub's parquet files (`stepfun-ai/GEdit-Bench`: task_type, key, instruction, instruction_language and
input_image), or the authors' export, `info.jsonl` beside `KEY_SRCIMG.png`. Judged folder:
`fullset/TASK/LANGUAGE/KEY.png`, and `KEY_SRCIMG.png` beside it, the picture that was edited.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from .benchmark import EDITED, Benchmark, Embedded, Item, Judging, Options, Problem, Rows
from .parquet import opened, parquet_files, rows
from .reading import Row, each, json_lines

_COLUMNS = ("task_type", "key", "instruction", "instruction_language")
_PICTURE = "input_image"
_EXPORT = "info.jsonl"


def read(data: Path, options: Options) -> Rows:
    """All rows, or those of a language ("en", "cn")."""
    export = data if data.name == _EXPORT else data / _EXPORT
    if export.is_file():
        folder = export.parent

        def exported(row: Row) -> Item | None:
            return _item(row, options.language, row.picture([folder], "key", f"{row.name('key')}_SRCIMG.png"))

        return each(json_lines(export), exported)
    files = parquet_files(data, ("data/train-*.parquet", "train-*.parquet", "*.parquet", "**/*.parquet"))
    return _stored(files, options.language)


def _stored(files: list[Path], language: str | None) -> Rows:
    for file in files:
        opened(file, (*_COLUMNS, _PICTURE))

    def all_rows() -> Iterator[Row | Problem]:
        for file in files:
            for row in rows(file, _COLUMNS):
                yield row if isinstance(row, Problem) else Row(row.where, {**row.fields, "file": file})

    def stored(row: Row) -> Item | None:
        return _item(row, language, Embedded(row.fields["file"].absolute(), row.fields["#"], _PICTURE))

    return each(all_rows(), stored)


def _item(row: Row, language: str | None, source: Path | Embedded) -> Item | None:
    spoken = row.name("instruction_language")
    if language not in (None, spoken):
        return None
    task, key = row.name("task_type"), row.name("key")
    place = f"fullset/{task}/{spoken}/{key}"
    return Item(
        id=f"{task}/{spoken}/{key}",
        where=row.where,
        prompt=row.text("instruction"),
        files=[f"{place}.png"],
        sources=[source],
        source_file=f"{place}_SRCIMG.png",
    )


def judge(judging: Judging) -> list[str]:
    name, parent = quote(judging.out.name), quote(str(judging.out.parent))
    results = quote(str(judging.out / "gpt4o" / "eval_results_new"))
    asked = f"--model_name {name} --save_path {parent} --backbone gpt4o"
    return [
        "# in GEdit-Bench/ of a checkout of github.com/stepfun-ai/Step1X-Edit, with a key for GPT-4.1 in secret_t2.env",
        "# (--backbone qwen25vl is the open judge)",
        f"python test_gedit_score.py {asked}",
        f"lightfusion evaluate table {results}",
    ]


BENCHMARK = Benchmark("gedit", "GEdit-Bench", EDITED, True, read, judge)
