"""Formatting of numbers, and tables with aligned columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Bar:
    """A percentage that is shown as a bar with its figure."""

    percent: float


def figure(value: Any, digits: int = 1, unit: str = '') -> str:
    """Format a value: a dash for None, integers and texts unchanged."""
    if value is None:
        return '–'
    if isinstance(value, int) and not isinstance(value, bool):
        return f'{value:,}{unit}'
    return f'{value:.{digits}f}{unit}' if isinstance(value, float) else f'{value}{unit}'


def counted(count: int, one: str, several: str = '') -> str:
    """Return a count with its noun: 1 frame, 2 frames."""
    return f'{count:,} {one if count == 1 else several or one + "s"}'


def listed(names: Sequence[str], most: int = 4) -> str:
    """Return names as a phrase: a, b and 3 more."""
    if len(names) > most + 1:
        names = [*names[:most], f'{len(names) - most} more']
    return ' and '.join(filter(None, (', '.join(names[:-1]), *names[-1:])))


def percentage(share: float, digits: int = 1) -> str:
    """Return a share, 0 to 1, in percent."""
    return f'{100 * share:.{digits}f} %'


def table(label: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """Return a table for the page; the first column are the rows' headings.

    Columns of figures align at their right, columns of words at their left.
    """
    rows = [list(row) for row in rows]
    words = [any(isinstance(row[n], str) for row in rows) for n in range(len(head))]
    cells = [[cell if isinstance(cell, Bar) else figure(cell) for cell in row] for row in rows]
    columns = [{'name': name, 'words': w} for name, w in zip(head, words, strict=True)]
    return {'label': label, 'columns': columns, 'rows': cells}
