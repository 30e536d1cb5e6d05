"""The distortion models of sensor_msgs/CameraInfo, by all names that drivers use."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import CalibrationError
from drive_segment_ros.perception import lenses

# Lower case, words joined by underscores. OpenCV's polynomial is one model of which shorter
# variants use the first coefficients, so it is identified by their number, not by its name.
_POLYNOMIAL = (
    'plumb_bob',
    'rational_polynomial',
    'thin_prism',
    'radtan',
    'radial_tangential',
    'brown',
    'brown_conrady',
    'rational',
    'thin_prism_model',
    'tilted_model',
    'plumbbob',
    'opencv',
    'full_opencv',
)
_EQUIDISTANT = (
    'equidistant',
    'fisheye',
    'kannala_brandt',
    'kannala_brandt4',
    'kannala_brandt8',
    'kb',
    'kb4',
    'kb8',
    'equi',
    'opencv_fisheye',
)
# Names of no distortion. Some drivers use the second kind with coefficients: they leave the model
# empty or name the projection instead.
_NONE = ('none', 'no_distortion', 'undistorted', 'perspective')
_UNNAMED = ('', 'pinhole')
_COUNTS = {lenses.POLYNOMIAL: (4, 5, 8, 12, 14), lenses.EQUIDISTANT: (4,)}
# Larger than any fitted coefficient; the polynomial's powers stay finite.
_LARGEST = 1e6


def lens_of(model: str, coefficients: NDArray[np.float64]) -> tuple[int, NDArray[np.float64]]:
    """Return the kind of lens and the coefficients it takes.

    Coefficients that are all zero, or none at all, mean no distortion whatever the model, as in
    ROS's image_geometry; `implausible_model` reports the case where that may be wrong.

    Args:
        model: distortion model as named by camera_info, in any case, with spaces or hyphens too.
        coefficients: (n,) in OpenCV's order.

    Returns:
        PINHOLE, POLYNOMIAL or EQUIDISTANT of `lenses`, and (m,) coefficients.

    Raises:
        CalibrationError: if the model is unknown or takes another number of coefficients.
    """
    if not coefficients.any():
        return lenses.PINHOLE, np.zeros(0)
    if np.abs(coefficients).max() > _LARGEST:
        raise CalibrationError(
            f'a distortion coefficient is {np.abs(coefficients).max():.3g}; calibrate it again'
        )
    name = _plain(model)
    unnamed = name in _UNNAMED
    if name in _EQUIDISTANT:
        kind = lenses.EQUIDISTANT
    elif name in _POLYNOMIAL or (unnamed and len(_trimmed(coefficients, lenses.POLYNOMIAL)) > 4):
        kind = lenses.POLYNOMIAL
    elif unnamed or name in _NONE:
        raise CalibrationError(
            f'distortion model {model!r} has non-zero coefficients; name the model they belong '
            'to, such as plumb_bob or equidistant'
        )
    else:
        known = ', '.join((*_POLYNOMIAL[:3], *_EQUIDISTANT[:3]))
        raise CalibrationError(
            f'unknown distortion model {model!r}; supported are: {known} and aliases of these'
        )
    trimmed = _trimmed(coefficients, kind)
    if len(trimmed) not in _COUNTS[kind]:
        counts = ' or '.join(map(str, _COUNTS[kind]))
        raise CalibrationError(f'{model} takes {counts} coefficients, d has {len(coefficients)}')
    return kind, trimmed


def implausible_model(model: str, coefficients: NDArray[np.float64]) -> list[str]:
    """Return what `lens_of` may misinterpret in a model, one line each.

    Args:
        model: as named by camera_info.
        coefficients: (n,).
    """
    name = _plain(model)
    if name in _EQUIDISTANT and not coefficients.any():
        return [
            f'distortion model {model} with all-zero coefficients is interpreted as no '
            'distortion; for an ideal fisheye lens set the first coefficient to 1e-9'
        ]
    if name in _UNNAMED and coefficients.any():
        return [
            f'distortion model {model!r} with {len(coefficients)} coefficients is interpreted as '
            'plumb_bob or rational_polynomial; set the model in the driver'
        ]
    return []


def _plain(model: str) -> str:
    return re.sub(r'[\s\-_]+', '_', model.strip()).lower()


def _trimmed(coefficients: NDArray[np.float64], kind: int) -> NDArray[np.float64]:
    """Return the coefficients without the zeros with which some drivers pad them."""
    counts = _COUNTS[kind]
    if len(coefficients) in counts:
        return coefficients
    used = int(np.flatnonzero(coefficients)[-1]) + 1
    fitting = [count for count in counts if used <= count <= len(coefficients)]
    return coefficients[: fitting[0]] if fitting else coefficients
