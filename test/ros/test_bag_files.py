"""Bags are read completely despite killed recorders, split files and wrong metadata."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import struct
import tempfile
import zlib
from pathlib import Path

import pytest
import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from drive_segment_ros.errors import BagError
from drive_segment_ros.ros.bag_files import zstd_module
from drive_segment_ros.ros.bags import BagReader

STORE = get_typestore(Stores.ROS2_JAZZY)
TEXT = 'std_msgs/msg/String'
START = 1_700_000_000_000_000_000
COUNT = 20


def text(k: int) -> bytes:
    return bytes(STORE.serialize_cdr(STORE.types[TEXT](data=f'{k} ' + 'x' * 300), TEXT))


EXPECTED = [('/text', START + k, text(k)) for k in range(COUNT)]


def write(path: Path, storage=StoragePlugin.SQLITE3, numbers=range(COUNT), mode=None) -> Path:
    """Write texts to a bag and return its storage file."""
    writer = Writer(path, version=9, storage_plugin=storage)
    if mode:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection('/text', TEXT, typestore=STORE)
        for k in numbers:
            writer.write(connection, START + k, text(k))
    (file,) = (f for f in path.iterdir() if f.suffix != '.yaml')
    return file


def read(path: Path) -> tuple[list[tuple[str, int, bytes]], list[str]]:
    """Return the messages of a bag and its damage report; check that no file is changed."""
    before = {f: f.stat().st_mtime_ns for f in path.rglob('*')} if path.is_dir() else {}
    with BagReader(path) as reader:
        found = [(m.topic, m.bag_stamp_ns, m.raw) for m in reader.messages()]
        assert reader.topics['/text'].count == len(found)
        if found:
            assert (reader.start_ns, reader.end_ns) == (found[0][1], found[-1][1])
    assert before == ({f: f.stat().st_mtime_ns for f in path.rglob('*')} if before else {})
    return found, reader.damage


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """Use a folder for temporary files, and check that it is empty after the test."""
    folder = tmp_path / 'temporary'
    folder.mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(folder))
    yield folder
    assert not list(folder.iterdir())


def kill_a_recorder(bag: Path, journal: str) -> None:
    """Leave a database and its journal as a killed recorder does.

    In WAL mode, the second half of the messages is only in the WAL; with a rollback journal, an
    unfinished transaction has begun to overwrite committed messages.
    """
    file = write(bag)
    work = bag.parent / 'work.db3'
    shutil.copy(file, work)
    database = sqlite3.connect(work, isolation_level=None)
    with contextlib.closing(database):
        database.execute(f'PRAGMA journal_mode={journal}')
        if journal == 'WAL':
            rows = database.execute('SELECT * FROM messages').fetchall()
            database.execute('PRAGMA wal_autocheckpoint=0')
            database.execute('DELETE FROM messages WHERE id > 10')
            database.execute('PRAGMA wal_checkpoint(TRUNCATE)')
            database.executemany('INSERT INTO messages VALUES (?, ?, ?, ?)', rows[10:])
        else:
            database.execute('PRAGMA cache_size=1')  # what exceeds the cache is written at once
            database.execute('BEGIN')
            database.execute('UPDATE messages SET data = zeroblob(900)')
        for left in (work, work.with_name(f'work.db3-{"wal" if journal == "WAL" else "journal"}')):
            shutil.copy(left, bag / left.name.replace('work.db3', file.name))


@pytest.mark.parametrize('journal', ['WAL', 'DELETE'])
@pytest.mark.parametrize('metadata', [True, False])
def test_all_that_a_killed_recorder_committed_is_read(tmp_path, journal, metadata):
    kill_a_recorder(tmp_path / 'bag', journal)
    if not metadata:
        (tmp_path / 'bag/metadata.yaml').unlink()
    found, damage = read(tmp_path / 'bag')
    assert found == EXPECTED
    assert len(damage) == (not metadata)
    assert read(tmp_path / 'bag/bag.db3') == (EXPECTED, [])


def test_no_room_for_temporary_files_is_one_line(tmp_path, monkeypatch):
    kill_a_recorder(tmp_path / 'bag', 'WAL')

    def full(*_):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(shutil, 'copyfile', full)
        with pytest.raises(BagError, match=r'bag\.db3: not enough space .* set TMPDIR to a'):
            read(tmp_path / 'bag')
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'none'))
    with pytest.raises(BagError, match=r'bag must be unpacked.* set TMPDIR'):
        read(tmp_path / 'bag')
    monkeypatch.undo()


def edit(bag: Path, **changes) -> None:
    path = bag / 'metadata.yaml'
    content = yaml.safe_load(path.read_text())
    info = content['rosbag2_bagfile_information']
    topic = info['topics_with_message_count'][0]
    for name, value in changes.items():
        target = topic['topic_metadata'] if name in topic['topic_metadata'] else info
        (topic if name == 'count' else target)['message_count' if name == 'count' else name] = (
            value
        )
    path.write_text(yaml.safe_dump(content))


QOS = [{'history': 3, 'depth': 7, 'reliability': 1, 'durability': 2, 'liveliness': 1}]
NEVER = {'sec': 0, 'nsec': 0}
QOS[0] |= {'deadline': NEVER, 'lifespan': NEVER, 'liveliness_lease_duration': NEVER}
QOS[0] |= {'avoid_ros_namespace_conventions': False}


@pytest.mark.parametrize('storage', StoragePlugin)
@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'offered_qos_profiles': QOS}, []),
        ({'type_description_hash': 'RIHS01_of_another_version'}, []),
        ({'count': 3, 'starting_time': {'nanoseconds_since_epoch': 5}}, []),
        ({'topics_with_message_count': []}, []),
        ({'compression_mode': 'message', 'compression_format': 'zstd'}, []),
        ({'count': 99}, ['metadata.yaml has 99 messages of /text, the files have 20']),
    ],
)
def test_metadata_of_another_state_hides_no_message(tmp_path, storage, changes, said):
    write(tmp_path / 'bag', storage)
    edit(tmp_path / 'bag', **changes)
    assert read(tmp_path / 'bag') == (EXPECTED, said)


def test_offers_are_those_of_the_storage_or_else_of_the_metadata(tmp_path):
    write(tmp_path / 'bag')
    edit(tmp_path / 'bag', offered_qos_profiles=QOS)
    with BagReader(tmp_path / 'bag') as reader:
        assert [offer.depth for offer in reader.topics['/text'].qos] == [7]
    edit(tmp_path / 'bag', offered_qos_profiles=[{'history': 3}])
    with BagReader(tmp_path / 'bag') as reader:
        assert reader.topics['/text'].qos == ()


def split_bag(folder: Path, storage: StoragePlugin, suffix: str = '') -> list[Path]:
    """Write a bag in three parts without metadata.yaml."""
    folder.mkdir()
    parts = []
    for part, numbers in ((0, range(7)), (2, range(7, 13)), (10, range(13, COUNT))):
        file = write(folder.parent / f'part_{part}', storage, numbers)
        parts.append(folder / f'{folder.name}_{part}{file.suffix}{suffix}')
        data = file.read_bytes()
        parts[-1].write_bytes(zstd_module().compress(data) if suffix else data)
    return parts


@pytest.mark.parametrize('storage', StoragePlugin)
@pytest.mark.parametrize('suffix', ['.zstd', '.zst', ''])
def test_split_bags_are_read_compressed_or_not(tmp_path, storage, suffix):
    parts = split_bag(tmp_path / 'bag', storage, suffix)
    found, damage = read(tmp_path / 'bag')
    assert found == EXPECTED
    assert len(damage) == 1
    assert 'no metadata.yaml' in damage[0]
    assert read(parts[0]) == (EXPECTED[:7], [])


@pytest.mark.parametrize('storage', StoragePlugin)
@pytest.mark.parametrize('suffix', ['.zstd', ''])
def test_one_part_that_is_cut_is_named_and_the_others_are_read(tmp_path, storage, suffix):
    parts = split_bag(tmp_path / 'bag', storage, suffix)
    parts[1].write_bytes(parts[1].read_bytes()[:700])
    found, damage = read(tmp_path / 'bag')
    assert found[:7] == EXPECTED[:7]
    assert found[-7:] == EXPECTED[-7:]
    assert [line for line in damage if 'bag_2' in line] == damage[1:]
    assert len(damage) > 1


@pytest.mark.parametrize('storage', StoragePlugin)
@pytest.mark.parametrize('mode', [CompressionMode.FILE, CompressionMode.MESSAGE])
@pytest.mark.parametrize('metadata', [True, False])
def test_both_ways_of_compression_need_no_metadata(tmp_path, storage, mode, metadata):
    file = write(tmp_path / 'bag', storage, mode=mode)
    assert (file.suffix == '.zstd') == (mode == CompressionMode.FILE)
    if not metadata:
        (tmp_path / 'bag/metadata.yaml').unlink()
    found, damage = read(tmp_path / 'bag')
    assert found == EXPECTED
    assert len(damage) == (not metadata)


def test_parts_compressed_or_decompressed_by_hand_are_found(tmp_path):
    file = write(tmp_path / 'bag')
    compressed = Path(f'{file}.zst')
    compressed.write_bytes(zstd_module().compress(file.read_bytes()))
    found, (both,) = read(tmp_path / 'bag')
    assert found == EXPECTED
    assert both == 'bag.db3.zst is ignored: bag.db3 is used'
    file.unlink()
    assert read(tmp_path / 'bag') == (EXPECTED, [])


def test_every_other_file_is_named_and_junk_is_not(tmp_path):
    bag = tmp_path / 'bag'
    write(bag, StoragePlugin.MCAP)
    for junk in ('._bag.mcap', '.DS_Store', '.bag.mcap.Xa3', 'notes.txt', 'bag.mcap-wal'):
        (bag / junk).write_bytes(b'\x00\x05\x16\x07')
    (bag / 'folder.mcap').mkdir()
    assert read(bag) == (EXPECTED, [])
    for name in ('bag_1.mcap', 'bag_2.mcap.gz', 'lost.db3-wal'):
        (bag / name).write_bytes(b'\x00\x05\x16\x07')
    found, damage = read(bag)
    assert found == EXPECTED
    assert 'bag_1.mcap is ignored: metadata.yaml does not list it' in damage[-1]
    assert len(damage) == 3
    assert 'bag_2.mcap.gz is ignored; if it belongs to the bag, decompress it' in damage[0]


@pytest.mark.parametrize('journal', ['', 'WAL'])
@pytest.mark.parametrize('name', ['drive #1', '50% rain?', 'a%20b', 'naïve & "quoted"'])
def test_paths_may_hold_any_character(tmp_path, name, journal):
    if journal:
        kill_a_recorder(tmp_path / 'bag', journal)
    else:
        write(tmp_path / 'bag')
    (tmp_path / name).mkdir()
    (tmp_path / 'bag').rename(tmp_path / name / 'bag')
    assert read(tmp_path / name / 'bag') == (EXPECTED, [])


def record(opcode: int, content: bytes) -> bytes:
    return struct.pack('<BQ', opcode, len(content)) + content


def string(value: str | bytes) -> bytes:
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack('<I', len(data)) + data


def mcap(
    profile: str = 'ros2',
    encoding: str = 'cdr',
    schema: tuple[str, str, bytes] = (TEXT, 'ros2msg', b'string data'),
    private: tuple[int, ...] = (),
    chunks: int = 2,
    order: tuple[int, ...] = tuple(range(COUNT)),
    end: bool = True,
) -> bytes:
    """Return an MCAP file as other writers make it: without summary and without any index."""
    name, language, definition = schema
    head = record(3, struct.pack('<H', 1) + string(name) + string(language) + string(definition))
    head += record(4, struct.pack('<HH', 1, 1) + string('/text') + string(encoding) + string(b''))
    messages = [
        (START + k, record(5, struct.pack('<HIQQ', 1, k, START + k, 0) + text(k))) for k in order
    ]
    data = b'\x89MCAP0\r\n' + record(1, string(profile) + string('a writer'))
    if not chunks:
        data += head + b''.join(content for _, content in messages)
    size = len(order) // (chunks or 1)
    for first in range(0, len(order) if chunks else 0, size):
        part = messages[first : first + size]
        content = head + b''.join(content for _, content in part)
        stamps = [stamp for stamp, _ in part]
        numbers = struct.pack('<QQQI', min(stamps), max(stamps), len(content), zlib.crc32(content))
        data += record(6, numbers + string('') + struct.pack('<Q', len(content)) + content)
        for opcode in private:
            data += record(opcode, b'of a vendor')
    if not end:
        return data
    footer = record(2, struct.pack('<QQI', 0, 0, 0)) + b'\x89MCAP0\r\n'
    return data + record(15, struct.pack('<I', 0)) + footer


@pytest.mark.parametrize(
    'how',
    [
        {},
        {'profile': ''},
        {'profile': 'a vendor'},
        {'chunks': 0},
        {'chunks': 0, 'profile': ''},
        {'private': (0x80, 0xFF, 0x10)},
        {'private': (0x81,), 'profile': ''},
        {'schema': ('std_msgs/String', 'ros2msg', b'string data'), 'profile': ''},
        {'schema': ('std_msgs::msg::dds_::String_', 'ros2msg', b'string data')},
        {'schema': (TEXT, 'jsonschema', b'{}')},
        {'order': tuple(reversed(range(COUNT)))},
        {'order': tuple(reversed(range(COUNT))), 'chunks': 0},
    ],
)
def test_whole_files_of_other_writers_are_read_without_a_word(tmp_path, how):
    path = tmp_path / 'drive.mcap'
    path.write_bytes(mcap(**how))
    assert read(path) == (EXPECTED, [])
    with BagReader(path) as reader:
        assert reader.topics['/text'].type == TEXT
        assert reader.topics['/text'].readable


def test_a_cut_file_is_read_beyond_private_records(tmp_path):
    path = tmp_path / 'drive.mcap'
    path.write_bytes(mcap(private=(0x81,), end=False)[:-100])
    found, (damage,) = read(path)
    assert found == EXPECTED[: len(found)]
    assert len(found) > COUNT // 2
    assert 'truncated' in damage


@pytest.mark.parametrize(
    ('encoding', 'schema', 'said'),
    [
        ('ros1', ('std_msgs/String', 'ros1msg', b'string data'), 'give the original .bag file'),
        ('ros1', (TEXT, 'ros2msg', b'string data'), 'give the original .bag file'),
        ('protobuf', ('foxglove.Text', 'protobuf', b'\xff\x00\xfe'), 'encoded as protobuf'),
        ('json', ('Text', 'jsonschema', b'{}'), 'encoded as json'),
    ],
)
@pytest.mark.parametrize('profile', ['ros2', ''])
def test_messages_of_other_encodings_are_refused_with_what_to_do(
    tmp_path, encoding, schema, said, profile
):
    path = tmp_path / 'drive.mcap'
    path.write_bytes(mcap(profile, encoding, schema))
    with pytest.raises(BagError, match=f'drive.mcap: .*{said}') as error, BagReader(path):
        pass
    assert '\n' not in str(error.value)


def test_counts_of_an_index_that_finds_nothing_are_not_believed(tmp_path):
    """Some writers omit the message indexes; rosbags alone then reads no message."""
    file = write(tmp_path / 'bag', StoragePlugin.MCAP)
    data = file.read_bytes()
    (summary,) = struct.unpack_from('<Q', data, len(data) - 28)
    position, rest = 8, b''
    while position < summary:
        opcode, length = struct.unpack_from('<BQ', data, position)
        if opcode == 8:
            raise AssertionError('no index before the summary')
        position += 9 + length
    while position < len(data) - 8:
        opcode, length = struct.unpack_from('<BQ', data, position)
        content = data[position + 9 : position + 9 + length]
        if opcode == 8:  # times, offset and length of the chunk, then the map of its indexes
            (size,) = struct.unpack_from('<I', content, 32)
            content = content[:32] + struct.pack('<I', 0) + content[36 + size :]
        if opcode != 14:
            rest += record(opcode, content)
        position += 9 + length
    file.write_bytes(data[:summary] + rest + data[-8:])
    assert read(tmp_path / 'bag') == (EXPECTED, [])


@pytest.mark.parametrize('name', ['bag_1²2.db3', 'bag_²2.db3', 'bag_١.db3'])
def test_digits_of_any_script_may_be_in_names(tmp_path, name):
    file = write(tmp_path / 'bag')
    file.rename(file.with_name(name))
    (tmp_path / 'bag/metadata.yaml').unlink()
    with BagReader(tmp_path / 'bag') as bag:
        assert bag.topics['/text'].count == COUNT


@pytest.mark.parametrize('count', ['.inf', '-.inf', '.nan'])
def test_a_count_that_is_none_leaves_the_files_to_be_read(tmp_path, count):
    write(tmp_path / 'bag')
    metadata = tmp_path / 'bag/metadata.yaml'
    text = metadata.read_text()
    assert f'message_count: {COUNT}' in text
    metadata.write_text(text.replace(f'message_count: {COUNT}', f'message_count: {count}'))
    with BagReader(tmp_path / 'bag') as bag:
        assert bag.topics['/text'].count == COUNT
        assert 'metadata.yaml that cannot be used' in bag.damage[0]
