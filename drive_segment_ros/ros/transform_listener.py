"""Extrinsics and the vehicle's motion from the air: /tf_static, /tf, odometry; or from a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import DriveSegmentError, ParameterError
from drive_segment_ros.perception.calibration import load_calibration
from drive_segment_ros.perception.motion import Trajectory
from drive_segment_ros.perception.motion_sources import MotionSources
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros import transform_topics
from drive_segment_ros.ros.qos import FollowingSubscription
from drive_segment_ros.ros.synchronizer import stamp_ns

MOTION_SOURCES = ('auto', 'tf', 'odometry', 'none')
# No transport is that slow, and no clock of a vehicle at work that wrong.
_FAR_S = 5.0
_DEPTH = 100


class TransformListener:
    """Fills a transform tree and a trajectory from topics, as far as these can be read here.

    Without the package tf2_msgs (not on PyPI) /tf cannot be subscribed to: extrinsics then come
    from a calibration file and motion from nav_msgs/Odometry.

    Attributes:
        motion_source: `tf`, `odometry` or `none`: what `auto` has come to.
    """

    def __init__(
        self,
        node: Any,
        tree: TransformTree,
        trajectory: Trajectory | None,
        *,
        motion_source: str = 'auto',
        odom_frame: str = 'odom',
        base_frame: str = 'base_link',
        odometry_topic: str = 'odom',
        calibration_file: str | Path = '',
    ) -> None:
        """Subscribe, and read the file if there is one.

        Args:
            node: rclpy node.
            tree: receives the extrinsics; those of the file replace those on the air.
            trajectory: receives the motion, or None if nobody asks for it.
            motion_source: one of `MOTION_SOURCES`; `auto` takes of /tf and odometry the one whose
                frames fit best, as `extract` does, see `MotionSources`.
            odom_frame: parent frame of the transform in /tf that is the vehicle's motion.
            base_frame: the vehicle's frame, see `MotionSources`.
            odometry_topic: nav_msgs/Odometry.
            calibration_file: path of a YAML file, or empty. Of its content the transforms are
                taken; intrinsics come from camera_info.

        Raises:
            CalibrationError: if the calibration file cannot be used.
            ParameterError: if `motion_source` is unknown or needs a package that is missing.
        """
        if motion_source not in MOTION_SOURCES:
            raise ParameterError(
                f'motion_source is {motion_source!r}; choose one of {", ".join(MOTION_SOURCES)}'
            )
        self._problems: dict[str, str] = {}  # by what they are of
        self._node = node
        self._tree = tree
        self._trajectory = trajectory
        self._odom_frame = odom_frame
        self._sources = MotionSources(odom_frame, base_frame, self._forget_motion)
        self._odometry_topic = odometry_topic
        self._motion_topics: list[str] = []
        self._file_links: list[tuple[str, str, NDArray[np.float64]]] = []
        self._transforms: Any = None
        self._odometry: FollowingSubscription | None = None
        if calibration_file:
            self._file_links = load_calibration(calibration_file)[0].links
            self._place_file_links()
        has_tf = transform_topics.message_type() is not None
        if motion_source == 'tf' and not has_tf:
            raise ParameterError(
                'motion_source is tf, but the package tf2_msgs is not installed; use odometry'
            )
        self._auto = motion_source == 'auto'
        if self._auto:
            motion_source = 'tf' if has_tf else 'odometry'
        self.motion_source = 'none' if trajectory is None else motion_source
        if self.motion_source == 'tf':
            self._motion_topics.append('/tf')
        if has_tf:
            self._transforms = transform_topics.listen(node, self)
        if self.motion_source == 'odometry' or (self._auto and trajectory is not None):
            from nav_msgs.msg import Odometry

            self._motion_topics.append(odometry_topic)
            self._odometry = FollowingSubscription(node, Odometry, odometry_topic, depth=_DEPTH)
            self._odometry.registerCallback(self.on_odometry)

    def destroy(self) -> None:
        """End the subscriptions."""
        if self._transforms is not None:
            self._transforms.unregister()
        if self._odometry is not None:
            self._odometry.destroy()
        self._transforms = self._odometry = None

    def expects_motion(self) -> bool:
        """Tell whether odometry comes or has come; its publisher may be gone before its last."""
        if self._trajectory is None:
            return False
        if len(self._trajectory) > 0:
            return True
        return any(map(self._node.get_publishers_info_by_topic, self._motion_topics))

    @property
    def problem(self) -> str:
        """What is wrong, one line; empty if nothing is."""
        unheard = '' if self._odometry is None else self._odometry.problem
        return '; '.join(told for told in (unheard, *self._problems.values()) if told)

    def set_transform(self, transform: Any, authority: str = '') -> None:
        """Take a geometry_msgs/TransformStamped: motion to the trajectory, else to the tree."""
        trajectory = self._trajectory
        parent, child = transform.header.frame_id, transform.child_frame_id
        if parent.lstrip('/') != self._odom_frame.lstrip('/'):
            self._place(transform)
            # A transform that turns a link of the file around has undone it.
            self._place_file_links()
        elif trajectory is not None and self._takes('tf', parent, child):
            self._add_pose(trajectory.add_transform, transform, '/tf')

    set_transform_static = set_transform

    def on_odometry(self, message: Any) -> None:
        """Take a nav_msgs/Odometry."""
        parent, child = message.header.frame_id, message.child_frame_id
        trajectory = self._trajectory
        if trajectory is not None and self._takes('odometry', parent, child):
            self._add_pose(trajectory.add_odometry, message, 'odometry')

    def _takes(self, kind: str, parent: str, child: str) -> bool:
        """Whether a pose is the vehicle's; say so where others are left aside."""
        if not self._auto and self.motion_source != kind:
            return False
        before = self._sources.taken, len(self._sources.others)
        takes = self._sources.takes(kind, parent, child)
        taken, others = self._sources.taken, self._sources.others
        if taken is not None and (taken, len(others)) != before:
            self.motion_source = taken.kind
            # /tf that says what odometry says, or a trailer's frame beside it, is no problem.
            odd = [other for other in others if other.kind == 'odometry']
            told = (
                f'several odometries: {taken} is taken, {", ".join(map(str, odd))} left aside; '
                f'remap {self._odometry_topic}, or set odometry_frame and base_frame'
                if odd
                else ''
            )
            if told and told != self._problems.get('sources'):
                self._node.get_logger().warning(told)
            self._problems['sources'] = told
        return takes

    def _add_pose(self, add: Callable[[Any], None], message: Any, topic: str) -> None:
        """Hand a pose on; note if it is bad or from another time."""
        try:
            add(message)
        except DriveSegmentError as err:
            self._problems['motion'] = str(err)
            return
        self._problems['motion'] = clock_hint(self._node, topic, stamp_ns(message))

    def _forget_motion(self) -> None:
        if self._trajectory is not None:
            self._trajectory.clear()

    def _place(self, transform: Any) -> None:
        """Set a link of the tree, unless the file places the same frame, as `extract` does."""
        frame = transform.child_frame_id.lstrip('/')
        if all(child != frame for _, child, _ in self._file_links):
            told = self._tree.set_message(transform)
            key = f'transform of {frame}'
            if told and key not in self._problems:
                self._node.get_logger().warning(told)
            if told or key in self._problems:
                self._problems[key] = told

    def _place_file_links(self) -> None:
        for parent, child, T_parent_child in self._file_links:
            self._tree.set(parent, child, T_parent_child)


def clock_hint(node: Any, topic: str, message_stamp_ns: int) -> str:
    """Say what to do if a topic's stamps are far from the node's time; empty if they are not."""
    simulated = node.get_parameter('use_sim_time').value
    now_ns = node.get_clock().now().nanoseconds
    return explain_clock(topic, message_stamp_ns, now_ns, simulated)


def explain_clock(topic: str, message_stamp_ns: int, now_ns: int, simulated: bool) -> str:
    """Say what to do if a stamp is far from a node's time; empty if it is not.

    Args:
        topic: whose stamp it is.
        message_stamp_ns: the stamp.
        now_ns: the node's time, 0 if it waits for /clock.
        simulated: whether the node has `use_sim_time`.
    """
    if message_stamp_ns <= 0:
        return f'{topic} has no time stamp; the driver must set header.stamp'
    if simulated and now_ns == 0:
        return 'use_sim_time is set but nothing publishes /clock; play the bag with --clock'
    apart = (message_stamp_ns - now_ns) * 1e-9
    if abs(apart) <= _FAR_S:
        return ''
    words = f'{topic} is stamped {_duration(abs(apart))} {"after" if apart > 0 else "before"} '
    if simulated:
        return words + 'simulated time; play it and /clock from the same bag'
    return words + (
        "this node's time; for a recording start the node with use_sim_time:=true and play the "
        'bag with --clock, else synchronise the clocks'
    )


def _duration(seconds: float) -> str:
    for unit, length in (('days', 86400.0), ('h', 3600.0), ('min', 60.0)):
        if seconds >= 2 * length:
            return f'{seconds / length:.0f} {unit}'
    return f'{seconds:.1f} s'
