"""RISEBench (github.com/PhoenixZ810/RISEBench).

Data: `datav2_total_w_subtask.json` (360 rows, on the hub) or `data_total.json` (64, in the repository): {index,
category, instruction, image}, image below the list's folder. Judged folder: `images/CATEGORY/INDEX.png`, and the
thought in `images/CATEGORY/INDEX.txt`.
"""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from .benchmark import THOUGHT_OVER, Benchmark, Item, Judging, Options, Rows
from .reading import Row, each, find, json_rows

_NAMES = ("datav2_total_w_subtask.json", "data_total.json")


def read(data: Path, options: Options) -> Rows:
    file = _file(data)
    roots = [root for root in (file.parent, file.parent / "data") if root.is_dir()]

    def item(row: Row) -> Item:
        category, index = row.name("category"), row.name("index")
        source = row.picture(roots, "image", row.value("image", str, "a picture's place"))
        place = f"images/{category}/{index}"
        return Item(
            f"{category}/{index}", row.where, row.text("instruction"), [f"{place}.png"], sources=[source],
            thought=f"{place}.txt",
        )  # fmt: skip

    return each(json_rows(file), item)


def _file(data: Path) -> Path:
    return find(data, [f"{folder}{name}" for name in _NAMES for folder in ("", "data/")], "RISEBench's rows")


def judge(judging: Judging) -> list[str]:
    out, file = quote(str(judging.out)), _file(judging.data).absolute()
    return [
        "# in a checkout of github.com/PhoenixZ810/RISEBench, with a key for GPT-4.1 in gpt_eval.py",
        f"python gpt_eval.py --data {quote(str(file))} --input {quote(str(file.parent))} --output {out}",
        f"lightfusion evaluate table {quote(str(judging.out / f'{judging.out.name}_judge.csv'))}",
    ]


BENCHMARK = Benchmark("rise", "RISEBench", THOUGHT_OVER, True, read, judge)
