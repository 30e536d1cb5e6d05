"""Topics of encoded video (H.264, H.265): each packet becomes an image, decoded on access.

A picture is decoded from the packets since the last key frame. Each image refers to these, so its
pixels do not depend on the order or process in which images are decoded. PyAV (FFmpeg) decodes.
"""

from __future__ import annotations

import functools
import logging
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.image_file import MAX_PIXELS
from drive_segment_ros.errors import DependencyError, ImageError, VideoError
from drive_segment_ros.ros.bags import BagReader
from drive_segment_ros.ros.video_packets import (
    NumberField,
    VideoPacket,
    codec_of,
    number_field,
    parse_packet,
)

FFMPEG_PACKET = 'ffmpeg_image_transport_msgs/msg/FFMPEGPacket'
COMPRESSED_VIDEO = 'foxglove_msgs/msg/CompressedVideo'
VIDEO_TYPES = (FFMPEG_PACKET, COMPRESSED_VIDEO)

# Largest number of pictures that a decoder may delay to reorder them.
_REORDERED = 16
# Twenty seconds at 30 Hz: packets kept in memory to decode a picture.
_LONGEST_GROUP = 600
_LOOK_BACK_S = (2, 8, 32, 128)
_NO_KEY = 'no key frame of its video came before it'
_GAP = 'a packet of its video was lost since the last key frame'
_TOO_LONG = (
    f'its video has more than {_LONGEST_GROUP} packets since the last key frame; '
    'have the encoder send one every second or two'
)
_log = logging.getLogger(__name__)


class VideoStream:
    """One topic's packets, in the order they were sent."""

    def __init__(self) -> None:
        """Start without packets."""
        self.key_frames = 0
        self._group: _Group | None = None
        self._before: _Group | None = None  # referred to by pictures after an open key frame
        self._lost = _NO_KEY
        self._sets = b''
        self._numbers: NumberField | None = None
        self._last_number = 0

    def push(self, message: Any, header: Any = None) -> VideoImage:
        """Return a packet's image.

        Args:
            message: FFMPEGPacket or CompressedVideo, of rclpy or rosbags.
            header: the image's, if it is not the message's.
        """
        header = _copied(message.header) if header is None else header
        encoding = message.encoding if hasattr(message, 'encoding') else message.format
        codec = codec_of(encoding)
        if not codec:
            return VideoImage(
                header,
                encoding,
                None,
                0,
                'is video of an unsupported codec; H.264 and H.265 are supported',
            )
        data = np.frombuffer(message.data, np.uint8).tobytes()
        packet = parse_packet(codec, data, self._numbers)
        group, index = self._placed(codec, data, packet)
        return VideoImage(header, encoding, group, index, '' if group else self._lost)

    def _placed(self, codec: str, data: bytes, packet: VideoPacket) -> tuple[_Group | None, int]:
        """Return the group in which a packet's picture is decoded, and its index there."""
        if packet.sets:
            self._sets = packet.sets
            if codec == 'h264':
                self._numbers = _numbers(packet.sets) or self._numbers
        if packet.key:
            self.key_frames += 1
            self._before = self._group if packet.open_group else None
            if self._before is not None:
                self._before.add(data)
            # An encoder may send its parameter sets only once.
            self._group = _Group(codec)
            self._last_number = packet.frame_num or 0
            return self._group, self._group.add(data if packet.sets else self._sets + data)
        if packet.leading:
            before = self._before
            return before, before.add(data) if before is not None else 0
        self._before = None
        if self._group is not None and self._is_gap(packet):
            self._group, self._lost = None, _GAP
        if self._group is not None and len(self._group) >= _LONGEST_GROUP:
            self._group, self._lost = None, _TOO_LONG
        if packet.reference and packet.frame_num is not None:
            self._last_number = packet.frame_num
        return self._group, self._group.add(data) if self._group is not None else 0

    def _is_gap(self, packet: VideoPacket) -> bool:
        """Return whether a reference picture of an H.264 stream is missing before a packet.

        The H.264 decoder would continue without it; that of H.265 gives no picture.
        """
        if self._numbers is None or self._numbers.gaps or packet.frame_num is None:
            return False
        return packet.frame_num != (self._last_number + 1) % (1 << self._numbers.bits)


class VideoImage:
    """A packet's picture with the interface of a sensor_msgs/Image, decoded on access.

    Attributes:
        header: std_msgs/Header, or what has its fields.
        video: the encoding given in the packet.
        encoding, is_bigendian: of `data`.
    """

    encoding = 'bgr8'
    is_bigendian = 0

    def __init__(
        self, header: Any, video: str, group: _Group | None, index: int, lost: str
    ) -> None:
        """Store its group and its index there, or why it cannot be decoded."""
        self.header = header
        self.video = video
        self._group = group
        self._index = index
        self._lost = lost

    @functools.cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 BGR.

        Raises:
            VideoError: if packets that it needs are missing.
            ImageError: if its codec is not supported.
            DependencyError: if PyAV is not installed.
        """
        if self._group is not None:
            return self._group.picture(self._index, self._where)
        raise (VideoError if self._lost in (_NO_KEY, _GAP, _TOO_LONG) else ImageError)(
            f'{self._where}: {self._lost}'
        )

    @property
    def height(self) -> int:
        """Pixels; decodes."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """Pixels; decodes."""
        return self.pixels.shape[1]

    @property
    def step(self) -> int:
        """Bytes of a row; decodes."""
        return 3 * self.width

    @property
    def data(self) -> NDArray[np.uint8]:
        """(H * step,) bytes of the picture; decodes."""
        return self.pixels.reshape(-1)

    @property
    def _where(self) -> str:
        stamp = self.header.stamp
        name = self.header.frame_id or 'no frame'
        return f'image {stamp.sec}.{stamp.nanosec:09d} of {name} ({self.video})'

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the decoded picture."""
        return {name: value for name, value in vars(self).items() if name != 'pixels'}


class _Group:
    """A key frame's packet and those after it, up to the next key frame.

    Pictures are usually read in order: the decoder continues from the last one. It is restarted
    for an earlier one.
    """

    def __init__(self, codec: str, packets: tuple[bytes, ...] = ()) -> None:
        self._codec = codec
        self._packets = list(packets)
        self._lock = threading.Lock()
        self._decoder: Any = None
        self._next = 0  # packet to decode
        self._kept = 0  # pictures of packets before it are discarded
        self._frames: dict[int, Any] = {}  # decoded, by packet
        self._lost: set[int] = set()
        self._damaged_from = _LONGEST_GROUP + _REORDERED
        self._reorders = False

    def __len__(self) -> int:
        return len(self._packets)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Group, (self._codec, tuple(self._packets))

    def add(self, data: bytes) -> int:
        """Add a packet; return its index."""
        self._packets.append(data)
        return len(self._packets) - 1

    def picture(self, index: int, where: str) -> NDArray[np.uint8]:
        """Return the picture of a packet, (H, W, 3) uint8 BGR.

        Raises:
            VideoError: if it cannot be decoded; the message begins with `where`.
        """
        with self._lock:
            if index not in self._frames and index not in self._lost:
                self._decode_to(index)
            if index not in self._frames:
                raise VideoError(
                    f'{where}: packets of its video since the last key frame are missing or '
                    'damaged'
                )
            frame = self._frames[index]
            # Pictures are reordered by at most the decoder's delay.
            self._kept = max(self._kept, index - _REORDERED if self._reorders else index)
            self._frames = {n: frame for n, frame in self._frames.items() if n >= self._kept}
        return np.asarray(frame.to_ndarray(format='bgr24'), np.uint8)

    def _decode_to(self, index: int) -> None:
        if self._decoder is None or index < self._kept:
            self._decoder, self._next, self._kept = _decoder(self._codec), 0, 0
            self._frames = {}
        last = min(index + _REORDERED, len(self._packets) - 1)
        while index not in self._frames and self._next <= last:
            self._decode(self._packets[self._next], self._next)
            self._next += 1
        if index not in self._frames:
            # Flush the delayed pictures; then the decoder is at its end.
            self._decode(None, self._next)
            self._decoder = None
        if index not in self._frames:
            self._lost.add(index)

    def _decode(self, data: bytes | None, number: int) -> None:
        import av

        if data == b'':  # FFmpeg would take it as the end of the stream.
            return
        packet = None
        if data is not None:
            packet = av.Packet(data)
            packet.pts = number
        try:
            for frame in self._decoder.decode(packet):
                self._reorders |= frame.pts != number
                # The H.264 decoder flags concealed errors and continues.
                if frame.is_corrupt:
                    self._damaged_from = min(self._damaged_from, frame.pts)
                if frame.pts < self._damaged_from:
                    self._frames[frame.pts] = frame
        except av.FFmpegError as err:
            _log.debug('packet %d: %s', number, err)


def primed(reader: BagReader, topic: str, before_ns: int) -> VideoStream:
    """Return the stream of a bag's video topic in its state before a bag stamp.

    It has the packets since the second last key frame, to which pictures after the last one may
    refer; if key frames are more than a minute apart, those of two minutes.
    """
    stream = VideoStream()
    for seconds in _LOOK_BACK_S:
        stream = VideoStream()
        first_ns = before_ns - seconds * 1_000_000_000
        for message in reader.messages([topic], first_ns, before_ns):
            stream.push(reader.deserialize(message.raw, message.msgtype))
        if stream.key_frames > 1 or first_ns <= reader.start_ns:
            break
    return stream


def _copied(header: Any) -> SimpleNamespace:
    """Return a header that can be sent to other processes, which lack the bag's types."""
    stamp = SimpleNamespace(sec=header.stamp.sec, nanosec=header.stamp.nanosec)
    return SimpleNamespace(stamp=stamp, frame_id=header.frame_id)


def _numbers(sets: bytes) -> NumberField | None:
    units = (unit for unit in sets.split(b'\0\0\0\1') if unit and unit[0] & 31 == 7)
    return next((field for unit in units if (field := number_field(unit))), None)


def _decoder(codec: str) -> Any:
    """Return a decoder with one thread, as several threads delay pictures."""
    try:
        import av
    except ImportError as err:
        raise DependencyError("encoded video needs PyAV; pip install '.[video]'") from err
    decoder = av.CodecContext.create(codec, 'r')
    decoder.thread_count = 1
    decoder.options = {'max_pixels': str(MAX_PIXELS)}
    return decoder
