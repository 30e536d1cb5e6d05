"""Rigid transforms and the tree of a vehicle's static ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drive_segment_ros.errors import CalibrationError

# Files and messages round to a few digits; a quaternion further from length 1 gives a warning.
_UNIT_TOLERANCE = 0.01


def quaternion_matrix(quaternion_xyzw: ArrayLike) -> NDArray[np.float64]:
    """Return the (..., 3, 3) rotations of (..., 4) unit quaternions, x y z w.

    Like `scipy.spatial.transform`, whose import would slow down the start of a node.
    """
    x, y, z, w = np.moveaxis(np.asarray(quaternion_xyzw, np.float64), -1, 0)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def unit_quaternion(quaternion_xyzw: ArrayLike) -> NDArray[np.float64] | None:
    """Return the (4,) quaternion at length 1; None where it is zero or not finite."""
    quaternion = np.array(quaternion_xyzw, np.float64)
    norm = float(np.linalg.norm(quaternion))
    if not 1e-6 < norm < np.inf:
        return None
    return quaternion / norm


def transform_matrix(translation: ArrayLike, quaternion_xyzw: ArrayLike) -> NDArray[np.float64]:
    """Return the (4, 4) transform that rotates, then translates.

    Args:
        translation: (3,) metres.
        quaternion_xyzw: (4,) of any length but zero; it is normalised.

    Raises:
        CalibrationError: if a number is not finite or the quaternion is zero.
    """
    quaternion = unit_quaternion(quaternion_xyzw)
    if quaternion is None or not np.isfinite(translation).all():
        raise CalibrationError(
            f'not a rigid transform: translation {numbers(translation)}, '
            f'quaternion {numbers(quaternion_xyzw)}; check the calibration'
        )
    T = np.eye(4)
    T[:3, :3] = quaternion_matrix(quaternion)
    T[:3, 3] = translation
    return T


def inverse(T: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverses of (..., 4, 4) rigid transforms."""
    inverted = np.zeros_like(T)
    transposed = np.swapaxes(T[..., :3, :3], -1, -2)
    inverted[..., :3, :3] = transposed
    inverted[..., :3, 3] = -(transposed @ T[..., :3, 3, None])[..., 0]
    inverted[..., 3, 3] = 1.0
    return inverted


def level_rotation(up: ArrayLike) -> NDArray[np.float64]:
    """Return a rotation (3, 3) that makes `up`, a unit vector, the third axis."""
    third = np.asarray(up, np.float64)
    first = np.cross(third, np.eye(3)[int(np.argmin(np.abs(third)))])
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(third, first), third])


def numbers(values: ArrayLike) -> str:
    """Return numbers as readable text, whatever their NumPy type."""
    return f'({", ".join(f"{value:g}" for value in np.ravel(np.asarray(values)).tolist())})'


def translation_of(message: Any) -> tuple[float, float, float]:
    """Return x, y, z of a geometry_msgs Vector3 or Point."""
    return (message.x, message.y, message.z)


def quaternion_of(message: Any) -> tuple[float, float, float, float]:
    """Return x, y, z, w of a geometry_msgs Quaternion."""
    return (message.x, message.y, message.z, message.w)


class TransformTree:
    """Static transforms between frames, looked up through any chain in any direction.

    A frame has one parent; where messages contradict each other the last one wins. A leading
    slash in a frame's name (ROS 1) is ignored. Lookups may run while another thread sets.
    """

    def __init__(self) -> None:
        self._parents: dict[str, tuple[str, NDArray[np.float64]]] = {}
        self._refused: dict[str, str] = {}  # reasons, by child frame

    def set(self, parent: str, child: str, T_parent_child: NDArray[np.float64]) -> None:
        """Place `child` in `parent`.

        Args:
            parent: frame name.
            child: frame name; its previous parent is replaced.
            T_parent_child: (4, 4), maps coordinates in `child` to coordinates in `parent`.

        Raises:
            CalibrationError: if both names are the same, or one is empty.
        """
        parent, child = _name(parent), _name(child)
        if not parent or not child or parent == child:
            raise CalibrationError(
                f'transform from {child!r} to {parent!r} needs two different frames; '
                'check /tf_static'
            )
        # If `parent` is below `child`, this would be a loop: the older link is removed.
        for frame, above, _ in self._chain(parent):
            if above == child:
                del self._parents[frame]
                break
        self._parents[child] = (parent, np.array(T_parent_child, np.float64))
        self._refused.pop(child, None)

    def set_message(self, message: Any) -> str:
        """Add a geometry_msgs/TransformStamped, of rclpy's or rosbags' class.

        A transform that is not rigid is ignored, as it may belong to an unrelated sensor; `lookup`
        names it if it is needed.

        Returns:
            What is wrong with it, one line; empty if nothing is.
        """
        return self.place(
            message.header.frame_id,
            message.child_frame_id,
            translation_of(message.transform.translation),
            quaternion_of(message.transform.rotation),
        )

    def place(
        self,
        parent: str,
        child: str,
        translation: tuple[float, float, float],
        quaternion: tuple[float, float, float, float],
    ) -> str:
        """Place `child` in `parent`, by metres and quaternion x y z w; see `set_message`."""
        parent, child = _name(parent), _name(child)
        try:
            self.set(parent, child, transform_matrix(translation, quaternion))
        except CalibrationError as err:
            told = f'transform from {child!r} to {parent!r} is ignored: {err}'
            self._refused[child] = told
            return told
        length = float(np.linalg.norm(quaternion))
        if abs(length - 1.0) > _UNIT_TOLERANCE:
            return (
                f'transform from {child!r} to {parent!r}: its quaternion {numbers(quaternion)} '
                f'has length {length:.3g} and is normalised; correct the publisher, as tf2 '
                'rejects it'
            )
        return ''

    def copy(self) -> TransformTree:
        """Return an independent copy."""
        tree = TransformTree()
        tree._parents, tree._refused = self._parents.copy(), self._refused.copy()
        return tree

    def set_messages(self, messages: Iterable[Any]) -> list[str]:
        """Add several; see `set_message`. Returns what is wrong, a line each."""
        return [told for message in messages if (told := self.set_message(message))]

    def camera_from_lidar(self, camera_frame: str, lidar_frame: str) -> NDArray[np.float64]:
        """Return T_camera_lidar (4, 4).

        Args:
            camera_frame: of the images, or of camera_info where images have none.
            lidar_frame: of the clouds.

        Raises:
            CalibrationError: if a frame_id is empty, or no chain of transforms joins the two.
        """
        for frame, what in ((camera_frame, 'images and camera_info'), (lidar_frame, 'clouds')):
            if not _name(frame):
                raise CalibrationError(
                    f'header.frame_id of the {what} is empty; set it in the parameters of the '
                    'driver, to the frame name in /tf_static'
                )
        return self.lookup(camera_frame, lidar_frame)

    def lookup(self, target: str, source: str) -> NDArray[np.float64]:
        """Return T_target_source: (4, 4), maps coordinates in `source` to those in `target`.

        Raises:
            CalibrationError: if no chain of transforms joins the two.
        """
        target, source = _name(target), _name(source)
        T_target_above = {target: np.eye(4)}
        for frame, above, T in self._chain(target):
            T_target_above[above] = T_target_above[frame] @ inverse(T)
        T_above_source, above = np.eye(4), source
        if above in T_target_above:
            return T_target_above[above]
        for _, above, T in self._chain(source):
            T_above_source = T @ T_above_source
            if above in T_target_above:
                return T_target_above[above] @ T_above_source
        refused = self._refused.copy()
        roots = {self._root(frame) for frame in (target, source)}
        told = [refused[root] for root in sorted(roots) if root in refused]
        known = f'known frames: {", ".join(self.frames) or "none"}'
        raise CalibrationError(
            f'no transform from {source!r} to {target!r}; {"; ".join(told) or known}; '
            'publish /tf_static or give --calibration'
        )

    @property
    def frames(self) -> list[str]:
        """Names of all frames, sorted."""
        links = self.links
        return sorted({parent for parent, _, _ in links} | {child for _, child, _ in links})

    @property
    def links(self) -> list[tuple[str, str, NDArray[np.float64]]]:
        """Every parent, child and T_parent_child, in the order in which they were added."""
        # dict.copy is atomic for other threads, iterating is not.
        return [(parent, child, T) for child, (parent, T) in self._parents.copy().items()]

    def _root(self, frame: str) -> str:
        chain = self._chain(frame)
        return chain[-1][1] if chain else frame

    def _chain(self, frame: str) -> list[tuple[str, str, NDArray[np.float64]]]:
        """Return (frame, its parent, T_parent_frame) from `frame` up to its root."""
        chain = []
        while (link := self._parents.get(frame)) is not None:
            chain.append((frame, *link))
            frame = link[0]
        return chain


def _name(frame: str) -> str:
    return frame.lstrip('/')
