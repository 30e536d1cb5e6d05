"""A LiDAR sweep as arrays that still lie in its message."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drive_segment_ros.errors import CloudError

# sensor_msgs/PointField datatype -> NumPy type character.
_FIELD_TYPES = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 8: 'f8'}
_TIME_FIELDS = ('t', 'time', 'timestamp', 'time_stamp', 'timeStamp', 'offset_time', 'time_offset')
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
        time: (N,) float, seconds relative to `stamp_ns`, or None.
        ring: (N,) integer beam number, or None.
        height, width: the message's; height is 1 for an unorganised cloud.
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

    def __len__(self) -> int:
        return len(self.x)

    def packed(self) -> PointCloud:
        """Return the cloud with coordinates and times as contiguous float32, copied if need be.

        Every compiled function would otherwise gather them from the message again.
        """
        columns = (self.x, self.y, self.z, self.x if self.time is None else self.time)
        if all(values.dtype == np.float32 and values.strides[0] > 4 for values in columns):
            # Side by side in the message: gathered in one pass, which reads it once.
            x, y, z, time = _gather(*columns)
            return dataclasses.replace(
                self, x=x, y=y, z=z, time=None if self.time is None else time
            )
        return dataclasses.replace(
            self,
            x=np.ascontiguousarray(self.x, np.float32),
            y=np.ascontiguousarray(self.y, np.float32),
            z=np.ascontiguousarray(self.z, np.float32),
            time=None if self.time is None else np.ascontiguousarray(self.time, np.float32),
        )


@njit(cache=True, nogil=True)
def _gather(x, y, z, time):
    gathered = np.empty((4, len(x)), np.float32)
    for i in range(len(x)):
        gathered[0, i], gathered[1, i] = x[i], y[i]
        gathered[2, i], gathered[3, i] = z[i], time[i]
    return gathered


def structured_view(message: Any) -> NDArray[np.void]:
    """View the points of a sensor_msgs/PointCloud2 as a structured array, without copying.

    Args:
        message: rclpy's or rosbags' class, any field order, padding and byte order.

    Returns:
        (N,) structured array over `message.data`; (height * width,) in row order. Where rows are
        padded (`row_step` > `width * point_step`) the rows are joined, which copies.

    Raises:
        CloudError: if the layout contradicts itself.
    """
    order = '>' if message.is_bigendian else '<'
    names, formats, offsets = [], [], []
    for field in message.fields:
        if field.name in names or not field.name:
            continue  # Padding, by drivers that name it all alike.
        if field.datatype not in _FIELD_TYPES:
            raise CloudError(f'point field {field.name!r} has unknown datatype {field.datatype}')
        base = order + _FIELD_TYPES[field.datatype]
        names.append(field.name)
        formats.append(base if field.count <= 1 else f'({field.count},){base}')
        offsets.append(field.offset)
    step = message.point_step
    if step == 0:
        raise CloudError('the point cloud has point_step 0; check the driver')
    try:
        dtype = np.dtype(
            {'names': names, 'formats': formats, 'offsets': offsets, 'itemsize': step}
        )
    except ValueError as err:
        raise CloudError(
            f'point cloud fields do not fit into point_step {step}: {err}; check the driver'
        ) from err
    height, width, row_step = message.height, message.width, message.row_step
    data = np.frombuffer(message.data, np.uint8)
    # Of a message that arrived as of one that was read: one compiled version serves both.
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
    return data[: height * width * step].view(dtype)


def cloud_from_message(message: Any, time_field: str = 'auto') -> PointCloud:
    """Read a sensor_msgs/PointCloud2.

    Args:
        message: rclpy's or rosbags' class.
        time_field: the field with each point's time; `auto` finds the usual names and units
            (seconds, milliseconds, microseconds or nanoseconds, absolute or relative), an empty
            string ignores point times.

    Raises:
        CloudError: if x, y or z is missing, or the layout contradicts itself.
    """
    points = structured_view(message)
    fields = points.dtype.names or ()
    missing = [name for name in 'xyz' if name not in fields]
    if missing:
        raise CloudError(
            f'point cloud in frame {message.header.frame_id!r} has no field '
            f'{", ".join(missing)}; it has {", ".join(fields) or "none"}'
        )
    for name in 'xyz':
        if points.dtype[name].kind != 'f':
            raise CloudError(f'point field {name!r} is not a floating-point number')
    stamp = message.header.stamp
    stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
    time_names = _TIME_FIELDS if time_field == 'auto' else (time_field,) if time_field else ()
    if time_field not in ('auto', '', *fields):
        raise CloudError(f'point cloud has no time field {time_field!r}; it has {fields}')
    # Of several the first that makes sense: drivers fill fields they have no values for by zeros.
    times = (relative_time(_native(points[n]), stamp_ns) for n in time_names if n in fields)
    rings = (_beam_numbers(_native(points[n])) for n in _RING_FIELDS if n in fields)
    intensity_name = next((name for name in _INTENSITY_FIELDS if name in fields), None)
    x, y, z = (_native(points[name]) for name in 'xyz')
    return PointCloud(
        stamp_ns=stamp_ns,
        frame_id=message.header.frame_id,
        x=x,
        y=y,
        z=z,
        intensity=None if intensity_name is None else _native(points[intensity_name]),
        time=next((time for time in times if time is not None), None),
        ring=next((ring for ring in rings if ring is not None), None),
        height=message.height,
        width=message.width,
    )


def relative_time(values: NDArray[Any], stamp_ns: int) -> NDArray[np.floating] | None:
    """Return point times in seconds relative to a sweep's stamp, whatever their unit and origin.

    A sweep lasts 10 ms to 1 s, which tells seconds, milliseconds, microseconds and nanoseconds
    apart; values near the stamp in one of these units are absolute. Beside absolute times zero is
    none: drivers leave it where nothing returned.

    Args:
        values: (N,) as in the message.
        stamp_ns: the sweep's header stamp.

    Returns:
        (N,) float32 or float64 seconds, NaN where there is none, a view where nothing had to be
        converted; None where no unit makes sense of the values (all equal, for instance).
    """
    time = _relative_time(values, stamp_ns)
    if time is None and (values == 0).any():
        time = _relative_time(np.where(values == 0, np.nan, values), stamp_ns)
    return time


def _relative_time(values: NDArray[Any], stamp_ns: int) -> NDArray[np.floating] | None:
    finite = values[np.isfinite(values)] if values.dtype.kind == 'f' else values
    if len(finite) == 0:
        return None
    low, high = finite.min(), finite.max()
    span = float(high) - float(low)
    if span <= 0.0:
        return None
    for scale in (1.0, 1e-3, 1e-6, 1e-9):
        if not 0.005 <= span * scale <= 1.5:
            continue
        # Of a clock that began with the drive, absolute times are small as well.
        early, late = (abs(float(low) * scale - origin) for origin in (0.0, stamp_ns * 1e-9))
        if early <= min(late, 2.0):
            return values if scale == 1.0 else values * scale
        if late < 10.0:
            # Subtracted in integers where the message has them: float64 keeps only 240 ns.
            if values.dtype.kind in 'iu':
                ticks = round(1e-9 / scale * stamp_ns) if scale != 1e-9 else stamp_ns
                return (values.astype(np.int64) - ticks) * scale
            return values * scale - stamp_ns * 1e-9
    return None


def _native(values: NDArray[Any]) -> NDArray[Any]:
    """Return the values in this machine's byte order: unchanged, or converted once."""
    if values.dtype.isnative:
        return values
    return values.astype(values.dtype.newbyteorder('='))


def _beam_numbers(ring: NDArray[Any]) -> NDArray[np.integer] | None:
    """Return a ring field if it numbers beams: integers, or floats that hold integers."""
    if ring.dtype.kind == 'f':
        ring = np.where(np.isfinite(ring), ring, -1.0).clip(-1.0, _MAX_RING + 1.0).astype(np.int32)
    # A driver that leaves the field at zero for every point has no beams to offer.
    if len(ring) == 0 or ring.min() == ring.max() or ring.max() > _MAX_RING:
        return None
    return ring
