"""Writes a bag: messages in the order of their arrival."""

from __future__ import annotations

import heapq
from pathlib import Path
from types import TracebackType
from typing import Any

from drive_segment_ros.ros.bag_qos import bag_qos
from drive_segment_ros.ros.bags import BagMessage, BagReader
from offline_training.common.bag_messages import MessageFactory

# Latched topics.
_LATCHED = ('/tf_static', '/label_info')
# vision_msgs 4; rosbags does not know the package.
_VISION = {
    'vision_msgs/msg/VisionClass': 'uint16 class_id\nstring class_name',
    'vision_msgs/msg/LabelInfo': 'std_msgs/Header header\n'
    'vision_msgs/VisionClass[] class_map\nfloat32 threshold',
}


class Recording:
    """A new ROS 2 bag (MCAP); use as a context manager.

    Attributes:
        make: creates the messages for `add`.
    """

    def __init__(self, path: Path, compressed: bool = False) -> None:
        """Store the path; nothing is written yet.

        Args:
            path: of the folder to create.
            compressed: by zstd, useful for masks, not for JPEG.
        """
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
        from rosbags.typesys import Stores, get_types_from_msg, get_typestore

        # Humble's types are the same in every later distribution.
        self._typestore = get_typestore(Stores.ROS2_HUMBLE)
        for msgtype, definition in _VISION.items():
            self._typestore.register(get_types_from_msg(definition, msgtype))
        self.make = MessageFactory(self._typestore)
        self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        if compressed:
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._connections: dict[str, Any] = {}
        self._waiting: list[tuple[int, int, str, bytes]] = []
        self._count = 0

    def __enter__(self) -> Recording:
        self._writer.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.write_until(None)
        self._writer.close()

    def add(self, topic: str, message: Any, arrival_ns: int) -> None:
        """Add a message; it is written once no earlier message can follow."""
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic,
                message.__msgtype__,
                typestore=self._typestore,
                offered_qos_profiles=[bag_qos(latched=True)] if topic.endswith(_LATCHED) else (),
            )
        self._push(
            topic, bytes(self._typestore.serialize_cdr(message, message.__msgtype__)), arrival_ns
        )

    def copy(self, reader: BagReader, message: BagMessage) -> None:
        """Add a message of another bag unchanged.

        Raises:
            BagError: if its type is unknown.
        """
        if message.topic not in self._connections:
            definition, digest = reader.definition(message.msgtype)
            self._connections[message.topic] = self._writer.add_connection(
                message.topic,
                message.msgtype,
                msgdef=definition,
                rihs01=digest,
                offered_qos_profiles=reader.topics[message.topic].qos,
            )
        self._push(message.topic, bytes(message.raw), message.bag_stamp_ns)

    def _push(self, topic: str, data: bytes, arrival_ns: int) -> None:
        heapq.heappush(self._waiting, (arrival_ns, self._count, topic, data))
        self._count += 1

    def write_until(self, arrival_ns: int | None) -> None:
        """Write the messages that arrived before an instant; all if None."""
        while self._waiting and (arrival_ns is None or self._waiting[0][0] < arrival_ns):
            arrival, _, topic, data = heapq.heappop(self._waiting)
            self._writer.write(self._connections[topic], arrival, data)
