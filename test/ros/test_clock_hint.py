"""Hints on stamps that do not agree with the node's clock."""

from __future__ import annotations

import pytest

from drive_segment_ros.ros.clock_hint import explain_clock

S = 1_000_000_000
NOW = 1_800_000_000 * S


@pytest.mark.parametrize(
    ('stamp', 'now', 'simulated', 'words'),
    [
        (NOW, NOW + 4 * S, False, None),
        (NOW - 6 * S, NOW, False, '6.0 s before this node'),
        (NOW - 86400 * 30 * S, NOW, False, '30 days before'),
        (NOW + 600 * S, NOW, False, '10 min after'),
        (NOW, 0, True, 'nothing publishes /clock'),
        (NOW, NOW - 60 * S, True, 'from the same bag'),
        (0, NOW, False, 'no time stamp'),
    ],
)
def test_clock_hints(stamp, now, simulated, words):
    text = explain_clock('points', stamp, now, simulated)
    assert '\n' not in text
    assert (words in text) if words else text == ''
