"""Structured arrays as PointCloud2 messages: by sensor_msgs_py if it is installed.

Messages are always read by `perception.clouds`: sensor_msgs_py supports rclpy's class only, and
reads wrong values if rows are padded or the byte order is not this machine's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drive_segment_ros.errors import CloudError
from drive_segment_ros.ros.images import message_bytes

# NumPy type -> sensor_msgs/PointField datatype. There is no 64-bit integer.
_DATATYPES = {'i1': 1, 'u1': 2, 'i2': 3, 'u2': 4, 'i4': 5, 'u4': 6, 'f4': 7, 'f8': 8}


def point_cloud2(points: NDArray[np.void], header: Any) -> Any:
    """Build an rclpy sensor_msgs/PointCloud2 from one record a point.

    Args:
        points: (N,) or (H, W) structured array; every field a number or a vector of numbers of
            up to 32 bits, or float64. Its layout, padding included, becomes the message's.
        header: std_msgs/Header.

    Raises:
        CloudError: if a field has a type that messages do not support.
    """
    from sensor_msgs.msg import PointField

    # Messages are written in little-endian order on every machine.
    points = np.ascontiguousarray(points, points.dtype.newbyteorder('<'))
    fields = []
    for name, (kind, offset, *_) in (points.dtype.fields or {}).items():
        base, shape = kind.subdtype or (kind, ())
        datatype = _DATATYPES.get(base.str[1:])
        if datatype is None:
            raise CloudError(f'point field {name!r}: a PointCloud2 cannot hold {base}')
        count = int(np.prod(shape, dtype=int))
        fields.append(PointField(name=name, offset=offset, datatype=datatype, count=count))
    try:
        from sensor_msgs_py.point_cloud2 import create_cloud, dtype_from_fields
    except ImportError:
        message = _create_cloud(header, fields, points.ravel())
    else:
        # sensor_msgs_py names the elements of a vector one by one, and swaps height and width.
        layout = dtype_from_fields(fields, points.dtype.itemsize)
        message = create_cloud(header, fields, points.ravel().view(layout), layout.itemsize)
    message.height, message.width = points.shape if points.ndim == 2 else (1, len(points))
    message.row_step = message.point_step * message.width
    coordinates = [name for name in 'xyz' if name in (points.dtype.names or ())]
    message.is_dense = all(bool(np.isfinite(points[name]).all()) for name in coordinates)
    return message


def _create_cloud(header: Any, fields: list[Any], points: NDArray[np.void]) -> Any:
    """Return an unorganised PointCloud2, like `sensor_msgs_py.point_cloud2.create_cloud`."""
    from sensor_msgs.msg import PointCloud2

    message = PointCloud2(header=header, height=1, width=len(points), is_bigendian=False)
    message.fields = fields
    message.point_step = points.dtype.itemsize
    message.row_step = message.point_step * message.width
    message.data = message_bytes(points)
    return message


def coloured_points(
    x: ArrayLike,
    y: ArrayLike,
    z: ArrayLike,
    rgb: NDArray[np.uint8],
    **extra: NDArray[Any],
) -> NDArray[np.void]:
    """Join coordinates, colours and further fields to records for `point_cloud2`.

    Args:
        x, y, z: (N,) metres.
        rgb: (N, 3) uint8.
        extra: (N,) arrays by field name, such as `label` and `confidence`; types are kept.

    Returns:
        (N,) structured array: float32 x, y, z; float32 `rgb` that holds 0x00RRGGBB, the way the
        Point Cloud Library and RViz expect it; then the extra fields.
    """
    fields = [('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('rgb', '<f4')]
    fields += [(name, values.dtype.newbyteorder('<').str) for name, values in extra.items()]
    points = np.zeros(len(rgb), fields)
    points['x'], points['y'], points['z'] = x, y, z
    red, green, blue = np.asarray(rgb, np.uint32).T
    points['rgb'] = (red << 16 | green << 8 | blue).astype('<u4').view('<f4')
    for name, values in extra.items():
        points[name] = values
    return points
