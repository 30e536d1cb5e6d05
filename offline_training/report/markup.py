"""The small pieces of HTML that a report is put together from; every text is escaped here."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Small units, so that the letters are still legible where the screen is narrow.
_CHART_WIDTH, _CHART_HEIGHT = 420, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 16, 10, 32
# Points of a drawn curve: more could not be told apart on a page.
_CURVE_POINTS = 320


def text(value: Any) -> str:
    """Return a value as HTML text."""
    return html.escape(str(value))


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], label: str) -> str:
    """Return a table that scrolls sideways by itself where the screen is narrow.

    The first column are row headings; numbers are set right.
    """
    columns = ''.join(f'<th scope="col">{text(name)}</th>' for name in head)
    body = ''.join(f'<tr>{_row(row)}</tr>' for row in rows)
    # Focusable, so that it can be scrolled by keys as well.
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(label)}"><table>'
        f'<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def definitions(values: Mapping[str, Any]) -> str:
    """Return names and values, one below the other."""
    rows = ''.join(f'<dt>{text(k)}</dt><dd>{text(v)}</dd>' for k, v in values.items())
    return f'<dl>{rows}</dl>'


def details(summary: str, content: str, opened: bool = False) -> str:
    """Return content that is folded away."""
    state = ' open' if opened else ''
    return f'<details{state}><summary>{text(summary)}</summary>{content}</details>'


def missing(what: str) -> str:
    """Return a remark that something is not there, and why."""
    return f'<p class="missing">{text(what)}</p>'


def number(value: Any, digits: int = 1) -> str:
    """Return a number for people; a dash for None."""
    if value is None:
        return '–'
    return f'{value:.{digits}f}' if isinstance(value, float) else str(value)


def bar(percent: float) -> str:
    """Return a bar with its figure, for a table's cell."""
    return (
        f'<span class="bar" style="--share:{percent:.1f}%" aria-hidden="true"></span>{percent:.1f}'
    )


def shaded_table(
    rows: Sequence[str],
    columns: Sequence[str],
    shares: NDArray[np.float64],
    framed: set[tuple[int, int]],
    label: str,
) -> str:
    """Return a matrix as a table whose cells are the darker the larger they are.

    Args:
        rows, columns: headings.
        shares: (rows, columns), 0 to 1.
        framed: cells with a frame around them.
        label: of the table.
    """
    head = ''.join(f'<th scope="col"><span>{text(name)}</span></th>' for name in columns)
    body = []
    for i, name in enumerate(rows):
        cells = ''.join(
            f'<td class="{"framed" if (i, j) in framed else ""}" '
            f'style="--part:{share:.2f}">{100 * share:.0f}</td>'
            for j, share in enumerate(shares[i])
        )
        body.append(f'<tr><th scope="row">{text(name)}</th>{cells}</tr>')
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(label)}">'
        f'<table class="matrix"><thead><tr><td></td>{head}</tr></thead>'
        f'<tbody>{"".join(body)}</tbody></table></div>'
    )


def line_chart(curves: Mapping[str, NDArray[np.float64]], x: str, y: str) -> str:
    """Return curves over their index as SVG; each is averaged down to what can be seen."""
    longest = max(len(values) for values in curves.values())
    top = max(float(np.nanmax(values)) for values in curves.values()) or 1.0
    width, height = _CHART_WIDTH - _LEFT - _RIGHT, _CHART_HEIGHT - _BOTTOM - _TOP

    def at(step: float, value: float) -> tuple[float, float]:
        return _LEFT + width * step / max(longest - 1, 1), _TOP + height * (1 - value / top)

    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        _, row = at(0, share * top)
        column, _ = at(share * (longest - 1), 0)
        parts.append(
            f'<path class="grid" d="M{_LEFT} {row:.1f}H{_CHART_WIDTH - _RIGHT}"/>'
            f'<text x="{_LEFT - 6}" y="{row + 4:.1f}" text-anchor="end">{share * top:.2f}</text>'
            f'<text x="{column:.1f}" y="{_CHART_HEIGHT - 14}" text-anchor="middle">'
            f'{round(share * (longest - 1))}</text>'
        )
    for index, values in enumerate(curves.values()):
        pieces = np.array_split(values, min(_CURVE_POINTS, len(values)))
        steps = np.linspace(0, len(values) - 1, len(pieces))
        points = ' '.join(
            '{:.1f},{:.1f}'.format(*at(step, float(piece.mean())))
            for step, piece in zip(steps.tolist(), pieces, strict=True)
        )
        parts.append(f'<polyline class="curve curve-{index}" points="{points}"/>')
    legend = ' '.join(
        f'<span class="key curve-{index}">{text(name)}: {_end(values):.3f} at the end</span>'
        for index, (name, values) in enumerate(curves.items())
    )
    return (
        f'<figure class="chart"><svg viewBox="0 0 {_CHART_WIDTH} {_CHART_HEIGHT}" role="img" '
        f'aria-label="{text(y)} over {text(x)}">{"".join(parts)}</svg>'
        f'<figcaption>{text(y)} over {text(x)}. {legend}</figcaption></figure>'
    )


class Raw(str):
    """A piece of HTML among values that are escaped."""

    __slots__ = ()


def _end(values: NDArray[np.float64]) -> float:
    """Return the mean of a curve's last twentieth."""
    return float(values[-max(len(values) // 20, 1) :].mean())


def _row(row: Sequence[Any]) -> str:
    heading, *cells = row
    return f'<th scope="row">{_cell(heading)}</th>' + ''.join(
        f'<td>{_cell(value)}</td>' for value in cells
    )


def _cell(value: Any) -> str:
    return value if isinstance(value, Raw) else text(number(value))
