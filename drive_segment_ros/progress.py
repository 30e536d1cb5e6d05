"""Progress of long work on standard error: a bar a task."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress as Bars


def bar(description: str) -> Callable[[Iterable], Iterable]:
    """Return a function that shows how far an iteration has come."""

    def show(items: Any) -> Iterator[Any]:
        with bars_with_state('') as shown:
            yield from shown.track(items, len(items), description=description)

    return show


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar a name; the function yielded takes the name, what is done, and of how much."""
    with bars_with_state('') as shown:
        tasks: dict[str, Any] = {}

        def update(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = shown.add_task(name, total=total)
            shown.update(tasks[name], completed=done, total=total)

        yield update


def bars_with_state(state: str) -> Bars:
    """Return bars that end with a text; `state` is its format, of a task's fields."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeRemaining

    columns = [TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn()]
    return Progress(*columns, TimeRemaining(), TextColumn(state), console=Console(stderr=True))
