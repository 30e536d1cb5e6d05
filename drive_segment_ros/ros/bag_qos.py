"""The quality of service of a recorded topic."""

from __future__ import annotations

from typing import Any


def bag_qos(depth: int = 1, latched: bool = False) -> Any:
    """Return a reliable publisher's QoS as rosbags' `Qos`, without deadlines.

    Args:
        depth: messages kept.
        latched: whether late subscribers get these (transient local).
    """
    from rosbags.interfaces import (
        Qos,
        QosDurability,
        QosHistory,
        QosLiveliness,
        QosReliability,
        QosTime,
    )

    forever = QosTime(2147483647, 4294967295)
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=depth,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=forever,
        lifespan=forever,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=forever,
        avoid_ros_namespace_conventions=False,
    )
