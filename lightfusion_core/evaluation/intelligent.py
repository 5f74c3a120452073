"""IntelligentBench (the hub's `VQVA/IntelligentBench`, "original", split "test"; github.com/chenhuigou/VQ-VA-World).

Data: parquet rows with `images` (bytes: of the question, of a person's answer) and `caption` {q, a}. Judged folder:
`ROW.png`, and `results.parquet`: the rows with `model_out_image` (PNG) and `model_out_text`, which stays empty as in
the published run; thoughts are in the record.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from ..errors import InputError
from ..texts import reason
from ..unfinished import unfinished
from .benchmark import THOUGHT_OVER, Benchmark, Embedded, Item, Judging, Options, Problem, Rows
from .parquet import batches, bytes_of, opened, parquet, parquet_files, rows
from .reading import Row, each
from .record import Record

RESULTS = "results.parquet"
_JUDGE = "python eval/intelligent/benchmark_intelligentBench.py"
_PATTERNS = ("original/test-*.parquet", "**/original*/**/test*.parquet", "test-*.parquet", "*.parquet", "**/*.parquet")
_IMAGES, _CAPTION = "images", "caption"


def read(data: Path, options: Options) -> Rows:
    files = parquet_files(data, _PATTERNS)
    for file in files:
        opened(file, (_IMAGES, _CAPTION))
    return each(_rows(files), _item)


def _rows(files: list[Path]) -> Iterator[Row | Problem]:
    start = 0
    for file in files:
        for row in rows(file, [_CAPTION], start):
            yield row if isinstance(row, Problem) else Row(row.where, {**row.fields, "file": file})
        start += opened(file, [_CAPTION]).metadata.num_rows


def _item(row: Row) -> Item:
    caption = row.value(_CAPTION, dict, "a question and an answer")
    question = Row(row.where, caption).text("q")
    number = row.fields["row"]
    source = Embedded(row.fields["file"].absolute(), row.fields["#"], _IMAGES, 0)
    return Item(str(number), row.where, question, [f"{number}.png"], sources=[source])


def finish(out: Path, record: Record, items: Sequence[Item]) -> None:
    """`results.parquet` of all items' rows, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    try:
        with unfinished(out / RESULTS, record.staging) as file:
            _write(file, out, items)
    except (OSError, ValueError) as error:  # ValueError: files whose columns differ
        raise InputError(
            f"{out / RESULTS}: expected to save it, found: {reason(error)}; free some space, or get the data again."
        ) from None


def _write(file: Path, out: Path, items: Sequence[Item]) -> None:
    import pyarrow as pa

    by_file: dict[Path, dict[int, Item]] = {}
    for item in items:
        (source,) = item.sources
        assert isinstance(source, Embedded)
        by_file.setdefault(source.file, {})[source.row] = item
    schema, writer = None, None
    try:
        for source_file, wanted in by_file.items():
            columns, number = opened(source_file, ()).schema_arrow.names, 0
            for batch in batches(source_file, columns):
                kept = [k for k in range(len(batch)) if number + k in wanted]
                pictures = [(out / wanted[number + k].files[0]).read_bytes() for k in kept]
                number += len(batch)
                if not kept:
                    continue
                table = _with_answers(pa.Table.from_batches([batch]).take(kept), pictures)
                schema = schema or table.schema
                writer = writer or parquet().ParquetWriter(file, schema)
                writer.write_table(table.cast(schema))
    finally:
        if writer is not None:
            writer.close()


def _with_answers(table: Any, pictures: Sequence[bytes]) -> Any:
    """The rows with plain bytes in `images`, as the judge reads them, and the model's answers."""
    import pyarrow as pa

    images = [[bytes_of(image) for image in row or ()] for row in table.column(_IMAGES).to_pylist()]
    place = table.schema.get_field_index(_IMAGES)
    table = table.set_column(place, _IMAGES, pa.array(images, pa.list_(pa.binary())))
    table = table.append_column("model_out_image", pa.array(pictures, pa.binary()))
    return table.append_column("model_out_text", pa.array([""] * len(pictures), pa.string()))


def judge(judging: Judging) -> list[str]:
    results = quote(str(judging.out / RESULTS))
    record = quote(str(judging.record.folder))
    return [
        "# in a checkout of github.com/chenhuigou/VQ-VA-World, with keys for GPT-4o in the script",
        f"{_JUDGE} --input_path {results} --output_dir {record} --tag_id run",
        f"lightfusion evaluate table {quote(str(judging.record.folder / 'final_score_run.txt'))}",
    ]


BENCHMARK = Benchmark("intelligent", "IntelligentBench", THOUGHT_OVER, True, read, judge, finish)
