"""Long JSON lists of rows, read sequentially row by row, or by the positions of rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

Row = Mapping[str, Any]

_CHUNK, _USUAL_ROW, _LARGEST_ROW = 1 << 20, 1 << 10, 1 << 20
_BETWEEN = re.compile(r'[\s,]*')
_decode = json.JSONDecoder().raw_decode


def each_row(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield the rows of a list, each after the byte at which it begins.

    No more is held than a chunk of the file. Text beyond ASCII is garbled here; `rows_at` has it.

    Args:
        path: a local file.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no list of rows, or ends before the list does.
    """
    with path.open('rb') as file:
        # A character a byte, so that places in the text are places in the file.
        text = file.read(_CHUNK).decode('latin-1').lstrip()
        start = file.tell() - len(text)
        if not text.startswith('['):
            raise ValueError('it is not a list')
        at = 1
        while True:
            found = _BETWEEN.match(text, at)
            at = found.end() if found else at
            if text.startswith(']', at):
                return
            try:
                row, end = _decode(text, at)
            except ValueError:
                more = file.read(_CHUNK)
                if not more or len(text) - at > _LARGEST_ROW:
                    raise
                start, text, at = start + at, text[at:] + more.decode('latin-1'), 0
                continue
            if not isinstance(row, dict):
                raise ValueError('it is not a list of rows')
            yield start + at, row
            at = end


def rows_at(path: Path, places: Iterable[int]) -> list[Row]:
    """Return the rows that begin at some bytes of a local file.

    Raises:
        OSError: if it cannot be read.
        ValueError: if no row begins there.
    """
    with path.open('rb') as file:
        return [_row_at(file, place) for place in places]


def _row_at(file: BinaryIO, place: int) -> Row:
    size = _USUAL_ROW
    while True:
        file.seek(place)
        data = file.read(size)
        try:
            row: Row = _decode(data.decode(errors='ignore'))[0]
            return row
        except ValueError:
            if len(data) < size or size > _LARGEST_ROW:
                raise
        size *= 4
