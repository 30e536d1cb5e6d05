"""Bags for object storage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

SECOND = 10**9


def write_bag(folder: Path, storage: str, compress: bool, clouds: int = 60) -> Path:
    """Write a bag: a cloud of 150 kB every 0.1 s, and a small message with each."""
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
    """A bag of 9 MB in one of the usual forms; not to be changed."""
    storage, _, compressed = request.param.partition('-')
    return write_bag(tmp_path_factory.mktemp('bags') / 'drive', storage, bool(compressed))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A small bag of a SQLite file."""
    return write_bag(tmp_path / 'database', 'sqlite3', False)


@pytest.fixture(scope='session')
def large_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MCAP bag of 45 MB, 30 s; not to be changed."""
    return write_bag(tmp_path_factory.mktemp('bags') / 'large', 'mcap', False, 300)
