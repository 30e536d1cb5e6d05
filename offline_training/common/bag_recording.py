"""Writes a drive's bag: messages in the order of their arrival."""

from __future__ import annotations

import heapq
from pathlib import Path
from types import TracebackType
from typing import Any

from offline_training.common.bag_messages import MessageFactory


class Recording:
    """A new ROS 2 bag (MCAP); use as a context manager.

    Attributes:
        make: of the messages to `add`.
    """

    def __init__(self, path: Path) -> None:
        from rosbags.rosbag2 import StoragePlugin, Writer
        from rosbags.typesys import Stores, get_typestore

        # Humble's types are the same in every later distribution.
        self._typestore = get_typestore(Stores.ROS2_HUMBLE)
        self.make = MessageFactory(self._typestore)
        self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
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
        """Hand in a message; it is written once nothing can arrive before it any more."""
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic,
                message.__msgtype__,
                typestore=self._typestore,
                offered_qos_profiles=_latched() if topic == '/tf_static' else (),
            )
        data = bytes(self._typestore.serialize_cdr(message, message.__msgtype__))
        heapq.heappush(self._waiting, (arrival_ns, self._count, topic, data))
        self._count += 1

    def write_until(self, arrival_ns: int | None) -> None:
        """Write what arrived before an instant; everything if None."""
        while self._waiting and (arrival_ns is None or self._waiting[0][0] < arrival_ns):
            arrival, _, topic, data = heapq.heappop(self._waiting)
            self._writer.write(self._connections[topic], arrival, data)


def _latched() -> tuple[Any, ...]:
    """Return the quality of service that late subscribers to /tf_static need."""
    from rosbags.interfaces import (
        Qos,
        QosDurability,
        QosHistory,
        QosLiveliness,
        QosReliability,
        QosTime,
    )

    forever = QosTime(2147483647, 4294967295)
    return (
        Qos(
            history=QosHistory.KEEP_LAST,
            depth=1,
            reliability=QosReliability.RELIABLE,
            durability=QosDurability.TRANSIENT_LOCAL,
            deadline=forever,
            lifespan=forever,
            liveliness=QosLiveliness.AUTOMATIC,
            liveliness_lease_duration=forever,
            avoid_ros_namespace_conventions=False,
        ),
    )
