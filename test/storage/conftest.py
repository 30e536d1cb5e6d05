"""Bags for the tests of object storage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

SECOND = 10**9


def write_bag(folder: Path, storage: str, compress: bool, clouds: int = 60) -> Path:
    """Write a bag with a 150 kB message and a small text every 0.1 s."""
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    random = np.random.default_rng(1)
    store = get_typestore(Stores.ROS2_JAZZY)
    cloud, text = 'std_msgs/msg/ByteMultiArray', 'std_msgs/msg/String'
    empty = store.types['std_msgs/msg/MultiArrayLayout'](dim=[], data_offset=0)
    plugin = StoragePlugin.MCAP if storage == 'mcap' else StoragePlugin.SQLITE3
    writer = Writer(folder, version=9, storage_plugin=plugin)
    if compress:
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        topics = [
            writer.add_connection(name, kind, typestore=store)
            for name, kind in (('/cloud', cloud), ('/text', text))
        ]
        for index in range(clouds):
            stamp = 100 * SECOND + index * SECOND // 10
            data = random.integers(0, 256, 150_000, np.uint8)
            message = store.types[cloud](layout=empty, data=data)
            writer.write(topics[0], stamp, store.serialize_cdr(message, cloud))
            message = store.types[text](data=f'message {index}')
            writer.write(topics[1], stamp + 7, store.serialize_cdr(message, text))
    return folder


@pytest.fixture(scope='session', params=['mcap', 'mcap-compressed', 'sqlite3'])
def any_bag(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a 9 MB bag in each common format; shared by tests, must not be changed."""
    storage, _, compressed = request.param.partition('-')
    return write_bag(tmp_path_factory.mktemp('bags') / 'drive', storage, bool(compressed))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Return a 9 MB SQLite bag that the test may change."""
    return write_bag(tmp_path / 'database', 'sqlite3', False)


@pytest.fixture(scope='session')
def large_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an MCAP bag of 45 MB and 30 s; shared by tests, must not be changed."""
    return write_bag(tmp_path_factory.mktemp('bags') / 'large', 'mcap', False, 300)
