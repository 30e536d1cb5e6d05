"""Progress of long work on standard error: one bar per task."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

_BAR, _SHORT_BAR = 40, 8  # letters


def bar(description: str) -> Callable[[Iterable], Iterable]:
    """Return a function that shows the progress of an iteration."""

    def show(items: Any) -> Iterator[Any]:
        with bars_with_state('') as shown:
            yield from shown.track(items, len(items), description=description)

    return show


@contextlib.contextmanager
def several_at_a_time(shown: Iterable) -> Iterator[Callable[[int], None]]:
    """Show the progress of work that completes several items at a time.

    Args:
        shown: all items, wrapped by a function such as the one returned by `bar`.

    Yields:
        A function to call with the number of items completed since the last call.
    """
    items = iter(shown)

    def advance(count: int) -> None:
        for _ in itertools.islice(items, count):
            pass

    try:
        yield advance
        next(items, None)  # completes the last item
    finally:
        if isinstance(items, Generator):
            items.close()


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show one bar per name; the function yielded takes name, amount done and total."""
    with bars_with_state('') as shown:
        tasks: dict[str, Any] = {}

        def update(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = shown.add_task(name, total=total)
            shown.update(tasks[name], completed=done, total=total)

        yield update


def bars_with_state(state: str) -> Bars:
    """Return bars that end with a text; `state` is its format, of a task's fields.

    Each is one line at any width of the terminal: bars and texts are shortened, counts are not.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn
    from rich.progress import TimeRemainingColumn as TimeRemaining
    from rich.table import Column
    from rich.text import Text

    class Shortened(TextColumn):
        def render(self, task: Task) -> Text:
            text = super().render(task)
            text.no_wrap, text.overflow = True, 'ellipsis'
            return text

    def whole() -> Column:
        return Column(no_wrap=True)

    columns = [
        Shortened('{task.description}', table_column=Column()),
        BarColumn(_SHORT_BAR if state else _BAR, table_column=Column()),
        MofNCompleteColumn(table_column=whole()),
        TimeRemaining(compact=True, table_column=whole()),
        Shortened(state, table_column=Column()),
    ]
    return Progress(*columns, console=Console(stderr=True))
