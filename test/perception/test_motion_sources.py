"""Of several odometry sources, only the one whose frames fit the vehicle best is used."""

from __future__ import annotations

import pytest

from drive_segment_ros.frame.motion_sources import MotionSources

BASE, FOOTPRINT, TRAILER = (('tf', 'odom', c) for c in ('base_link', 'base_footprint', 'trailer'))
WHEELS, GPS = ('odometry', '/odom', '/base_link'), ('odometry', 'map', 'base_link')
VISUAL = ('odometry', 'camera_odom', 'camera_pose')


@pytest.mark.parametrize(
    ('heard', 'taken', 'changes'),
    [
        ([BASE, TRAILER, BASE], [True, False, True], 0),
        ([TRAILER, BASE, TRAILER], [True, True, False], 1),
        ([FOOTPRINT, TRAILER, FOOTPRINT], [True, False, True], 0),
        ([VISUAL, VISUAL], [True, True], 0),
        ([VISUAL, GPS, BASE, WHEELS, BASE, GPS], [True, True, True, True, False, False], 3),
        ([WHEELS, VISUAL, BASE, WHEELS], [True, False, False, True], 0),
        ([BASE, VISUAL], [True, False], 0),
        ([FOOTPRINT, GPS], [True, True], 1),
    ],
)
def test_one_source_is_the_vehicle(heard, taken, changes):
    told = []
    sources = MotionSources('/odom', 'base_link', lambda: told.append(sources.taken))
    assert [sources.takes(*source) for source in heard] == taken
    assert len(told) == changes
    assert sources.taken not in sources.others
    named = {(s.kind, s.parent, s.child) for s in (*sources.others, sources.taken)}
    assert named == {(kind, a.lstrip('/'), b.lstrip('/')) for kind, a, b in heard}
