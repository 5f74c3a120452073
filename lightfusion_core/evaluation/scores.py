"""Reads what the judges wrote into scores of the published tables' columns. A file tells by its content whose it is."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import InputError
from ..texts import reason
from .paper import TABLES
from .reading import content, decoded
from .record import Record
from .shapes import JUDGE

RESULT_FILES = (
    "results.jsonl", "*_scores_results.jsonl", "*dpg*results.txt", "final_score_*.txt", "*_gpt_score.csv",
    "*_judge.csv", "typescore.json", "results.json",
)  # fmt: skip
"""The names under which judges write, looked for in a folder and two levels below it."""

_WISE_WEIGHTS = {"culture": 0.40, "time": 0.12, "space": 0.12, "biology": 0.12, "physics": 0.12, "chemistry": 0.12}
_WISE_PARTS = (("culture", 400), ("time", 520), ("space", 640), ("biology", 760), ("physics", 880), ("chemistry", 1000))
_GENEVAL = {
    "single_object": "single", "two_object": "two", "counting": "counting", "colors": "colors", "position": "position",
    "color_attr": "attribution",
}  # fmt: skip
_INTELLIGENT = {"w": "world", "d": "design", "r": "reasoning"}
_KRIS = {"Factual Knowledge": "factual", "Conceptual Knowledge": "conceptual", "Procedural Knowledge": "procedural"}


@dataclass(frozen=True, slots=True)
class Scores:
    """One model's scores at a benchmark, by the columns of its published table; and how many results they come from."""

    benchmark: str
    figures: Mapping[str, float]
    count: int

    @property
    def missing(self) -> list[str]:
        """Columns without any result."""
        return [name for name in TABLES[self.benchmark].columns if name not in self.figures]


@dataclass(slots=True)
class _Pile:
    """Single results of a benchmark, by column, from however many files."""

    values: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    seen: set[Any] = field(default_factory=set)


def read_scores(paths: Sequence[Path]) -> list[Scores]:
    """The scores of one model out of its judges' files, or folders of them, in the order of the tables.

    Raises:
        InputError: nothing there, or a file that is no judge's.
    """
    piles: dict[str, _Pile] = defaultdict(_Pile)
    for path in paths:
        for file in _files(path):
            _read(file, piles)
    return [_summed(name, piles[name]) for name in TABLES if name in piles]


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    levels = ("", "*/", "*/*/")
    places = [path, Record(path).folder]
    found = sorted(
        {f for place in places for name in RESULT_FILES for level in levels for f in place.glob(level + name)}
    )
    if not found:
        raise InputError(
            f"{path}: expected judges' results ({', '.join(RESULT_FILES)}), found none; run the judge first, whose "
            "command `lightfusion evaluate` printed."
        )
    return found


def _read(file: Path, piles: dict[str, _Pile]) -> None:
    try:
        text = decoded(content(file, "the results of a judge"))
        name, results = _told_apart(file, text)
        pile = piles[name]
        for column, key, value in results:
            if key is not None and key in pile.seen:
                continue
            pile.seen.add(key)
            for number in value if isinstance(value, tuple) else (value,):
                if not 0 <= number < math.inf:
                    raise ValueError(f"a score of {number} for {column}")
            pile.values[column].append(value)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        what = f"no {error}" if isinstance(error, KeyError) else reason(error)
        raise InputError(
            f"{file}: expected the results of a judge, found {what}; give the file that it wrote."
        ) from None


_Result = tuple[str, Any, Any]
"""A column, what tells one result from another (None: nothing does), and the result."""


def _told_apart(file: Path, text: str) -> tuple[str, Iterable[_Result]]:
    match file.suffix.lower():
        case ".jsonl":
            lines = [json.loads(line) for line in text.split("\n") if line.strip()]
            if lines and "prompt_id" in lines[0]:
                return "wise", [_wise(line) for line in lines]
            if lines and "correct" in lines[0]:
                return ("shapes" if lines[0].get("judge") == JUDGE else "geneval"), [
                    (_GENEVAL[one["tag"]], one["filename"], float(bool(one["correct"]))) for one in lines
                ]
        case ".txt" if "DPG-Bench score" in text:
            return "dpg", _dpg(text)
        case ".txt" if "Final score (percentage)" in text:
            return "intelligent", _intelligent(text)
        case ".csv":
            rows = list(csv.DictReader(io.StringIO(text)))
            if rows and "sementics_score" in rows[0]:
                return "gedit", _gedit(rows)
            if rows and "Accuracy" in rows[0]:
                return "rise", _rise(rows)
        case ".json":
            found = json.loads(text)
            if isinstance(found, dict) and isinstance(found.get("summary"), dict):
                return "kris", _kris(found["summary"])
            if isinstance(found, dict) and found and found.keys() <= {*TABLES["imgedit"].columns, "compose"}:
                return "imgedit", [("hybrid" if k == "compose" else k, k, float(v)) for k, v in found.items()]
    raise ValueError("nothing that one of them writes")


def _wise(line: Mapping[str, Any]) -> _Result:
    number, score = line["prompt_id"], line["score"]
    if score not in (0, 1) or not 1 <= number <= 1000:
        raise ValueError(f"prompt {number} with score {score}, of 0 or 1")
    return next(part for part, last in _WISE_PARTS if number <= last), number, float(score)


def _dpg(text: str) -> Iterator[_Result]:
    for part in TABLES["dpg"].columns[:-1]:
        found = re.search(rf"^\t{part}: ([\d.]+)", text, re.MULTILINE)
        if found:
            yield part, part, float(found[1])
    yield "overall", "overall", float(re.findall(r"DPG-Bench score: ([\d.]+)", text)[-1])


def _intelligent(text: str) -> Iterator[_Result]:
    for name, body in re.findall(r"Class '(\w+)':(.*?)(?=Class '|\Z)", text, re.DOTALL):
        score = re.search(r"\(percentage\): ([\d.]+)%", body)
        if name in _INTELLIGENT and score:
            yield _INTELLIGENT[name], name, float(score[1])
    yield "overall", "overall", float(re.findall(r"Final score \(percentage\): ([\d.]+)%", text)[0])


def _gedit(rows: Sequence[Mapping[str, str]]) -> Iterator[_Result]:
    """(SC, PQ) of every English row, under its group, which stands in the picture's path."""
    if not any(row["instruction_language"] == "en" for row in rows):
        raise ValueError("no English rows")
    for row in rows:
        if row["instruction_language"] == "en":
            path = PurePosixPath(row["edited_image"].replace("\\", "/"))
            group = path.parts[-3]
            yield group, path.parts[-3:], (float(row["sementics_score"]), float(row["quality_score"]))


def _rise(rows: Sequence[Mapping[str, str]]) -> Iterator[_Result]:
    for row in rows:
        part = row["-"].lower()
        if part in TABLES["rise"].columns:
            yield part, part, 100 * float(row["Accuracy"])


def _kris(summary: Mapping[str, Mapping[str, float]]) -> Iterator[_Result]:
    for name, column in {**_KRIS, "Overall": "overall"}.items():
        if name in summary:
            yield column, column, float(summary[name]["AVG"])


def _summed(name: str, pile: _Pile) -> Scores:
    count = sum(map(len, pile.values.values()))
    if name == "gedit":
        return Scores(name, _gedit_scores(pile), count)
    means = {column: _mean(values) for column, values in pile.values.items()}
    if "overall" not in means:
        if name in ("geneval", "shapes", "imgedit"):
            means["overall"] = _mean(means.values())
        elif name == "wise" and means.keys() == _WISE_WEIGHTS.keys():
            means["overall"] = sum(weight * means[part] for part, weight in _WISE_WEIGHTS.items())
    return Scores(name, means, count)


def _gedit_scores(pile: _Pile) -> dict[str, float]:
    """Means over groups of the means in each, as the benchmark has them; O is the root of each row's SC times PQ."""
    groups = list(pile.values.values())
    of_row: dict[str, Callable[[tuple[float, float]], float]] = {
        "SC": lambda pair: pair[0],
        "PQ": lambda pair: pair[1],
        "O": lambda pair: math.sqrt(pair[0] * pair[1]),
    }
    return {column: _mean([_mean(map(of, pairs)) for pairs in groups]) for column, of in of_row.items()}


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
