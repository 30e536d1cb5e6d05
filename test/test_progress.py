"""Progress bars: one line per task, even on a narrow terminal."""

from __future__ import annotations

import pytest

from drive_segment_ros.progress import bars_with_state

NAMES = ['segmenting', 'a_drive_of_a_long_name_2026_11_30_12_00_00_front']
STATES = ['', 'loss 1.234  rate 1.0e-03  12.3 images/s  waiting 3 %']


@pytest.mark.parametrize('width', [80, 60])
@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('state', STATES)
def test_a_task_is_one_line_with_its_counts(monkeypatch, width, name, state):
    monkeypatch.setenv('COLUMNS', str(width))
    monkeypatch.setenv('TERM', 'xterm')
    bars = bars_with_state('{task.fields[state]}' if state else '')
    bars.add_task(name, total=123456, completed=1234, state=state)
    lines = bars.console.render_lines(bars.get_renderable())
    (text,) = (''.join(segment.text for segment in line) for line in lines)
    assert len(text) == width
    assert text.startswith(name[:8])
    assert '1234/123456' in text
