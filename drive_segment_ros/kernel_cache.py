"""Where Numba keeps compiled kernels: a temporary folder where it finds none itself.

Numba refuses to define a kernel it cannot keep, as in a read-only installation of a user without
a home. This runs before the first kernel is defined, in every process: see the package's
`__init__`. Child processes inherit the choice.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path

VARIABLE = 'NUMBA_CACHE_DIR'
_PREFIX = 'drive_segment_kernels_'


def ensure_kernel_cache() -> None:
    """Set NUMBA_CACHE_DIR to a temporary folder if nothing else can be written."""
    if cache_folder() is not None:
        return
    try:
        folder = _temporary_folder()
    except OSError:
        return  # not even there: Numba says so when it defines a kernel
    os.environ[VARIABLE] = folder
    if 'numba' in sys.modules:  # it has read the variable already
        sys.modules['numba'].config.CACHE_DIR = folder


def cache_folder() -> Path | None:
    """Return the folder that Numba will take, by its rules; None if there is none."""
    user = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    candidates = [
        os.environ.get(VARIABLE) or None,
        Path(__file__).parent / 'perception/__pycache__',
        Path(user) / 'numba',
    ]
    return next((Path(folder) for folder in candidates if folder and _may_write(folder)), None)


def is_temporary(folder: Path) -> bool:
    """Whether a folder was chosen by `ensure_kernel_cache`."""
    return folder.name.startswith(_PREFIX)


def _may_write(folder: str | Path) -> bool:
    """Whether a folder can be written to, or made."""
    path = Path(os.path.abspath(folder))
    while not os.path.lexists(path):
        path = path.parent
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)


def _temporary_folder() -> str:
    """Return a folder of this user alone, the same one each time: compiling takes a minute.

    What lies in it is executed, so one that others may write to is left alone.
    """
    folder = os.path.join(tempfile.gettempdir(), f'{_PREFIX}{os.getuid()}')
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        found = os.lstat(folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            return tempfile.mkdtemp(prefix=_PREFIX)
    return folder
