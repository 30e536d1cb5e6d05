"""Bags in object storage read like local ones, and only what is needed is fetched."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
import tempfile
import time
from pathlib import Path

import pytest

from drive_segment_ros.errors import BagError
from drive_segment_ros.ros.bags import BagReader
from drive_segment_ros.ros.joined_bags import open_drive
from drive_segment_ros.storage import write_files, write_whole

SECOND = 10**9
START = 100 * SECOND


def upload(bag: Path, bucket: Path) -> Path:
    """Copy a bag's folder to a bucket; return its location."""
    write_files(bucket / bag.name, {file.name: file.read_bytes() for file in bag.iterdir()})
    return bucket / bag.name


def size_of(bag: Path) -> int:
    return sum(file.stat().st_size for file in bag.glob('*.mcap'))


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make local copies in a folder that the test can inspect."""
    (tmp_path / 'scratch').mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'scratch'))
    from drive_segment_ros import scratch, staging

    staging._copy.cache_clear()
    scratch.made_scratch.cache_clear()


@pytest.mark.parametrize('bare', [False, True])
def test_it_is_the_local_one(any_bag: Path, bucket: Path, bare: bool) -> None:
    remote = upload(any_bag, bucket)
    here = there = any_bag
    if bare:
        here = next(file for file in any_bag.iterdir() if file.suffix != '.yaml')
        there = remote / here.name
    else:
        there = remote
    with BagReader(here) as one, BagReader(there) as two:
        assert one.topics == two.topics
        assert (one.start_ns, one.end_ns) == (two.start_ns, two.end_ns)
        assert list(one.messages()) == list(two.messages())
        window = (['/text'], START + SECOND, START + 2 * SECOND)
        texts = list(two.messages(*window))
        assert texts == list(one.messages(*window))
        assert len(texts) == 10
        assert one.damage == two.damage == []
        assert two.deserialize(texts[0].raw, texts[0].msgtype).data == 'message 10'


def test_a_url_as_text_and_parts_of_a_drive(any_bag: Path, bucket: Path) -> None:
    remote = upload(any_bag, bucket)
    for bags in (str(remote), remote, [remote]):
        with open_drive(bags) as reader:
            assert reader.topics['/cloud'].count == 60
    with pytest.raises(BagError, match='is given twice'):
        open_drive([remote, remote])


def test_a_tenth_of_the_time_is_a_tenth_of_the_bytes(
    large_bag: Path, bucket: Path, s3_server
) -> None:
    remote = upload(large_bag, bucket)
    s3_server.reset()
    with BagReader(remote) as reader:
        span = reader.end_ns - reader.start_ns
        opened = s3_server.sent
        start = reader.start_ns + span // 2
        found = list(reader.messages(None, start, start + span // 10))
    assert len(found) == 60
    assert opened < 0.01 * size_of(large_bag)
    assert s3_server.sent < 0.2 * size_of(large_bag)
    assert len(s3_server.asked) < 20


def test_all_of_it_is_fetched_once(large_bag: Path, bucket: Path, s3_server) -> None:
    remote = upload(large_bag, bucket)
    s3_server.reset()
    with BagReader(remote) as reader:
        assert len(list(reader.messages())) == 600
    assert s3_server.sent < 1.1 * size_of(large_bag)
    # One request per chunk of 1 MB, and some to open the bag.
    assert len(s3_server.asked) < 1.1 * size_of(large_bag) / 1e6 + 15


def test_readers_of_one_bag_do_not_disturb_each_other(any_bag: Path, bucket: Path) -> None:
    with BagReader(upload(any_bag, bucket)) as reader:
        once = list(reader.messages())
        streams = [reader.messages(), reader.messages(['/cloud'])]
        both = list(zip(*streams, strict=False))
        assert [message for message, _ in both] == once[: len(both)]


def test_what_nobody_reads_to_the_end_is_fetched_no_further(
    large_bag: Path, bucket: Path, s3_server
) -> None:
    remote = upload(large_bag, bucket)
    s3_server.reset()
    with BagReader(remote) as reader:
        messages = reader.messages()
        next(messages)
        messages.close()
    before = -1
    while s3_server.sent > before:  # until pending requests are complete
        before = s3_server.sent
        time.sleep(1.0)
    assert s3_server.sent < 0.4 * size_of(large_bag)


def test_a_file_without_an_index_is_copied_once(
    large_bag: Path, bucket: Path, s3_server, caplog: pytest.LogCaptureFixture
) -> None:
    (file,) = large_bag.glob('*.mcap')
    data = file.read_bytes()[: size_of(large_bag) // 4]
    write_whole(bucket / 'cut.mcap', data)
    s3_server.reset()
    for _ in range(2):
        with BagReader(bucket / 'cut.mcap') as reader:
            assert len(list(reader.messages())) > 100
            (damage,) = reader.damage
            assert damage.startswith('cut.mcap is truncated after')
    assert len(data) < s3_server.sent < 1.1 * len(data)

    # A changed file is copied again.
    write_whole(bucket / 'cut.mcap', data[: len(data) // 2])
    with BagReader(bucket / 'cut.mcap') as reader:
        assert 10 < len(list(reader.messages())) < 100


def test_a_file_that_was_finished_without_an_index_is_copied(
    large_bag: Path, bucket: Path, s3_server
) -> None:
    (file,) = large_bag.glob('*.mcap')
    data = file.read_bytes()
    (summary,) = struct.unpack_from('<Q', data, len(data) - 28)
    write_whole(bucket / 'plain.mcap', data[:summary] + b'\2\x14' + bytes(27) + data[-8:])
    s3_server.reset()
    with BagReader(bucket / 'plain.mcap') as reader:
        assert len(list(reader.messages())) == 600
        assert reader.damage == []
    assert s3_server.sent < 1.1 * len(data)


def test_what_a_killed_recorder_left_is_read(database: Path, bucket: Path) -> None:
    (file,) = database.glob('*.db3')
    with contextlib.closing(sqlite3.connect(file)) as opened:
        opened.execute('PRAGMA journal_mode=WAL')
        opened.execute('DELETE FROM messages WHERE id > 100')
        opened.commit()
        assert (database / f'{file.name}-wal').exists()
        remote = upload(database, bucket)
    with BagReader(remote) as reader:
        assert len(list(reader.messages())) == 100


def test_what_is_missing_is_said_as_of_a_local_bag(large_bag: Path, bucket: Path) -> None:
    with pytest.raises(BagError, match=r'^s3://.*/none: no such bag; give a bag folder'):
        BagReader(bucket / 'none')
    write_whole(bucket / 'text.txt', b'')
    with pytest.raises(BagError, match=r'text.txt is a file of another kind .*, not a bag'):
        BagReader(bucket / 'text.txt')
    write_whole(bucket / 'old.bag', b'')
    with pytest.raises(BagError, match=r'old.bag cannot be read: '), BagReader(bucket / 'old.bag'):
        pass
    remote = upload(large_bag, bucket)
    (remote / 'metadata.yaml').unlink()
    with BagReader(remote) as reader:
        (line,) = reader.damage
        assert 'has no metadata.yaml, as after a crash' in line
    write_whole(bucket / 'torn/torn.mcap', b'\x89MCAP0\r\nnonsense')
    with (
        pytest.raises(BagError, match=r'torn cannot be read: .*torn.mcap: no complete'),
        BagReader(bucket / 'torn'),
    ):
        pass
    with pytest.raises(BagError, match=r's3://no-such-bucket-x/bag: no such bag'):
        BagReader('s3://no-such-bucket-x/bag')


def test_a_storage_that_fails_on_the_way_is_no_damage(
    large_bag: Path, bucket: Path, s3_server
) -> None:
    """A failed fetch raises an error; the messages must not be skipped as damaged."""
    remote = upload(large_bag, bucket)
    with BagReader(remote) as reader:
        messages = reader.messages()
        next(messages)
        s3_server.refuse = lambda method, path: True
        with pytest.raises(BagError, match=r's3://.*: large.mcap: access is denied'):
            list(messages)
    # A bag of two files is refused if one of them cannot be fetched.
    s3_server.reset()
    (file,) = large_bag.glob('*.mcap')
    data = file.read_bytes()
    write_files(bucket / 'two', {'first.mcap': data, 'second.mcap': data})
    s3_server.refuse = lambda method, path: path.endswith('second.mcap')
    with (
        pytest.raises(BagError, match=r'two cannot be read: second.mcap: access is denied'),
        BagReader(bucket / 'two'),
    ):
        pass


def test_copies_go_with_the_process(large_bag: Path, bucket: Path, tmp_path: Path) -> None:
    from drive_segment_ros import staging

    (file,) = large_bag.glob('*.mcap')
    write_whole(bucket / 'cut.mcap', file.read_bytes()[:3_000_000])
    child = os.fork()
    if not child:
        staging.local_copy(bucket / 'cut.mcap')
        count = len(list((tmp_path / 'scratch').rglob('cut.mcap')))
        import atexit

        atexit._run_exitfuncs()
        os._exit(count)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert list((tmp_path / 'scratch').iterdir()) == []
