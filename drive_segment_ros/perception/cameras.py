"""Camera models made from sensor_msgs/CameraInfo."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drive_segment_ros.errors import CalibrationError
from drive_segment_ros.perception import lenses
from drive_segment_ros.perception.distortion import lens_of

_MOST_PIXELS = 1_000_000  # along a side
# Limits of a valid focal length, and of the distance of a valid principal point, relative to the
# larger side of the image.
_SHORTEST, _LONGEST, _FARTHEST = 1e-3, 1e4, 1e3


# Compared by identity: comparing arrays gives an array.
@dataclasses.dataclass(frozen=True, eq=False)
class CameraModel:
    """A camera that projects points of its optical frame (z forward, x right, y down).

    Attributes:
        width, height: of the image, px.
        K: (3, 3) float64 camera matrix of the raw image.
        D: (n,) float64 distortion coefficients of the raw image, in OpenCV's order.
        R: (3, 3) float64 rotation from the camera's to the rectified frame.
        P: (3, 4) float64 projection of the rectified image. Its fourth column, a stereo
            baseline, is not used: each camera must have its own optical frame in /tf.
        distortion_model: as named by camera_info, see `distortion.lens_of`.
        frame_id: the optical frame.
        rectified: whether the images are rectified (project with R and P) or raw (K and D).

    Raises:
        CalibrationError: if the numbers cannot belong to a camera.
    """

    width: int
    height: int
    K: NDArray[np.float64]
    D: NDArray[np.float64]
    R: NDArray[np.float64]
    P: NDArray[np.float64]
    distortion_model: str
    frame_id: str
    rectified: bool

    def __post_init__(self) -> None:
        _check(self)

    @classmethod
    def from_camera_info(cls, message: Any, rectified: bool) -> CameraModel:
        """Read a sensor_msgs/CameraInfo.

        The calibration in the message is for the full sensor; region of interest (first) and
        binning (second) are applied, so that the model fits the images as they are published.

        Args:
            message: rclpy's or rosbags' class.
            rectified: whether the images that go with it are rectified.

        Raises:
            CalibrationError: if the camera is not calibrated or the numbers are invalid.
        """
        frame_id = message.header.frame_id
        K = _array(message.k, (3, 3), 'k', frame_id)
        P = _array(message.p, (3, 4), 'p', frame_id)
        R = _array(message.r, (3, 3), 'r', frame_id)
        roi = message.roi
        binning = np.array([max(message.binning_x, 1), max(message.binning_y, 1)])
        width, height = roi.width or message.width, roi.height or message.height
        # An uncalibrated camera keeps its zeros, so that the error says so.
        for matrix in (matrix for matrix in (K, P) if matrix.any()):
            matrix[:2, 2] -= roi.x_offset, roi.y_offset
            _rescale(matrix, 1.0 / binning)
        return cls(
            width=int(width // binning[0]),
            height=int(height // binning[1]),
            K=K,
            D=np.array(message.d, np.float64),
            # Drivers of single cameras leave R at zero.
            R=R if R.any() else np.eye(3),
            P=P,
            distortion_model=message.distortion_model,
            frame_id=frame_id,
            rectified=rectified,
        )

    def scaled(self, width: int, height: int) -> CameraModel:
        """Return the model for the image resized to `width` x `height` px.

        A pixel's area is what scales: u' = (u + 0.5) s - 0.5.
        """
        if (width, height) == (self.width, self.height):
            return self
        scale = np.array([width / self.width, height / self.height])
        K, P = self.K.copy(), self.P.copy()
        _rescale(K, scale)
        _rescale(P, scale)
        return dataclasses.replace(self, width=width, height=height, K=K, P=P)

    @property
    def rotation(self) -> NDArray[np.float64]:
        """(3, 3) rotation from the optical frame to the frame of the image, raw or rectified."""
        return self.R if self.rectified else np.eye(3)

    @functools.cached_property
    def lens(self) -> lenses.Lens:
        """The model in the form used by compiled functions, applied after `rotation`."""
        size = (self.width, self.height)
        if self.rectified:
            return lenses.make_lens(self.P[:, :3], lenses.PINHOLE, np.zeros(0), size)
        kind, coefficients = lens_of(self.distortion_model, self.D)
        return lenses.make_lens(self.K, kind, coefficients, size)

    def project(
        self, points: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Project points into the image.

        Args:
            points: (N, 3) metres, optical frame.

        Returns:
            uv: (N, 2) float64 px, pixel centres at integers; beyond the borders too, NaN where
                the point is behind the camera or beyond what the lens model describes.
            valid: (N,) whether the point lies in the image.
        """
        with np.errstate(invalid='ignore'):
            rotated = np.asarray(points, np.float64) @ self.rotation.T
            uv = lenses.pixels(np.ascontiguousarray(rotated), self.lens)
            inside = (uv >= -0.5) & (uv < np.array([self.width, self.height]) - 0.5)
        return uv, inside[:, 0] & inside[:, 1]

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, lists and strings; `from_dict` gives the same model back."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in ('K', 'D', 'R', 'P'):
            values[name] = values[name].tolist()
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CameraModel:
        """Build a model from the output of `to_dict`.

        Raises:
            CalibrationError: if an entry is missing, unknown, or invalid.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if set(values) != names:
            wrong = ', '.join(sorted(set(values) ^ names, key=str))
            raise CalibrationError(f'camera has missing or unknown entries: {wrong}')
        frame_id = str(values['frame_id'])
        try:
            width, height = int(values['width']), int(values['height'])
        except (TypeError, ValueError, OverflowError) as err:
            raise CalibrationError(f'camera {frame_id!r}: width or height is no integer') from err
        return cls(
            width=width,
            height=height,
            K=_array(values['K'], (3, 3), 'K', frame_id),
            D=_array(values['D'], (-1,), 'D', frame_id),
            R=_array(values['R'], (3, 3), 'R', frame_id),
            P=_array(values['P'], (3, 4), 'P', frame_id),
            distortion_model=str(values['distortion_model']),
            frame_id=frame_id,
            rectified=bool(values['rectified']),
        )


def is_rectified(setting: object, image_topic: str, camera_info: Any) -> bool:
    """Return whether images are rectified: then P of their camera_info applies, else K and D.

    Args:
        setting: the parameter `rectified`: `true`, `false`, or `auto`, which decides by the
            topic's name: by the convention of image_proc, it is rectified if a word between
            slashes or underscores is `rect` or `rectified`, as in `image_rect_color`.
        image_topic: the resolved name, with or without a transport.
        camera_info: of the images. For `auto`, a camera without P and distortion counts as raw,
            as K then projects identically.
    """
    if str(setting).lower() != 'auto':
        return str(setting).lower() == 'true'
    named = re.search(r'(^|[/_])rect(ified)?($|[/_])', image_topic.lower()) is not None
    return named and bool(np.any(camera_info.p) or np.any(camera_info.d))


def _array(
    values: ArrayLike, shape: tuple[int, ...], name: str, frame_id: str
) -> NDArray[np.float64]:
    """Return a float64 copy of the given shape."""
    try:
        return np.array(values, np.float64).reshape(shape)
    except (TypeError, ValueError, OverflowError) as err:
        raise CalibrationError(
            f'camera {frame_id!r}: {name} is not a {shape} matrix of numbers'
        ) from err


def _rescale(matrix: NDArray[np.float64], scale: NDArray[np.float64]) -> None:
    """Scale a (3, n) projection in place; pixel centres are at integers."""
    matrix[:2] *= scale[:, None]
    matrix[:2, 2] += 0.5 * scale - 0.5


def _check(camera: CameraModel) -> None:
    """Raise CalibrationError unless the numbers can belong to a camera."""
    name = f'camera {camera.frame_id!r}'
    if not (0 < camera.width <= _MOST_PIXELS and 0 < camera.height <= _MOST_PIXELS):
        raise CalibrationError(
            f'{name}: image size is {camera.width} x {camera.height}; '
            'have the driver fill width and height of camera_info'
        )
    for key in ('K', 'D', 'R', 'P'):
        if not np.isfinite(getattr(camera, key)).all():
            raise CalibrationError(f'{name}: {key} holds NaN or infinity; calibrate it again')
    used, matrix = ('P', camera.P) if camera.rectified else ('K', camera.K)
    if not matrix.any():
        hint = 'fill it, or treat the images as raw' if camera.rectified else 'calibrate it'
        raise CalibrationError(f'{name} is not calibrated: {used} is all zero; {hint}')
    focal, side = np.diagonal(matrix)[:2], max(camera.width, camera.height)
    if not ((focal > _SHORTEST * side) & (focal < _LONGEST * side)).all():
        raise CalibrationError(
            f'{name}: focal lengths in {used} are {focal[0]:g} and {focal[1]:g} px for an image '
            f'of {camera.width} x {camera.height}; calibrate it again'
        )
    if np.abs(matrix[:2, 2]).max() > _FARTHEST * side:
        raise CalibrationError(
            f'{name}: the principal point in {used} is at {matrix[0, 2]:g}, {matrix[1, 2]:g} px '
            f'of an image of {camera.width} x {camera.height}; calibrate it again'
        )
    if camera.rectified:
        return  # Rectified images have no distortion.
    try:
        lens_of(camera.distortion_model, camera.D)
    except CalibrationError as err:
        raise CalibrationError(f'{name}: {err}') from err
