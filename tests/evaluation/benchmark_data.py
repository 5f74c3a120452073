"""Small data folders in the schema of each benchmark, and the exact trees that come of them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Size = tuple[int, int]
SIDE = (64, 64)
"""What the tiny model draws."""


@dataclass(frozen=True)
class Case:
    """A benchmark: how its data are written, and what must stand in the judged folder.

    pictures: sizes (width, height) by name. others: further files. written: rows that the data have.
    """

    name: str
    write: Callable[[Path], None]
    pictures: dict[str, Size]
    others: set[str] = field(default_factory=set)
    arguments: tuple[str, ...] = ()

    @property
    def tree(self) -> set[str]:
        return set(self.pictures) | self.others


def photo(size: Size, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=form)
    return buffer.getvalue()


def save(path: Path, picture: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


GENEVAL = [
    {"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"},
    {
        "tag": "counting",
        "include": [{"class": "orange", "count": 3}],
        "exclude": [{"class": "orange", "count": 4}],
        "prompt": "a photo of three oranges, caf\u00e9",
    },
]


def write_geneval(data: Path) -> None:
    data.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(line) + "\n" for line in GENEVAL)
    (data / "evaluation_metadata.jsonl").write_text(lines, encoding="utf-8")


def write_dpg(data: Path) -> None:
    folder = data / "dpg_bench" / "prompts"
    folder.mkdir(parents=True)
    (folder / "0.txt").write_text("A glass bowl on a table.\n", encoding="utf-8")
    (folder / "partiprompts1.txt").write_text(" two words ", encoding="utf-8")


GEDIT_SOURCES = {"a1": encoded(photo((100, 80))), "b2": encoded(photo((64, 96), 1), "JPEG")}


def gedit_rows() -> list[dict[str, Any]]:
    shared = {"input_image_raw": {"bytes": b"raw", "path": None}, "Intersection_exist": True}
    rows = [
        {"task_type": "color_alter", "key": "a1", "instruction": "make it red", "instruction_language": "en"},
        {"task_type": "subject-add", "key": "b2", "instruction": "add a dog", "instruction_language": "cn"},
    ]
    return [{**row, **shared, "input_image": {"bytes": GEDIT_SOURCES[row["key"]], "path": None}} for row in rows]


def write_gedit(data: Path) -> None:
    (data / "data").mkdir(parents=True)
    first, second = gedit_rows()
    pq.write_table(pa.Table.from_pylist([first]), data / "data" / "train-00000-of-00002.parquet")
    pq.write_table(pa.Table.from_pylist([second]), data / "data" / "train-00001-of-00002.parquet")


def write_imgedit(data: Path) -> None:
    rows = {
        "1082": {"id": "animal/1.jpg", "prompt": "smooth the shell", "edit_type": "adjust"},
        "673": {"id": "style/2.png", "prompt": "as a woodblock print", "edit_type": "style"},
    }
    write_json(data / "eval_prompts" / "basic_edit.json", rows)
    root = data / "data" / "Benchmark" / "singleturn"
    save(root / "animal" / "1.jpg", photo((100, 80)))
    save(root / "style" / "2.png", photo((64, 96)))


def write_kris(data: Path) -> None:
    root = data / "KRIS_Bench"
    write_json(root / "biology" / "annotation.json", {"1": {"ori_img": "1.jpg", "ins_en": "let it bloom"}})
    save(root / "biology" / "1.jpg", photo((100, 60)))
    several = {"2": {"ori_img": ["2-1.png", "2-2.png"], "ins_en": "put both together", "explain_en": "both"}}
    write_json(root / "multi-element_composition" / "annotation.json", several)
    save(root / "multi-element_composition" / "2-1.png", photo((64, 96)))
    save(root / "multi-element_composition" / "2-2.png", photo((90, 60), 1))


def write_rise(data: Path) -> None:
    rows = [
        {
            "index": "temporal_reasoning_1", "category": "temporal_reasoning", "instruction": "after a year",
            "image": "temporal_reasoning_images/1.png", "reference": "a rotten banana",
        },
        {
            "index": "logical_reasoning_2", "category": "logical_reasoning", "instruction": "solve it",
            "image": "logical_reasoning_images/2.png", "reference_txt": "4",
        },
    ]  # fmt: skip
    write_json(data / "data_total.json", rows)
    save(data / "temporal_reasoning_images" / "1.png", photo((100, 80)))
    save(data / "logical_reasoning_images" / "2.png", photo((64, 96)))


def wise_row(number: int, prompt: str = "a round pastry") -> dict[str, Any]:
    return {
        "Prompt": prompt, "Explanation": "mooncakes", "Category": "Cultural knowledge", "Subcategory": "Festival",
        "prompt_id": number,
    }  # fmt: skip


def write_wise(data: Path) -> None:
    write_json(data / "data_verified" / "merge.json", [wise_row(1), wise_row(401, "the tower at night")])
    write_json(data / "data_verified" / "part.json", [wise_row(1)])


INTELLIGENT_SOURCES = [encoded(photo((100, 80))), encoded(photo((64, 96), 1), "JPEG"), encoded(photo((80, 80), 2))]


def intelligent_rows() -> list[dict[str, Any]]:
    answer = encoded(photo((10, 10), 9))
    return [
        {
            "id": f"row-{k}", "class": "wrd"[k], "images": [source, answer],
            "caption": {"q": f"what grows here, {k}?", "a": "this"},
        }
        for k, source in enumerate(INTELLIGENT_SOURCES)
    ]  # fmt: skip


def write_intelligent(data: Path) -> None:
    (data / "original").mkdir(parents=True)
    rows = intelligent_rows()
    pq.write_table(pa.Table.from_pylist(rows[:2]), data / "original" / "test-00000-of-00002.parquet")
    pq.write_table(pa.Table.from_pylist(rows[2:]), data / "original" / "test-00001-of-00002.parquet")


_FOUR = [f"{row:05d}/samples/{k:05d}.png" for row in range(2) for k in range(4)]
THINK = ("--max-tokens", "6")

CASES = [
    Case("geneval", write_geneval, dict.fromkeys(_FOUR, SIDE), {f"{row:05d}/metadata.jsonl" for row in range(2)}),
    Case("dpg", write_dpg, {"0.png": (128, 128), "partiprompts1.png": (128, 128)}),
    Case(
        "gedit",
        write_gedit,
        {
            "fullset/color_alter/en/a1.png": (96, 64),  # 100 x 80 to multiples of 32
            "fullset/color_alter/en/a1_SRCIMG.png": (100, 80),
            "fullset/subject-add/cn/b2.png": (64, 96),
            "fullset/subject-add/cn/b2_SRCIMG.png": (64, 96),
        },
    ),
    Case("imgedit", write_imgedit, {"1082.png": (96, 64), "673.png": (64, 96)}),
    Case(
        "kris",
        write_kris,
        # the shorter side is enlarged to the rule's largest, 128, as far as the longer one allows: so the longer is 128
        {"biology/1.png": (128, 64), "multi-element_composition/2.png": (128, 96)},
        {"biology/1.txt", "multi-element_composition/2.txt"},
        THINK,
    ),
    Case(
        "rise",
        write_rise,
        {
            "images/temporal_reasoning/temporal_reasoning_1.png": (96, 64),
            "images/logical_reasoning/logical_reasoning_2.png": (64, 96),
        },
        {
            "images/temporal_reasoning/temporal_reasoning_1.txt",
            "images/logical_reasoning/logical_reasoning_2.txt",
        },
        THINK,
    ),
    Case("wise", write_wise, {"1.png": SIDE, "401.png": SIDE}),
    Case(
        "intelligent",
        write_intelligent,
        {"0.png": (96, 64), "1.png": (64, 96), "2.png": (64, 64)},
        {"results.parquet"},
        THINK,
    ),
]
"""The eight benchmarks."""


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, with its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def notes(err: str) -> list[str]:
    """The lines that were told on stderr."""
    return [line for line in err.splitlines() if line.startswith(("note: ", "error: "))]
