"""Bags of any format, damaged ones as well, are read as far as they are intact."""

from __future__ import annotations

import contextlib
import sqlite3
import struct
from pathlib import Path

import numpy as np
import pytest
from rosbags.interfaces import ConnectionExtRosbag2
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from drive_segment_ros.errors import BagError
from drive_segment_ros.ros.bags import BagReader, header_stamp_ns, peek_stamp_ns

SECOND = 1_000_000_000
CLOUD = 'sensor_msgs/msg/CompressedImage'


def write_bag(path: Path, storage=StoragePlugin.MCAP, compress=False, store=None, count=40):
    """Write `count` images of random bytes at 10 Hz, and one message of a custom type."""
    store = store or get_typestore(Stores.ROS2_HUMBLE)
    store.register(get_types_from_msg('uint8[] data\nint32 extra', 'my_msgs/msg/Own'))
    image, header, time = (
        store.types[name] for name in (CLOUD, 'std_msgs/msg/Header', 'builtin_interfaces/msg/Time')
    )
    rng = np.random.default_rng(0)
    writer = Writer(path, version=9, storage_plugin=storage)
    if compress:
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        images = writer.add_connection('/image', CLOUD, typestore=store)
        own = writer.add_connection('/own', 'my_msgs/msg/Own', typestore=store)
        for k in range(count):
            stamp = 100 * SECOND + k * SECOND // 10
            message = image(
                header=header(
                    stamp=time(sec=stamp // SECOND, nanosec=stamp % SECOND), frame_id='c'
                ),
                format='jpeg',
                data=rng.integers(0, 255, 100_000, np.uint8),
            )
            writer.write(images, stamp + 7, store.serialize_cdr(message, CLOUD))
        message = store.types['my_msgs/msg/Own'](data=np.zeros(3, np.uint8), extra=5)
        writer.write(own, stamp + 8, store.serialize_cdr(message, 'my_msgs/msg/Own'))
    return path


def stamps(reader: BagReader, *topics: str) -> list[int]:
    return [message.bag_stamp_ns for message in reader.messages(topics)]


@pytest.mark.parametrize('storage', StoragePlugin)
@pytest.mark.parametrize('bare', [False, True])
def test_reads_folders_and_bare_files(tmp_path, storage, bare):
    folder = write_bag(tmp_path / 'bag', storage)
    path = next(p for p in folder.iterdir() if p.suffix != '.yaml') if bare else folder
    with BagReader(path) as reader:
        assert {t.name: (t.type, t.count, t.readable) for t in reader.topics.values()} == {
            '/image': (CLOUD, 40, True),
            '/own': ('my_msgs/msg/Own', 1, True),
        }
        assert reader.damage == []
        assert reader.start_ns == 100 * SECOND + 7
        assert reader.end_ns == 100 * SECOND + 39 * SECOND // 10 + 8
        (own,) = reader.messages(['/own'])
        assert reader.deserialize(own.raw, own.msgtype).extra == 5
        window = [m.bag_stamp_ns for m in reader.messages(None, 101 * SECOND, 102 * SECOND)]
        assert window == [101 * SECOND + k * SECOND // 10 + 7 for k in range(10)]


def test_stamp_is_read_without_decoding(tmp_path):
    with BagReader(write_bag(tmp_path / 'bag')) as reader:
        for message in reader.messages(['/image']):
            decoded = reader.deserialize(message.raw, message.msgtype)
            assert peek_stamp_ns(message.raw) == header_stamp_ns(decoded)
    assert peek_stamp_ns(b'\x00\x00\x00\x00' + struct.pack('>iI', 3, 4)) == 3 * SECOND + 4
    with pytest.raises(BagError, match='has no header'):
        peek_stamp_ns(b'\x00\x01\x00\x00')


@pytest.mark.parametrize('compress', [False, True])
@pytest.mark.parametrize('fraction', [0.01, 0.35, 0.6, 0.999])
def test_cut_mcap_yields_every_whole_message(tmp_path, compress, fraction):
    folder = write_bag(tmp_path / 'bag', compress=compress)
    with BagReader(folder) as reader:
        everything = list(reader.messages())
    (path,) = folder.glob('*.mcap')
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    if fraction == 0.01:
        with (
            pytest.raises(BagError, match=r'cannot be read: .*no complete message'),
            BagReader(folder),
        ):
            pass
        return
    with BagReader(folder) as reader:
        found = list(reader.messages())
        assert [(m.topic, m.bag_stamp_ns, m.raw) for m in found] == [
            (m.topic, m.bag_stamp_ns, m.raw) for m in everything[: len(found)]
        ]
        # Only the truncated message, or the end of the compressed block, is lost.
        assert len(found) >= int(len(everything) * fraction) - 1 - 2 * compress
        (damage,) = reader.damage
        seconds = (found[-1].bag_stamp_ns - found[0].bag_stamp_ns) / SECOND
        assert f'truncated after {seconds:.1f} s' in damage
        assert sum(topic.count for topic in reader.topics.values()) == len(found)
        window = reader.messages(['/image'], 100 * SECOND + SECOND // 2, 101 * SECOND)
        assert len(list(window)) == 5


def test_flipped_bytes_in_the_middle_stop_reading_there(tmp_path):
    folder = write_bag(tmp_path / 'bag', compress=True)
    (path,) = folder.glob('*.mcap')
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 50_000] = bytes(50_000)
    path.write_bytes(data)
    with BagReader(folder) as reader:
        found = stamps(reader, '/image')
        assert 0 < len(found) < 40
        assert 'is damaged' in reader.damage[0]
        assert stamps(reader, '/image') == found
        assert len(reader.damage) == 1


def test_damaged_record_length_stops_reading_there(tmp_path):
    folder = write_bag(tmp_path / 'bag')
    (path,) = folder.glob('*.mcap')
    data = path.read_bytes()
    # The footer begins with the offset of the summary; a message of absurd length goes there.
    (summary,) = struct.unpack_from('<Q', data, len(data) - 28)
    path.write_bytes(data[:summary] + bytes([0x05]) + b'\xff' * 8 + bytes(100))
    with BagReader(folder) as reader:
        assert len(stamps(reader, '/image')) == 40
        assert 'ends within its index; no message is lost' in reader.damage[0]


def test_folder_without_metadata_is_read(tmp_path):
    folder = write_bag(tmp_path / 'bag')
    (folder / 'metadata.yaml').unlink()
    with BagReader(folder) as reader:
        assert len(stamps(reader, '/image')) == 40
        assert 'no metadata.yaml' in reader.damage[0]


@pytest.mark.parametrize('cut', [False, True])
def test_missing_part_of_a_split_bag_is_told(tmp_path, cut):
    folder = write_bag(tmp_path / 'bag')
    metadata, (part,) = folder / 'metadata.yaml', folder.glob('*.mcap')
    listed = f'- {part.name}\n'
    text = metadata.read_text()
    assert listed in text
    metadata.write_text(text.replace(listed, f'- {part.name}\n  - bag_1.mcap\n'))
    if cut:
        part.write_bytes(part.read_bytes()[:-1000])
    with BagReader(folder) as reader:
        assert len(stamps(reader, '/image')) == 40
        of_bag, *of_parts = reader.damage
        assert 'missing: bag_1.mcap' in of_bag
        assert len(of_parts) == cut


def test_metadata_that_cannot_be_read_is_told(tmp_path):
    folder = write_bag(tmp_path / 'bag')
    (folder / 'metadata.yaml').write_text('rosbag2_bagfile_information: {version: 99}')
    with BagReader(folder) as reader:
        assert len(stamps(reader, '/image')) == 40
        (damage,) = reader.damage
        assert 'cannot be used (it has no topics_with_message_count)' in damage


def test_damaged_database_is_an_error_of_one_line(tmp_path):
    folder = write_bag(tmp_path / 'bag', StoragePlugin.SQLITE3)
    (path,) = folder.glob('*.db3')
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(BagError, match=r'bag_?\d*\.db3: .*malformed') as error, BagReader(folder):
        pass
    assert '\n' not in str(error.value)


def test_a_type_that_python_cannot_hold_leaves_the_others_readable(tmp_path):
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, text in (('/odd', 'int32 class\nint32 class_'), ('/own', 'int32 data')):
            kind = f'my_msgs/msg/{topic[1:].title()}'
            connection = writer.add_connection(topic, kind, msgdef=text, rihs01='none')
            writer.write(connection, SECOND, b'\0\1\0\0' + bytes(8))
    with BagReader(tmp_path / 'bag') as bag:
        readable = {topic.name: topic.readable for topic in bag.topics.values()}
    assert readable == {'/odd': False, '/own': True}


def test_of_a_topic_with_several_types_the_one_with_most_messages_is_read(tmp_path):
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for kind, count in (('First', 1), ('Second', 2)):
            msgtype = f'my_msgs/msg/{kind}'
            connection = writer.add_connection('/own', msgtype, msgdef='int32 data', rihs01='none')
            for number in range(count):
                writer.write(connection, SECOND + number, b'\0\1\0\0' + bytes(4))
    with BagReader(tmp_path / 'bag') as bag:
        own = bag.topics['/own']
        assert (own.type, own.count) == ('my_msgs/msg/Second', 2)
        assert [message.msgtype for message in bag.messages()] == ['my_msgs/msg/Second'] * 2
        (line,) = bag.damage
    assert line == '/own has messages of several types: 1 of my_msgs/msg/First are left out'


def test_bag_without_definitions_uses_the_default_types(tmp_path):
    folder = write_bag(tmp_path / 'bag', StoragePlugin.SQLITE3)
    (path,) = folder.glob('*.db3')
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute('DELETE FROM message_definitions')
        database.commit()
    with BagReader(folder) as reader:
        assert reader.topics['/image'].readable
        message = next(reader.messages(['/image']))
        assert reader.deserialize(message.raw, CLOUD).format == 'jpeg'
        assert not reader.topics['/own'].readable
        with pytest.raises(BagError, match='type my_msgs/msg/Own is unknown'):
            reader.deserialize(b'', 'my_msgs/msg/Own')


def test_unparsable_definition_leaves_other_topics_readable(tmp_path):
    folder = write_bag(tmp_path / 'bag', StoragePlugin.SQLITE3)
    (path,) = folder.glob('*.db3')
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(
            'UPDATE message_definitions SET encoded_message_definition = "uint8[ data" '
            'WHERE topic_type = "my_msgs/msg/Own"'
        )
        database.commit()
    with BagReader(folder) as reader:
        assert not reader.topics['/own'].readable
        assert len(stamps(reader, '/image')) == 40


def test_offered_qos_is_kept(tmp_path):
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability
    from rosbags.interfaces import QosTime as Time

    offer = Qos(
        QosHistory.KEEP_LAST,
        1,
        QosReliability.RELIABLE,
        QosDurability.TRANSIENT_LOCAL,
        Time(0, 0),
        Time(0, 0),
        QosLiveliness.AUTOMATIC,
        Time(0, 0),
        False,
    )
    store = get_typestore(Stores.ROS2_JAZZY)
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection(
            '/latched', 'std_msgs/msg/Empty', typestore=store, offered_qos_profiles=[offer]
        )
        assert isinstance(connection.ext, ConnectionExtRosbag2)
        writer.write(connection, 1, b'\x00\x01\x00\x00\x00')
    with BagReader(tmp_path / 'bag') as reader:
        assert reader.topics['/latched'].qos[0].durability is QosDurability.TRANSIENT_LOCAL


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda p: None, 'no such bag'),
        (lambda p: p.mkdir(), 'an empty folder, not a bag'),
        (lambda p: (p.mkdir(), (p / 'a.mcap').write_bytes(b'')), 'a.mcap is not an MCAP file'),
        (lambda p: p.write_text('x'), 'not a bag; give a bag folder'),
    ],
)
def test_what_is_no_bag_is_said_in_one_line(tmp_path, make, message):
    make(tmp_path / 'bag')
    with pytest.raises(BagError, match=message) as error, BagReader(tmp_path / 'bag'):
        pass
    assert '\n' not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_truncated_copy_of_a_real_drive(real_bag, tmp_path):
    (file,) = real_bag.glob('*.mcap')
    with file.open('rb') as source:
        (tmp_path / 'cut.mcap').write_bytes(source.read(file.stat().st_size // 2))
    with BagReader(tmp_path / 'cut.mcap') as reader:
        assert 'truncated after 2.8 s' in reader.damage[0]
        assert len(stamps(reader, '/lidar/points')) == 28
