"""A LiDAR sweep as arrays that are views into its message."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drive_segment_ros.errors import CloudError
from drive_segment_ros.perception.point_times import (
    PointTimes,
    point_times,
    split_time_fields,
    time_fields,
)

# Twice 128 beams of 4096 columns with two returns.
MAX_POINTS = 2_000_000
# sensor_msgs/PointField datatype -> NumPy type character; 9 to 11 are of later definitions.
_FIELD_TYPES = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 8: 'f8'}
_FIELD_TYPES |= {9: 'i8', 10: 'u8', 11: 'u1'}
_RING_FIELDS = ('ring', 'channel', 'line', 'row', 'laser_id')
# More lasers than any sensor has; larger numbers in a `ring` field are something else.
_MAX_RING = 1023
_INTENSITY_FIELDS = ('intensity', 'i', 'reflectivity', 'signal')


@dataclasses.dataclass(frozen=True)
class PointCloud:
    """One sweep of a LiDAR in the sensor's own frame, each point at its own time.

    Attributes:
        stamp_ns: header stamp, nanoseconds.
        frame_id: the sensor's frame.
        x, y, z: (N,) float32 or float64, metres; views into the message, perhaps strided or
            unaligned. Points without return may be NaN or infinite.
        intensity: (N,) any real type, the sensor's own scale, or None.
        time: (N,) float, seconds relative to `stamp_ns`, or None. NaN where a point has none
            or an implausible one; such a point is moved like the first one in view.
        ring: (N,) integer beam number, or None.
        height, width: the message's; height is 1 for an unorganised cloud.
        time_field: the field that `time` is read from, empty without.
        clock_s: by how much the points' clock is ahead of the stamp's; see `PointTimes`.
        timeless: points whose time is NaN.
    """

    stamp_ns: int
    frame_id: str
    x: NDArray[np.floating]
    y: NDArray[np.floating]
    z: NDArray[np.floating]
    intensity: NDArray[Any] | None = None
    time: NDArray[np.floating] | None = None
    ring: NDArray[np.integer] | None = None
    height: int = 1
    width: int = 0
    time_field: str = ''
    clock_s: float = 0.0
    timeless: int = 0

    def __len__(self) -> int:
        return len(self.x)

    def about_axis(self, axis: int) -> tuple[NDArray[np.float32], ...]:
        """Return the coordinates, each contiguous, cyclically permuted: the axis comes third."""
        coordinates = (self.x, self.y, self.z)
        # With one layout there is one compiled version, and packed fields are read once.
        return tuple(
            np.ascontiguousarray(coordinates[(axis + k) % 3], np.float32) for k in (1, 2, 3)
        )

    def packed(self) -> PointCloud:
        """Return the cloud with coordinates and times as contiguous float32, copied if needed.

        Otherwise every compiled function would gather them from the message again.
        """
        x, y, z = self.x, self.y, self.z
        if all(values.dtype == np.float32 and values.strides[0] > 4 for values in (x, y, z)):
            # Adjacent in the message: gathered in one pass, which reads it once.
            x, y, z = _gather(x, y, z)
        return dataclasses.replace(
            self,
            x=np.ascontiguousarray(x, np.float32),
            y=np.ascontiguousarray(y, np.float32),
            z=np.ascontiguousarray(z, np.float32),
            time=None if self.time is None else np.ascontiguousarray(self.time, np.float32),
        )


@njit(cache=True, nogil=True)
def _gather(x, y, z):
    """Return three columns side by side, (3, N) float32.

    Args:
        x, y, z: (N,) float32 at any stride, metres.
    """
    gathered = np.empty((3, len(x)), np.float32)
    for i in range(len(x)):
        gathered[0, i], gathered[1, i], gathered[2, i] = x[i], y[i], z[i]
    return gathered


def structured_view(message: Any, max_points: int = MAX_POINTS) -> NDArray[np.void]:
    """View the points of a sensor_msgs/PointCloud2 as a structured array, without copying.

    Args:
        message: rclpy's or rosbags' class, any field order, padding and byte order.
        max_points: largest number of points accepted.

    Returns:
        (N,) structured array over `message.data`; (height * width,) in row order. Where rows are
        padded (`row_step` > `width * point_step`) the rows are joined, which copies. Fields of an
        unknown datatype, and those that do not lie inside a point, are omitted.

    Raises:
        CloudError: if it has too many points or the layout contradicts itself.
    """
    step = message.point_step
    if not 0 < step < 2**31:
        raise CloudError(f'the point cloud has point_step {step}; check the driver')
    height, width, row_step = message.height, message.width, message.row_step
    if height * width > max_points:
        raise CloudError(
            f'point cloud in frame {message.header.frame_id!r} has {height} x {width} points, '
            f'above the limit max_points {max_points}'
        )
    data = np.frombuffer(message.data, np.uint8)
    if height * width == 0 and len(data) >= step:
        raise CloudError(
            f'point cloud of {height} x {width} points has {len(data)} bytes; the driver fills '
            'in the message incorrectly'
        )
    # The same type for a received and for a recorded message: one compiled version serves both.
    data.flags.writeable = False
    padded = height > 1 and row_step > width * step
    needed = (height - 1) * row_step + width * step if padded else height * width * step
    if len(data) < needed:
        raise CloudError(
            f'point cloud of {height} x {width} points needs {needed} bytes, has {len(data)}; '
            'the message is truncated'
        )
    if padded:
        rows = np.lib.stride_tricks.as_strided(data, (height, width * step), (row_step, 1))
        data = np.ascontiguousarray(rows).reshape(-1)
    return data[: height * width * step].view(_layout(message))


def unusable_fields(message: Any) -> dict[str, str]:
    """Return the fields that `structured_view` omits, and why, one phrase each."""
    found: dict[str, str] = {}
    for field in message.fields:
        # Padding has no name, or one of only underscores, by the Point Cloud Library.
        if not field.name.strip('_') or field.name in found:
            continue
        if field.datatype not in _FIELD_TYPES:
            found[field.name] = f'has unknown datatype {field.datatype}'
        elif not _fits(field, message.point_step):
            found[field.name] = f'does not fit into point_step {message.point_step}'
    return found


def used_fields() -> tuple[str, ...]:
    """Return the field names that are read as coordinates, beams and intensities."""
    return ('x', 'y', 'z', *_RING_FIELDS, *_INTENSITY_FIELDS)


def cloud_from_message(
    message: Any,
    time_field: str = 'auto',
    max_points: int = MAX_POINTS,
    stamped: str = 'first',
) -> PointCloud:
    """Read a sensor_msgs/PointCloud2.

    Args:
        message: rclpy's or rosbags' class.
        time_field: the field with each point's time; `auto` finds the usual names and units
            (seconds, milliseconds, microseconds or nanoseconds, absolute or relative), an empty
            string ignores point times.
        max_points: largest number of points accepted; checked before anything is decoded.
        stamped: `first` or `last`: the point measured at the stamp, if the points have another
            clock.

    Raises:
        CloudError: if it has too many points, x, y or z is missing or no number, or the layout
            contradicts itself. A sweep is never rejected because of another field.
    """
    points = structured_view(message, max_points)
    fields = points.dtype.names or ()
    for name in 'xyz':
        _check_coordinate(name, points.dtype, message)
    if time_field not in ('auto', '', *fields):
        why = unusable_fields(message).get(time_field)
        raise CloudError(
            f'point field {time_field!r} {why}'
            if why
            else f'point cloud has no time field {time_field!r}; it has {", ".join(fields)}'
        )
    stamp = message.header.stamp
    stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
    name, times = _times(points, time_field, stamp_ns, stamped)
    scalars = [name for name in fields if not points.dtype[name].shape]
    rings = (_beam_numbers(_native(points[n])) for n in _RING_FIELDS if n in scalars)
    intensity_name = next((name for name in _INTENSITY_FIELDS if name in scalars), None)
    x, y, z = (_native(points[name]) for name in 'xyz')
    return PointCloud(
        stamp_ns=stamp_ns,
        frame_id=message.header.frame_id,
        x=x,
        y=y,
        z=z,
        intensity=None if intensity_name is None else _native(points[intensity_name]),
        time=None if times is None else times.seconds,
        ring=next((ring for ring in rings if ring is not None), None),
        height=message.height,
        width=message.width,
        time_field=name,
        clock_s=0.0 if times is None else times.clock_s,
        timeless=0 if times is None else times.missing,
    )


def _layout(message: Any) -> np.dtype[np.void]:
    order = '>' if message.is_bigendian else '<'
    formats: dict[str, tuple[str, int]] = {}
    for field in message.fields:
        # Padding: some drivers give it one name or none.
        if not field.name or field.name in formats or field.datatype not in _FIELD_TYPES:
            continue
        if _fits(field, message.point_step):
            base = order + _FIELD_TYPES[field.datatype]
            form = base if field.count <= 1 else f'({field.count},){base}'
            formats[field.name] = form, field.offset
    return np.dtype(
        {
            'names': list(formats),
            'formats': [form for form, _ in formats.values()],
            'offsets': [offset for _, offset in formats.values()],
            'itemsize': message.point_step,
        }
    )


def _fits(field: Any, step: int) -> bool:
    size = int(_FIELD_TYPES[field.datatype][1]) * max(field.count, 1)
    return 0 <= field.offset <= step - size


def _check_coordinate(name: str, layout: np.dtype[np.void], message: Any) -> None:
    fields = layout.names or ()
    why = '' if name in fields else unusable_fields(message).get(name, 'is missing')
    if why == 'is missing':
        missing = ', '.join(n for n in 'xyz' if n not in fields)
        raise CloudError(
            f'point cloud in frame {message.header.frame_id!r} has no field {missing}; it has '
            f'{", ".join(fields) or "none"}'
        )
    if not why and layout[name].shape:
        why = f'has {layout[name].shape[0]} values a point'
    if not why and layout[name].kind != 'f':
        why = 'is not a floating-point number'
    if why:
        raise CloudError(f'point field {name!r} {why}; check the driver')


def _times(
    points: NDArray[np.void], time_field: str, stamp_ns: int, stamped: str
) -> tuple[str, PointTimes | None]:
    """Return the points' times and the name of the field they are from.

    Of several fields the first plausible one: drivers fill unused fields with zeros.
    """
    names = tuple(n for n in points.dtype.names or () if not points.dtype[n].shape)
    split = split_time_fields(names) if time_field == 'auto' else None
    if split is not None:
        whole, part = (points[name].astype(np.int64) for name in split)
        if len(part) and part.min() >= 0 and part.max() < 1_000_000_000:
            times = point_times(whole * 1_000_000_000 + part, stamp_ns, stamped)
            if times is not None:
                return ' + '.join(split), times
    wanted = time_fields(names) if time_field == 'auto' else [time_field] if time_field else []
    for name in wanted:
        if name in names:
            times = point_times(np.ascontiguousarray(_native(points[name])), stamp_ns, stamped)
            if times is not None:
                return name, times
    return '', None


def _native(values: NDArray[Any]) -> NDArray[Any]:
    """Return the values in this machine's byte order: unchanged, or converted once."""
    if values.dtype.isnative:
        return values
    return values.astype(values.dtype.newbyteorder('='))


def _beam_numbers(ring: NDArray[Any]) -> NDArray[np.integer] | None:
    """Return a ring field if it numbers beams: integers, or floats that hold integers."""
    # A contiguous copy is scanned much faster than the message.
    ring = np.ascontiguousarray(ring)
    if ring.dtype.kind == 'f':
        ring = np.where(np.isfinite(ring), ring, -1.0).clip(-1.0, _MAX_RING + 1.0).astype(np.int32)
    # If the driver leaves the field at zero for every point, there are no beams.
    if len(ring) == 0 or ring.min() == ring.max() or ring.max() > _MAX_RING:
        return None
    return ring
