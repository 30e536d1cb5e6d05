"""The storage files of a bag: finding them, and unpacking those that cannot be read directly.

The journal that a killed recorder leaves beside a database, and the files of `ros2 bag record
--compression-mode file`, are unpacked in a temporary folder: the bag's folder is not changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import re
import shutil
import sqlite3
import sys
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import yaml

from drive_segment_ros.errors import BagError
from drive_segment_ros.staging import local_copy
from drive_segment_ros.storage import file_names, is_remote, read_whole

SQLITE, MCAP, ROS_1 = '.db3', '.mcap', '.bag'
# Suffixes: of `rosbag record` until it ends, and of `rosbag reindex` for the original file.
_ACTIVE, _BEFORE_REINDEX = '.active', '.orig.bag'
_COMPRESSED = ('.zstd', '.zst')
_SIDECARS = ('-wal', '-shm', '-journal')
# Journals of a database that was not closed, and how they begin unless they are empty.
_HOT = {'-wal': (b'\x37\x7f\x06\x82', b'\x37\x7f\x06\x83'), '-journal': (b'\xd9\xd5\x05\xf9',)}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Magic number of a zstd frame; a CDR message begins with a zero.
_ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'


class NoRoomError(BagError):
    """There is not enough space to unpack a bag."""


@dataclasses.dataclass(frozen=True)
class Metadata:
    """The used entries of a bag's metadata.yaml; its files take precedence.

    Attributes:
        files: names of the storage files, in order.
        counts: messages by topic.
        qos: the publishers' QoS by topic, as in the file.
    """

    files: tuple[str, ...]
    counts: dict[str, int]
    qos: dict[str, Any]


def read_metadata(path: Path) -> Metadata:
    """Read a metadata.yaml.

    Raises:
        BagError: if it is damaged; the message does not name it.
        FileNotFoundError: if there is none.
    """
    try:
        content = yaml.safe_load(read_whole(path).decode())
        info = content['rosbag2_bagfile_information']
        counts: dict[str, int] = {}
        qos: dict[str, Any] = {}
        for entry in info['topics_with_message_count']:
            topic = entry['topic_metadata']
            counts[topic['name']] = counts.get(topic['name'], 0) + int(entry['message_count'])
            qos[topic['name']] = topic.get('offered_qos_profiles', [])
        files = tuple(PurePath(name).name for name in info['relative_file_paths'])
    except FileNotFoundError:
        raise
    except KeyError as err:
        raise BagError(f'it has no {err.args[0]}') from err
    except Exception as err:  # entries may have any type and value
        raise BagError(' '.join(str(err).split()) or 'it is damaged') from err
    return Metadata(files, counts, qos)


def is_storage(path: Path) -> bool:
    """Return whether a file has the name of a bag's storage, compressed or not."""
    return is_ros_1(path) or _bare(path.name).lower().endswith((SQLITE, MCAP))


def is_ros_1(path: Path) -> bool:
    """Return whether a storage file has the name of a ROS 1 bag, finished or not."""
    return _bare(path.name).lower().removesuffix(_ACTIVE).endswith(ROS_1)


def storage_stem(path: Path) -> str:
    """Return a storage file's name without the suffixes of storage and compression."""
    return PurePath(_bare(path.name).removesuffix(_ACTIVE)).stem


def is_database(path: Path) -> bool:
    """Return whether a storage file has the name of a SQLite database."""
    return _bare(path.name).lower().endswith(SQLITE)


def find_files(folder: Path, listed: tuple[str, ...]) -> tuple[list[Path], list[str]]:
    """Find a bag's storage files.

    Args:
        folder: the bag.
        listed: their names by metadata.yaml, empty where it does not say. They may have been
            compressed or decompressed by hand since.

    Returns:
        The files in the order they were recorded, and a line about each other file that may be
        part of the bag.
    """
    # Leading dot: files left by macOS and copying programs.
    names = [name for name in file_names(folder) if not name.startswith('.')]
    found: dict[str, Path] = {}
    notes = []
    for name in names:
        if not is_storage(Path(name)):
            if _may_be_storage(name, names):
                notes.append(f'{name} is ignored; if it belongs to the bag, {_remedy(name)}')
        elif name.replace(_BEFORE_REINDEX, ROS_1) in names and name.endswith(_BEFORE_REINDEX):
            notes.append(f'{name} is ignored: {name.replace(_BEFORE_REINDEX, ROS_1)} is used')
        elif _bare(name) in found:  # The bare name sorts first.
            notes.append(f'{name} is ignored: {found[_bare(name)].name} is used')
        else:
            found[_bare(name)] = folder / name
    wanted = [_bare(name) for name in listed]
    if missing := [name for name in wanted if name not in found]:
        notes.append(
            f'metadata.yaml lists files that are missing: {", ".join(missing)}; copy them again; '
            'the existing files are read'
        )
    elif wanted:
        notes += [
            f'{found[name].name} is ignored: metadata.yaml does not list it; read it on its '
            f'own, or add it: ros2 bag reindex {folder.name}'
            for name in found
            if name not in wanted
        ]
        return [found[name] for name in dict.fromkeys(wanted)], notes
    return [found[name] for name in sorted(found, key=_natural)], notes


def brought_here(file: Path) -> Path:
    """Return a local storage file; a remote one is copied, unless it is an MCAP.

    A database is copied with its journals.

    Raises:
        StorageError: if it cannot be copied.
    """
    in_place = not (is_database(file) or is_ros_1(file)) and file.name == _bare(file.name)
    if not is_remote(file) or in_place:
        return file
    beside = _hot_files(file)
    copied = local_copy(file)
    for hot in beside:
        shutil.copyfile(local_copy(hot), copied.with_name(hot.name))
    return copied


def needs_unpacking(file: Path) -> bool:
    """Return whether a storage file can only be read from a copy, see `unpack`."""
    return file.name != _bare(file.name) or bool(_hot_files(file))


def unpack(file: Path, folder: Path) -> tuple[Path, str]:
    """Copy a storage file into a folder, such that it can be read.

    A compressed file is decompressed. In a database whose recorder was killed, committed
    transactions are completed and others rolled back.

    Returns:
        The copy, and what was wrong with the file: empty, or why the copy ends early.

    Raises:
        NoRoomError: if the disk is full.
        OSError: if the file cannot be read.
    """
    copy = folder / _bare(file.name)
    try:
        if file.name != copy.name:
            return copy, _decompress(file, copy)
        for source in (file, *_hot_files(file)):
            shutil.copyfile(source, folder / source.name)
    except OSError as err:
        if err.errno not in _FULL:
            raise
        raise NoRoomError(
            f'{file}: not enough space to unpack it in {folder.parent} ({err.strerror}); '
            'set TMPDIR to a folder on a larger disk'
        ) from err
    with (
        contextlib.suppress(sqlite3.DatabaseError),  # reported when the copy is opened
        contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as database,
    ):
        # The first statement rolls back, the second one merges what was committed.
        database.execute('SELECT count(*) FROM sqlite_master')
        database.execute('PRAGMA journal_mode=DELETE')
    return copy, ''


def decompressed(raw: bytes) -> bytes:
    """Return a message, decompressed if the recorder compressed it; damaged ones as they are."""
    if raw[:4] != _ZSTD_MAGIC:
        return raw
    zstd = zstd_module()
    try:
        return zstd.decompress(raw)
    except zstd.ZstdError:
        return raw


def zstd_module() -> Any:
    """Return Python's `compression.zstd`, or its counterpart for older versions."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


def _decompress(file: Path, copy: Path) -> str:
    zstd = zstd_module()
    with file.open('rb') as source, copy.open('wb') as target:
        try:
            shutil.copyfileobj(zstd.open(source, 'rb'), target, 2**20)
        except (EOFError, zstd.ZstdError) as err:
            return f'{file.name} is damaged ({err}); the part before is used'
    return ''


def _hot_files(file: Path) -> list[Path]:
    """Return the journals beside a database, without which it is incomplete."""
    if not is_database(file):
        return []
    hot = []
    for suffix, magics in _HOT.items():
        beside = file.with_name(file.name + suffix)
        if beside.is_file():
            with beside.open('rb') as opened:
                if opened.read(4) in magics:
                    hot.append(beside)
    return hot


def _may_be_storage(name: str, names: list[str]) -> bool:
    if any(name.endswith(s) and name.removesuffix(s) in names for s in _SIDECARS):
        return False
    return bool(re.search(r'\.(mcap|db3|bag)\b', name, re.IGNORECASE))


def _remedy(name: str) -> str:
    if name.endswith(_SIDECARS):
        return 'copy its .db3 file, too'
    return 'decompress it or rename it to .mcap, .db3 or .bag'


def _bare(name: str) -> str:
    """Return a file's name before compression."""
    suffix = PurePath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in _COMPRESSED else name


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r'(\d+)', name)]


def shortfalls(metadata: Metadata, counts: Mapping[str, int]) -> list[str]:
    """Return a line for each topic of which the files hold fewer messages than metadata.yaml says.

    Args:
        metadata: of the bag.
        counts: messages by topic in its files.
    """
    return [
        f'metadata.yaml has {count} messages of {topic}, the files have {counts.get(topic, 0)}'
        for topic, count in metadata.counts.items()
        if counts.get(topic, 0) < count
    ]
