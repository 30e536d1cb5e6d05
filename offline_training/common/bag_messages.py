"""Creates ROS messages of rosbags' classes from arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FIELD_TYPES = {'<f4': 7, '<u2': 4, '|u1': 2}


class MessageFactory:
    """Creates messages of a type store; stamps are integer nanoseconds."""

    def __init__(self, typestore: Any) -> None:
        self._types = typestore.types

    def header(self, stamp_ns: int, frame_id: str) -> Any:
        """Return a std_msgs/Header."""
        stamp = self._types['builtin_interfaces/msg/Time'](*divmod(stamp_ns, 1_000_000_000))
        return self._types['std_msgs/msg/Header'](stamp, frame_id)

    def compressed_image(
        self, stamp_ns: int, frame_id: str, encoded: NDArray[np.uint8], form: str = 'jpeg'
    ) -> Any:
        """Return a sensor_msgs/CompressedImage of an encoded picture, `jpeg` or `png`."""
        kind = self._types['sensor_msgs/msg/CompressedImage']
        return kind(self.header(stamp_ns, frame_id), form, encoded.reshape(-1))

    def image(self, stamp_ns: int, frame_id: str, pixels: NDArray[np.uint8]) -> Any:
        """Return a sensor_msgs/Image of an (H, W, 3) picture, bgr8, or of an (H, W) one, mono8."""
        height, width, *channels = pixels.shape
        header = self.header(stamp_ns, frame_id)
        kind = self._types['sensor_msgs/msg/Image']
        encoding, step = ('bgr8', 3 * width) if channels else ('mono8', width)
        return kind(header, height, width, encoding, 0, step, pixels.reshape(-1))

    def camera_info(
        self,
        stamp_ns: int,
        frame_id: str,
        size: tuple[int, int],
        K: NDArray[np.float64],
        D: NDArray[np.float64],
        distortion_model: str,
        R: NDArray[np.float64] | None = None,
        P: NDArray[np.float64] | None = None,
    ) -> Any:
        """Return a sensor_msgs/CameraInfo; size is width, height.

        R and P, of the rectified image, are those of a monocular camera unless given.
        """
        if P is None:
            P = np.zeros((3, 4))
            P[:, :3] = K
        region = self._types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
        return self._types['sensor_msgs/msg/CameraInfo'](
            header=self.header(stamp_ns, frame_id),
            height=size[1],
            width=size[0],
            distortion_model=distortion_model,
            d=D,
            k=K.reshape(-1),
            r=(np.eye(3) if R is None else R).reshape(-1),
            p=P.reshape(-1),
            binning_x=0,
            binning_y=0,
            roi=region,
        )

    def point_cloud(self, stamp_ns: int, frame_id: str, points: NDArray[np.void]) -> Any:
        """Return an unorganised sensor_msgs/PointCloud2 of a packed structured array."""
        fields = []
        field_type = self._types['sensor_msgs/msg/PointField']
        layout = points.dtype.fields
        assert layout is not None  # points are structured
        for name, (kind, offset, *_) in layout.items():
            fields.append(field_type(name, offset, _FIELD_TYPES[kind.str], 1))
        step = points.dtype.itemsize
        dense = bool(np.isfinite(points['x']).all())
        return self._types['sensor_msgs/msg/PointCloud2'](
            header=self.header(stamp_ns, frame_id),
            height=1,
            width=len(points),
            fields=fields,
            is_bigendian=False,
            point_step=step,
            row_step=step * len(points),
            data=points.view(np.uint8).reshape(-1),
            is_dense=dense,
        )

    def label_info(self, stamp_ns: int, names: Sequence[str]) -> Any:
        """Return a vision_msgs/LabelInfo of names by label; it has no threshold."""
        kind = self._types['vision_msgs/msg/VisionClass']
        entries = [kind(number, name) for number, name in enumerate(names)]
        return self._types['vision_msgs/msg/LabelInfo'](self.header(stamp_ns, ''), entries, 0.0)

    def transform(
        self,
        stamp_ns: int,
        parent: str,
        child: str,
        translation: NDArray[np.float64],
        quaternion: NDArray[np.float64],
    ) -> Any:
        """Return a geometry_msgs/TransformStamped that maps child to parent coordinates."""
        types = self._types
        moved = types['geometry_msgs/msg/Vector3'](*translation.tolist())
        turned = types['geometry_msgs/msg/Quaternion'](*quaternion.tolist())
        return types['geometry_msgs/msg/TransformStamped'](
            self.header(stamp_ns, parent),
            child,
            types['geometry_msgs/msg/Transform'](moved, turned),
        )

    def transforms(self, transforms: list[Any]) -> Any:
        """Return a tf2_msgs/TFMessage."""
        return self._types['tf2_msgs/msg/TFMessage'](transforms)

    def odometry(
        self,
        stamp_ns: int,
        translation: NDArray[np.float64],
        quaternion: NDArray[np.float64],
        speed: float,
        yaw_rate: float,
    ) -> Any:
        """Return a nav_msgs/Odometry, odom to base_link."""
        types = self._types
        vector, point = types['geometry_msgs/msg/Vector3'], types['geometry_msgs/msg/Point']
        pose = types['geometry_msgs/msg/Pose'](
            point(*translation.tolist()),
            types['geometry_msgs/msg/Quaternion'](*quaternion.tolist()),
        )
        twist = types['geometry_msgs/msg/Twist'](
            vector(speed, 0.0, 0.0), vector(0.0, 0.0, yaw_rate)
        )
        unknown = np.zeros(36)
        return types['nav_msgs/msg/Odometry'](
            self.header(stamp_ns, 'odom'),
            'base_link',
            types['geometry_msgs/msg/PoseWithCovariance'](pose, unknown),
            types['geometry_msgs/msg/TwistWithCovariance'](twist, unknown),
        )
