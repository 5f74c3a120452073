"""What is wrong with a benchmark's data is told in one line a row, and the other rows are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from benchmark_data import (
    CASES,
    GENEVAL,
    Case,
    gedit_rows,
    intelligent_rows,
    notes,
    photo,
    save,
    tree,
    wise_row,
    write_dpg,
    write_geneval,
    write_imgedit,
    write_json,
    write_kris,
    write_rise,
)

from lightfusion_core import InputError
from lightfusion_core.evaluation import benchmark_named
from lightfusion_core.evaluation.benchmark import Item, Options, Problem

BAD_NAMES = ["../up", "/etc/passwd", "a/b", "..", "", ".hidden", "nul\0", "c:\\x", "line\nbreak", "x" * 300, "\ud800"]


def read(name: str, data: Path) -> tuple[list[Item], list[str]]:
    """The items and the problems of a folder."""
    benchmark = benchmark_named(name)
    found = list(benchmark.read(data, Options(benchmark.published.pictures)))
    lines = [one.line for one in found if isinstance(one, Problem)]
    assert all("\n" not in line for line in lines)
    return [one for one in found if isinstance(one, Item)], lines


def told(name: str, data: Path, *said: str, items: int = 1) -> str:
    """The one problem of a folder, which says all of that, and where, and what to do."""
    found, lines = read(name, data)
    assert len(lines) == 1, lines
    for text in (*said, "expected ", ", found ", "; "):
        assert text in lines[0], lines[0]
    assert len(found) == items
    return lines[0]


def test_every_row_of_the_small_data_is_read(case: Case, data: Path) -> None:
    items, lines = read(case.name, data)
    assert lines == []
    assert {name for item in items for name in item.files} <= case.tree
    assert len({item.id for item in items}) == len(items)


# GenEval, lines of JSON


def lines_of(tmp_path: Path, *lines: bytes) -> Path:
    (tmp_path / "evaluation_metadata.jsonl").write_bytes(b"\n".join(lines))
    return tmp_path


GOOD = json.dumps(GENEVAL[0]).encode()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"tag": "colors", "include": [], "prompt": "caf\xe9"}', ["line 2", "UTF-8", "byte 0xE9 at place 47"]),
        (b"{", ["line 2", "JSON object", "correct the line"]),
        (b"[1]", ["line 2", "JSON object"]),
        (b"[" * 100_000, ["line 2", "JSON object"]),
        (b'{"tag": "colors", "include": []}', ["line 2", "a field 'prompt'", "only tag, include"]),
        (b'{"tag": "colors", "include": [], "prompt": " "}', ["line 2", "an empty text"]),
        (b'{"tag": "colors", "include": [], "prompt": 7}', ["line 2", "a text in 'prompt'", "7"]),
        (b'{"tag": "colors", "include": [], "prompt": "\\ud83d"}', ["line 2", "half a character", "'\\ud83d'"]),
        (b'{"tag": "colors", "include": [3], "prompt": "x"}', ["line 2", "things with a class"]),
        (b'{"tag": "colors", "include": "x", "prompt": "x"}', ["line 2", "a list of things"]),
        (b'{"include": [], "prompt": "x"}', ["line 2", "a field 'tag'"]),
    ],
)
def test_a_bad_line_is_told(tmp_path: Path, line: bytes, said: list[str]) -> None:
    told("geneval", lines_of(tmp_path, GOOD, line, GOOD), *said, items=2)


def test_the_number_of_a_line_is_its_folder_whatever_is_wrong_before(tmp_path: Path) -> None:
    """Guards the judge's count, which is that of the file's lines."""
    items, lines = read("geneval", lines_of(tmp_path, b"\xef\xbb\xbf" + GOOD, b"{", b"", GOOD + b"\r"))
    assert [item.id for item in items] == ["00000", "00003"]
    assert len(lines) == 1


def test_odd_but_whole_prompts_are_drawn_as_they_are(tmp_path: Path) -> None:
    odd = ["a\u2028b", "\u0000\u0007", "\U0001f600", "e\u0301", "<|im_end|>", "\u202eright to left"]
    rows = [json.dumps({**GENEVAL[0], "prompt": prompt}).encode() for prompt in odd]
    assert [item.prompt for item in read("geneval", lines_of(tmp_path, *rows))[0]] == odd


# DPG-Bench, texts


def test_texts_that_are_no_prompts_are_told(tmp_path: Path) -> None:
    write_dpg(tmp_path)
    folder = tmp_path / "dpg_bench/prompts"
    (folder / "a.txt").write_bytes(b"caf\xe9")
    assert "a.txt" in told("dpg", tmp_path, "UTF-8", "0xE9", items=2)
    (folder / "a.txt").write_bytes(b" \n")
    told("dpg", tmp_path, "an empty text", items=2)
    (folder / "a.txt").unlink()
    (folder / "0.second.txt").write_text("the judge takes this for 0, too")
    told("dpg", tmp_path, "of its own", "0.second.txt", "0.txt", items=2)


def test_a_folder_in_the_place_of_a_text_is_told(tmp_path: Path) -> None:
    write_dpg(tmp_path)
    (tmp_path / "dpg_bench/prompts/b.txt").mkdir()
    told("dpg", tmp_path, "b.txt", "a folder, a pipe or a device", items=2)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    import os

    write_dpg(tmp_path)
    os.mkfifo(tmp_path / "dpg_bench/prompts/b.txt")
    told("dpg", tmp_path, "a pipe", items=2)


# GEdit-Bench, parquet


def gedit(tmp_path: Path, *rows: dict[str, Any]) -> Path:
    pq.write_table(pa.Table.from_pylist(list(rows)), tmp_path / "train.parquet")
    return tmp_path / "train.parquet"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("key", None, ["row 2", "a name in 'key'", "None"]),
        ("key", "../../up", ["row 2", "a plain file name", "'../../up'"]),
        ("task_type", "a/b", ["row 2", "a plain file name"]),
        ("instruction_language", "..", ["row 2", "a plain file name"]),
        ("instruction", "", ["row 2", "an empty text"]),
        ("instruction", None, ["row 2", "a text in 'instruction'"]),
    ],
)
def test_a_bad_parquet_row_is_told(tmp_path: Path, field: str, value: Any, said: list[str]) -> None:
    first, second = gedit_rows()
    told("gedit", gedit(tmp_path, first, {**second, field: value}), *said)


def test_bytes_that_are_no_text_in_a_parquet_row_are_told(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(gedit_rows())
    odd = pa.array([b"fine", b"caf\xe9"], pa.binary()).view(pa.utf8())
    table = table.set_column(table.schema.get_field_index("instruction"), "instruction", odd)
    pq.write_table(table, tmp_path / "train.parquet")
    told("gedit", tmp_path, "row 2", "UTF-8", r"caf\xe9")


def test_a_key_that_would_overwrite_another_file_is_told(tmp_path: Path) -> None:
    first, second = gedit_rows()
    clash = {**first, "key": f"{first['key']}_SRCIMG"}
    told("gedit", gedit(tmp_path, first, clash, second), "row 2", "a1_SRCIMG.png again", items=2)
    told("gedit", gedit(tmp_path, first, first), "row 2", "the id", "row 1")


@pytest.mark.parametrize("cell", [None, {"bytes": None, "path": "x.png"}, {"bytes": b"no picture", "path": None}])
def test_a_picture_that_is_none_is_told_and_the_rest_drawn(run, tmp_path: Path, cell: Any) -> None:
    first, second = gedit_rows()
    file = gedit(tmp_path, {**first, "input_image": cell}, second)
    code, out, err = run("gedit", "--data", file, "--out", tmp_path / "out")
    (line,) = notes(err)
    assert code == 1
    assert "row 1" in line
    assert "1 row passed over" in out
    assert "What to run next" in out
    assert {Path(name).name for name in tree(tmp_path / "out")} == {"b2.png", "b2_SRCIMG.png"}


def test_another_schema_is_one_line(run, tmp_path: Path) -> None:
    rows = [{"image": b"x", "text": "y"}]
    for name, wanted in (("gedit", "task_type"), ("intelligent", "images")):
        code, out, err = run(name, "--data", gedit(tmp_path, *rows), "--out", tmp_path / "out")
        (line,) = notes(err)
        assert (code, out) == (1, "")
        assert "expected the columns" in line
        assert wanted in line
        assert "found image, text" in line
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.record").exists()


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"<html>"])
def test_a_parquet_file_that_is_none_is_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.parquet").write_bytes(data)
    with pytest.raises(InputError, match=r"x\.parquet: expected a parquet file, found: "):
        read("gedit", tmp_path)


def test_a_parquet_file_cut_in_the_middle_is_one_line(tmp_path: Path) -> None:
    file = gedit(tmp_path, *gedit_rows())
    data = bytearray(file.read_bytes())
    data[10:200] = bytes(190)
    file.write_bytes(data)
    with pytest.raises(InputError, match=r"train\.parquet: expected a whole parquet file"):
        read("gedit", file)


def test_a_missing_export_picture_is_told(tmp_path: Path) -> None:
    row = {"task_type": "a", "key": "k1", "instruction": "x", "instruction_language": "en"}
    (tmp_path / "info.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({**row, "key": "k2"}) + "\n")
    photo((64, 64)).save(tmp_path / "k2_SRCIMG.png")
    told("gedit", tmp_path, "line 1", "k1_SRCIMG.png", "no such file")


# ImgEdit-Bench, an object of rows


def imgedit(tmp_path: Path, text: str) -> Path:
    write_imgedit(tmp_path)
    (tmp_path / "eval_prompts/basic_edit.json").write_text(text, encoding="utf-8")
    return tmp_path


ROW = '{"id": "animal/1.jpg", "prompt": "x", "edit_type": "add"}'


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (f'"1": {ROW}', ["row '1'", "the id '1' again"]),
        ('"2": {"id": "animal/9.jpg", "prompt": "x", "edit_type": "add"}', ["row '2'", "9.jpg", "no such file"]),
        ('"2": {"id": "../../etc/passwd", "prompt": "x", "edit_type": "add"}', ["row '2'", "'../../etc/passwd'"]),
        ('"2": {"id": "/etc/passwd", "prompt": "x", "edit_type": "add"}', ["row '2'", "'/etc/passwd'"]),
        ('"2": {"id": 5, "prompt": "x", "edit_type": "add"}', ["row '2'", "a picture's place in 'id'"]),
        ('"2": {"id": "animal/1.jpg", "prompt": "x"}', ["row '2'", "a field 'edit_type'"]),
        ('"../2": ' + ROW, ["'../2'", "a plain file name"]),
        ('"2": [1, 2]', ["row '2'", "a JSON object"]),
    ],
)
def test_a_bad_row_of_an_object_is_told(tmp_path: Path, row: str, said: list[str]) -> None:
    told("imgedit", imgedit(tmp_path, f'{{"1": {ROW}, {row}}}'), *said)


@pytest.mark.parametrize("text", ["", "[", "3", '"x"', "null", '{"a": ' * 50_000])
def test_a_file_that_is_no_list_of_rows_is_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"basic_edit\.json: expected "):
        read("imgedit", imgedit(tmp_path, text))


# KRIS-Bench and RISEBench


def test_bad_kris_rows_are_told(tmp_path: Path) -> None:
    write_kris(tmp_path)
    file = tmp_path / "KRIS_Bench/biology/annotation.json"
    rows = {"1": {"ori_img": "1.jpg", "ins_en": "x"}}
    for bad, said in (
        ({"ori_img": ["1.jpg", "9.jpg"], "ins_en": "x"}, "9.jpg"),
        ({"ori_img": [], "ins_en": "x"}, "at least one picture"),
        ({"ori_img": {}, "ins_en": "x"}, "a picture's name, or several"),
        ({"ori_img": ["../chemistry/1.jpg"], "ins_en": "x"}, "'../chemistry/1.jpg'"),
        ({"ori_img": "1.jpg"}, "a field 'ins_en'"),
    ):
        write_json(file, {**rows, "2": bad})
        told("kris", tmp_path, "row '2'", said, items=2)
    flat = [{"id": 1, "type": "biology", "ori_img": "1.jpg", "ins_en": "x"}] * 2
    write_json(tmp_path / "final_data.json", [*flat, {**flat[0], "type": "../biology"}])
    items, lines = read("kris", tmp_path)
    assert len(items) == 1
    assert ["row 2" in lines[0], "row 3" in lines[1]] == [True, True]


def test_bad_rise_rows_are_told(tmp_path: Path) -> None:
    write_rise(tmp_path)
    good = json.loads((tmp_path / "data_total.json").read_text())[0]
    for field, value, said in (
        ("index", "../1", "'../1'"),
        ("category", "a/b", "'a/b'"),
        ("image", "temporal_reasoning_images/9.png", "no such file"),
        ("image", None, "a picture's place in 'image'"),
        ("instruction", 1, "a text in 'instruction'"),
    ):
        write_json(tmp_path / "data_total.json", [good, {**good, "index": "t2", field: value}])
        told("rise", tmp_path, "row 2", said)
    write_json(tmp_path / "datav2_total_w_subtask.json", [good, {**good, "index": "t2"}, {**good, "index": "t3"}])
    assert len(read("rise", tmp_path)[0]) == 3  # the full set is preferred


# WISE


def test_bad_wise_rows_are_told(tmp_path: Path) -> None:
    for bad, said in (
        ({**wise_row(2), "prompt_id": "2"}, "a number in 'prompt_id'"),
        ({**wise_row(2), "prompt_id": True}, "a number in 'prompt_id'"),
        ({**wise_row(2), "prompt_id": -2}, "a number from 1"),
        ({**wise_row(2), "Prompt": ""}, "an empty text"),
        (wise_row(1), "again"),
        ("text", "a JSON object"),
    ):
        write_json(tmp_path / "merge.json", [wise_row(1), bad])
        told("wise", tmp_path, "row 2", said)


# IntelligentBench


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("caption", None, "a question and an answer"),
        ("caption", {"q": "", "a": "x"}, "an empty text"),
        ("caption", {"q": None, "a": "x"}, "a text in 'q'"),
    ],
)
def test_bad_questions_are_told(tmp_path: Path, field: str, value: Any, said: str) -> None:
    first, second, _ = intelligent_rows()
    told("intelligent", gedit(tmp_path, first, {**second, field: value}), "row 2", said)


@pytest.mark.slow
def test_a_row_without_pictures_is_left_out_of_the_parquet(run, tmp_path: Path) -> None:
    first, second, third = intelligent_rows()
    for images, said in (([], "a picture's bytes"), ([b"junk", b"junk"], "expected a picture")):
        out = tmp_path / f"out{len(images)}"
        file = gedit(tmp_path, first, {**second, "images": images}, third)
        code, _, err = run("intelligent", "--data", file, "--out", out, "--max-tokens", 4)
        (line,) = notes(err)
        assert code == 1
        assert "row 2" in line
        assert said in line
        assert pq.read_table(out / "results.parquet").column("id").to_pylist() == ["row-0", "row-2"]


# All of them


@pytest.mark.parametrize("name", BAD_NAMES)
def test_no_name_leaves_the_judged_folder(tmp_path: Path, name: str) -> None:
    """Guards names out of data, in every place where they become a file's."""
    rows = json.loads(json.dumps([wise_row(1)]))
    write_json(tmp_path / "w" / "merge.json", rows)
    places = {
        "imgedit": lambda: write_json(tmp_path / "imgedit/basic_edit.json", {name: json.loads(ROW)}),
        "kris": lambda: write_json(
            tmp_path / "kris/final_data.json",
            [{"id": name, "type": "a", "ori_img": "1.png", "ins_en": "x"},
             {"id": "1", "type": name, "ori_img": "1.png", "ins_en": "x"}],
        ),
        "rise": lambda: write_json(
            tmp_path / "rise/data_total.json",
            [{"index": name, "category": "a", "instruction": "x", "image": "1.png"},
             {"index": "1", "category": name, "instruction": "x", "image": "1.png"}],
        ),
    }  # fmt: skip
    for benchmark, write in places.items():
        write()
        save(tmp_path / benchmark / "animal/1.jpg", photo((64, 64)))
        for place in ("1.png", "a/1.png", "KRIS_Bench/a/1.png"):
            save(tmp_path / benchmark / place, photo((64, 64)))
        items, lines = read(benchmark, tmp_path / benchmark)
        assert items == []
        assert len(lines) == len(json.loads(next((tmp_path / benchmark).glob("*.json")).read_text()))


def test_no_data_is_one_line(run, case: Case, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for data in (tmp_path / "nowhere", tmp_path / "empty"):
        code, out, err = run(case.name, "--data", data, "--out", tmp_path / "out")
        (line,) = notes(err)
        assert (code, out) == (1, "")
        for text in (str(data), "expected ", "found ", "; "):
            assert text in line
    assert not (tmp_path / "out").exists()


def test_a_thousand_bad_rows_are_told_in_a_few_lines(run, tmp_path: Path) -> None:
    data = lines_of(tmp_path, GOOD, *[b"{"] * 1000)
    code, out, err = run("geneval", "--data", data, "--out", tmp_path / "out", "--pictures", 1)
    assert code == 1
    assert len(notes(err)) == 21
    assert "passed_over.txt has all" in notes(err)[-1]
    assert "1000 rows passed over" in out
    assert len((tmp_path / "out.record/passed_over.txt").read_text().splitlines()) == 1000


def test_a_prompt_that_the_model_cannot_read_is_told_and_the_rest_drawn(run, tmp_path: Path) -> None:
    long = json.dumps({**GENEVAL[0], "prompt": "x" * 9000}).encode()
    data = lines_of(tmp_path, long, GOOD)
    code, out, err = run("geneval", "--data", data, "--out", tmp_path / "out", "--pictures", 1)
    (line,) = notes(err)
    assert code == 1
    assert "line 1" in line
    assert "shorten the prompt" in line
    assert set(tree(tmp_path / "out")) == {"00001/metadata.jsonl", "00001/samples/00000.png"}
    assert "What to run next" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--limit", 0), "--limit must be at least 1"),
        (("--pictures", 0), "--pictures must be at least 1"),
        (("--shard", "0/2"), "--shard is I/N"),
        (("--shard", "3/2"), "--shard is I/N"),
        (("--shard", "a"), "--shard is I/N"),
        (("--workers", -1), "--workers must be 0 or more"),
        (("--steps", 0), "at least 1 step"),
        (("--width", 1024), "draws up to"),
        (("--think", "--negative", "x"), "--negative has no effect"),
        (("--think", "--max-tokens", 0), "at least 1 token"),
        (("--model", "/nowhere"), "/nowhere"),
    ],
)
def test_arguments_that_cannot_be_are_one_line(run, tmp_path: Path, arguments: tuple, said: str) -> None:
    write_geneval(tmp_path / "data")
    code, out, err = run("geneval", "--data", tmp_path / "data", "--out", tmp_path / "out", *arguments)
    (line,) = notes(err)
    assert (code, out) == (1, "")
    assert said in line
    assert not (tmp_path / "out.record").exists()


def test_a_model_without_the_task_is_one_line(run, tmp_path: Path) -> None:
    from dataclasses import replace

    from tiny import CONFIG, write_model

    drawing = write_model(tmp_path / "model", replace(CONFIG, tasks=("generate",)))
    write_imgedit(tmp_path / "data")
    code, _, err = run("imgedit", "--data", tmp_path / "data", "--out", tmp_path / "out", "--model", drawing)
    assert code == 1
    assert "trained to edit" in notes(err)[0]


def test_each_case_has_its_own_name() -> None:
    assert len({case.name for case in CASES}) == 8
