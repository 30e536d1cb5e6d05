"""One storage file of a bag: opening it even if it is damaged, and its message types."""

from __future__ import annotations

import functools
import logging
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import BagError
from drive_segment_ros.ros.mcap_recovery import RecoveredMcap
from drive_segment_ros.staging import local_copy
from drive_segment_ros.storage import is_remote

_HEADER = 'std_msgs/msg/Header'
_log = logging.getLogger(__name__)


def open_database(file: Path) -> Any:
    """Open a SQLite file.

    Raises:
        BagError: if it is damaged.
    """
    from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

    # rosbags makes a URI of the path and escapes nothing.
    reader = Sqlite3Reader(Path(re.sub('[%?#]', lambda c: f'%{ord(c[0]):02X}', str(file))))
    try:
        reader.open()
    except Exception as err:  # of any kind where the schema is damaged
        raise BagError(
            f'{file.name}: {one_line(err)}; copy it again, or recover the intact part: '
            f'sqlite3 {file.name} .recover | sqlite3 recovered.db3'
        ) from err
    return reader


def open_mcap(file: Path) -> Any:
    """Open an MCAP file by its index if that is complete, else by scanning it.

    Raises:
        BagError: if it is not an MCAP file, or has no complete message.
    """
    from rosbags.rosbag2.storage_mcap import McapReader

    if is_remote(file):
        return _open_remote_mcap(file)
    reader = McapReader(file)
    try:
        reader.open()
    except Exception:  # of any kind, see `_read`
        return RecoveredMcap(file)
    if _is_indexed(reader):
        return reader
    reader.close()
    return RecoveredMcap(file)


def _open_remote_mcap(file: Path) -> Any:
    """Open an MCAP file in place if its index is complete, else a local copy of it."""
    from drive_segment_ros.ros.remote_mcap import RemoteMcap

    reader = RemoteMcap(file)
    try:
        reader.open()
    except OSError:  # the storage's, not the file's
        raise
    except Exception:  # of any kind, see `_read`
        return open_mcap(local_copy(file))
    return reader if _is_indexed(reader) else open_mcap(local_copy(file))


def _is_indexed(reader: Any) -> bool:
    """Return whether the index of an MCAP file has all messages of its statistics."""
    indexed: Counter[int] = Counter()
    for chunk in reader.chunks:
        indexed.update(chunk.channel_count)
    return bool(reader.chunks) and all(indexed[c.id] == c.msgcount for c in reader.connections)


def is_cdr(connection: Any) -> bool:
    """Return whether a connection's messages are encoded as in ROS 2."""
    return connection.ext.serialization_format in ('cdr', '')


def explain_foreign(encodings: Collection[str]) -> str:
    """Return the advice for a bag without messages in ROS 2's encoding."""
    if 'ros1' in encodings:
        return (
            'its messages are of ROS 1, or of types that ROS 2 defines otherwise; '
            'an MCAP of ROS 1 cannot be read: give the original .bag file'
        )
    return (
        f'its messages are encoded as {", ".join(sorted(encodings))}, not as CDR as in ROS 2; '
        'convert them, with the Python packages mcap and mcap-ros2-support'
    )


def ros_type(connection: Any) -> str:
    """Return a connection's type as `package/msg/Type`, for any spelling."""
    name = connection.msgtype
    if not is_cdr(connection):
        return f'{connection.ext.serialization_format} {name}'
    parts = name.replace('::', '/').replace('/dds_/', '/').removesuffix('_').split('/')
    return f'{parts[0]}/msg/{parts[1]}' if len(parts) == 2 else '/'.join(parts)


# Encoded video, by the packages' own definitions. Stamp and frame at the start of Foxglove's
# message have the encoding of a header and are read as one.
_HEADED_VIDEO = 'foxglove_msgs/msg/CompressedVideo'
_VIDEO = {
    'ffmpeg_image_transport_msgs/msg/FFMPEGPacket': 'std_msgs/Header header\nint32 width\n'
    'int32 height\nstring encoding\nuint64 pts\nuint8 flags\nbool is_bigendian\nuint8[] data',
    _HEADED_VIDEO: 'std_msgs/Header header\nuint8[] data\nstring format',
}


@functools.lru_cache(maxsize=1)
def default_type_store() -> Any:
    """Return rosbags' type store of ROS 2 Jazzy, with messages of encoded video; cached.

    The sensor messages read here are the same in every ROS 2 distribution.
    """
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    for msgtype, definition in _VIDEO.items():
        store.register(get_types_from_msg(definition, msgtype))
    return store


def type_store(connections: Sequence[Any]) -> Any:
    """Return a type store with the bag's definitions, and Jazzy's for types it does not define.

    A definition that cannot be used leaves its type unknown and the others readable.
    """
    from rosbags.interfaces import MessageDefinitionFormat
    from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

    defined: dict[str, Any] = {}
    for msgtype, definition in {(ros_type(c), c.msgdef) for c in connections}:
        found: dict[str, Any] = {}
        try:
            if definition.format is MessageDefinitionFormat.MSG:
                found.update(get_types_from_msg(definition.data, msgtype))
            elif definition.format is MessageDefinitionFormat.IDL:
                for text in re.split(r'={80}\nIDL: .*\n', definition.data):
                    found.update(get_types_from_idl(text) if text.strip() else {})
            # Some cannot become Python classes, such as one with the fields `class` and `class_`.
            get_typestore(Stores.EMPTY).register(found)
        except Exception as err:  # the grammar's errors are of several kinds
            _log.info('definition of %s cannot be used: %s', msgtype, one_line(err))
        else:
            defined.update(found)
    if _HEADED_VIDEO in defined:
        defined[_HEADED_VIDEO] = default_type_store().fielddefs[_HEADED_VIDEO]
        defined[_HEADER] = default_type_store().fielddefs[_HEADER]
    if any(ros_type(connection) not in defined for connection in connections):
        defined = {**default_type_store().fielddefs, **defined}
    store = get_typestore(Stores.EMPTY)
    store.register(defined)
    return store


def types_within(fields: Any) -> list[str]:
    """Return the message types in rosbags' definition of some fields."""
    if isinstance(fields, str):
        return [fields] if '/' in fields else []
    if not isinstance(fields, (tuple, list)):
        return []
    return [name for part in fields for name in types_within(part)]


def one_line(err: BaseException) -> str:
    """Return an error's message in one line."""
    return ' '.join(str(err).split()) or type(err).__name__
