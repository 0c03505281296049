"""Documents out of Parquet files, a row each, read by row groups; the same pieces as data/text/readers.py gives."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from base.errors import MetrolineError
from data.fetch.names import one_line
from data.text.readers import Piece, from_row
from data.text.values import from_arrow

ROWS = 256  # read at once


def read_parquet(path: Path, text_column: str, meta_columns: Sequence[str]) -> Iterator[Piece]:
    """Documents of a .parquet file. `place` is the row's number, from 1.

    Raises MetrolineError for what spoils the whole file: it is not Parquet or damaged, a column is missing or there
    twice, the text is of another type.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = list(dict.fromkeys((text_column, *meta_columns)))
    try:
        with pq.ParquetFile(path, pre_buffer=False) as table:
            _check(path, table.schema_arrow, columns)
            number = 0
            for batch in table.iter_batches(batch_size=ROWS, columns=columns):
                arrays = {name: batch.column(name) for name in columns}
                for row in range(batch.num_rows):
                    number += 1
                    values = {name: array[row] for name, array in arrays.items()}
                    yield from_row(f":{number}", values, text_column, meta_columns, from_arrow)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise MetrolineError(f"{path}: cannot read it as Parquet: {' '.join(str(error).split())}") from None


def _check(path: Path, schema: Any, columns: Sequence[str]) -> None:
    """Raise MetrolineError unless each column is there once and the first, the text's, is text."""
    import pyarrow.types as types

    for column in columns:
        if (count := schema.names.count(column)) > 1:
            raise MetrolineError(f"{path}: {count} columns are called {column!r}", hint="rename all but one")
        if not count:
            raise MetrolineError(
                f"{path}: no column {column!r}",
                hint=f"it has {', '.join(map(one_line, schema.names))}: name the right one in documents",
            )
    kind = schema.field(columns[0]).type
    kind = kind.value_type if types.is_dictionary(kind) else kind
    if not any(test(kind) for test in (types.is_string, types.is_large_string, types.is_string_view)):
        raise MetrolineError(f"{path}: column {columns[0]!r} is not text but {kind}", hint="cast it to string")
