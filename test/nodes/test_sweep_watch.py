"""SweepWatch: incomplete sweeps are counted, shown and warned about once."""

from __future__ import annotations

from drive_segment_ros.nodes.sweep_watch import SweepWatch
from drive_segment_ros.ros.diagnostics import WARN

WHOLE = {'segments_from': 'ring', 'beams': 64}
HALF = {**WHOLE, 'gaps_deg': [[90, 270]]}


def watch() -> tuple[SweepWatch, list[str]]:
    warned: list[str] = []
    return SweepWatch(warned.append), warned


def test_a_sweep_that_lacks_a_sector_is_counted_told_once_and_shown():
    sweeps, warned = watch()
    for _ in range(5):
        sweeps.note(WHOLE)
    assert sweeps.problems() == {}
    for _ in range(2):
        sweeps.note(HALF)
    assert len(warned) == 1
    assert 'no returns at azimuth 90 to 270 degrees' in warned[0]
    assert sweeps.values()['incomplete sweeps'] == 2
    ((text, level),) = sweeps.problems().items()
    assert '2 incomplete sweeps' in text
    assert level == WARN


def test_a_sensor_with_a_blind_sector_makes_no_alarm():
    sweeps, warned = watch()
    for _ in range(20):
        sweeps.note(HALF)
    assert warned == []
    assert sweeps.problems() == {}
