"""Whether a calibration plausibly belongs to its images; the checks here only warn.

A calibration of another resolution, or with binning or a region of interest applied twice, gives
a wrong projection without any error. It shows in the principal point, which is near the middle of
uncropped images.
"""

from __future__ import annotations

import numpy as np

from drive_segment_ros.perception import lenses
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.distortion import implausible_model

# Cropping shifts the principal point along one axis, a wrong scale along both equally. Limits of
# the shift relative to the image's size, along one axis and along both; and of the difference
# between the scales of both axes.
_OFF_ONE, _OFF_BOTH, _ALIKE = 0.25, 0.12, 0.15
# Fields of view of ordinary and of fisheye lenses, degrees.
_NARROWEST, _WIDEST, _WIDEST_FISHEYE = 5.0, 175.0, 270.0
_MOST_OBLONG = 1.5  # aspect ratio of a pixel


def plausibility_warnings(camera: CameraModel) -> list[str]:
    """Return what is implausible about a camera, one line each with a remedy; empty if nothing.

    Args:
        camera: at the resolution of its camera_info.
    """
    used, matrix = ('P', camera.P) if camera.rectified else ('K', camera.K)
    size = np.array([camera.width, camera.height], np.float64)
    focal = np.diagonal(matrix)[:2]
    found = [] if camera.rectified else implausible_model(camera.distortion_model, camera.D)
    shape = f'of images of {camera.width} x {camera.height}'
    times = 2 * (matrix[:2, 2] + 0.5) / size
    off = np.abs(times - 1) / 2
    point = f'the principal point in {used} is {matrix[0, 2]:.0f}, {matrix[1, 2]:.0f} px {shape}'
    if off.min() > _OFF_BOTH and np.ptp(times) < _ALIKE * abs(times.mean()):
        found.append(
            f'{point}, as if {used} were for about {times.mean():.2f} times their size; have the '
            f'driver scale {used} with the images, and apply binning and region of interest once'
        )
    elif off.max() > _OFF_ONE:
        found.append(
            f'{point}, far from the middle; is {used} for another resolution, or is the region '
            'of interest applied twice or not at all?'
        )
    fisheye = camera.lens.kind == lenses.EQUIDISTANT
    view = np.degrees(size / focal if fisheye else 2 * np.arctan(size / 2 / focal))
    # A wide image may contain the whole image circle of a fisheye.
    wide = view.min() > _WIDEST_FISHEYE if fisheye else view.max() > _WIDEST
    if wide or view.max() < _NARROWEST:
        found.append(
            f'focal lengths in {used} are {focal[0]:g} and {focal[1]:g} px {shape}, a view of '
            f'{view[0]:.3g} x {view[1]:.3g} degrees; are they in px?'
        )
    if not 1 / _MOST_OBLONG < focal[0] / focal[1] < _MOST_OBLONG:
        found.append(
            f'focal lengths in {used} are {focal[0]:g} and {focal[1]:g} px {shape}, so pixels are '
            'not square; is the calibration scaled along one side only?'
        )
    if not np.array_equal(matrix[2, :3], (0.0, 0.0, 1.0)):
        found.append(f'the last row of {used} is not 0 0 1; is it in row-major order?')
    return [f'camera {camera.frame_id!r}: {line}' for line in found]
