"""Bags that are parts of one drive are read as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from drive_segment_ros.errors import BagError
from drive_segment_ros.ros.joined_bags import JoinedBags, drives, one_drive, open_drive

OWN = 'my_msgs/msg/Own'
SECOND = 1_000_000_000


def write_part(
    path: Path,
    messages: dict[str, list[tuple[int, int]]],
    definition: str = 'int32 number',
    msgtype: str = OWN,
) -> Path:
    """Write a bag with topics of (bag stamp, number) messages; return its path."""
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(definition, msgtype))
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, values in messages.items():
            connection = writer.add_connection(topic, msgtype, typestore=store)
            for stamp, number in values:
                message = store.types[msgtype](number=number)
                writer.write(connection, stamp, store.serialize_cdr(message, msgtype))
    return path


def numbers(bags: JoinedBags, *wanted: str, **window: int) -> list[tuple[str, int, int]]:
    return [
        (m.topic, m.bag_stamp_ns, bags.deserialize(m.raw, m.msgtype).number)
        for m in bags.messages(wanted or None, **window)
    ]


def test_messages_of_all_parts_come_in_order(tmp_path):
    first = write_part(tmp_path / 'first', {'/a': [(10, 1), (30, 3)], '/b': [(40, 4)]})
    second = write_part(tmp_path / 'second', {'/a': [(20, 2)], '/c': [(5, 0), (50, 5)]})
    with JoinedBags([first, second]) as bags:
        everything = [('/c', 5, 0), ('/a', 10, 1), ('/a', 20, 2), ('/a', 30, 3), ('/b', 40, 4)]
        assert numbers(bags) == [*everything, ('/c', 50, 5)]
        assert numbers(bags, '/a', start_ns=20, stop_ns=30) == [('/a', 20, 2)]
        assert {t.name: t.count for t in bags.topics.values()} == {'/a': 3, '/b': 1, '/c': 2}
        assert (bags.start_ns, bags.end_ns) == (5, 50)
        assert bags.path == first
        assert str(bags) == f'{first} + {second}'
        assert bags.damage == []


def test_a_copy_in_another_part_is_given_once(tmp_path):
    first = write_part(tmp_path / 'first', {'/tf_static': [(10, 1), (11, 1)]})
    second = write_part(tmp_path / 'second', {'/tf_static': [(10, 1), (10, 2)]})
    with JoinedBags([first, second]) as bags:
        values = [('/tf_static', 10, 1), ('/tf_static', 10, 2), ('/tf_static', 11, 1)]
        assert numbers(bags) == values


def test_one_topic_of_two_types_is_an_error(tmp_path):
    first = write_part(tmp_path / 'first', {'/a': [(10, 1)]})
    second = write_part(tmp_path / 'second', {'/a': [(10, 1)]}, msgtype='my_msgs/msg/Other')
    with pytest.raises(BagError, match=r'^/a is my_msgs/msg/Own in .*first and my_msgs/msg/Other'):
        JoinedBags([first, second]).__enter__()


def test_a_type_defined_differently_costs_its_own_topics_only(tmp_path):
    first = write_part(tmp_path / 'first', {'/a': [(10, 1)]})
    second = write_part(tmp_path / 'second', {'/b': [(10, 1)]}, 'float64 number')
    third = write_part(tmp_path / 'third', {'/c': [(10, 7)]}, msgtype='my_msgs/msg/Other')
    with JoinedBags([first, second, third]) as bags:
        assert {t.name: t.readable for t in bags.topics.values()} == {
            '/a': False,
            '/b': False,
            '/c': True,
        }
        assert numbers(bags, '/c') == [('/c', 10, 7)]
        (message,) = bags.messages(['/a'])
        with pytest.raises(BagError, match=r'Own is defined differently in .*first and .*second'):
            bags.deserialize(message.raw, message.msgtype)
        with pytest.raises(BagError, match='type my_msgs/msg/None is unknown'):
            bags.deserialize(message.raw, 'my_msgs/msg/None')


def test_a_part_recorded_by_another_clock_is_set_right(tmp_path, caplog):
    store = get_typestore(Stores.ROS2_JAZZY)
    time, header, pose = (
        store.types[name]
        for name in (
            'builtin_interfaces/msg/Time',
            'std_msgs/msg/Header',
            'geometry_msgs/msg/PointStamped',
        )
    )
    point = store.types['geometry_msgs/msg/Point'](0.0, 0.0, 0.0)

    def write(name: str, ahead_ns: int, seconds: list[int], stamp_s: int = 0) -> Path:
        with Writer(tmp_path / name, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            kind = pose.__msgtype__
            connection = writer.add_connection(f'/{name}', kind, typestore=store)
            for second in seconds:
                message = pose(header(time(second + stamp_s, 0), 'f'), point)
                raw = store.serialize_cdr(message, kind)
                writer.write(connection, second * SECOND + 5 + ahead_ns, raw)
        return tmp_path / name

    first, near = write('first', 0, [10, 12]), write('near', 150_000_000, [11, 13])
    far = write('far', 500 * SECOND + 1, [9, 11, 14])
    since_boot = write('since_boot', 0, [10, 12], stamp_s=-9)
    with JoinedBags([first, near]) as bags:
        assert (bags.start_ns, bags.end_ns) == (10 * SECOND + 5, 13 * SECOND + 150_000_005)
    with JoinedBags([first, since_boot]) as bags:
        assert (bags.start_ns, bags.end_ns) == (10 * SECOND + 5, 12 * SECOND + 5)
        assert not caplog.records
    with JoinedBags([first, far]) as bags:
        (record,) = caplog.records
        assert 'far was recorded with a clock that is +500.000 s ahead' in record.getMessage()
        seconds = [(m.topic, m.bag_stamp_ns // SECOND) for m in bags.messages()]
        assert seconds == [('/far', 9), ('/first', 10), ('/far', 11), ('/first', 12), ('/far', 14)]
        assert (bags.start_ns, bags.end_ns) == (9 * SECOND + 5, 14 * SECOND + 5)
        window = bags.messages(None, 11 * SECOND, 12 * SECOND)
        assert [m.topic for m in window] == ['/far']


def test_parts_at_different_times_are_doubted(tmp_path, caplog):
    first = write_part(tmp_path / 'first', {'/a': [(SECOND, 1), (2 * SECOND, 1)]})
    second = write_part(tmp_path / 'second', {'/b': [(2 * SECOND, 1), (3 * SECOND, 2)]})
    build = write_part(tmp_path / 'build', {'/tf_static': [(90 * SECOND, 1)]})
    other = write_part(tmp_path / 'other', {'/c': [(9 * SECOND, 1)]})
    with JoinedBags([first, second, build]):
        assert not caplog.records
    with JoinedBags([first, second, other]):
        (record,) = caplog.records
    assert 'other was recorded 6.0 s apart' in record.getMessage()


def test_damage_names_its_part(tmp_path):
    first = write_part(tmp_path / 'first', {'/a': [(10, 1)]})
    second = write_part(tmp_path / 'second', {'/b': [(10, 1)]})
    (second / 'metadata.yaml').unlink()
    with JoinedBags([first, second]) as bags:
        (line,) = bags.damage
        assert line.startswith(f'{second}: ')
        assert 'no metadata.yaml' in line
        assert len(numbers(bags)) == 2


def test_which_bags_are_a_drive(tmp_path):
    first = write_part(tmp_path / 'first', {'/a': [(10, 1)]})
    second = write_part(tmp_path / 'second', {'/b': [(10, 1)]})
    assert drives([first, second], join=False) == [[first], [second]]
    assert drives([first, second], join=True) == [[first, second]]
    assert str(open_drive([first])) == str(first)
    assert str(open_drive(first)) == str(first)
    assert one_drive([first, second], join=True) == [first, second]
    assert str(open_drive([first, second])) == f'{first} + {second}'
    with pytest.raises(BagError, match='2 bags are given instead of one; --join makes them'):
        one_drive([first, second], join=False)
    with pytest.raises(BagError, match='first is given twice'):
        open_drive([first, tmp_path / 'second/../first'])
    with pytest.raises(BagError, match='third: no such bag'):
        open_drive([first, tmp_path / 'third'])
    with pytest.raises(BagError, match=r'second/metadata\.yaml'):
        open_drive([first, second / 'metadata.yaml'])


def test_the_real_drive_joined(real_drive):
    parts = [real_drive / 'bag', real_drive.with_name('pandaset_002_sides') / 'bag']
    if not parts[1].is_dir():
        pytest.skip(f'no {parts[1]}')
    with JoinedBags(parts) as bags:
        images = [t for t in bags.topics.values() if t.type == 'sensor_msgs/msg/CompressedImage']
        assert [topic.count for topic in images] == [56, 56, 56]
        assert bags.topics['/tf_static'].count == 3
        stamps = [m.bag_stamp_ns for m in bags.messages(bags.topics)]
        assert np.all(np.diff(stamps) >= 0)
        assert len(stamps) == sum(topic.count for topic in bags.topics.values())
