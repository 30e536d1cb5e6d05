"""Parses the headers of packets of encoded video without decoding: H.264 and H.265, Annex B.

Sources: ITU-T H.264 (7.3.1, 7.3.2.1, 7.3.3, 7.4.3 on frame_num) and H.265 (7.3.1, 7.4.2.2).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

# Bytes of a unit that are parsed; more would copy whole slices.
_HEAD = 256
_H264_SLICES, _H264_KEY, _H264_SETS = (1, 2, 5), 5, (7, 8)
# Intra random access pictures of H.265; leading pictures after CRA and BLA refer to earlier ones.
_H265_KEYS, _H265_OPEN, _H265_LEADING, _H265_SETS = range(16, 22), 21, (8, 9), (32, 33, 34)
# Profiles whose parameter sets contain chroma format and bit depths.
_HIGH = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)


@dataclasses.dataclass(frozen=True)
class VideoPacket:
    """The properties of a packet, which has one picture.

    Attributes:
        key: whether decoding can begin here.
        open_group: whether following pictures may refer to those before this key frame.
        leading: whether it is such a following picture.
        sets: its parameter sets, with start codes; empty if it has none.
        reference: whether others may refer to it (H.264).
        frame_num: its number among references, None if unknown (H.265).
    """

    key: bool = False
    open_group: bool = False
    leading: bool = False
    sets: bytes = b''
    reference: bool = True
    frame_num: int | None = None


@dataclasses.dataclass(frozen=True)
class NumberField:
    """How frames of an H.264 stream are numbered.

    Attributes:
        bits: of a number.
        planes: whether a slice header begins with its colour plane.
        gaps: whether numbers may be skipped.
    """

    bits: int
    planes: bool
    gaps: bool


def codec_of(encoding: str) -> str:
    """Return FFmpeg's name of the codec in a message's encoding or format, '' if unknown.

    Args:
        encoding: a codec or an encoder, perhaps followed by pixel formats: `h264`,
            `hevc_nvenc;nv12;bgr8`.
    """
    name = encoding.partition(';')[0].strip().lower()
    if '264' in name:
        return 'h264'
    return 'hevc' if '265' in name or 'hevc' in name else ''


def parse_packet(codec: str, data: bytes, numbers: NumberField | None = None) -> VideoPacket:
    """Return a packet's properties, from its units up to the first slice.

    Args:
        codec: `h264` or `hevc`.
        data: units of one picture, each after a start code (Annex B).
        numbers: how frames are numbered, if known from an earlier packet.
    """
    sets = b''
    for unit in _units(data):
        if codec == 'h264':
            kind = unit[0] & 31
            if kind in _H264_SETS:
                sets += b'\0\0\0\1' + unit
                numbers = number_field(unit) or numbers if kind == _H264_SETS[0] else numbers
            elif kind in _H264_SLICES:
                number = None if numbers is None else _frame_num(unit, numbers)
                reference = bool(unit[0] & 0x60)
                return VideoPacket(
                    kind == _H264_KEY, sets=sets, reference=reference, frame_num=number
                )
        else:
            kind = unit[0] >> 1 & 63
            if kind in _H265_SETS:
                sets += b'\0\0\0\1' + unit
            elif kind < _H265_SETS[0]:
                key = kind in _H265_KEYS
                return VideoPacket(key, kind == _H265_OPEN, kind in _H265_LEADING, sets)
    return VideoPacket(sets=sets)


def number_field(unit: bytes) -> NumberField | None:
    """Return the frame numbering of an H.264 sequence parameter set; None if it is damaged."""
    bits = _Bits(unit)
    try:
        profile = unit[1]
        bits.position = 32
        bits.exp_golomb()
        planes = False
        if profile in _HIGH:
            chroma = bits.exp_golomb()
            planes = chroma == 3 and bool(bits.take(1))
            bits.exp_golomb()
            bits.exp_golomb()
            bits.take(1)
            if bits.take(1):  # scaling matrices
                for k in range(12 if chroma == 3 else 8):
                    if bits.take(1):
                        _pass_scaling_list(bits, 16 if k < 6 else 64)
        number = bits.exp_golomb() + 4
        order = bits.exp_golomb()
        if order == 0:
            bits.exp_golomb()
        elif order == 1:
            bits.take(1)
            bits.exp_golomb()
            bits.exp_golomb()
            for _ in range(bits.exp_golomb()):
                bits.exp_golomb()
        bits.exp_golomb()
        return NumberField(number, planes, bool(bits.take(1)))
    except (IndexError, ValueError):
        return None


def _frame_num(unit: bytes, numbers: NumberField) -> int | None:
    bits = _Bits(unit)
    bits.position = 8
    try:
        for _ in range(3):  # first macroblock, type of slice, picture parameter set
            bits.exp_golomb()
        bits.take(2 if numbers.planes else 0)
        return bits.take(numbers.bits)
    except ValueError:
        return None


def _pass_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            code = bits.exp_golomb()
            following = (last + (code + 1) // 2 * (1 if code % 2 else -1)) % 256
        last = following or last


def _units(data: bytes) -> Iterator[bytes]:
    """Yield a packet's units without start codes; of a slice only the beginning, no empty one."""
    start = data.find(b'\0\0\1')
    while 0 <= start < len(data) - 3:
        start += 3
        end = data.find(b'\0\0\1', start, start + _HEAD)
        if end < 0:  # a slice, or the last one
            yield data[start : start + _HEAD]
            end = data.find(b'\0\0\1', start)
        else:
            unit = data[start:end].rstrip(b'\0')
            if unit:
                yield unit
        start = end


class _Bits:
    """A unit's bits, without emulation prevention bytes."""

    def __init__(self, unit: bytes) -> None:
        unit = unit[:_HEAD].replace(b'\0\0\3', b'\0\0')
        self._value, self._size = int.from_bytes(unit, 'big'), 8 * len(unit)
        self.position = 0

    def take(self, count: int) -> int:
        """Return the next bits as a number.

        Raises:
            ValueError: if there are fewer.
        """
        self.position += count
        if self.position > self._size:
            raise ValueError('the unit ends')
        return self._value >> (self._size - self.position) & ((1 << count) - 1)

    def exp_golomb(self) -> int:
        """Return the next number in Exp-Golomb code."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)
