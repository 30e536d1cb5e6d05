"""Files by path or by URL: `s3://bucket/drive`, `gs://`, `memory://`, by fsspec.

A local path is a `pathlib.Path`; a URL becomes a `upath.UPath`, which is used in the same way and
is typed as a Path throughout. Object storage has neither append nor rename: a file is written by
one atomic request. Errors of its libraries become an OSError whose `strerror` says what to do, so
that callers handle them like those of local files.

fsspec is not imported before the first URL, so that nodes start without it.
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

# At least two letters, as a Windows drive has one; `file:/x` is not supported.
_URL = re.compile(r'([A-Za-z][A-Za-z0-9+.-]+)://')
_LOCAL = ('file', 'local')
# Larger than any file, so that a range request needs no query of the size.
_TO_THE_END = 2**50


def location(text: str | Path) -> Path:
    """Return the path for a user's text: a local path, or a `UPath` for a URL.

    `file:///a` is a local path too. Nothing is asked of the storage yet. A path that is one
    already is returned as it is.

    Raises:
        DependencyError: if a package for the URL's protocol is not installed.
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


def expanded(text: str | Path) -> Path:
    """Return `location` of a user's text, with `~` as a home folder.

    Raises:
        DependencyError: as `location`.
        StorageError: as `location`, or if there is no such home folder.
    """
    path = location(text)
    try:
        return path.expanduser()
    except RuntimeError as err:
        raise StorageError(f'{text}: there is no such home folder') from err


def is_remote(path: Path) -> bool:
    """Return whether a path is a URL, which only this module can open."""
    return not isinstance(path, Path)


def filesystem(path: Path) -> Any:
    """Return the fsspec filesystem of a remote path.

    It is looked up each time, as a path's own one cannot be used in a forked process.
    """
    import fsspec

    remote = cast(Any, path)
    found = fsspec.filesystem(remote.protocol, **remote.storage_options)
    if remote.protocol in S3:
        found.retries = S3_TRIES
    return found


def key(path: Path) -> str:
    """Return a remote path's name in its filesystem."""
    return cast(Any, path).path


def name_below(path: Path, folder: Path) -> PurePosixPath:
    """Return a path relative to a folder, as a plain path.

    Raises:
        ValueError: if it is not below it.
    """
    return PurePosixPath(str(path.relative_to(folder)))


def read_whole(path: Path, largest: int | None = None) -> bytes:
    """Read a file; a remote one by one request.

    Args:
        path: of the file.
        largest: largest size accepted, bytes; None for any.

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
    """Return the size of a remote file, bytes.

    Raises:
        OSError: if it does not exist, or cannot be queried.
    """
    with plain_errors(path):
        return filesystem(path).info(key(path))['size']


def read_many(paths: Sequence[Path]) -> list[bytes | OSError]:
    """Read small files, remote ones in parallel; an error is returned instead of a content.

    They must be on one filesystem.
    """
    if not paths or not is_remote(paths[0]):
        return [_read_or_error(path) for path in paths]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(16, len(paths))) as threads:
        return list(threads.map(_read_or_error, paths))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically, see `whole_files.write_whole`; a remote one by one PUT.

    Raises:
        OSError: if it cannot be written; nothing of it stays then.
    """
    if not is_remote(path):
        whole_files.write_whole(path, data)
        return
    with plain_errors(path):
        filesystem(path).pipe_file(key(path), data)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write many small files, each atomically; remote ones in parallel.

    Local ones survive a power cut only after `sync_files`: one sync for many files costs a
    fraction of one for each.

    Args:
        folder: created if missing, as are folders in it.
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
    """Sync files and their names to the disk; remote ones are already stored.

    Raises:
        OSError: if syncing fails.
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
    """Return whether there is a file or folder.

    Raises:
        OSError: if remote storage cannot be queried.
    """
    if not is_remote(path):
        return path.exists()
    with plain_errors(path):
        return filesystem(path).exists(key(path))


def files_there(files: Iterable[Path]) -> set[Path]:
    """Return the existing ones of many files; remote ones by one listing per folder.

    Raises:
        OSError: if remote storage cannot be queried.
    """
    wanted = set(files)
    there = {file for file in wanted if not is_remote(file) and file.is_file()}
    for folder in {file.parent for file in wanted if is_remote(file)}:
        with contextlib.suppress(FileNotFoundError):
            there |= wanted & {folder / name for name in file_names(folder)}
    return there


def file_names(folder: Path) -> list[str]:
    """Return the names of the files in a folder, sorted; remote ones by one listing.

    Raises:
        OSError: if it cannot be listed.
    """
    return sorted(name for name, is_folder in _entries(folder) if not is_folder)


def folder_names(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted; remote ones by one listing.

    Raises:
        OSError: if it cannot be listed.
    """
    return sorted(name for name, is_folder in _entries(folder) if is_folder)


@contextlib.contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Convert errors of a remote path's libraries to an OSError that says what to do."""
    try:
        yield
    except Exception as err:
        told = explained(err, path) if is_remote(path) else None
        if told is None:
            raise
        raise told from err


def _range(path: Path, start: int, end: int) -> bytes:
    """Read bytes `start` to `end` of a remote file, or up to its end."""
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
    """Return the name of each entry of a folder, and whether it is a folder."""
    if not is_remote(folder):
        return [(entry.name, entry.is_dir()) for entry in folder.iterdir()]
    with plain_errors(folder):
        found = filesystem(folder).ls(key(folder), detail=True)
    names = ((entry['name'].rstrip('/').rpartition('/')[2], entry) for entry in found)
    # Some programs mark an empty folder by an object with the folder's name.
    return [
        (name, entry['type'] == 'directory')
        for name, entry in names
        if name and entry['name'].strip('/') != key(folder).strip('/')
    ]
