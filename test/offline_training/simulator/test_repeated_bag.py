"""A bag repeated by `bench scale` is one long drive: stamps, poses and order continue."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from drive_segment_ros.parameters import from_flat
from drive_segment_ros.ros.bags import BagReader, header_stamp_ns
from offline_training.simulator import SimulatorParameters, simulate

BENCHMARKS = Path(__file__).resolve().parents[3] / 'benchmarks'


def test_a_repeated_bag_is_one_long_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from repeated_bag import repeat_bag

    flat = {'duration_s': 1.0, 'camera.width': 64, 'camera.height': 48, 'lidar.model': 'vlp16'}
    simulate(tmp_path / 'once', from_flat(SimulatorParameters, flat), workers=1)
    repeat_bag(tmp_path / 'once', tmp_path / 'thrice', 3, 10**9)
    last, stamps, places, moved = 0, {}, [], []
    with BagReader(tmp_path / 'thrice') as bag:
        assert bag.damage == []
        for message in bag.messages():
            assert message.bag_stamp_ns >= last
            last = message.bag_stamp_ns
            content = bag.deserialize(message.raw, message.msgtype)
            if message.topic == '/tf':
                at = content.transforms[0].transform.translation
                moved.append((header_stamp_ns(content.transforms[0]), at.x, at.y, at.z))
            elif message.topic != '/tf_static':
                stamps.setdefault(message.topic, []).append(header_stamp_ns(content))
            if message.topic == '/odom':
                at = content.pose.pose.position
                places.append((stamps['/odom'][-1], at.x, at.y, at.z))
    assert sys.modules.pop('repeated_bag')
    for topic, period_ns in (('/lidar/points', 10**8), ('/odom', 20_000_000)):
        assert set(np.diff(stamps[topic])) == {period_ns}
    assert len(stamps['/lidar/points']) == 30
    assert len(stamps['/camera/front/image_raw/compressed']) == 30
    # No step, also between repetitions, is longer than those of the source drive, within 10 %.
    steps = np.linalg.norm(np.diff(np.array(places)[:, 1:], axis=0), axis=1)
    assert len(steps) == 149
    assert steps.min() > 0.0
    assert steps.max() <= 1.1 * steps[:49].max()
    assert np.linalg.norm(np.subtract(places[-1], places[0])[1:]) > 2.5 * steps[:49].sum()
    assert moved == places
