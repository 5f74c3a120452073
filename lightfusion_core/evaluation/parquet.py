"""Reads parquet files: texts first, and the pictures inside of them only where they are needed, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ..errors import CapabilityError, InputError
from ..texts import first_line, shortened
from .benchmark import Embedded, Item, Problem
from .reading import Row

_ROWS = 16
"""Rows that are held at a time; they may have megabytes each."""


def parquet() -> Any:
    """pyarrow's parquet. Raises CapabilityError where it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise CapabilityError(
            "This benchmark's data are parquet files, which need pyarrow: pip install 'comfyui-lightfusion[evaluate]'."
        ) from None
    return pyarrow.parquet


def parquet_files(data: Path, patterns: Sequence[str]) -> list[Path]:
    """`data` itself, or the files of the first of `patterns` that any file below it has, in order of their names.

    Raises:
        InputError: none.
    """
    if data.is_file():
        return [data]
    for pattern in patterns:
        files = sorted(data.glob(pattern))
        if files:
            return files
    found = "no such folder" if not data.exists() else "none"
    raise InputError(f"{data}: expected parquet files ({' or '.join(patterns)}), found {found}; download them there.")


def opened(file: Path, columns: Sequence[str]) -> Any:
    """A parquet file that has these columns.

    Raises:
        InputError: no parquet, a damaged one, or columns that are not there.
    """
    reader = parquet()
    import pyarrow as pa

    try:
        opened = reader.ParquetFile(file)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{file}: expected a parquet file, found: {first_line(error)}; download it again.") from None
    there = opened.schema_arrow.names
    missing = [name for name in columns if name not in there]
    if missing:
        raise InputError(
            f"{file}: expected the columns {', '.join(columns)}, found {', '.join(there)}, without "
            f"{', '.join(missing)}; get the benchmark's own file."
        )
    return opened


def batches(file: Path, columns: Sequence[str]) -> Iterator[Any]:
    """Arrow batches of some columns of a file. Raises InputError as `opened`, and where a part is damaged."""
    source = opened(file, columns)
    import pyarrow as pa

    try:
        yield from source.iter_batches(batch_size=_ROWS, columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{file}: expected a whole parquet file, found: {first_line(error)}; get it again.") from None


def rows(file: Path, columns: Sequence[str], start: int = 0) -> Iterator[Row | Problem]:
    """The rows of a file, with these columns alone; `"#"` is a row's number in the file, `"row"` the same from `start`.

    Raises:
        InputError: see `opened`.
    """
    number = 0
    for batch in batches(file, columns):
        for k in range(len(batch)):
            where = f"{file}, row {number + 1}"
            try:
                fields = {name: batch.column(name)[k].as_py() for name in columns}
                yield Row(where, {**fields, "#": number, "row": start + number})
            except UnicodeDecodeError as error:
                yield Problem(f"{where}: expected texts in UTF-8, found {error.object!r}; get the file again.")
            number += 1


def bytes_of(value: Any) -> bytes | None:
    """A picture's bytes as they stand in a cell: plain, or in the `bytes` of an object; None for anything else."""
    if isinstance(value, dict):
        value = value.get("bytes")
    return value if isinstance(value, bytes) and value else None


def embedded(items: Sequence[Item]) -> Iterator[tuple[Item, bytes | Problem]]:
    """The items whose first reference stands in a parquet file, with its bytes."""
    inside = [item for item in items if item.sources and isinstance(item.sources[0], Embedded)]
    by_file = sorted(inside, key=lambda item: (_place(item).file, _place(item).column, _place(item).row))
    for (file, column), group in groupby(by_file, key=lambda item: (_place(item).file, _place(item).column)):
        wanted = {_place(item).row: item for item in group}
        first = 0
        for batch in batches(file, [column]):
            for number in range(first, first + len(batch)):
                if number in wanted:
                    yield wanted[number], _cell(wanted[number], batch.column(0)[number - first].as_py())
            first += len(batch)


def _place(item: Item) -> Embedded:
    (source, *_) = item.sources
    assert isinstance(source, Embedded)
    return source


def _cell(item: Item, value: Any) -> bytes | Problem:
    place = _place(item).place
    if place is not None:
        value = value[place] if isinstance(value, list) and len(value) > place else None
    found = bytes_of(value)
    if found is None:
        return Problem(
            f"{item.where}: expected a picture's bytes in {_place(item).column!r}, found {shortened(value)}; get the "
            "benchmark's own file."
        )
    return found
