"""Local copies for code that needs local files: downloads of inputs, uploads of results.

Scratch space is located where `tempfile` puts it: set TMPDIR to a disk with enough space.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import DriveSegmentError, StorageError
from drive_segment_ros.outputs import refuse_existing
from drive_segment_ros.scratch import PREFIX, scratch_folder
from drive_segment_ros.storage import filesystem, folder_names, is_remote, key, plain_errors
from drive_segment_ros.transfers import download, fetch, remote_files, send

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Yield a local copy of a remote file or folder, removed afterwards; local paths unchanged.

    Errors in the block about the copy name the URL instead.

    Raises:
        StorageError: if it does not exist or cannot be copied.
    """
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory(dir=scratch_folder(os.getpid())) as scratch:
        copy = Path(scratch) / path.name
        download(path, copy)
        with named_as(path, copy):
            yield copy


@contextlib.contextmanager
def staged_output(
    path: Path,
    last: str = '',
    *,
    resume: bool = False,
    overwrite: bool = False,
    every_s: float = 0.0,
    leave_out: str = '',
) -> Iterator[Path]:
    """Yield a local folder to write to, uploaded when the block succeeds; local paths unchanged.

    If the upload fails, the local folder is kept, and the error names it. It is also kept if the
    block ends with an error and its files could not be uploaded before.

    Args:
        path: the folder to write.
        last: files that mark it as complete: those whose name in the folder matches this pattern
            are uploaded after all others; files of an earlier run are removed first.
        resume: whether to continue with the existing content, which is downloaded first.
        overwrite: whether existing content may be replaced.
        every_s: how often to upload changed files meanwhile, except `last`; 0 is never.
        leave_out: files whose names match this pattern are not uploaded.

    Raises:
        OutputError: if it exists and is to be neither replaced nor resumed.
        StorageError: if the storage cannot be read or written.
    """
    if not is_remote(path):
        yield path
        return
    _check_reachable(path)
    refuse_existing(path, overwrite=overwrite or resume, instead='continue it by --resume')
    local = Path(tempfile.mkdtemp(prefix=PREFIX)) / path.name
    upload = _Upload(local, path, last, leave_out)
    try:
        if resume and remote_files(path):
            download(path, local)
            upload.note()
        local.mkdir(exist_ok=True)
        with named_as(path, local), upload.meanwhile(every_s):
            yield local
        upload.finish()
    except _NotUploadedError as err:
        raise StorageError(
            f'cannot write {path}: {err}; copy the results from {local}, where they are kept'
        ) from err
    except BaseException:
        if upload.behind:
            _log.warning('files that could not be uploaded to %s are kept in %s', path, local)
        else:
            shutil.rmtree(local.parent, ignore_errors=True)
        raise
    shutil.rmtree(local.parent, ignore_errors=True)


def local_copy(path: Path) -> Path:
    """Return a local copy of a remote file or folder, copied once per process.

    It is copied again if it has changed; a local path is returned unchanged.

    Raises:
        StorageError: if it does not exist or cannot be copied.
    """
    if not is_remote(path):
        return path
    try:
        with plain_errors(path):
            listing = remote_files(path)
            state = hashlib.sha256(repr(listing).encode()).hexdigest()
            if not _copy(path, state, os.getpid()).exists():  # deleted by others
                _copy.cache_clear()
            return _copy(path, state, os.getpid())
    except OSError as err:
        raise StorageError(f'cannot read {path}: {err.strerror or err}') from err


@contextlib.contextmanager
def named_as(path: Path, local: Path) -> Iterator[None]:
    """Replace the path of a local copy by its URL in errors."""
    try:
        yield
    except DriveSegmentError as err:
        err.args = tuple(renamed(list(err.args), local, path))
        raise


def renamed(value: Any, local: Path, path: Path) -> Any:
    """Return a report with the URL instead of the local folder."""
    if local is path:
        return value
    if isinstance(value, dict):
        return {name: renamed(one, local, path) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [renamed(one, local, path) for one in value]
    if isinstance(value, str | Path):
        return str(value).replace(str(local), str(path))
    return value


class _NotUploadedError(Exception):
    """An upload failed; the message says why."""


class _Upload:
    """A local folder that is uploaded to object storage, and the state of its uploaded files.

    Attributes:
        behind: whether the last periodic upload has failed.
    """

    def __init__(self, local: Path, path: Path, last: str, leave_out: str) -> None:
        self._local, self._path = local, path
        self._last, self._leave_out = last, leave_out
        self._uploaded: dict[str, tuple[int, int]] = {}
        self.behind = False

    def note(self) -> None:
        """Mark the content of the local folder as uploaded."""
        self._uploaded = self._files()

    @contextlib.contextmanager
    def meanwhile(self, every_s: float) -> Iterator[None]:
        """Upload changed files periodically while the block runs."""
        if not every_s:
            yield
            return
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(every_s):
                try:
                    self._upload(complete=False)
                except _NotUploadedError as err:
                    _log.warning('cannot upload to %s, will be tried again: %s', self._path, err)
                    self.behind = True
                else:
                    self.behind = False

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
        thread.join()

    def finish(self) -> None:
        """Upload the remaining files, those that mark the folder as complete last."""
        self._upload(complete=False)
        self._upload(complete=True)

    def _upload(self, complete: bool) -> None:
        files = {
            name: state
            for name, state in self._files().items()
            if self._uploaded.get(name) != state and complete == self._is_last(name)
        }
        try:
            with plain_errors(self._path):
                filesystem(self._path).invalidate_cache()
                if not complete and self._last:
                    self._take_completeness()
                send(self._path, self._local, list(files))
        except OSError as err:
            raise _NotUploadedError(err.strerror or str(err)) from err
        self._uploaded |= files

    def _take_completeness(self) -> None:
        """Remove the files that would mark a folder that is being changed as complete."""
        found = [name for name in remote_files(self._path) if self._is_last(name)]
        for name in found:
            if name not in self._uploaded or self._uploaded[name] != self._files().get(name):
                filesystem(self._path).rm_file(key(self._path / name))

    def _files(self) -> dict[str, tuple[int, int]]:
        """Return size and modification time of each complete file by its name in the folder."""
        found = {}
        for file in self._local.rglob('*'):
            name = file.relative_to(self._local).as_posix()
            if self._leave_out and fnmatch(name, self._leave_out):
                continue
            # Files may be replaced meanwhile.
            with contextlib.suppress(FileNotFoundError):
                if file.is_file() and not file.name.startswith('.'):
                    status = file.stat()
                    found[name] = (status.st_size, status.st_mtime_ns)
        return found

    def _is_last(self, name: str) -> bool:
        return bool(self._last) and fnmatch(name, self._last)


def _check_reachable(path: Path) -> None:
    """Check, before any work, that a URL's bucket exists and can be listed."""
    try:
        folder_names(path)
    except OSError as err:
        if err.strerror != os.strerror(errno.ENOENT):
            raise StorageError(f'cannot write {path}: {err.strerror}') from err


@functools.lru_cache(maxsize=64)
def _copy(path: Path, state: str, process: int) -> Path:
    """Copy a remote file or folder to the process's folder of copies."""
    folder = Path(tempfile.mkdtemp(dir=scratch_folder(process)))
    try:
        fetch(path, folder / path.name)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder / path.name
