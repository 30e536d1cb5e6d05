"""Reads pickled pandas tables without executing code in them."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import DatasetError, DependencyError
from offline_training.bags.published.sets import set_files

# A sweep of 200,000 points has 10 MB.
_MOST_BYTES = 500_000_000
# What tables of numbers and texts are made of, by any pandas from 0.25 on; and nothing else: other
# functions of the same packages run code.
_NUMPY = {
    'multiarray': ('_reconstruct', 'scalar'),
    'numeric': ('_frombuffer',),
}
_KNOWN = {
    ('builtins', 'slice'),
    ('numpy', 'ndarray'),
    ('numpy', 'dtype'),
    *(
        (f'numpy.{core}.{module}', name)
        for core in ('core', '_core')
        for module, names in _NUMPY.items()
        for name in names
    ),
    ('pandas', 'DataFrame'),
    ('pandas', 'Index'),
    ('pandas', 'RangeIndex'),
    ('pandas.core.frame', 'DataFrame'),
    ('pandas.core.internals.managers', 'BlockManager'),
    ('pandas.core.internals.blocks', 'new_block'),
    ('pandas._libs.internals', '_unpickle_block'),
    ('pandas.core.indexes.base', 'Index'),
    ('pandas.core.indexes.base', '_new_Index'),
    ('pandas.core.indexes.range', 'RangeIndex'),
    ('pandas.core.indexes.numeric', 'Int64Index'),
    ('pandas.core.indexes.numeric', 'UInt64Index'),
    ('pandas.core.indexes.numeric', 'Float64Index'),
}


def read_table(path: Path) -> Any:
    """Read a pickled pandas.DataFrame, packed by gzip or not.

    Raises:
        DatasetError: if it is missing, damaged, no table, or holds anything but NumPy and pandas
            data.
        DependencyError: if pandas is not installed.
    """
    try:
        import pandas as pd
        from pandas.compat import pickle_compat
    except ImportError as err:
        raise DependencyError("PandaSet needs pandas: pip install '.[datasets]'") from err

    class Unpickler(pickle_compat.Unpickler):
        """Knows what tables are made of, and where older versions of pandas had it."""

        def find_class(self, module: str, name: str) -> Any:
            if (module, name) not in _KNOWN:
                raise _ForeignError(f'{module}.{name}')
            return super().find_class(module, name)

    data = set_files.read_file(path)
    try:
        table = Unpickler(io.BytesIO(_unpacked(data))).load()
    except _ForeignError as err:
        raise DatasetError(
            f'{path} is not read: it contains {err}, which tables of numbers do not need and may '
            'run code; download it again from its publisher'
        ) from err
    except Exception as err:  # unpickling damaged data raises errors of every kind
        raise DatasetError(f'{path} is damaged ({_line(err)}); it is skipped') from err
    if not isinstance(table, pd.DataFrame):
        raise DatasetError(f'{path} has no table; it is skipped')
    return table


class _ForeignError(Exception):
    """Something in a pickle that is not known."""


def _unpacked(data: bytes) -> bytes:
    """Return a file's content; raises ValueError where it is damaged or too large."""
    if data[:2] == b'\x1f\x8b':
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
                data = file.read(_MOST_BYTES + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as err:
            raise ValueError(f'truncated or not a gzip file: {err}') from err
    if len(data) > _MOST_BYTES:
        raise ValueError(f'more than {_MOST_BYTES} bytes')
    return data


def _line(err: BaseException) -> str:
    return ' '.join(str(err).split())[:200] or type(err).__name__
