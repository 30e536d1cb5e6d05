"""Progress of long work on standard error: a bar a task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


def bar(description: str) -> Callable[[Iterable], Iterable]:
    """Return a function that shows how far an iteration has come."""

    def show(items: Any) -> Iterator[Any]:
        with bar_with_state('') as shown:
            yield from shown.track(items, len(items), description=description)

    return show


def bar_with_state(state: str) -> Bar:
    """Return a bar that ends with a text; `state` is its format, of the task's fields."""
    columns = [TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn()]
    return Bar(*columns, TimeRemainingColumn(), TextColumn(state), console=Console(stderr=True))
