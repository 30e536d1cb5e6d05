"""Temporary local copies of remote files, and uploads that are complete or absent."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest

from drive_segment_ros import staging
from drive_segment_ros.errors import ModelError, OutputError, StorageError
from drive_segment_ros.scratch import made_scratch
from drive_segment_ros.staging import local_copy, renamed, staged, staged_output
from drive_segment_ros.storage import (
    file_names,
    location,
    read_many,
    read_whole,
    write_files,
    write_whole,
)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which local copies are made."""
    (tmp_path / 'scratch').mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'scratch'))
    staging._copy.cache_clear()
    made_scratch.cache_clear()
    return tmp_path / 'scratch'


@pytest.fixture
def run(bucket: Path) -> Path:
    """Return a remote folder of three files; its name is the prefix of another folder's."""
    write_files(bucket, {'run/run.json': b'{}', 'run/a/b/model': b'm', 'run/empty': b''})
    write_files(bucket, {'run2/other': b''})
    return bucket / 'run'


def names_below(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob('*') if p.is_file())


def test_a_folder_is_here_for_a_while(run: Path, scratch: Path) -> None:
    with staged(run) as local:
        assert local.name == 'run'
        assert names_below(local) == ['a/b/model', 'empty', 'run.json']
        assert (local / 'a/b/model').read_bytes() == b'm'
    assert names_below(scratch) == []
    with staged(run / 'a/b/model') as file:
        assert file.read_bytes() == b'm'
    with staged(scratch) as same:
        assert same is scratch


def test_errors_name_the_url_not_the_copy(run: Path, scratch: Path) -> None:
    with (
        pytest.raises(ModelError, match=r'^s3://[^/]*/run/model is damaged'),
        staged(run) as here,
    ):
        raise ModelError(f'{here}/model is damaged; export it again')
    with (
        pytest.raises(StorageError, match=r'read s3://.*/none: No such file'),
        staged(run.parent / 'none'),
    ):
        pass
    assert names_below(scratch) == []


def test_a_copy_is_made_once_and_again_when_it_has_changed(run: Path, s3_server) -> None:
    copy = local_copy(run)
    s3_server.reset()
    assert local_copy(location(str(run))) == copy
    assert [method for method, path in s3_server.asked if path.endswith('model')] == []
    write_files(run, {'a/b/model': b'n'})
    assert (local_copy(run) / 'a/b/model').read_bytes() == b'n'
    assert local_copy(run / 'a/b/model').read_bytes() == b'n'


def test_no_room_for_a_copy_is_one_line(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(staging.filesystem(run), 'get', full)
    with pytest.raises(
        StorageError, match=r'cannot read s3://.*: not enough space for a copy in .*TMPDIR'
    ):
        local_copy(run)


def test_keys_that_lead_out_of_the_folder_are_refused(run: Path, scratch: Path) -> None:
    import boto3

    client = boto3.client('s3')
    client.put_object(Bucket=str(run).split('/')[2], Key='run/../../evil', Body=b'')
    with pytest.raises(StorageError, match='leads out of the folder'):
        local_copy(run)


def write_run(folder: Path) -> None:
    (folder / 'student').mkdir()
    (folder / 'student/model.safetensors').write_bytes(b'model')
    (folder / 'run.json').write_bytes(b'{}')
    (folder / 'cache').mkdir()
    (folder / 'cache/large').write_bytes(b'')
    (folder / '.run.json.x').write_bytes(b'')


def test_what_makes_a_folder_complete_is_uploaded_last(
    bucket: Path, s3_server, scratch: Path
) -> None:
    with staged_output(bucket / 'out', 'student/*.safetensors', leave_out='cache/*') as local:
        write_run(local)
        report = renamed({'run': local, 'stages': [str(local / 'student')]}, local, bucket / 'out')
    puts = [path for method, path in s3_server.asked if method == 'PUT']
    assert [path.split('/out/')[1] for path in puts] == ['run.json', 'student/model.safetensors']
    assert report == {'run': str(bucket / 'out'), 'stages': [f'{bucket / "out"}/student']}
    assert read_whole(bucket / 'out/student/model.safetensors') == b'model'
    assert list(scratch.iterdir()) == []


def test_an_upload_that_breaks_leaves_nothing_that_looks_complete(
    bucket: Path, s3_server, scratch: Path
) -> None:
    """An earlier result that it replaces looks incomplete too; the local results are kept."""
    with staged_output(bucket / 'out', '*/model.safetensors') as local:
        write_run(local)
    s3_server.refuse = lambda method, path: method == 'PUT' and path.endswith('run.json')
    with (
        pytest.raises(
            StorageError, match=r'cannot write s3://.*/out: access .*copy the results from /.*/out'
        ),
        staged_output(bucket / 'out', '*/model.safetensors', overwrite=True) as local,
    ):
        write_run(local)
    assert file_names(bucket / 'out') == ['run.json']
    with pytest.raises(FileNotFoundError):
        file_names(bucket / 'out/student')
    (kept,) = scratch.iterdir()
    assert (kept / 'out/student/model.safetensors').read_bytes() == b'model'


def test_work_that_fails_uploads_nothing(bucket: Path, s3_server, scratch: Path) -> None:
    def work(error: BaseException) -> None:
        with staged_output(bucket / 'out', 'run.json') as local:
            write_run(local)
            raise error

    for error in (ModelError('diverged'), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            work(error)
    assert 'PUT' not in [method for method, _ in s3_server.asked]
    assert list(scratch.iterdir()) == []


def test_what_is_there_is_not_replaced_unasked(run: Path) -> None:
    with (
        pytest.raises(OutputError, match='run exists and is not'),
        staged_output(run),
    ):
        pass


def test_going_on_starts_from_what_is_there(run: Path, s3_server) -> None:
    with staged_output(run, resume=True) as local:
        assert names_below(local) == ['a/b/model', 'empty', 'run.json']
        (local / 'run.json').write_bytes(b'{"a": 1}')
        s3_server.reset()
    # Only changed files are uploaded.
    assert [p.split('/run/')[1] for m, p in s3_server.asked if m == 'PUT'] == ['run.json']
    with staged_output(run.parent / 'new', resume=True) as local:
        assert names_below(local) == []


def test_a_bucket_that_is_not_there_is_said_before_the_work(bucket: Path) -> None:
    with (
        pytest.raises(StorageError, match=r'cannot write s3://no-such/out: there is no such buck'),
        staged_output(location('s3://no-such/out')),
    ):
        pytest.fail('the work began')


def test_checkpoints_are_uploaded_meanwhile(bucket: Path) -> None:
    """If the work is interrupted, uploaded checkpoints remain and nothing looks complete."""

    def uploaded() -> bytes | OSError:
        return read_many([bucket / 'out/student/checkpoint'])[0]

    def work() -> None:
        with staged_output(bucket / 'out', '*/model.safetensors', every_s=0.05) as local:
            write_run(local)
            for content in (b'1', b'22'):
                (local / 'student/checkpoint').write_bytes(content)
                until = time.monotonic() + 60.0
                while uploaded() != content and time.monotonic() < until:
                    time.sleep(0.02)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert uploaded() == b'22'
    assert file_names(bucket / 'out/student') == ['checkpoint']


def test_an_upload_that_fails_meanwhile_is_told_and_tried_again(
    bucket: Path, s3_server, caplog: pytest.LogCaptureFixture
) -> None:
    s3_server.refuse = lambda method, path: method == 'PUT'
    with staged_output(bucket / 'out', every_s=0.05) as local:
        (local / 'file').write_bytes(b'1')
        until = time.monotonic() + 60.0
        while 'cannot upload' not in caplog.text and time.monotonic() < until:
            time.sleep(0.02)
        s3_server.refuse = lambda method, path: False
    assert 'cannot upload to s3://' in caplog.text
    assert read_whole(bucket / 'out/file') == b'1'


def test_what_was_not_uploaded_when_the_work_ends_is_kept(
    bucket: Path, s3_server, scratch: Path, caplog: pytest.LogCaptureFixture
) -> None:
    s3_server.refuse = lambda method, path: method == 'PUT'

    def work() -> None:
        with staged_output(bucket / 'out', every_s=0.05) as local:
            (local / 'checkpoint').write_bytes(b'1')
            until = time.monotonic() + 60.0
            while 'cannot upload' not in caplog.text and time.monotonic() < until:
                time.sleep(0.02)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    (kept,) = scratch.glob('*/out/checkpoint')
    assert f'are kept in {kept.parent}' in caplog.text


def test_copies_of_a_killed_process_are_taken_away(run: Path, scratch: Path) -> None:
    child = os.fork()
    if not child:
        local_copy(run)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    (left,) = scratch.iterdir()
    mine = local_copy(run)
    assert left.exists()  # it is recent: another process may be about to lock it
    old = time.time() - 3600.0
    os.utime(left, (old, old))
    os.utime(mine.parent.parent, (old, old))
    made_scratch.cache_clear()
    local_copy(run / 'run.json')
    assert not left.exists()
    assert mine.exists()


def test_scratch_is_where_tmpdir_says(run: Path, scratch: Path) -> None:
    with staged(run) as local:
        assert os.path.commonpath([local, scratch]) == str(scratch)


def test_a_copy_that_was_tidied_away_is_made_again(bucket: Path) -> None:
    write_whole(bucket / 'run/model.json', b'{}')
    copy = local_copy(bucket / 'run')
    shutil.rmtree(copy.parents[1])
    again = local_copy(bucket / 'run')
    assert (again / 'model.json').read_bytes() == b'{}'
