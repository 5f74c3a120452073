"""Judges' result files become the paper's tables; the judges' own arithmetic is kept."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from benchmark_data import notes

from lightfusion_core import InputError
from lightfusion_core.evaluation.paper import TABLES
from lightfusion_core.evaluation.scores import Scores, read_scores


def geneval(path: Path) -> Path:
    """One of two pictures right under each tag but `counting`, where both are."""
    tags = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
    lines = [
        {"filename": f"{tag}/{k}.png", "tag": tag, "prompt": "x", "correct": tag == "counting" or k == 0, "reason": ""}
        for tag in tags
        for k in range(2)
    ]
    return written(path / "results.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def dpg(path: Path) -> Path:
    text = "a/0.png, 1.0, 0.5, 1.0, 0.5, 0.75\nModel: a\nL1 category scores:\n\tentity: 89.5\n\tglobal: 87.125\n"
    text += "\trelation: 90.0\nL2 category scores:\n\tentity - whole: 12.0\nDPG-Bench score: 82.16\n"
    return written(path / "dpg_results.txt", text)


def gedit(path: Path) -> Path:
    """Two groups; the mean of the groups' means, not of the rows."""
    head = (
        "source_image,edited_image,instruction,sementics_score,quality_score,intersection_exist,instruction_language\n"
    )
    rows = {
        "color_alter": [(9, 4, "en"), (1, 4, "en"), (0, 0, "cn")],
        "ps_human": [(4.0, 9.0, "en")],
    }
    for group, found in rows.items():
        lines = [
            f'o/fullset/{group}/{language}/k{k}_SRCIMG.png,o/fullset/{group}/{language}/k{k}.png,"a, b",{sc},{pq},'
            f"True,{language}\n"
            for k, (sc, pq, language) in enumerate(found)
        ]
        written(path / "gpt4o" / "eval_results_new" / f"m_{group}_gpt_score.csv", head + "".join(lines))
        written(path / "gpt4o" / "eval_results_new" / "m_combined_gpt_score.csv", head + "".join(lines))
    return path


def imgedit(path: Path) -> Path:
    types = ("add", "adjust", "extract", "replace", "remove", "background", "style", "compose", "action")
    return written(path / "typescore.json", json.dumps({name: 1 + k / 2 for k, name in enumerate(types)}))


def kris(path: Path) -> Path:
    summary = {"Factual Knowledge": {"AVG": 62.1}, "Conceptual Knowledge": {"AVG": 60}, "Overall": {"AVG": 57.16}}
    summary |= {"Procedural Knowledge": {"AVG": 45.02}, "Temporal Prediction": {"VC": 1.0, "AVG": 2.0}}
    return written(path / "results.json", json.dumps({"summary": summary, "subitems": {}}))


def rise(path: Path) -> Path:
    rows = [("Overall", 2.5, 37.5, 0.127), ("Temporal", 2, 25, 0.141), ("Causal", 2, 25, 0.211)]
    rows += [("Spatial", 2, 25, 0.14), ("Logical", 2, 25, 0.011), ("Overall_Reasoning", 3, 50, "")]
    text = "-,Score-Origin,Score-Percentage,Accuracy\n" + "".join(f"{','.join(map(str, row))}\n" for row in rows)
    return written(path / "m_judge.csv", text)


def wise(path: Path) -> Path:
    parts = {"cultural_common_sense": (1, 400), "spatio-temporal_reasoning": (401, 640), "natural_science": (641, 1000)}
    for name, (first, last) in parts.items():
        lines = [{"prompt_id": k, "score": int(k <= 400 or k % 2 == 0)} for k in range(first, last + 1)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        written(path / "Results-qwen35" / f"{name}_scores_results.jsonl", text)
    return path


def intelligent(path: Path) -> Path:
    text = "Total score: 324\nFinal score (out of 1): 0.4500\nFinal score (percentage): 45.00%\n\n"
    for name, score in (("w", 43.57), ("r", 46.53), ("d", 46.02)):
        text += f"Class '{name}':\n  Sample count: 9\n  Final score (percentage): {score:.2f}%\n\n"
    return written(path / "final_score_run.txt", text)


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


JUDGED = [
    (geneval, "geneval", {"single": 0.5, "counting": 1.0, "overall": 3.5 / 6}),
    (dpg, "dpg", {"global": 87.125, "entity": 89.5, "relation": 90.0, "overall": 82.16}),
    (gedit, "gedit", {"SC": 4.5, "PQ": 6.5, "O": (4 + 6) / 2}),
    (imgedit, "imgedit", {"add": 1.0, "hybrid": 4.5, "action": 5.0, "overall": 3.0}),
    (kris, "kris", {"factual": 62.1, "procedural": 45.02, "overall": 57.16}),
    (rise, "rise", {"temporal": 14.1, "logical": 1.1, "overall": 12.7}),
    (wise, "wise", {"culture": 1.0, "chemistry": 0.5, "overall": 0.4 + 0.6 * 0.5}),
    (intelligent, "intelligent", {"world": 43.57, "design": 46.02, "reasoning": 46.53, "overall": 45.0}),
]


@pytest.mark.parametrize(
    ("write", "name", "expected"), JUDGED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_scores_are_those_of_the_judge(tmp_path: Path, write, name: str, expected: dict[str, float]) -> None:
    for given in (write(tmp_path / "run"), tmp_path / "run"):
        (scores,) = read_scores([given])
        assert scores.benchmark == name
        assert expected.items() <= {key: pytest.approx(value) for key, value in scores.figures.items()}.items()
        assert scores.figures.keys() <= set(TABLES[name].columns)


def test_results_in_a_folders_record_are_found(tmp_path: Path) -> None:
    """Guards who names the judged folder, beside whose pictures no result may lie."""
    (tmp_path / "out").mkdir()
    geneval(tmp_path / "out.record")
    assert read_scores([tmp_path / "out"])[0].benchmark == "geneval"


def test_results_named_twice_count_once(tmp_path: Path) -> None:
    file = geneval(tmp_path)
    assert read_scores([file, tmp_path, file]) == read_scores([file])


def test_a_published_row_comes_out_of_its_own_numbers() -> None:
    """Guards the rows as typed: where the overall score is the mean of the others, it is, within their rounding."""
    means = [*TABLES["geneval"].rows.items()]
    means += [(model, TABLES["imgedit"].rows[model]) for model in ("LightFusion", "BAGEL")]  # others' are weighted
    for model, (*parts, overall) in means:
        assert abs(sum(parts) / len(parts) - overall) < 0.012, model
    weights = (0.40, 0.12, 0.12, 0.12, 0.12, 0.12)
    for model, (*parts, overall) in TABLES["wise"].rows.items():
        assert sum(w * p for w, p in zip(weights, parts, strict=True)) == pytest.approx(overall, abs=1e-3), model
    for table in TABLES.values():
        assert all(len(figures) == len(table.columns) for figures in table.rows.values())


def test_the_table_stands_beside_the_published_rows(run, tmp_path: Path) -> None:
    for write, name, _ in JUDGED:
        write(tmp_path / name)
    places = [f"a|b={tmp_path / name}" for _, name, _ in JUDGED]
    code, out, err = run("table", *places, f"other={tmp_path / 'geneval'}", "--csv", tmp_path / "s.csv", model=False)
    assert (code, err) == (0, "")
    for _, name, _ in JUDGED:
        assert f"**{TABLES[name].title}**" in out
        assert all(f"| {model} |" in out for model in TABLES[name].rows)
    assert r"| **a\|b** | **0.50** | **0.50** | **1.00** |" in out
    assert out.index("**other**") > out.index(r"**a\|b**")
    assert "a|b: 4 figures read, none of attribute, other" in out
    for block in out.split("\n\n"):
        widths = {line.replace(r"\|", "").count("|") for line in block.splitlines() if line.startswith("|")}
        assert len(widths) <= 1
    with open(tmp_path / "s.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    mine = {(row["benchmark"], row["column"]): row["value"] for row in rows if row["model"] == "a|b"}
    assert mine["gedit", "O"] == "5.00"
    assert mine["wise", "overall"] == "0.7000"
    assert {row["source"] for row in rows if row["model"] == "a|b"} == {""}
    assert {row["model"] for row in rows} > {"LightFusion", "BAGEL", "other"}


@pytest.mark.slow
def test_the_plot_is_a_picture(run, tmp_path: Path) -> None:
    from PIL import Image

    geneval(tmp_path), dpg(tmp_path)
    assert run("table", tmp_path, "--plot", tmp_path / "p.png", model=False)[0] == 0
    assert Image.open(tmp_path / "p.png").size[0] > 500
    code, _, err = run("table", tmp_path, "--plot", tmp_path / "p.what", model=False)
    assert code == 1
    assert "p.what" in notes(err)[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("results.jsonl", ""),
        ("results.jsonl", "{"),
        ("results.jsonl", "[1]"),
        ("results.jsonl", '{"tag": "colour", "correct": true, "filename": "a"}'),
        ("results.jsonl", '{"tag": "colors", "correct": true}'),
        ("w_scores_results.jsonl", '{"prompt_id": 1, "score": 2}'),
        ("w_scores_results.jsonl", '{"prompt_id": 5000, "score": 1}'),
        ("w_scores_results.jsonl", '{"prompt_id": "1", "score": 1}'),
        ("typescore.json", '{"add": "x"}'),
        ("typescore.json", '{"add": NaN}'),
        ("typescore.json", "[]"),
        ("typescore.json", "[" * 100_000),
        ("m_judge.csv", "-,Accuracy\n" + "x" * 200_000 + ",1\n"),
        ("results.json", '{"summary": {"Overall": {"AVG": null}}}'),
        ("dpg_results.txt", "a/0.png, 1.0"),
        ("m_judge.csv", "-,Accuracy\nOverall,much\n"),
        ("m_judge.csv", "x,y\n1,2\n"),
        ("m_color_gpt_score.csv", "edited_image,sementics_score,quality_score,instruction_language\nk.png,1,1,en\n"),
        (
            "m_color_gpt_score.csv",
            "edited_image,sementics_score,quality_score,instruction_language\na/en/k.png,-1,1,en\n",
        ),
        (
            "m_color_gpt_score.csv",
            "edited_image,sementics_score,quality_score,instruction_language\na/cn/k.png,1,1,cn\n",
        ),
        ("final_score_a.txt", "Final score (percentage): %"),
    ],
)
def test_what_no_judge_wrote_is_one_line(run, tmp_path: Path, name: str, text: str) -> None:
    file = written(tmp_path / name, text)
    code, out, err = run("table", file, model=False)
    (line,) = notes(err)
    assert (code, out) == (1, "")
    assert name in line
    assert "; " in line or ": " in line


def test_nothing_to_read_is_one_line(run, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        code, out, err = run("table", place, model=False)
        assert (code, out, len(notes(err))) == (1, "", 1)
    (tmp_path / "results.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="0xFF"):
        read_scores([tmp_path])


def test_a_missing_column_is_named() -> None:
    assert Scores("wise", {"culture": 1.0}, 1).missing == [
        "time", "space", "biology", "physics", "chemistry", "overall",
    ]  # fmt: skip
