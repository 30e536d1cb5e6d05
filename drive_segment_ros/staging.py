"""What only local files will do for: remote ones brought here, results taken to object storage.

Scratch space is where `tempfile` puts it: TMPDIR, with room for what is copied.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import functools
import hashlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from drive_segment_ros.errors import DriveSegmentError, StorageError
from drive_segment_ros.outputs import refuse_existing
from drive_segment_ros.storage import filesystem, folder_names, is_remote, key, plain_errors

_log = logging.getLogger(__name__)

_PREFIX = 'drive_segment_'
_COPIES = f'{_PREFIX}copies_'
_BEING_MADE_S = 60.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Give a local copy of a remote file or folder, removed afterwards; a local path as it is.

    Errors that the block raises about the copy name the URL instead.

    Raises:
        StorageError: if there is nothing, or it cannot be copied.
    """
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory(dir=_scratch(os.getpid())) as scratch:
        copy = Path(scratch) / path.name
        _download(path, copy)
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
    """Give a local folder to write to, uploaded when the block ends well; a local path as it is.

    Where the upload fails, the local folder stays, and the error names it. It stays as well where
    the block ends with an error and what it had written could not be uploaded meanwhile.

    Args:
        path: the folder to write.
        last: what makes it complete: files whose name in the folder matches this pattern are
            uploaded after all others, and taken away before, where there are some of an earlier
            run.
        resume: whether to go on with what is there, which is downloaded first.
        overwrite: whether what is there may be replaced.
        every_s: how often to upload what has changed meanwhile, but for `last`; 0 is never.
        leave_out: files below whose names match this pattern are not uploaded.

    Raises:
        OutputError: if something is there, and neither to be replaced nor gone on with.
        StorageError: if the storage cannot be read or written.
    """
    if not is_remote(path):
        yield path
        return
    _check_reachable(path)
    refuse_existing(path, overwrite=overwrite or resume, instead='go on with it by --resume')
    local = Path(tempfile.mkdtemp(prefix=_PREFIX)) / path.name
    upload = _Upload(local, path, last, leave_out)
    try:
        if resume and _listing(path):
            _download(path, local)
            upload.note()
        local.mkdir(exist_ok=True)
        with named_as(path, local), upload.meanwhile(every_s):
            yield local
        upload.finish()
    except _NotUploadedError as err:
        raise StorageError(
            f'cannot write {path}: {err}; the results are kept in {local}, copy them'
        ) from err
    except BaseException:
        if upload.behind:
            _log.warning('what could not be uploaded to %s is kept in %s', path, local)
        else:
            shutil.rmtree(local.parent, ignore_errors=True)
        raise
    shutil.rmtree(local.parent, ignore_errors=True)


def local_copy(path: Path) -> Path:
    """Return a local path of what a remote one holds, copied once in this process's life.

    It is copied again where it has changed; a local path is returned as it is.

    Raises:
        StorageError: if there is nothing, or it cannot be copied.
    """
    if not is_remote(path):
        return path
    try:
        with plain_errors(path):
            listing = _listing(path)
            state = hashlib.sha256(repr(listing).encode()).hexdigest()
            if not _copy(path, state, os.getpid()).exists():  # somebody tidied it away
                _copy.cache_clear()
            return _copy(path, state, os.getpid())
    except OSError as err:
        raise StorageError(f'cannot read {path}: {err.strerror or err}') from err


@contextlib.contextmanager
def named_as(path: Path, local: Path) -> Iterator[None]:
    """Let errors about a local copy name the URL it stands for."""
    try:
        yield
    except DriveSegmentError as err:
        err.args = tuple(renamed(list(err.args), local, path))
        raise


def renamed(value: Any, local: Path, path: Path) -> Any:
    """Return a report with the URL in place of the local folder that stood for it."""
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
    """A local folder on its way to object storage: what has been uploaded, and as of when.

    Attributes:
        behind: whether the last upload that was to be made meanwhile has failed.
    """

    def __init__(self, local: Path, path: Path, last: str, leave_out: str) -> None:
        self._local, self._path = local, path
        self._last, self._leave_out = last, leave_out
        self._uploaded: dict[str, tuple[int, int]] = {}
        self.behind = False

    def note(self) -> None:
        """Take what is in the local folder as uploaded."""
        self._uploaded = self._files()

    @contextlib.contextmanager
    def meanwhile(self, every_s: float) -> Iterator[None]:
        """Upload what has changed every now and then while the block runs."""
        if not every_s:
            yield
            return
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(every_s):
                try:
                    self._upload(complete=False)
                except _NotUploadedError as err:
                    _log.warning('cannot write %s yet: %s', self._path, err)
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
        """Upload what is not there yet, what makes the folder complete after all else."""
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
                _put(self._path, self._local, list(files))
        except OSError as err:
            raise _NotUploadedError(err.strerror or str(err)) from err
        self._uploaded |= files

    def _take_completeness(self) -> None:
        """Remove what would make a folder that is being changed look complete."""
        found = [name for name in _listing(self._path) if self._is_last(name)]
        for name in found:
            if name not in self._uploaded or self._uploaded[name] != self._files().get(name):
                filesystem(self._path).rm_file(key(self._path / name))

    def _files(self) -> dict[str, tuple[int, int]]:
        """Return size and time of change of each whole file by its name in the folder."""
        found = {}
        for file in self._local.rglob('*'):
            name = file.relative_to(self._local).as_posix()
            if self._leave_out and fnmatch(name, self._leave_out):
                continue
            # Others may be replacing what is found here.
            with contextlib.suppress(FileNotFoundError):
                if file.is_file() and not file.name.startswith('.'):
                    status = file.stat()
                    found[name] = (status.st_size, status.st_mtime_ns)
        return found

    def _is_last(self, name: str) -> bool:
        return bool(self._last) and fnmatch(name, self._last)


def _check_reachable(path: Path) -> None:
    """Make sure, before any work, that a URL's bucket is there and may be listed."""
    try:
        folder_names(path)
    except OSError as err:
        if err.strerror != os.strerror(errno.ENOENT):
            raise StorageError(f'cannot write {path}: {err.strerror}') from err


def _listing(path: Path) -> dict[str, str]:
    """Return the files of a remote folder by their name in it, '' for a file itself.

    The values change with a file.
    """
    own = key(path).strip('/')
    found = filesystem(path).find(key(path), detail=True)
    listing = {}
    for name, entry in found.items():
        relative = name.strip('/').removeprefix(own).lstrip('/')
        if '..' in PurePosixPath(relative).parts:
            raise StorageError(f'{path}: {name} leads out of the folder; rename it')
        if not name.endswith('/'):  # such objects mark empty folders
            state = (entry.get(what) for what in ('size', 'ETag', 'etag', 'LastModified', 'mtime'))
            listing[relative] = repr([*state])
    return listing


def _download(path: Path, copy: Path) -> None:
    """Copy a remote file or folder.

    Raises:
        StorageError: if there is nothing, or it cannot be copied.
    """
    try:
        with plain_errors(path):
            _get(path, copy)
    except OSError as err:
        raise StorageError(f'cannot read {path}: {err.strerror or err}') from err


def _get(path: Path, copy: Path) -> None:
    names = list(_listing(path))
    if not names:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    remote = [key(path / name if name else path) for name in names]
    local = [copy / name if name else copy for name in names]
    for folder in {file.parent for file in local}:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        filesystem(path).get(remote, [str(file) for file in local])
    except OSError as err:
        if err.errno not in _FULL:
            raise
        raise OSError(
            err.errno,
            f'no room for a copy in {tempfile.gettempdir()}; set TMPDIR to a folder with more',
            str(path),
        ) from err


def _put(path: Path, local: Path, names: Sequence[str]) -> None:
    if names:
        filesystem(path).put(
            [str(local / name) for name in names], [key(path / name) for name in names]
        )


@functools.lru_cache(maxsize=64)
def _copy(path: Path, state: str, process: int) -> Path:
    """Copy a remote file or folder to where it stays as long as this process."""
    folder = Path(tempfile.mkdtemp(dir=_scratch(process)))
    try:
        _get(path, folder / path.name)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder / path.name


def _scratch(process: int) -> Path:
    """Return a folder that goes with the process; another, where somebody tidied it away."""
    if not _made_scratch(process).is_dir():
        _made_scratch.cache_clear()
    return _made_scratch(process)


@functools.lru_cache(maxsize=1)
def _made_scratch(process: int) -> Path:
    """Return a folder that goes with the process; take away those of processes that were killed.

    The lock is the kernel's, so it goes with the process, however that ends.
    """
    for other in Path(tempfile.gettempdir()).glob(f'{_COPIES}*'):
        with contextlib.suppress(OSError):
            # One that is being made is not locked yet.
            if other.stat().st_mtime < time.time() - _BEING_MADE_S:
                lock = _locked(other)
                shutil.rmtree(other, ignore_errors=True)
                os.close(lock)
    folder = Path(tempfile.mkdtemp(prefix=_COPIES))
    _locked(folder)

    def remove() -> None:
        if os.getpid() == process:  # not one forked from it
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


def _locked(folder: Path) -> int:
    """Lock a folder as long as its descriptor, which is returned, is open.

    Raises:
        OSError: if another process has locked it.
    """
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        raise
    return opened
