"""Fixtures of the nodes' tests; `street.py` is loaded only where ROS is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from drive_segment_ros.ros.bag_qos import bag_qos


@pytest.fixture(scope='session')
def street():
    """Return the synthetic street, the module `street.py` beside this file."""
    pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')
    path = Path(__file__).with_name('street.py')
    spec = importlib.util.spec_from_file_location('street', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def patient(street, monkeypatch) -> None:
    """Let nodes report errors and wait for inputs without a time limit, for busy machines."""
    from drive_segment_ros.nodes import lifecycle
    from drive_segment_ros.ros import missing_topics

    monkeypatch.setattr(lifecycle, '_RECENT_S', 1e9)
    monkeypatch.setattr(missing_topics, '_NEVER_S', 1e9)


@pytest.fixture
def make_rig(street, ros_domain, patient, tmp_path):
    """Return a function that makes a rig with an active node; `__` in a parameter is a dot."""
    rigs = []

    def make(**parameters):
        defaults = {
            'calibration_file': str(street.calibration(tmp_path / 'calibration.yaml')),
            'inputs__depth': 100,
            # A short queue, as views have, would drop frames on a busy machine.
            'pipeline__queue': 100,
        }
        rigs.append(street.Rig(**{**defaults, **parameters}))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(make_rig):
    """Return a rig with an active proposals node and the street's calibration."""
    return make_rig()


def _add_topic(writer: Writer, topic: str, kind: str, types):
    # Deep enough that a busy machine may be ten seconds late without losing messages.
    offers = [] if topic == '/tf_static' else [bag_qos(depth=100)]
    return writer.add_connection(topic, kind, typestore=types, offered_qos_profiles=offers)


def _write_street(street, path: Path, frames: int, **options) -> Path:
    types = get_typestore(Stores.ROS2_JAZZY)
    recorded = []
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, kind, messages in street.recording(street.Messages(), frames, types, **options):
            connection = _add_topic(writer, topic, kind, types)
            recorded += [(stamp_ns, connection, raw) for stamp_ns, raw in messages]
        # In the order of arrival.
        for stamp_ns, connection, raw in sorted(recorded, key=lambda message: message[0]):
            writer.write(connection, stamp_ns, raw)
    return path


@pytest.fixture
def street_bag(street, tmp_path) -> Path:
    """Return a bag of eight frames of the synthetic street, with odometry on /tf."""
    return _write_street(street, tmp_path / 'street', 8)


@pytest.fixture
def rig_bag(street, tmp_path) -> Path:
    """Return a bag of three cameras, twelve frames each, with late, lost, repeated messages."""
    return _write_street(street, tmp_path / 'rig', 12, cameras=tuple(street.CAMERAS), trouble=True)


def _copy(bag: Path, path: Path, first_s: int, last_s: int) -> Path:
    types = get_typestore(Stores.ROS2_JAZZY)
    with (
        Reader(bag) as reader,
        Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer,
    ):
        written = {c.id: _add_topic(writer, c.topic, c.msgtype, types) for c in reader.connections}
        begin, end = (reader.start_time + offset_s * 10**9 for offset_s in (first_s, last_s))
        for connection, stamp_ns, raw in reader.messages():
            static = connection.topic == '/tf_static'
            if static or begin <= stamp_ns < end:
                writer.write(written[connection.id], max(stamp_ns, begin), raw)
    return path


@pytest.fixture(scope='session')
def real_bag_part(real_bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bag of two seconds of the real drive at 5 m/s: 20 sweeps to compare outputs."""
    return _copy(real_bag, tmp_path_factory.mktemp('bags') / 'part', 3, 5)
