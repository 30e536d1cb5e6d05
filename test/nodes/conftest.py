"""Fixtures of the nodes' tests; `street.py` is loaded only where ROS is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore


@pytest.fixture(scope='session')
def street():
    """The made-up street: the module `street.py` beside this file."""
    pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')
    path = Path(__file__).with_name('street.py')
    spec = importlib.util.spec_from_file_location('street', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def make_rig(street, ros_domain, tmp_path):
    """Make active nodes with parameters, dots in their names written as two underscores."""
    rigs = []

    def make(**parameters):
        defaults = {
            'calibration_file': str(street.calibration(tmp_path / 'calibration.yaml')),
            # The last image waits this long for a sweep that never comes.
            'sync__max_wait_s': 0.2,
            'inputs__depth': 100,
        }
        rigs.append(street.Rig(**{**defaults, **parameters}))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(make_rig):
    """An active node with the street's calibration."""
    return make_rig()


@pytest.fixture
def street_bag(street, tmp_path) -> Path:
    """Eight frames of the made-up street, as a bag with tf."""
    types = get_typestore(Stores.ROS2_JAZZY)
    make = street.Messages()
    path = tmp_path / 'street'
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, kind, messages in street.recording(make, 8, types):
            connection = writer.add_connection(topic, kind, typestore=types)
            for stamp_ns, raw in messages:
                writer.write(connection, stamp_ns, raw)
    return path
