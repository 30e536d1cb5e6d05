"""The state of the vehicle: its pose over time, and the poses of its sensors on it."""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import CalibrationError, MotionError
from drive_segment_ros.frame.clock import Clock
from drive_segment_ros.frame.events import Pose, Transform
from drive_segment_ros.frame.motion_sources import MotionSources
from drive_segment_ros.frame.parameters import GeometryParameters
from drive_segment_ros.frame.sweep import Sweep
from drive_segment_ros.perception.motion import Trajectory
from drive_segment_ros.perception.transforms import TransformTree

# Poses around a pair that its frame may need: those of its sweep, and the speed before it.
_AROUND_NS = 500_000_000
# How long transforms that change are kept; pairs are made well before.
_MEMORY_NS = 20_000_000_000

Link = tuple[int, str, NDArray[np.float64]]


class Motion:
    """The vehicle's poses, from the source that fits best; those of its last two epochs.

    Attributes:
        clock: of the poses.
        sources: the odometries received, and the one in use.
        problem: why the last pose was invalid, one line; empty if it was valid.
    """

    def __init__(
        self,
        odometry_frame: str,
        base_frame: str,
        jump_back_ns: int,
        kinds: Collection[str] = ('odometry', 'tf'),
    ) -> None:
        """Start without poses.

        Args:
            odometry_frame, base_frame: frames to prefer, see `MotionSources`.
            jump_back_ns: see `Clock`.
            kinds: of poses that may be taken.
        """
        self.clock = Clock(jump_back_ns)
        self.sources = MotionSources(odometry_frame, base_frame, self._forget)
        self.problem = ''
        self._kinds = kinds
        self._jump_back_ns = jump_back_ns
        self._trajectories: dict[int, Trajectory] = {}

    def add(self, pose: Pose, epoch: int = 0) -> None:
        """Take a pose, if it is the vehicle's.

        Args:
            pose: of some source.
            epoch: the latest of any sensor.
        """
        if pose.kind not in self._kinds:
            return
        if not self.sources.takes(pose.kind, pose.parent, pose.child):
            return
        if self.clock.take(pose.stamp_ns, epoch) is None:
            return
        trajectory = self._trajectories.setdefault(self.clock.epoch, Trajectory())
        try:
            trajectory.add(pose.stamp_ns, pose.translation, pose.quaternion)
        except MotionError as err:
            self.problem = str(err)
            return
        self.problem = ''
        while len(self._trajectories) > 2:
            # Pairs from before the last jump may still wait.
            del self._trajectories[min(self._trajectories)]

    def around(self, epoch: int, first_ns: int, last_ns: int) -> Trajectory:
        """Return a copy of the poses around an interval.

        Args:
            epoch: of the interval.
            first_ns, last_ns: nanoseconds.
        """
        trajectory = self._trajectories.get(epoch, Trajectory())
        return trajectory.window(first_ns - _AROUND_NS, last_ns + _AROUND_NS)

    def __len__(self) -> int:
        return sum(map(len, self._trajectories.values()))

    def _forget(self) -> None:
        self._trajectories.clear()
        self.clock = Clock(self._jump_back_ns)


class Extrinsics:
    """The poses of frames on the vehicle, including moving ones.

    A calibration file takes precedence over `/tf_static`, and that over `/tf`.

    Attributes:
        problems: what is wrong with transforms, by child.
    """

    def __init__(self, calibration: TransformTree | None = None) -> None:
        """Start with the transforms of a calibration file."""
        self.problems: dict[str, str] = {}
        self._tree = TransformTree()
        self._file = [] if calibration is None else calibration.links
        self._fixed = {child for _, child, _ in self._file}
        self._static: set[str] = set()
        self._changing: dict[str, deque[Link]] = {}
        self._set_file(self._tree)

    def add(self, transform: Transform) -> None:
        """Take a transform."""
        parent, child = transform.parent.lstrip('/'), transform.child.lstrip('/')
        if child in self._fixed:
            return
        if transform.stamp_ns is None:
            self._note(child, _place(self._tree, transform))
            self._static.add(child)
            # The transform was the inverse of a link of the file and has replaced it.
            self._set_file(self._tree)
        elif child not in self._static:
            one = TransformTree()
            self._note(child, _place(one, transform))
            for _, _, T in one.links:
                self._remember(child, (transform.stamp_ns, parent, T))

    def at(self, stamp_ns: int) -> TransformTree:
        """Return all transforms at an instant; of moving ones the last before it, or the first."""
        if not self._changing:
            return self._tree
        tree = self._tree.copy()
        for child, links in self._changing.items():
            if child not in self._static:
                index = bisect.bisect_right([link[0] for link in links], stamp_ns)
                _, parent, T = links[max(index - 1, 0)]
                tree.set(parent, child, T)
        self._set_file(tree)
        return tree

    @property
    def moving(self) -> list[str]:
        """Frames whose pose on the vehicle has changed."""
        return sorted(
            child
            for child, links in self._changing.items()
            if child not in self._static and not all(_same(links[0], link) for link in links)
        )

    def _remember(self, child: str, link: Link) -> None:
        links = self._changing.setdefault(child, deque())
        if links and link[0] < links[-1][0] - _MEMORY_NS:
            links.clear()
        at = bisect.bisect_right([known[0] for known in links], link[0])
        links.insert(at, link)
        # Most never change although they are published at 50 Hz: first and last are enough.
        if at >= 2 and _same(links[at - 2], links[at - 1]) and _same(links[at - 1], link):
            del links[at - 1]
        while len(links) > 1 and links[1][0] < links[-1][0] - _MEMORY_NS:
            links.popleft()

    def _note(self, child: str, told: str) -> None:
        if told:
            self.problems[child] = told
        else:
            self.problems.pop(child, None)

    def _set_file(self, tree: TransformTree) -> None:
        for parent, child, T in self._file:
            tree.set(parent, child, T)


class Vehicle:
    """The state that all cameras of a rig share: vehicle motion and extrinsics.

    Attributes:
        motion: the vehicle's poses.
        extrinsics: the poses of its sensors.
        expects_motion: whether odometry is expected.
    """

    def __init__(
        self,
        params: GeometryParameters,
        motion_kinds: Collection[str],
        calibration: TransformTree | None,
        expects_motion: Callable[[], bool],
    ) -> None:
        """Start without messages; the arguments are those of `FrameStream`."""
        self.motion = Motion(
            params.odometry_frame,
            params.base_frame,
            round(params.sync.jump_back_s * 1e9),
            motion_kinds,
        )
        self.extrinsics = Extrinsics(calibration)
        self.expects_motion = expects_motion
        self._base_frame = params.base_frame
        self._odometry_frame = params.odometry_frame.lstrip('/')

    def is_motion(self, transform: Transform) -> bool:
        """Whether a transform is the vehicle's motion, not a part of the vehicle."""
        moves = transform.parent.lstrip('/') == self._odometry_frame
        return moves and transform.stamp_ns is not None

    def base_from_lidar(self, sweep: Sweep) -> NDArray[np.float64] | None:
        """Return (4, 4) T_base_lidar at a sweep's stamp; None if it is not known."""
        try:
            tree = self.extrinsics.at(sweep.stamp_ns)
            return tree.lookup(self._base_frame, sweep.frame_id)
        except CalibrationError:
            return None


def _same(one: Link, other: Link) -> bool:
    return one[1] == other[1] and np.array_equal(one[2], other[2])


def _place(tree: TransformTree, transform: Transform) -> str:
    return tree.place(
        transform.parent, transform.child, transform.translation, transform.quaternion
    )
