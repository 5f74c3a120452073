"""ImgEdit-Bench, its basic part (github.com/PKU-YuanGroup/ImgEdit, Benchmark/Basic).

Data: `basic_edit.json`, KEY to {id, prompt, edit_type}, where id is a picture's place below the folder that
`Benchmark.tar` unpacks to. Judged folder: `KEY.png`.
"""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from .benchmark import EDITED, Benchmark, Item, Judging, Options, Rows
from .reading import Row, each, find, json_rows

_NAME = "basic_edit.json"
_JUDGE = "python basic_bench.py --prompts_json prompts.json"
_FOLDERS = ("", "eval_prompts/", "Basic/", "Benchmark/Basic/")
_ROOTS = ("data/Benchmark/singleturn", "Benchmark/singleturn", "singleturn", ".")


def read(data: Path, options: Options) -> Rows:
    file, roots = _file(data), _roots(data)

    def item(row: Row) -> Item:
        key = row.plain(str(row.fields["#"]), "key")
        row.text("edit_type")
        source = row.picture(roots, "id", row.value("id", str, "a picture's place"))
        return Item(key, row.where, row.text("prompt"), [f"{key}.png"], sources=[source])

    return each(json_rows(file), item)


def _file(data: Path) -> Path:
    return find(data, [f"{folder}{_NAME}" for folder in _FOLDERS], "ImgEdit's prompts")


def _roots(data: Path) -> list[Path]:
    folder = data.parent if data.is_file() else data
    return [root for root in (folder / name for name in _ROOTS) if root.is_dir()]


def judge(judging: Judging) -> list[str]:
    out, prompts = quote(str(judging.out)), quote(str(_file(judging.data).absolute()))
    root = quote(str(_roots(judging.data)[0].absolute()))
    average, types = (quote(str(judging.record.folder / name)) for name in ("average_score.json", "typescore.json"))
    return [
        "# in Benchmark/Basic/ of a checkout of github.com/PKU-YuanGroup/ImgEdit, with GPT-4o's key in basic_bench.py",
        f"{_JUDGE} --result_img_folder {out} --edit_json {prompts} --origin_img_root {root}",
        f"python step1_get_avgscore.py --result_json {out}/result.json --average_score_json {average}",
        f"python step2_typescore.py --average_score_json {average} --basic_edit {prompts} --typescore_json {types}",
        f"lightfusion evaluate table {types}",
    ]


BENCHMARK = Benchmark("imgedit", "ImgEdit-Bench", EDITED, True, read, judge)
