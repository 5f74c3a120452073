"""DPG-Bench (github.com/TencentQQGYLab/ELLA, dpg_bench).

Data: `dpg_bench/prompts/*.txt`, a prompt a file. Judged folder: `NAME.png`, a grid of two by two pictures: top left,
top right, bottom left, bottom right.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from ..errors import InputError
from .benchmark import DRAWN, Benchmark, Item, Judging, Options, Problem, Rows
from .reading import Row, content, decoded, each

_COLUMNS, _PICTURES = 2, 4
_LAUNCH = (
    "accelerate launch dpg_bench/compute_dpg_bench.py --image-root-path {out} --resolution {side} --pic-num {count} "
    "--vqa-model mplug --res-path {results}"
)


def read(data: Path, options: Options) -> Rows:
    """The prompts of a folder, in order of their names; the judge's grid has always four pictures."""
    if options.pictures != _PICTURES:
        raise InputError(
            f"DPG-Bench judges grids of {_PICTURES} pictures, found --pictures {options.pictures}: leave it."
        )
    return each(_prompts(_folder(data)), _item)


def _folder(data: Path) -> Path:
    for folder in (data / "dpg_bench" / "prompts", data / "prompts", data):
        if folder.is_dir() and any(folder.glob("*.txt")):
            return folder
    raise InputError(f"{data}: expected a folder of DPG-Bench's prompts (*.txt), found none; download them there.")


def _prompts(folder: Path) -> Iterator[Row | Problem]:
    for file in sorted(folder.glob("*.txt")):
        try:
            prompt = decoded(content(file)).strip()
        except (ValueError, InputError) as error:
            found = str(error)
            yield Problem(
                found if isinstance(error, InputError) else f"{file}: expected UTF-8, found {found}; save it as UTF-8."
            )
            continue
        # the judge takes a name up to its first dot
        yield Row(str(file), {"name": file.name.split(".")[0], "prompt": prompt})


def _item(row: Row) -> Item:
    name = row.name("name")
    return Item(name, row.where, row.text("prompt"), [f"{name}.png"], pictures=_PICTURES, columns=_COLUMNS)


def judge(judging: Judging) -> list[str]:
    out, results = quote(str(judging.out)), quote(str(judging.record.folder / "dpg_results.txt"))
    return [
        "# in a checkout of github.com/TencentQQGYLab/ELLA, with modelscope's mPLUG; dist_eval.sh would write into the",
        "# judged folder",
        _LAUNCH.format(out=out, side=judging.side, count=_PICTURES, results=results),
        f"lightfusion evaluate table {results}",
    ]


BENCHMARK = Benchmark("dpg", "DPG-Bench", DRAWN, False, read, judge)
