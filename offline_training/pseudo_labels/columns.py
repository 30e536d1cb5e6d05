"""Tables as Parquet: columns of NumPy arrays, written atomically."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from drive_segment_ros.errors import DatasetError
from drive_segment_ros.storage import read_whole
from offline_training.common.files import write_atomic


def write_columns(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write columns of one length, each (N,) or (N, D).

    Raises:
        DatasetError: if they cannot be written.
    """
    table = pa.table({name: _encoded(values) for name, values in columns.items()})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression='zstd')
    write_atomic(path, sink.getvalue().to_pybytes())


def read_columns(path: Path, names: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
    """Read a file of `write_columns`, or some of its columns, in their order in the file.

    Raises:
        DatasetError: if it cannot be read.
    """
    try:
        with pa.BufferReader(read_whole(path)) as source:
            table = pq.ParquetFile(source).read(names, use_threads=False)
        lacking = [name for name in names or () if name not in table.column_names]
        if lacking:
            raise ValueError(f'it has no column {lacking[0]}')
        return {name: _decoded(table[name]) for name in table.column_names}
    except OSError as err:
        raise DatasetError(f'cannot read {path}: {err.strerror or err}') from err
    except (pa.ArrowException, ValueError) as err:
        reason = ' '.join(str(err).split())
        raise DatasetError(f'{path} holds no table of segments: {reason}') from err


def _encoded(values: NDArray[Any]) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _decoded(column: pa.ChunkedArray) -> NDArray[Any]:
    whole = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if isinstance(whole.type, pa.FixedSizeListType):
        return whole.flatten().to_numpy(zero_copy_only=False).reshape(-1, whole.type.list_size)
    return whole.to_numpy(zero_copy_only=False)
