"""Files by path or by URL: `s3://bucket/drive`, `gs://`, `memory://`, as fsspec knows them.

A local path stays a `pathlib.Path`; a URL becomes a `upath.UPath`, which is used in the same way
and is typed as a Path throughout. Object storage has neither append nor rename: a file is written
by one request, which is whole or not there. What its libraries raise becomes an OSError whose
`strerror` says what to do, so that callers name the file as they do for local ones.

Nothing of fsspec is imported before the first URL: a node starts without.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, cast

from drive_segment_ros import whole_files
from drive_segment_ros.errors import StorageError
from drive_segment_ros.storage_errors import explained
from drive_segment_ros.storage_protocols import PACKAGES, S3, S3_TRIES, check_protocol, options

# Two letters at least, for a drive of Windows has one; `file:/x` is no URL of ours.
_URL = re.compile(r'([A-Za-z][A-Za-z0-9+.-]+)://')
_LOCAL = ('file', 'local')
# Larger than any file: a request for a range needs no question about the size before it.
_TO_THE_END = 2**50


def location(text: str | Path) -> Path:
    """Return where a text of a person leads: a local path, or a `UPath` for a URL.

    `file:///a` is a local path too. Nothing is asked of the storage yet. A path that is one
    already is returned as it is.

    Raises:
        DependencyError: if what the URL's protocol needs is not installed.
        StorageError: if there is no such protocol, or the URL names no bucket.
    """
    if not isinstance(text, str):
        return text
    found = _URL.match(text)
    protocol = found[1].lower() if found else ''
    if found is None or protocol in _LOCAL:
        return Path(text[found.end() :] if found else text)
    check_protocol(protocol, text)
    from upath import UPath

    given = options(protocol)
    path = cast(Path, UPath(protocol + text[len(found[1]) :], **given))
    if protocol in PACKAGES and not text[found.end() :].strip('/'):
        raise StorageError(f'{text} names no bucket; give {protocol}://BUCKET/FOLDER')
    return path


def is_remote(path: Path) -> bool:
    """Whether a path is a URL's, so that only this module can open it."""
    return not isinstance(path, Path)


def filesystem(path: Path) -> Any:
    """Return the fsspec filesystem of a remote path.

    It is looked up anew each time: the one a path has kept is of no use in a forked process.
    """
    import fsspec

    remote = cast(Any, path)
    found = fsspec.filesystem(remote.protocol, **remote.storage_options)
    if remote.protocol in S3:
        found.retries = S3_TRIES
    return found


def key(path: Path) -> str:
    """Return what a remote path's filesystem calls it."""
    return cast(Any, path).path


def name_below(path: Path, folder: Path) -> PurePosixPath:
    """Return a path's name below a folder; a plain path, fit for folders elsewhere.

    Raises:
        ValueError: if it is not below it.
    """
    return PurePosixPath(str(path.relative_to(folder)))


def read_whole(path: Path, largest: int | None = None) -> bytes:
    """Read a file; a remote one by one request.

    Args:
        path: of the file.
        largest: bytes that it may have; None for any number.

    Raises:
        OSError: if it cannot be read; `strerror` says what to do.
        ValueError: if it is larger.
    """
    if not is_remote(path):
        data = path.read_bytes()
    else:
        end = _TO_THE_END if largest is None else largest + 1
        with plain_errors(path):
            data = _range(path, 0, end)
    if largest is not None and len(data) > largest:
        raise ValueError(f'it has more than {largest} bytes')
    return data


def read_range(path: Path, start: int, stop: int) -> bytes:
    """Read bytes `start` to `stop` of a remote file by one request.

    Raises:
        OSError: if they cannot be read, or the file ends before.
    """
    with plain_errors(path):
        data = filesystem(path).cat_file(key(path), start=start, end=stop)
    if len(data) != stop - start:
        raise OSError(errno.EIO, f'it ends within bytes {start} to {stop}', str(path))
    return data


def file_size(path: Path) -> int:
    """Return how many bytes a remote file has.

    Raises:
        OSError: if it is none, or cannot be asked for.
    """
    with plain_errors(path):
        return filesystem(path).info(key(path))['size']


def read_many(paths: Sequence[Path]) -> list[bytes | OSError]:
    """Read small files, remote ones at the same time; an error takes its file's place.

    They are to be of one filesystem.
    """
    if not paths or not is_remote(paths[0]):
        return [_read_or_error(path) for path in paths]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(16, len(paths))) as threads:
        return list(threads.map(_read_or_error, paths))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is whole or not there, see `whole_files.write_whole`; remote by one PUT.

    Raises:
        OSError: if it cannot be written; nothing of it stays then.
    """
    if not is_remote(path):
        whole_files.write_whole(path, data)
        return
    with plain_errors(path):
        filesystem(path).pipe_file(key(path), data)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write many small files, each of which is whole or not there; remote ones at the same time.

    Local ones outlast a power cut only after `sync_files`: to wait for the disk once for many
    costs a fraction of waiting for each.

    Args:
        folder: made if missing, as are folders in it.
        files: content by name, relative to the folder.

    Raises:
        OSError: if one cannot be written; others may have been.
    """
    paths = {folder / name: data for name, data in files.items()}
    if is_remote(folder):
        with plain_errors(folder):
            filesystem(folder).pipe({key(path): data for path, data in paths.items()})
        return
    for path, data in paths.items():
        whole_files.write_whole(path, data, synced=False)


def sync_files(paths: Collection[Path]) -> None:
    """Bring files and their names to the disk; remote ones are there.

    Raises:
        OSError: if the disk refuses.
    """
    if any(map(is_remote, paths)):
        return
    for path in paths:
        with path.open('rb') as file:
            os.fsync(file.fileno())
    folders = {path.parent for path in paths}
    for folder in folders | {folder.parent for folder in folders}:
        whole_files.sync_folder(folder)


def is_there(path: Path) -> bool:
    """Whether there is a file or folder.

    Raises:
        OSError: if a remote storage cannot be asked.
    """
    if not is_remote(path):
        return path.exists()
    with plain_errors(path):
        return filesystem(path).exists(key(path))


def files_there(files: Iterable[Path]) -> set[Path]:
    """Return those of many files that are there; of remote ones by one listing a folder.

    Raises:
        OSError: if a remote storage cannot be asked.
    """
    wanted = set(files)
    there = {file for file in wanted if not is_remote(file) and file.is_file()}
    for folder in {file.parent for file in wanted if is_remote(file)}:
        with contextlib.suppress(FileNotFoundError):
            there |= wanted & {folder / name for name in file_names(folder)}
    return there


def file_names(folder: Path) -> list[str]:
    """Return the names of the files in a folder, sorted; of a remote one by one listing.

    Raises:
        OSError: if it cannot be listed.
    """
    return sorted(name for name, is_folder in _entries(folder) if not is_folder)


def folder_names(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted; of a remote one by one listing.

    Raises:
        OSError: if it cannot be listed.
    """
    return sorted(name for name, is_folder in _entries(folder) if is_folder)


@contextlib.contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Raise what the libraries of a remote path raise as an OSError that says what to do."""
    try:
        yield
    except Exception as err:
        told = explained(err, path) if is_remote(path) else None
        if told is None:
            raise
        raise told from err


def _range(path: Path, start: int, end: int) -> bytes:
    """Read bytes `start` to `end` of a remote file, as far as it has them."""
    try:
        return filesystem(path).cat_file(key(path), start=start, end=end)
    except OSError as err:
        # An empty object has no range at all.
        if start == 0 and err.errno == errno.EINVAL and _is_range_error(err):
            return b''
        raise


def _is_range_error(err: OSError) -> bool:
    response = getattr(err.__cause__, 'response', None) or {}
    return response.get('Error', {}).get('Code') in ('InvalidRange', '416')


def _read_or_error(path: Path) -> bytes | OSError:
    try:
        return read_whole(path)
    except OSError as err:
        return err


def _entries(folder: Path) -> list[tuple[str, bool]]:
    """Return the name of each entry of a folder, and whether it is one itself."""
    if not is_remote(folder):
        return [(entry.name, entry.is_dir()) for entry in folder.iterdir()]
    with plain_errors(folder):
        found = filesystem(folder).ls(key(folder), detail=True)
    names = ((entry['name'].rstrip('/').rpartition('/')[2], entry) for entry in found)
    # An object of the folder's own name is how some programs mark an empty folder.
    return [
        (name, entry['type'] == 'directory')
        for name, entry in names
        if name and entry['name'].strip('/') != key(folder).strip('/')
    ]
