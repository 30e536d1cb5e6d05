"""The matcher of images and sweeps as a message filter.

It takes the place of message_filters' ApproximateTimeSynchronizer, with the same calls:

    images = message_filters.Subscriber(node, CompressedImage, 'image')
    sweeps = message_filters.Subscriber(node, PointCloud2, 'points')
    synchronizer = ImageSweepSynchronizer(images, sweeps)
    synchronizer.registerCallback(on_pair)          # on_pair(image, sweep)

A filter is anything with `registerCallback`, so message_filters itself need not be installed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from drive_segment_ros.perception.synchronisation import Matcher, Pair, SyncParameters

_logger = logging.getLogger(__name__)


def _log(error: Exception) -> None:
    _logger.error('synchroniser callback: %s: %s', type(error).__name__, error)


def stamp_ns(message: Any) -> int:
    """Return a message's header stamp in nanoseconds."""
    stamp = message.header.stamp
    return stamp.sec * 1_000_000_000 + stamp.nanosec


class ImageSweepSynchronizer:
    """Calls back with each image and the sweep it belongs to.

    Callbacks run on the thread that brought the last message, without a lock held; what they
    raise is reported and stops neither other callbacks nor later pairs.

    Attributes:
        matcher: counts, drops by reason and, in words, why nothing pairs.
    """

    def __init__(
        self,
        images: Any,
        sweeps: Any,
        params: SyncParameters | None = None,
        arrival_clock: Any = None,
        on_error: Callable[[Exception], None] = _log,
    ) -> None:
        """Connect to filters.

        Args:
            images: the filter of a camera, or a mapping of such by camera name.
            sweeps: the filter of the LiDAR.
            params: when image and sweep belong together.
            arrival_clock: an rclpy clock; messages without a stamp then get the time they
                arrived as theirs instead of being dropped.
            on_error: told what a callback raised.
        """
        cameras = images if isinstance(images, Mapping) else {'camera': images}
        self.matcher = Matcher(params, cameras=tuple(cameras))
        self.callbacks: dict[int, tuple[Callable[..., None], tuple[Any, ...]]] = {}
        self._arrival_clock = arrival_clock
        self._on_error = on_error
        self.connectInput(cameras, sweeps)

    def connectInput(self, cameras: Mapping[str, Any], sweeps: Any) -> None:
        """Register with the filters; each calls `add_image` or `add_sweep`."""
        self.input_connections = [
            source.registerCallback(self.add_image, name) for name, source in cameras.items()
        ]
        self.input_connections.append(sweeps.registerCallback(self.add_sweep))

    def registerCallback(self, callback: Callable[..., None], *args: Any) -> int:
        """Have `callback(image, sweep, *args)` called for each pair; return its number."""
        number = len(self.callbacks)
        self.callbacks[number] = (callback, args)
        return number

    def signalMessage(self, *messages: Any) -> None:
        """Call every callback with these messages."""
        for callback, args in tuple(self.callbacks.values()):
            try:
                callback(*messages, *args)
            except Exception as err:
                self._on_error(err)

    def add_image(self, message: Any, camera: str = 'camera') -> None:
        """Take an image message and signal what it completes."""
        self._signal(self.matcher.add_image(self._stamp(message), message, camera))

    def add_sweep(self, message: Any) -> None:
        """Take a point cloud message and signal what it completes."""
        self._signal(self.matcher.add_sweep(self._stamp(message), message))

    def expire(self) -> None:
        """Signal what has waited long enough; call it from a timer, some times a second."""
        self._signal(self.matcher.expire())

    def flush(self) -> None:
        """Signal all that still waits, as before shutting down."""
        self._signal(self.matcher.flush())

    def _stamp(self, message: Any) -> int:
        if self._arrival_clock is not None and stamp_ns(message) == 0:
            message.header.stamp = self._arrival_clock.now().to_msg()
        return stamp_ns(message)

    def _signal(self, pairs: list[Pair]) -> None:
        for pair in pairs:
            self.signalMessage(pair.image, pair.sweep)
