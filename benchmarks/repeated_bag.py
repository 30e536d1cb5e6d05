"""Repeats a bag to make a longer one, with continuous stamps and odometry."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from drive_segment_ros.ros.bags import BagReader, peek_stamp_ns

_ODOMETRY, _TRANSFORMS = 'nav_msgs/msg/Odometry', 'tf2_msgs/msg/TFMessage'
# In a serialised message: the header's seconds and nanoseconds, after 4 bytes for the encoding.
_STAMP = struct.Struct('<iI')


def repeat_bag(source: Path, target: Path, times: int, period_ns: int) -> None:
    """Write a bag that repeats another one, with stamps and poses that continue.

    Each repetition starts at the pose where the previous one ended.

    Args:
        source: a simulated bag; its only transform in /tf is from `odom` to `base_link`.
        target: the bag to write, new.
        times: number of repetitions.
        period_ns: duration of a repetition, nanoseconds; the source's odometry must have a pose
            at this time.
    """
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    types = get_typestore(Stores.ROS2_HUMBLE)
    with (
        BagReader(source) as bag,
        Writer(target, version=9, storage_plugin=StoragePlugin.MCAP) as writer,
    ):
        topics = {
            topic.name: writer.add_connection(
                topic.name, topic.type, typestore=types, offered_qos_profiles=topic.qos
            )
            for topic in bag.topics.values()
        }
        messages = [(m.topic, m.bag_stamp_ns, bytes(m.raw), m.msgtype) for m in bag.messages()]
        end_ns = bag.start_ns + period_ns
        T_period = _pose_at(end_ns, messages, types)
        T_before = np.eye(4)
        late: list[tuple[int, int, str, bytes]] = []
        for number in range(times):
            shift_ns = number * period_ns
            moved = [
                (stamp_ns + shift_ns, k, topic, data)
                for k, (topic, stamp_ns, data) in enumerate(
                    _moved(messages, shift_ns, T_before, types, end_ns, number == 0)
                )
            ]
            # Some messages of a repetition arrive during the next one.
            everything = sorted([*late, *moved])
            until_ns = end_ns + shift_ns
            late = [m for m in everything if m[0] >= until_ns] if number + 1 < times else []
            for stamp_ns, _, topic, data in everything[: len(everything) - len(late)]:
                writer.write(topics[topic], stamp_ns, data)
            T_before = T_before @ T_period


def _moved(
    messages: list[tuple[str, int, bytes, str]],
    shift_ns: int,
    T_before: np.ndarray,
    types: Any,
    end_ns: int,
    is_first: bool,
) -> Iterator[tuple[str, int, bytes]]:
    """Yield topic, original recording stamp, and data with a repetition's stamps and poses."""
    for topic, stamp_ns, raw, kind in messages:
        if kind == _ODOMETRY:
            message = types.deserialize_cdr(raw, kind)
            if peek_stamp_ns(raw) < end_ns:
                pose = message.pose.pose
                _move(pose.position, pose.orientation, T_before)
                yield topic, stamp_ns, _later(types.serialize_cdr(message, kind), shift_ns)
        elif kind == _TRANSFORMS and topic == '/tf':
            message = types.deserialize_cdr(raw, kind)
            (transform,) = message.transforms
            if _stamp_ns(transform.header) < end_ns:
                _move(transform.transform.translation, transform.transform.rotation, T_before)
                stamp = transform.header.stamp
                stamp.sec, stamp.nanosec = divmod(_stamp_ns(transform.header) + shift_ns, 10**9)
                yield topic, stamp_ns, bytes(types.serialize_cdr(message, kind))
        elif kind == _TRANSFORMS:
            if is_first:
                yield topic, stamp_ns, raw
        else:
            yield topic, stamp_ns, _later(raw, shift_ns)


def _later(raw: bytes | memoryview, shift_ns: int) -> bytes:
    data = bytearray(raw)
    _STAMP.pack_into(data, 4, *divmod(peek_stamp_ns(data) + shift_ns, 10**9))
    return bytes(data)


def _stamp_ns(header: Any) -> int:
    return header.stamp.sec * 10**9 + header.stamp.nanosec


def _pose_at(time_ns: int, messages: list[tuple[str, int, bytes, str]], types: Any) -> np.ndarray:
    odometry = {peek_stamp_ns(raw): raw for _, _, raw, kind in messages if kind == _ODOMETRY}
    pose = types.deserialize_cdr(odometry[time_ns], _ODOMETRY).pose.pose
    return _matrix(pose.position, pose.orientation)


def _matrix(position: Any, turn: Any) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3] = Rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).as_matrix()
    T[:3, 3] = position.x, position.y, position.z
    return T


def _move(position: Any, turn: Any, T_before: np.ndarray) -> None:
    T = T_before @ _matrix(position, turn)
    position.x, position.y, position.z = map(float, T[:3, 3])
    turn.x, turn.y, turn.z, turn.w = map(float, Rotation.from_matrix(T[:3, :3]).as_quat())
