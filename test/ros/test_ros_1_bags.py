"""ROS 1 bags give the same messages as a ROS 2 bag, as far as they are intact."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rosbags.interfaces import QosDurability
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from drive_segment_ros.errors import BagError
from drive_segment_ros.ros.bags import BagReader

SECOND = 1_000_000_000
START = 1_500_000_000 * SECOND
IMAGE, INFO = 'sensor_msgs/msg/CompressedImage', 'sensor_msgs/msg/CameraInfo'
TF = 'tf2_msgs/msg/TFMessage'
STORE = get_typestore(Stores.ROS2_JAZZY)
T = STORE.types

AsRos1 = Callable[..., Path]


def header(k: int):
    stamp = START + k * SECOND // 10
    return T['std_msgs/msg/Header'](
        T['builtin_interfaces/msg/Time'](stamp // SECOND, stamp % SECOND), f'camera{"x" * (k % 4)}'
    )


@pytest.fixture
def modern(tmp_path: Path) -> Path:
    """Return a ROS 2 bag of images, camera_infos and a transform; strings of any alignment."""
    path = tmp_path / 'modern'
    rng = np.random.default_rng(0)
    vector, turn = T['geometry_msgs/msg/Vector3'], T['geometry_msgs/msg/Quaternion']
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:

        def topic(name: str, kind: str):
            connection = writer.add_connection(name, kind, typestore=STORE)
            return lambda at, message: writer.write(
                connection, at, STORE.serialize_cdr(message, kind)
            )

        tf, images, infos = topic('/tf_static', TF), topic('/image', IMAGE), topic('/info', INFO)
        transform = T['geometry_msgs/msg/Transform'](vector(1.0, 2.0, 3.0), turn(0.0, 0.0, 0.0, 1))
        stamped = T['geometry_msgs/msg/TransformStamped'](header(0), 'lidar', transform)
        tf(START, T[TF]([stamped, stamped]))
        for k in range(40):
            at = START + k * SECOND // 10
            images(at, T[IMAGE](header(k), 'jpeg', rng.integers(0, 255, 60_000 + k, np.uint8)))
            K = np.arange(9.0)
            region = T['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
            info = (header(k), 4, 6, 'plumb_bob', np.zeros(5), K, K, np.arange(12.0), 0, 0, region)
            infos(at, T[INFO](*info))
    return path


def read(bag: Path) -> list[tuple[str, int, bytes, str]]:
    with BagReader(bag) as reader:
        return [(m.topic, m.bag_stamp_ns, bytes(m.raw), m.msgtype) for m in reader.messages()]


@pytest.mark.parametrize('compression', ['', 'bz2', 'lz4'])
def test_reads_the_same_bytes_as_from_ros_2(
    modern: Path, tmp_path: Path, as_ros_1: AsRos1, compression: str
) -> None:
    bag = as_ros_1(modern, tmp_path / 'old.bag', compression)
    assert sorted(read(bag)) == sorted(read(modern))
    with BagReader(bag) as reader, BagReader(modern) as other:
        assert (reader.start_ns, reader.end_ns) == (other.start_ns, other.end_ns)
        assert reader.damage == []
        assert [(t.name, t.type, t.count) for t in reader.topics.values()] == [
            (t.name, t.type, t.count) for t in other.topics.values()
        ]
        (offer,) = reader.topics['/tf_static'].qos
        assert offer.durability is QosDurability.TRANSIENT_LOCAL
        assert reader.topics['/image'].qos == ()
        info = next(reader.messages(['/info']))
        assert reader.deserialize(info.raw, info.msgtype).k.tolist() == list(range(9))
        window = list(reader.messages(['/image'], START + SECOND, START + 2 * SECOND))
        assert [m.bag_stamp_ns for m in window] == [START + SECOND + k * 10**8 for k in range(10)]


def test_folder_of_parts_is_one_drive_in_natural_order(
    modern: Path, tmp_path: Path, as_ros_1: AsRos1
) -> None:
    folder = tmp_path / 'drive'
    folder.mkdir()
    cuts = [START + k * SECOND // 3 for k in range(12)] + [2**63]
    for k, (start, stop) in enumerate(itertools.pairwise(cuts)):
        as_ros_1(modern, folder / f'drive_{k}.bag', start_ns=start, stop_ns=stop)
    # `rosbag reindex` leaves the original file beside the reindexed one.
    (folder / 'drive_3.orig.bag').write_bytes((folder / 'drive_3.bag').read_bytes())
    assert sorted(read(folder)) == sorted(read(modern))
    with BagReader(folder) as reader:
        assert reader.damage == ['drive_3.orig.bag is ignored: drive_3.bag is used']


# bz2 has blocks of 900 kB; the last one is lost if it is incomplete.
@pytest.mark.parametrize(
    ('compression', 'fraction', 'lost'),
    [(c, f, 2) for c in ('', 'lz4') for f in (0.3, 0.6, 0.9999)]
    + [('bz2', 0.6, 17), ('bz2', 0.9999, 0)],
)
def test_cut_bag_yields_every_whole_message(
    modern: Path, tmp_path: Path, as_ros_1: AsRos1, compression: str, fraction: float, lost: int
) -> None:
    bag = as_ros_1(modern, tmp_path / 'old.bag', compression)
    everything = read(bag)
    content = bag.read_bytes()
    bag.write_bytes(content[: int(len(content) * fraction)])
    found = read(bag)
    assert found == everything[: len(found)]
    images = sum(topic == '/image' for topic, *_ in found)
    assert images >= int(40 * fraction) - lost
    with BagReader(bag) as reader:
        (damage,) = reader.damage
        assert damage.startswith('old.bag has no complete index; the complete part is used, ')
        assert reader.topics['/image'].count == images
        assert reader.end_ns == found[-1][1]


def test_bag_of_a_killed_recorder_is_read(modern: Path, tmp_path: Path, as_ros_1: AsRos1) -> None:
    bag = as_ros_1(modern, tmp_path / 'old.bag')
    everything = read(bag)
    content = bytearray(bag.read_bytes())
    # While recording, the offset of the index and the size of the last chunk are zero.
    at = content.index(b'index_pos=') + len(b'index_pos=')
    (index,) = struct.unpack_from('<Q', content, at)
    content[at : at + 8] = bytes(8)
    last = content.rindex(b'compression=none')
    size_at = content.index(b'size=', last) + len(b'size=')
    content[size_at : size_at + 8] = bytes(8)
    active = tmp_path / 'drive.bag.active'
    active.write_bytes(content[: index - 3000])
    found = read(active)
    assert found == everything[: len(found)]
    assert len(found) >= len(everything) - 2


def test_damaged_chunk_is_left_out(modern: Path, tmp_path: Path, as_ros_1: AsRos1) -> None:
    bag = as_ros_1(modern, tmp_path / 'old.bag', 'bz2')
    content = bytearray(bag.read_bytes())
    middle = content.index(b'compression=bz2', len(content) // 3) + 60
    content[middle : middle + 100] = bytes(100)
    bag.write_bytes(content[:-100])
    with BagReader(bag) as reader:
        found = [m.bag_stamp_ns for m in reader.messages(['/image'])]
        assert 20 < len(found) < 40
        assert '1 damaged chunks are skipped' in reader.damage[0]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'#ROSBAG V1.2\n', 'old.bag is not a ROS 1 bag of format 2.0'),
        (b'#ROSBAG V2.0\n' + bytes(5000), 'old.bag: no complete message; copy it again'),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / 'old.bag').write_bytes(content)
    with pytest.raises(BagError, match=message) as error, BagReader(tmp_path / 'old.bag'):
        pass
    assert '\n' not in str(error.value)


def write_own(path: Path, definitions: list[tuple[str, str, str]], raw: bytes = b'') -> Path:
    """Write a bag with one message, `raw` or zeros, for each (topic, type, definition)."""
    with Ros1Writer(path) as writer:
        for topic, kind, definition in definitions:
            store = get_typestore(Stores.EMPTY)
            store.register(get_types_from_msg(definition, kind))
            connection = writer.add_connection(topic, kind, typestore=store)
            writer.write(connection, START, raw or bytes(64))
    return path


def test_types_of_ones_own_and_old_names(tmp_path: Path) -> None:
    definition = 'uint8 first\nfloat64[7] Second'
    bag = write_own(tmp_path / 'old.bag', [('own', 'my_msgs/msg/Own', definition)], bytes(57))
    with BagReader(bag) as reader:
        message = next(reader.messages(['/own']))
        assert message.topic == '/own'
        assert reader.deserialize(message.raw, message.msgtype).Second.tolist() == [0.0] * 7
    transforms = 'geometry_msgs/TransformStamped[] transforms'
    noetic = get_typestore(Stores.ROS1_NOETIC)
    noetic.register(get_types_from_msg(transforms, 'tf/msg/tfMessage'))
    with Ros1Writer(tmp_path / 'tf.bag') as writer:
        connection = writer.add_connection('/tf', 'tf/msg/tfMessage', typestore=noetic)
        writer.write(connection, START, bytes(4))
    with BagReader(tmp_path / 'tf.bag') as reader:
        message = next(reader.messages(['/tf']))
        assert message.msgtype == TF
        assert reader.deserialize(message.raw, TF).transforms == []


def test_what_ros_2_defines_otherwise_is_known_but_not_read(tmp_path: Path) -> None:
    bag = write_own(
        tmp_path / 'old.bag',
        [
            ('/point', 'geometry_msgs/msg/Point', 'float32 x\nfloat32 y'),
            ('/own', 'my_msgs/msg/Own', 'uint8[64] data'),
            ('/other', 'my_msgs/msg/Own', 'uint32[16] data'),
        ],
    )
    with BagReader(bag) as reader:
        readable = {topic.name: topic.readable for topic in reader.topics.values()}
        assert readable == {'/other': False, '/own': True, '/point': False}
        assert reader.topics['/point'].type == 'ros1 geometry_msgs/msg/Point'
        assert [m.topic for m in reader.messages()] == ['/own']


def test_damaged_message_does_not_end_the_bag(tmp_path: Path) -> None:
    bag = write_own(
        tmp_path / 'old.bag',
        [(topic, 'my_msgs/msg/Own', 'uint8[] data') for topic in ('/own', '/own_too')],
        (9).to_bytes(4, 'little') + bytes(3),
    )
    with BagReader(bag) as reader:
        messages = list(reader.messages())
        assert [m.raw for m in messages] == [b'', b'']
        with pytest.raises(BagError, match='message is damaged'):
            reader.deserialize(messages[0].raw, messages[0].msgtype)


@pytest.mark.parametrize(
    ('definition', 'readable'),
    [
        ('uint8 first\ngeometry_msgs/Point[] points', True),
        ('uint8 first\nmy_msgs/Missing[2] parts', False),
        ('string PLACE=/a/b\nuint8 first', True),
        ('uint8 class\nuint8 class_', False),
    ],
)
def test_types_that_the_bag_does_not_define_completely(
    tmp_path: Path, definition: str, readable: bool
) -> None:
    with Ros1Writer(tmp_path / 'old.bag') as writer:
        for topic, text in (('/own', definition), ('/other', 'uint8 data')):
            kind = f'my_msgs/msg/{topic[1:].title()}'
            connection = writer.add_connection(topic, kind, msgdef=text, md5sum='*')
            writer.write(connection, START, bytes(8))
    with BagReader(tmp_path / 'old.bag') as reader:
        assert {t.name: t.readable for t in reader.topics.values()} == {
            '/other': True,
            '/own': readable,
        }
        assert [m.topic for m in reader.messages()] == ['/own', '/other'][not readable :]
