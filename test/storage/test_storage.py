"""Files by path or by URL: parsing, complete writes, reads, and error messages."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import pickle
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drive_segment_ros.errors import DependencyError, StorageError
from drive_segment_ros.storage import (
    expanded,
    file_names,
    filesystem,
    folder_names,
    is_remote,
    key,
    location,
    read_many,
    read_whole,
    sync_files,
    write_files,
    write_whole,
)


@pytest.fixture
def memory(request: pytest.FixtureRequest) -> Path:
    """Return a folder in memory that only this test uses."""
    return location(f'memory://{request.node.name}')


@pytest.mark.parametrize(
    'text', ['drive', '/data/drive', 'a:b', 's3:/bucket', '~/x', '://x', '/a://b']
)
def test_a_local_path_stays_one(text: str) -> None:
    assert location(text) == Path(text)
    assert location(Path('s3:/bucket')) == Path('s3:/bucket')


def test_a_file_url_is_a_local_path() -> None:
    assert location('file:///data/drive') == Path('/data/drive')


def test_a_url_keeps_its_slashes_and_can_be_sent_to_a_worker() -> None:
    path = location('s3://bucket/drives') / 'monday'
    assert str(path) == 's3://bucket/drives/monday'
    assert is_remote(path)
    assert location(path) is path
    assert pickle.loads(pickle.dumps(path)) == path == location('S3://bucket/drives/monday')
    assert len({path, location('s3://bucket/drives/monday')}) == 1


@pytest.mark.parametrize(
    ('text', 'line'),
    [
        ('s4://bucket/x', 'there is no protocol s4://; give a local path'),
        ('s3://', 'names no bucket; give s3://BUCKET/FOLDER'),
    ],
)
def test_a_url_that_leads_nowhere(text: str, line: str) -> None:
    with pytest.raises(StorageError, match=line):
        location(text)


@pytest.mark.parametrize(
    ('protocol', 'package', 'remedy'),
    [('s3', 's3fs', r"pip install '\.\[s3\]'"), ('gs', 'gcsfs', 'pip install gcsfs')],
)
def test_what_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, protocol: str, package: str, remedy: str
) -> None:
    registry = importlib.import_module('fsspec.registry')
    monkeypatch.delitem(registry._registry, protocol, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DependencyError, match=f'{protocol}://b/x needs .*; {remedy}'):
        location(f'{protocol}://b/x')


def test_a_file_is_written_and_read(bucket: Path) -> None:
    write_whole(bucket / 'a/file', b'content')
    write_whole(bucket / 'a/empty', b'')

    assert read_whole(bucket / 'a/file') == b'content'
    assert read_whole(bucket / 'a/file', 7) == b'content'
    assert read_whole(bucket / 'a/empty') == b''
    with pytest.raises(ValueError, match='more than 6 bytes'):
        read_whole(bucket / 'a/file', 6)


def test_a_file_is_read_by_one_request(bucket: Path, s3_server) -> None:
    write_whole(bucket / 'file', b'content')
    read_whole(bucket / 'file')
    assert [method for method, _ in s3_server.asked] == ['PUT', 'GET']


@pytest.mark.parametrize('where', ['local', 'memory', 's3'])
def test_many_files_are_written_at_once(
    request: pytest.FixtureRequest, tmp_path: Path, where: str
) -> None:
    names = {'local': '', 'memory': 'memory', 's3': 'bucket'}
    folder = (request.getfixturevalue(names[where]) if names[where] else tmp_path) / 'drive'
    files = {f'camera/segment/{index}.png': b'%d' % index for index in range(30)}
    write_files(folder, {**files, 'proposal/0.npz': b'p'})

    assert folder_names(folder) == ['camera', 'proposal']
    assert file_names(folder) == []
    assert len(file_names(folder / 'camera/segment')) == 30
    assert read_whole(folder / 'camera/segment/29.png') == b'29'
    assert read_many([folder / 'proposal/0.npz', folder / 'proposal/1.npz'])[0] == b'p'


def test_files_that_cannot_all_be_written_leave_no_temporary_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def until_full(source: str, target: Path) -> None:
        if target.name == 'b':
            raise OSError(errno.ENOSPC, 'No space left on device')
        replace(source, target)

    monkeypatch.setattr(os, 'replace', until_full)
    with pytest.raises(OSError, match='No space'):
        write_files(tmp_path, {'a': b'', 'b': b'', 'c': b''})
    assert os.listdir(tmp_path) == ['a']


def test_files_are_on_the_disk_once_they_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(
        os, 'fsync', lambda file: synced.append(os.readlink(f'/proc/self/fd/{file}'))
    )
    write_files(tmp_path, {'x/a': b'1', 'b': b'2'})
    assert synced == []
    sync_files([tmp_path / 'x/a', tmp_path / 'b'])
    assert set(synced) >= {str(tmp_path / name) for name in ('x/a', 'x', 'b', '')} - {
        f'{tmp_path}/'
    }


def test_errors_say_what_to_do(bucket: Path, s3_server, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = location('s3://there-is-none/x')
    for action in (read_whole, file_names, lambda path: write_whole(path, b'')):
        with pytest.raises(FileNotFoundError, match='there is no such bucket; check its name'):
            action(missing)
    with pytest.raises(FileNotFoundError) as caught:
        read_whole(bucket / 'none')
    assert caught.value.strerror == os.strerror(errno.ENOENT)
    assert caught.value.filename == str(bucket / 'none')
    assert read_many([bucket / 'none'])[0].strerror == os.strerror(errno.ENOENT)
    with pytest.raises(FileNotFoundError, match='No such file'):
        file_names(bucket / 'none')

    s3_server.refuse = lambda method, path: method == 'PUT'
    with pytest.raises(PermissionError, match=r'access is denied .*; check AWS_ACCESS_KEY_ID'):
        write_whole(bucket / 'x', b'')


def test_without_credentials_it_is_said(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    type(filesystem(bucket)).clear_instance_cache()
    monkeypatch.delenv('AWS_ACCESS_KEY_ID')
    monkeypatch.delenv('AWS_SECRET_ACCESS_KEY')
    with pytest.raises(PermissionError, match='no usable credentials; set AWS_ACCESS_KEY_ID'):
        read_whole(location(f'{bucket}none'))


def test_a_server_that_is_gone_is_not_waited_for_long(
    bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(('127.0.0.1', 0))
        address = f'http://127.0.0.1:{closed.getsockname()[1]}'
        type(filesystem(bucket)).clear_instance_cache()
        monkeypatch.setenv('AWS_ENDPOINT_URL', address)
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=r'does not answer .*AWS_ENDPOINT_URL'):
            read_whole(location(f'{bucket}x'))
        assert time.monotonic() - began < 10.0


def test_a_server_that_is_silent_is_not_waited_for_long(
    bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from drive_segment_ros import storage_protocols

    monkeypatch.setitem(storage_protocols._S3_PATIENCE, 'read_timeout', 0.2)
    with socket.socket() as silent:
        silent.bind(('127.0.0.1', 0))
        silent.listen()
        type(filesystem(bucket)).clear_instance_cache()
        monkeypatch.setenv('AWS_ENDPOINT_URL', f'http://127.0.0.1:{silent.getsockname()[1]}')
        with pytest.raises(TimeoutError, match='does not answer'):
            read_whole(location(f'{bucket}x'))
        silent.setblocking(False)
        waiting = []
        with contextlib.suppress(BlockingIOError):
            while True:
                waiting.append(silent.accept()[0])
    assert 1 <= len(waiting) <= 8
    for one in waiting:
        one.close()


def test_a_forked_process_can_read(bucket: Path) -> None:
    """A path that was used before a fork can be read in the child, as by data loader workers."""
    write_whole(bucket / 'file', b'content')
    path = bucket / 'file'
    assert path.exists()
    child = os.fork()
    if not child:
        try:
            os._exit(7 if read_whole(path) == b'content' else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_nothing_of_it_is_imported_before_a_url() -> None:
    code = (
        'import sys, drive_segment_ros.cli, drive_segment_ros.dataset.reader as reader\n'
        'import drive_segment_ros.storage as storage\n'
        'storage.location("/a"); storage.is_remote(storage.location("b"))\n'
        'print({"fsspec", "upath", "s3fs", "botocore"} & set(sys.modules))'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout == 'set()\n'


def test_no_listing_is_remembered(bucket: Path) -> None:
    write_whole(bucket / 'a', b'')
    assert file_names(bucket) == ['a']
    # Written without our file system, as by another process.
    import boto3

    client = boto3.client('s3')
    client.put_object(Bucket=key(bucket).strip('/'), Key='b', Body=b'')
    assert file_names(bucket) == ['a', 'b']


def test_home_folders_are_found_or_named():
    assert expanded('~/set') == Path.home() / 'set'
    with pytest.raises(StorageError, match='~nobody-here/set: there is no such home folder'):
        expanded('~nobody-here/set')
