"""Each benchmark from a small data folder to the exact tree that its judge reads."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from benchmark_data import (
    CASES,
    GEDIT_SOURCES,
    GENEVAL,
    INTELLIGENT_SOURCES,
    SIDE,
    Case,
    intelligent_rows,
    photo,
    tree,
    write_dpg,
    write_geneval,
    write_intelligent,
)
from PIL import Image

from lightfusion_core import LightFusion, Sampling
from lightfusion_core.evaluation.benchmark import Item, seeds
from lightfusion_core.images import to_pil

BY_NAME = {case.name: case for case in CASES}


def drawn(run, name: str, tmp_path: Path, *arguments: object) -> Path:
    """The judged folder of a benchmark's small data."""
    case = BY_NAME[name]
    case.write(tmp_path / "data")
    code, out, err = run(name, "--data", tmp_path / "data", "--out", tmp_path / "out", *case.arguments, *arguments)
    assert code == 0, err
    assert "What to run next:" in out
    return tmp_path / "out"


@pytest.mark.parametrize(
    "case",
    [case if case.name in ("gedit", "intelligent") else pytest.param(case, marks=pytest.mark.slow) for case in CASES],
    ids=lambda case: case.name,
)
def test_the_tree_is_the_judges(run, case: Case, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "results" / "lightfusion"
    code, said, err = run(case.name, "--data", data, "--out", out, *case.arguments)
    assert code == 0, err
    assert set(tree(out)) == case.tree
    for name, size in case.pictures.items():
        with Image.open(out / name) as picture:
            assert (picture.size, picture.format, picture.mode) == (size, "PNG", "RGB"), name
            assert "lightfusion" not in picture.info
    record = out.parent / "lightfusion.record"
    settings = json.loads((record / "settings.json").read_text(encoding="utf-8"))
    assert settings["settings"]["benchmark"] == case.name
    assert settings["settings"]["sampling"]["steps"] == 2
    assert settings["versions"][0].keys() >= {"lightfusion", "torch", "transformers", "diffusers"}
    lines = [json.loads(line) for line in (record / "pictures.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {name for line in lines for name in line["files"]} <= case.tree
    every = [seed for line in lines for seed in line["seeds"]]
    assert len(set(every)) == len(every)
    assert not (record / "unfinished").exists()
    assert str(out) in said.split("What to run next:")[1]
    assert "lightfusion evaluate table" in said


@pytest.mark.slow
def test_a_picture_is_that_of_a_single_run_with_its_seed(run, folder: Path, tmp_path: Path) -> None:
    out = drawn(run, "geneval", tmp_path)
    model = LightFusion.load(folder, device="cpu")
    item = Item("00001", "", "", [], pictures=4)
    single = model.generate(GENEVAL[1]["prompt"], seed=seeds(42, "geneval", item)[2], sampling=Sampling(2))[0]
    assert np.array_equal(np.asarray(Image.open(out / "00001/samples/00002.png")), np.asarray(to_pil(single)))


@pytest.mark.slow
def test_geneval_keeps_the_line_and_prefers_the_long_prompts(run, tmp_path: Path) -> None:
    out = drawn(run, "geneval", tmp_path)
    assert [json.loads((out / f"{k:05d}/metadata.jsonl").read_text()) for k in range(2)] == GENEVAL
    long = [{**line, "prompt": f"{line['prompt']}, at length"} for line in GENEVAL]
    lines = "".join(json.dumps(line) + "\n" for line in long)
    (tmp_path / "data" / "evaluation_metadata_long.jsonl").write_text(lines, encoding="utf-8")
    assert run("geneval", "--data", tmp_path / "data", "--out", tmp_path / "long", "--limit", 1)[0] == 0
    assert json.loads((tmp_path / "long/00000/metadata.jsonl").read_text())["prompt"].endswith("at length")
    official = tmp_path / "data" / "evaluation_metadata.jsonl"
    assert run("geneval", "--data", official, "--out", tmp_path / "short", "--limit", 1, "--pictures", 2)[0] == 0
    assert set(tree(tmp_path / "short")) == {
        "00000/metadata.jsonl", "00000/samples/00000.png", "00000/samples/00001.png",
    }  # fmt: skip


@pytest.mark.slow
def test_a_grid_has_the_pictures_in_reading_order(run, folder: Path, tmp_path: Path) -> None:
    out = drawn(run, "dpg", tmp_path)
    grid = np.asarray(Image.open(out / "0.png"))
    model, item = LightFusion.load(folder, device="cpu"), Item("0", "", "", [], pictures=4)
    side = SIDE[0]
    for k, seed in enumerate(seeds(42, "dpg", item)):
        single = to_pil(model.generate("A glass bowl on a table.", seed=seed, sampling=Sampling(2))[0])
        top, left = k // 2 * side, k % 2 * side
        assert np.array_equal(grid[top : top + side, left : left + side], np.asarray(single)), k


@pytest.mark.slow
def test_gedit_keeps_the_source_as_it_is(run, tmp_path: Path) -> None:
    """A PNG bit for bit, anything else with the same pixels; and one language where it is asked for."""
    out = drawn(run, "gedit", tmp_path)
    assert (out / "fullset/color_alter/en/a1_SRCIMG.png").read_bytes() == GEDIT_SOURCES["a1"]
    kept = np.asarray(Image.open(out / "fullset/subject-add/cn/b2_SRCIMG.png"))
    assert np.array_equal(kept, np.asarray(Image.open(io.BytesIO(GEDIT_SOURCES["b2"]))))
    assert run("gedit", "--data", tmp_path / "data", "--out", tmp_path / "en", "--language", "en")[0] == 0
    assert {path.parts[2] for path in map(Path, tree(tmp_path / "en"))} == {"en"}


@pytest.mark.slow
def test_gedit_reads_the_authors_export(run, tmp_path: Path) -> None:
    """The same rows out of info.jsonl and pictures give the same bytes."""
    out = drawn(run, "gedit", tmp_path)
    export = tmp_path / "export"
    export.mkdir()
    rows = (("color_alter", "a1", "make it red", "en"), ("subject-add", "b2", "add a dog", "cn"))
    names = ("task_type", "key", "instruction", "instruction_language")
    lines = "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
    (export / "info.jsonl").write_text(lines, encoding="utf-8")
    for _, key, _, _ in rows:
        Image.open(io.BytesIO(GEDIT_SOURCES[key])).save(export / f"{key}_SRCIMG.png")
    assert run("gedit", "--data", export, "--out", tmp_path / "again")[0] == 0
    again, first = tree(tmp_path / "again"), tree(out)
    assert {name for name in first if again[name] != first[name]} <= {"fullset/color_alter/en/a1_SRCIMG.png"}


@pytest.mark.slow
def test_kris_reads_the_flat_list_too(run, tmp_path: Path) -> None:
    out = drawn(run, "kris", tmp_path)
    flat = [
        {"id": "1", "type": "biology", "ori_img": "1.jpg", "ins_en": "let it bloom"},
        {
            "id": 2, "type": "multi-element_composition", "ori_img": ["2-1.png", "2-2.png"],
            "ins_en": "put both together",
        },
    ]  # fmt: skip
    file = tmp_path / "data" / "final_data.json"
    file.write_text(json.dumps(flat), encoding="utf-8")
    for data in (file, file.parent):
        place = tmp_path / f"flat-{data.suffix}"
        assert run("kris", "--data", data, "--out", place, "--max-tokens", 6)[0] == 0
        assert tree(place) == tree(out)


@pytest.mark.slow
def test_a_thought_stands_beside_its_picture_or_in_the_record(run, tmp_path: Path) -> None:
    """It is the same with another seed: thoughts are greedy."""
    out = drawn(run, "rise", tmp_path)
    thought = (out / "images/logical_reasoning/logical_reasoning_2.txt").read_bytes()
    assert thought
    assert run("rise", "--data", tmp_path / "data", "--out", tmp_path / "b", "--seed", 7, "--max-tokens", 6)[0] == 0
    assert (tmp_path / "b/images/logical_reasoning/logical_reasoning_2.txt").read_bytes() == thought
    assert run("rise", "--data", tmp_path / "data", "--out", tmp_path / "c", "--no-think")[0] == 0
    assert not [name for name in tree(tmp_path / "c") if name.endswith(".txt")]
    write_intelligent(tmp_path / "i")
    assert run("intelligent", "--data", tmp_path / "i", "--out", tmp_path / "d", "--max-tokens", 6)[0] == 0
    assert [path.name for path in sorted((tmp_path / "d.record/thoughts").iterdir())] == ["0.txt", "1.txt", "2.txt"]


@pytest.mark.slow
def test_intelligents_parquet_has_the_rows_and_the_answers(run, tmp_path: Path) -> None:
    out = drawn(run, "intelligent", tmp_path)
    table = pq.read_table(out / "results.parquet")
    assert table.schema.names == ["id", "class", "images", "caption", "model_out_image", "model_out_text"]
    assert str(table.schema.field("model_out_image").type) == "binary"
    assert str(table.schema.field("images").type) == "list<element: binary>"
    rows = table.to_pylist()
    for k, (row, given) in enumerate(zip(rows, intelligent_rows(), strict=True)):
        assert row["model_out_image"] == (out / f"{k}.png").read_bytes()
        assert row["model_out_text"] == ""
        assert {name: row[name] for name in given} == given
        assert row["images"][0] == INTELLIGENT_SOURCES[k]


@pytest.mark.slow
def test_pictures_in_objects_become_plain_bytes(run, tmp_path: Path) -> None:
    """The hub's picture columns are objects of bytes and path; the judge opens bytes."""
    import pyarrow as pa

    rows = [{**row, "images": [{"bytes": data, "path": None} for data in row["images"]]} for row in intelligent_rows()]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    assert run("intelligent", "--data", tmp_path / "test.parquet", "--out", tmp_path / "o", "--max-tokens", 4)[0] == 0
    images = pq.read_table(tmp_path / "o/results.parquet").column("images").to_pylist()
    assert images == [row["images"] for row in intelligent_rows()]


def test_the_published_settings_are_the_defaults(folder: Path, tmp_path: Path) -> None:
    """As the authors' launch scripts have them."""
    from lightfusion_core.cli import build_parser
    from lightfusion_core.commands.evaluation_request import export_of
    from lightfusion_core.evaluation import benchmark_named

    base = {"steps": 50, "shift": 4.0, "solver": "unipc", "denoise": 1.0, "cache": 0.0}
    plain = {"text": 3.0, "image": 1.0, "renorm": "none", "renorm_min": 0.0, "interval": (0.0, 1.0), "every": 1}
    think = {**plain, "text": 4.0, "image": 2.0, "renorm": "text_channel", "interval": (0.7, 1.0)}
    greedy = {"max_tokens": 2048, "temperature": 0.0, "seed": 0}
    expected = {
        "geneval": (42, 4, plain, None), "dpg": (42, 4, plain, None), "gedit": (42, 1, plain, None),
        "imgedit": (42, 1, plain, None), "wise": (42, 1, plain, None), "kris": (43, 1, think, greedy),
        "rise": (43, 1, think, greedy), "intelligent": (43, 1, think, greedy),
    }  # fmt: skip
    for name, (seed, pictures, guidance, thinking) in expected.items():
        line = ["evaluate", name, "--data", str(tmp_path), "--out", "o", "--model", str(folder), "--device", "cpu"]
        export = export_of(build_parser().parse_args(line), benchmark_named(name))
        told = export.settings
        assert told["sampling"] == base
        assert (told["seed"], told["pictures"], told["guidance"], told["thinking"]) == (
            seed, pictures, guidance, thinking,
        ), name  # fmt: skip
        assert told["negative_prompt"] == (None if thinking else "blurred")
        assert told["references"] == {"kris": "enlarged", "geneval": None, "dpg": None, "wise": None}.get(
            name, "by the model's rule"
        )


@pytest.mark.slow
def test_settings_that_are_given_stand_over_the_published(run, tmp_path: Path) -> None:
    out = drawn(run, "wise", tmp_path, "--width", 96, "--seed", 3, "--guidance", 1.5, "--negative", "dull")
    assert Image.open(out / "1.png").size == (96, 64)
    told = json.loads((tmp_path / "out.record/settings.json").read_text())["settings"]
    assert (told["seed"], told["guidance"]["text"], told["negative_prompt"], told["width"]) == (3, 1.5, "dull", 96)
    before = (out / "1.png").read_bytes()
    assert run("wise", "--data", tmp_path / "data", "--out", tmp_path / "b", "--width", 96, "--seed", 4,
               "--guidance", 1.5, "--negative", "dull")[0] == 0  # fmt: skip
    assert (tmp_path / "b/1.png").read_bytes() != before


@pytest.mark.slow
@pytest.mark.parametrize(("write", "name"), [(write_geneval, "geneval"), (write_dpg, "dpg")])
def test_text_to_image_needs_no_parquet(write, name: str, run, tmp_path: Path, monkeypatch) -> None:
    """Guards who installs nothing more: most benchmarks read JSON alone."""
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    write(tmp_path / "data")
    assert run(name, "--data", tmp_path / "data", "--out", tmp_path / "out", "--limit", 1)[0] == 0
    photo(SIDE).save(tmp_path / "x.png")
    code, _, err = run("gedit", "--data", tmp_path, "--out", tmp_path / "g")
    assert code == 1
    assert "parquet" in err


@pytest.mark.slow
def test_a_lora_is_measured_at_its_strength(run, folder: Path, tmp_path: Path) -> None:
    """It is a part of the settings: another file or strength is another folder."""
    import torch
    from safetensors.torch import save_file

    from lightfusion_core.checkpoints.lora_merge import merge_lora

    file = tmp_path / "lora.safetensors"
    save_file({"diffusion_model.blocks.0.norm3.diff": torch.ones(96)}, file)
    out = drawn(run, "wise", tmp_path, "--lora", file, "--lora-strength", 0.5)
    model = LightFusion.load(folder, device="cpu")
    merge_lora(model.generation, file, 0.5)
    seed = seeds(42, "wise", Item("1", "", "", []))[0]
    single = model.generate("a round pastry", seed=seed, sampling=Sampling(2))[0]
    assert np.array_equal(np.asarray(Image.open(out / "1.png")), np.asarray(to_pil(single)))
    given = ("wise", "--data", tmp_path / "data", "--out", out)
    for more in ((), ("--lora", file), ("--lora", tmp_path / "nowhere.safetensors")):
        code, _, err = run(*given, *more)
        assert code == 1
        assert "loras" in err or "nowhere" in err
    assert run(*given, "--lora", file, "--lora-strength", 0.5)[0] == 0
