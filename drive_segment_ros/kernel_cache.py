"""Chooses Numba's cache of compiled kernels: a writable folder with the kernels compiled earlier.

Numba refuses to define a kernel that it cannot cache, as in a read-only installation of a user
without a home folder, and reads kernels only from a writable folder. So kernels that were compiled
into an installation that is now read-only, such as a container image, are copied to a writable
one.

This runs before the first kernel is defined, in every process: see the package's `__init__`.
Child processes inherit the choice.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

VARIABLE = 'NUMBA_CACHE_DIR'
_PREFIX = 'drive_segment_kernels_'
_ROOT = Path(__file__).parents[1]
# Packages that define kernels; Numba caches them in a `__pycache__` beside their source.
_KERNELS = (
    'drive_segment_ros/perception',
    'offline_training/bags',
    'offline_training/pseudo_labels',
    'offline_training/simulator',
)


def ensure_kernel_cache() -> None:
    """Set NUMBA_CACHE_DIR if Numba finds no folder by itself, or only an empty one."""
    folder = cache_folder()
    chosen: Path | None = None
    try:
        if folder in (None, _user_folder() / 'numba') and _installed_kernels():
            chosen = _copied_kernels(folder)
        elif folder is None:
            chosen = Path(_temporary_folder())
    except OSError:
        return  # not even a temporary one: Numba reports it when it defines a kernel
    if chosen is None:
        return
    os.environ[VARIABLE] = str(chosen)
    if 'numba' in sys.modules:  # it has read the variable already
        sys.modules['numba'].config.CACHE_DIR = str(chosen)


def cache_folder() -> Path | None:
    """Return the folder that Numba will use, by its rules; None if there is none."""
    candidates = [os.environ.get(VARIABLE) or None, _in_tree(), _user_folder() / 'numba']
    return next((Path(folder) for folder in candidates if folder and _may_write(folder)), None)


def is_temporary(folder: Path) -> bool:
    """Return whether a folder was chosen by `ensure_kernel_cache` and may be lost on a restart."""
    return any(part.startswith(_PREFIX) for part in folder.parts)


def numba_folder_name(sources: Path) -> str:
    """Return Numba's name of the folder for the kernels of a source folder in NUMBA_CACHE_DIR."""
    path = os.path.abspath(sources)
    return f'{os.path.basename(path)}_{hashlib.sha1(path.encode()).hexdigest()}'


def _in_tree() -> Path:
    return _ROOT / _KERNELS[0] / '__pycache__'


def _user_folder() -> Path:
    return Path(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'))


def _installed_kernels() -> list[Path]:
    """Return the source folders whose kernels were compiled into the installation."""
    folders = (_ROOT / name for name in _KERNELS)
    return [folder for folder in folders if any((folder / '__pycache__').glob('*.nbi'))]


def _copied_kernels(writable: Path | None) -> Path:
    """Return a folder with a copy of the installation's kernels, the same one each time.

    Args:
        writable: the folder Numba would use; None for a temporary one.
    """
    base = _user_folder() if writable is not None else Path(_temporary_folder())
    folder = base / 'drive_segment_ros' / f'kernels-{_installation()}'
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix='.kernels-', dir=folder.parent))
        try:
            for sources in _installed_kernels():
                ignored = shutil.ignore_patterns('*.pyc')
                target = part / numba_folder_name(sources)
                shutil.copytree(sources / '__pycache__', target, ignore=ignored)
            os.rename(part, folder)
        except OSError:
            shutil.rmtree(part, ignore_errors=True)
            if not folder.is_dir():  # unless another process was faster
                raise
    return folder


def _installation() -> str:
    """Return a digest that identifies the kernels of this installation."""
    digest = hashlib.sha256()
    for file in _sources():
        found = file.stat()
        digest.update(f'{file} {found.st_mtime_ns} {found.st_size}\n'.encode())
    return digest.hexdigest()[:16]


def _sources() -> Iterator[Path]:
    for name in _KERNELS:
        yield from sorted((_ROOT / name).glob('*.py'))
        yield from sorted((_ROOT / name / '__pycache__').glob('*.nbi'))


def _may_write(folder: str | Path) -> bool:
    """Whether a folder can be written to, or made."""
    path = Path(os.path.abspath(folder))
    while not os.path.lexists(path):
        path = path.parent
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)


def _temporary_folder() -> str:
    """Return a private folder of this user, always the same one, as compiling takes long.

    Its content is executed, so a folder that others may write to is not used.
    """
    folder = os.path.join(tempfile.gettempdir(), f'{_PREFIX}{os.getuid()}')
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        found = os.lstat(folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            return tempfile.mkdtemp(prefix=_PREFIX)
    return folder
