"""Topics of encoded video (H.264, H.265): each packet becomes an image, decoded when asked for.

A picture of a video is decoded from the packets since the key frame before it. Each image refers
to those, so it is the same pixels whoever decodes it, in whatever order, on whatever process.
PyAV (FFmpeg) decodes.
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

# The most pictures a decoder may hold back to put them in order.
_REORDERED = 16
# Twenty seconds at 30 Hz: what is kept in memory to decode a picture.
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
        """Begin."""
        self.key_frames = 0
        self._group: _Group | None = None
        self._before: _Group | None = None  # which pictures after an open key frame refer to
        self._lost = _NO_KEY
        self._sets = b''
        self._numbers: NumberField | None = None
        self._last_number = 0

    def push(self, message: Any, header: Any = None) -> VideoImage:
        """Return a packet's image.

        Args:
            message: FFMPEGPacket or CompressedVideo, of rclpy or rosbags.
            header: the image's, where it is not the message's.
        """
        header = _copied(message.header) if header is None else header
        encoding = message.encoding if hasattr(message, 'encoding') else message.format
        codec = codec_of(encoding)
        if not codec:
            return VideoImage(
                header, encoding, None, 0, 'is video that is not read: H.264 and H.265 are'
            )
        data = np.frombuffer(message.data, np.uint8).tobytes()
        packet = parse_packet(codec, data, self._numbers)
        group, index = self._placed(codec, data, packet)
        return VideoImage(header, encoding, group, index, '' if group else self._lost)

    def _placed(self, codec: str, data: bytes, packet: VideoPacket) -> tuple[_Group | None, int]:
        """Return the group that a packet's picture is decoded in, and its place there."""
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
        """Whether a reference of an H.264 stream is missing before a packet.

        The decoder would go on with what is left; that of H.265 gives no picture.
        """
        if self._numbers is None or self._numbers.gaps or packet.frame_num is None:
            return False
        return packet.frame_num != (self._last_number + 1) % (1 << self._numbers.bits)


class VideoImage:
    """A packet's picture by the interface of a sensor_msgs/Image, decoded when asked for.

    Attributes:
        header: std_msgs/Header, or what has its fields.
        video: what the packet says of its encoding.
        encoding, is_bigendian: of `data`.
    """

    encoding = 'bgr8'
    is_bigendian = 0

    def __init__(
        self, header: Any, video: str, group: _Group | None, index: int, lost: str
    ) -> None:
        """Keep where it is decoded: its group and its place there; or why it cannot be."""
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
            ImageError: if its codec is not read.
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
        """Travel without what can be decoded again."""
        return {name: value for name, value in vars(self).items() if name != 'pixels'}


class _Group:
    """A key frame's packet and those after it, which no other key frame is needed for.

    Pictures are asked for one after the other: a decoder goes on from the last. It is begun again
    for one before that.
    """

    def __init__(self, codec: str, packets: tuple[bytes, ...] = ()) -> None:
        self._codec = codec
        self._packets = list(packets)
        self._lock = threading.Lock()
        self._decoder: Any = None
        self._next = 0  # packet to decode
        self._kept = 0  # pictures of packets before it are gone
        self._frames: dict[int, Any] = {}  # decoded, by the packet they came in
        self._lost: set[int] = set()
        self._damaged_from = _LONGEST_GROUP + _REORDERED
        self._reorders = False

    def __len__(self) -> int:
        return len(self._packets)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Group, (self._codec, tuple(self._packets))

    def add(self, data: bytes) -> int:
        """Add a packet; return its place."""
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
            # In order of their stamps, packets of pictures jump as far as pictures are held back.
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
            # What it still holds back; then it is at its end.
            self._decode(None, self._next)
            self._decoder = None
        if index not in self._frames:
            self._lost.add(index)

    def _decode(self, data: bytes | None, number: int) -> None:
        import av

        packet = None
        if data is not None:
            packet = av.Packet(data)
            packet.pts = number
        try:
            for frame in self._decoder.decode(packet):
                self._reorders |= frame.pts != number
                # H.264's decoder says when it had to guess, and goes on with its guess.
                if frame.is_corrupt:
                    self._damaged_from = min(self._damaged_from, frame.pts)
                if frame.pts < self._damaged_from:
                    self._frames[frame.pts] = frame
        except av.FFmpegError as err:
            _log.debug('packet %d: %s', number, err)


def primed(reader: BagReader, topic: str, before_ns: int) -> VideoStream:
    """Return the stream of a bag's video topic as it is before a bag stamp.

    It has heard what comes after the second last key frame, which pictures after the last may
    refer to; where key frames are more than a minute apart, what there is of two minutes.
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
    """Return a header that travels to other processes, where a bag's own types are unknown."""
    stamp = SimpleNamespace(sec=header.stamp.sec, nanosec=header.stamp.nanosec)
    return SimpleNamespace(stamp=stamp, frame_id=header.frame_id)


def _numbers(sets: bytes) -> NumberField | None:
    units = (unit for unit in sets.split(b'\0\0\0\1') if unit and unit[0] & 31 == 7)
    return next((field for unit in units if (field := number_field(unit))), None)


def _decoder(codec: str) -> Any:
    """Return a decoder: of one thread, as those of several hold pictures back."""
    try:
        import av
    except ImportError as err:
        raise DependencyError("encoded video needs PyAV; pip install '.[video]'") from err
    decoder = av.CodecContext.create(codec, 'r')
    decoder.thread_count = 1
    decoder.options = {'max_pixels': str(MAX_PIXELS)}
    return decoder
