"""A camera's image at working resolution."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import CalibrationError
from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.resizing import resize_image

_SHAPE_TOLERANCE = 0.02


class Picture(Protocol):
    """An image message that has not been decoded."""

    def size(self) -> tuple[int, int] | None:
        """Return (height, width), px; None if unknown before decoding."""

    def decode(self, height: int, width: int) -> NDArray[np.uint8]:
        """Return the picture, (h, w, 3) uint8 BGR, not smaller than requested where possible.

        Raises:
            ImageError: if it cannot be decoded.
        """

    def encoded(self) -> tuple[bytes, str]:
        """Return the content of an image file, and its suffix.

        Raises:
            ImageError: if it cannot be decoded.
        """


def working_camera(camera: CameraModel, params: FrameParameters) -> CameraModel:
    """Return a camera at working resolution."""
    width = min(params.densify.width, camera.width)
    return camera.scaled(width, max(1, round(camera.height * width / camera.width)))


def working_image(pair: Pair, camera: CameraModel) -> NDArray[np.uint8]:
    """Decode a pair's image, from the nearest larger size that its file format offers.

    Args:
        pair: whose image it is.
        camera: at the resolution wanted.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        ImageError: if it cannot be decoded.
        CalibrationError: if its shape is not that of its calibration.
    """
    picture: Picture = pair.image.content
    size = picture.size()
    if size is not None:
        # Before decoding, whose cost depends on the size in the header.
        check_shape(size[1], size[0], pair.camera)
    image = picture.decode(camera.height, camera.width)
    return resize_image(image, camera.height, camera.width)


def check_shape(width: int, height: int, camera: CameraModel) -> None:
    """Check that an image, resized or not, has the aspect ratio of a camera.

    Raises:
        CalibrationError: if it has another one.
    """
    off = abs(width * camera.height - height * camera.width)
    if off > _SHAPE_TOLERANCE * width * camera.height:
        raise CalibrationError(
            f'an image of {camera.frame_id!r} has {width} x {height} px, its camera_info '
            f'{camera.width} x {camera.height}; one of them is of another camera or mode'
        )
