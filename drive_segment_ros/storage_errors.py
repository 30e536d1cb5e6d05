"""Converts errors of storage libraries to an OSError that says what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, cast

from drive_segment_ros.storage_protocols import credentials, server

# Libraries all of whose errors are about the storage.
_LIBRARIES = frozenset(
    ('aiobotocore', 'aiohttp', 'azure', 'botocore', 'fsspec', 'gcsfs', 'google', 's3fs')
)
_NO_ANSWER = ('Connect', 'Connection', 'Timeout', 'HTTPClientError', 'ServerDisconnected')
_LONGEST_SAID = 200


def explained(err: BaseException, path: Path) -> OSError | None:
    """Return an error of a storage library as an OSError; None for other errors.

    Args:
        err: the error.
        path: the remote path being read or written.
    """
    protocol = cast(Any, path).protocol
    kind = type(err)
    library = kind.__module__.partition('.')[0]
    if not isinstance(err, OSError | TimeoutError) and library not in _LIBRARIES:
        return None
    if isinstance(err, OSError) and err.strerror and err.filename:
        return None  # Already converted.
    said = ' '.join(str(err).split())[:_LONGEST_SAID]
    number = getattr(err, 'errno', None) or errno.EIO
    if isinstance(err, FileNotFoundError):
        number, text = errno.ENOENT, os.strerror(errno.ENOENT)
        if 'bucket does not exist' in said:
            text = f'there is no such bucket; check its name and {server(protocol)}'
    elif isinstance(err, FileExistsError | IsADirectoryError | NotADirectoryError):
        number = err.errno or errno.EEXIST
        text = os.strerror(number)
    elif isinstance(err, PermissionError):
        number, text = errno.EACCES, f'access is denied ({said}); check {credentials(protocol)}'
    elif 'Credential' in kind.__name__ or 'Token' in kind.__name__:
        number, text = (
            errno.EACCES,
            f'there are no usable credentials; set {credentials(protocol)}',
        )
    elif isinstance(err, TimeoutError) or any(name in kind.__name__ for name in _NO_ANSWER):
        number = errno.ETIMEDOUT
        text = f'the server does not answer ({said}); check the network and {server(protocol)}'
    else:
        text = said or kind.__name__
    return OSError(number, text, str(path))
