"""The package's errors: one hierarchy, each message one line that says what to do.

Library code raises; the `drive-segment` command prints the message and exits with 1, a node turns
it into a diagnostic and continues.
"""


class DriveSegmentError(Exception):
    """Base of every error a user can cause or fix."""


class ParameterError(DriveSegmentError):
    """A parameter is unknown, of the wrong type, or out of range."""


class BagError(DriveSegmentError):
    """A recording is missing, truncated, or lacks a topic that is needed."""


class CloudError(DriveSegmentError):
    """A point cloud message cannot be interpreted."""


class ImageError(DriveSegmentError):
    """An image message cannot be decoded."""


class VideoError(ImageError):
    """An image of encoded video cannot be decoded: packets that it depends on are missing."""


class CalibrationError(DriveSegmentError):
    """Intrinsics or extrinsics are missing or invalid."""


class MotionError(DriveSegmentError):
    """The vehicle's motion is not known at the requested instant."""


class DatasetError(DriveSegmentError):
    """A dataset folder cannot be written, or is not one."""


class DiskFullError(DatasetError):
    """A dataset may not grow further: its quota or the disk's free space is used up."""


class OutputError(DriveSegmentError):
    """A command would overwrite what is there."""


class ModelError(DriveSegmentError):
    """A model directory is missing, incomplete, or unfit for the backend."""


class DependencyError(DriveSegmentError):
    """An optional package is needed and not installed; the message names it."""


class StorageError(DriveSegmentError):
    """Object storage does not answer, denies access, or lacks the object."""
