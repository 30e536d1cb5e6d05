"""The page: one file of HTML with all pictures, style and script in it, that asks for nothing."""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence

from offline_training.report.frames import SampleFrame
from offline_training.report.markup import text

# Nothing may be fetched or sent, whatever the content: pictures are data URIs.
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)


def page(title: str, introduction: str, sections: Sequence[tuple[str, str]]) -> str:
    """Put a page together.

    Args:
        title: text.
        introduction: HTML, what comes before the sections.
        sections: heading and HTML of each.
    """
    links = ''.join(
        f'<a href="#section-{index}">{text(heading)}</a>'
        for index, (heading, _) in enumerate(sections)
    )
    body = ''.join(
        f'<section aria-labelledby="section-{index}"><h2 id="section-{index}" tabindex="-1">'
        f'{text(heading)}</h2>{content}</section>'
        for index, (heading, content) in enumerate(sections)
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        # An icon of its own, so that the browser does not ask a server for one.
        f'<link rel="icon" href="data:,"><title>{text(title)}</title>'
        f'<style>{_file("page.css")}</style></head><body><header><h1>{text(title)}</h1>'
        f'{introduction}<nav aria-label="Sections">{links}</nav></header><main>{body}</main>'
        f'<script>{_file("page.js")}</script></body></html>\n'
    )


def frame_browser(frames: Sequence[SampleFrame]) -> str:
    """Return frames in all their stages, one at a time, chosen by a slider."""
    slider = (
        '<div class="slider"><label for="frame">Frame '
        f'<input type="range" id="frame" min="0" max="{len(frames) - 1}" value="0" step="1">'
        '<output id="frame-title" for="frame"></output></label></div>'
    )
    return slider + ''.join(
        _frame(frame, index, len(frames)) for index, frame in enumerate(frames)
    )


def _frame(frame: SampleFrame, index: int, count: int) -> str:
    role = f', {frame.role}' if frame.role else ''
    title = f'{index + 1} of {count}: {frame.drive}{role}, {frame.instant}'
    figures = []
    for stage in frame.stages:
        caption = f'<b>{text(stage.name)}</b> {text(stage.note)}'
        if stage.picture:
            picture = f'<img src="{stage.picture}" alt="{text(stage.name)}" loading="lazy">'
            figures.append(f'<figure>{picture}<figcaption>{caption}</figcaption></figure>')
        else:
            figures.append(f'<p class="missing">{caption}</p>')
    hidden = ' hidden' if index else ''
    return f'<div class="stages" data-title="{text(title)}"{hidden}>{"".join(figures)}</div>'


def _file(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding='utf-8')
