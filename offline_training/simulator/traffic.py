"""Traffic: vehicles that follow each other, stop and give way, and people who walk around blocks.

The simulation advances in steps of 20 ms and keeps the poses of the last 3 s, so that a drive may
have any length. Vehicles follow the intelligent driver model (Treiber, Hennecke & Helbing 2000),
and only one at a time may pass an intersection.
"""

from __future__ import annotations

import collections
import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from offline_training.simulator.lanes import Lane, LaneTable, make_lanes
from offline_training.simulator.street_plan import Block, StreetPlan
from offline_training.simulator.terrain import Terrain

STEP_S = 0.02
_MEMORY_STEPS = 150
_ACCELERATION, _BRAKING = 1.8, 2.5  # m/s^2, comfortable
_GAP = 2.0  # metres between stopped vehicles
_HEADWAY_S = 1.2


def step_after(time_s: float) -> int:
    """Return the number of the first step at or after a time."""
    return math.ceil(time_s / STEP_S - 1e-9)


@dataclasses.dataclass
class Driver:
    """State of one vehicle.

    Attributes:
        length: metres.
        speed_limit: speed that the driver wants, m/s.
        shift: lateral offset to the right of the lane's centre line, metres.
        lane, next_lane: indices of the lanes.
        along: position of the vehicle's middle from the start of the lane, metres.
        speed, acceleration: m/s and m/s^2.
        has_stopped: whether it has stopped at the stop sign of its lane.
        crossing: intersection reserved for it; -1 for none.
    """

    length: float
    speed_limit: float
    shift: float
    lane: int
    along: float
    next_lane: int
    speed: float = 0.0
    acceleration: float = 0.0
    has_stopped: bool = False
    crossing: int = -1


class _Way:
    """A closed polyline: points, path length up to each, segments (legs) and their lengths."""

    def __init__(self, point: NDArray[np.float64]) -> None:
        self.point = point
        self.leg = np.diff(point, axis=0)
        self.length = np.hypot(self.leg[:, 0], self.leg[:, 1])
        self.distance = np.concatenate([[0.0], np.cumsum(np.linalg.norm(self.leg, axis=1))])


def _side_by_side(rows: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Stack arrays of different lengths, padding the shorter ones with their last value."""
    longest = max(len(row) for row in rows)
    return np.stack([row[np.minimum(np.arange(longest), len(row) - 1)] for row in rows])


class Walkers:
    """Pedestrians, each on a closed path around a block."""

    def __init__(self, blocks: tuple[Block, ...], count: int, rng: np.random.Generator) -> None:
        """Place `count` people on random paths along the pavements, at random walking speeds."""
        ways, self._start, self._speed = [], np.empty(count), np.empty(count)
        for k in range(count):
            block = blocks[rng.integers(len(blocks))]
            way = block.outline(block.pavement * float(rng.uniform(0.45, 0.7)))
            ways.append(_Way(np.concatenate([way, way[:1]])))
            # A negative speed is clockwise.
            self._speed[k] = rng.uniform(0.9, 1.7) * (1.0 if rng.random() < 0.5 else -1.0)
            self._start[k] = rng.uniform(0, ways[-1].distance[-1])
        self._point = _side_by_side([way.point for way in ways])  # (K, N, 2)
        self._distance = _side_by_side([way.distance for way in ways])  # (K, N)
        self._leg = _side_by_side([way.leg for way in ways])  # (K, N - 1, 2)
        self._length = _side_by_side([way.length for way in ways])  # (K, N - 1)
        heading = self._leg * np.sign(self._speed)[:, None, None]
        self._yaw = np.arctan2(heading[..., 1], heading[..., 0])

    def poses(self, time_s: float) -> NDArray[np.float64]:
        """Return plan x, y and yaw of each person at a time, (K, 3), metres and radians."""
        along = (self._start + self._speed * time_s) % self._distance[:, -1]
        everyone = np.arange(len(along))
        leg = (self._distance[:, 1:-1] <= along[:, None]).sum(axis=1)
        rest = (along - self._distance[everyone, leg])[:, None]
        step = self._leg[everyone, leg] * rest / self._length[everyone, leg, None]
        return np.column_stack([self._point[everyone, leg] + step, self._yaw[everyone, leg]])


class Traffic:
    """The movers: vehicles, then people; mover 0 is the car with the sensors."""

    def __init__(
        self,
        plan: StreetPlan,
        terrain: Terrain,
        vehicle_lengths: list[float],
        slow: list[bool],
        walkers: int,
        rng: np.random.Generator,
    ) -> None:
        """Place vehicles on free stretches of lanes and people on pavements.

        Args:
            plan: the street plan.
            terrain: maps the plan to the world.
            vehicle_lengths: of each vehicle, metres; the first carries the sensors.
            slow: whether each vehicle is a bicycle, which is slow and keeps to the right.
            walkers: number of people.
            rng: draws the initial positions and, during the simulation, each vehicle's next lane.

        Raises:
            ValueError: if there are more vehicles than the lanes have room for.
        """
        self._terrain, self._rng = terrain, rng
        self._lanes: list[Lane] = make_lanes(plan)
        # At a third of the intersections, traffic from all sides has a stop sign.
        crossings = len(plan.xs) * len(plan.ys)
        self._stop_sign = (rng.permutation(crossings) % 3 == 0).tolist()
        self._owner: list[int] = [-1] * crossings
        self._drivers = self._place_drivers(vehicle_lengths, slow)
        self._walkers = Walkers(plan.blocks, walkers, rng)
        self._lane_table = LaneTable(self._lanes)
        # Of each mover: offset to the right of its path, and height above the road, metres.
        self._shift = np.array([driver.shift for driver in self._drivers] + [0.0] * walkers)
        self._height = np.repeat([0.0, 0.15], [len(self._drivers), walkers])
        self._step = -1
        self._history: collections.deque[NDArray[np.float64]] = collections.deque(
            maxlen=_MEMORY_STEPS
        )
        for _ in range(300):  # the drive begins in flowing traffic, not with everybody at rest
            self._drive()

    @property
    def time_s(self) -> float:
        """Time of the latest step in memory, s; negative before the first `advance`."""
        return self._step * STEP_S

    def remembers(self, time_s: float) -> bool:
        """Return whether a time is still in memory or in the future."""
        return time_s >= (self._step - len(self._history) + 1) * STEP_S

    def advance(self, time_s: float) -> None:
        """Advance the simulation until its memory includes `time_s`."""
        while self.time_s < time_s:
            if self._step >= 0:
                self._drive()
            self._step += 1
            self._history.append(self._poses(self._step * STEP_S))

    def window(self, start_s: float, end_s: float) -> tuple[float, NDArray[np.float64]]:
        """Return the poses of all movers at the steps that cover a time span.

        Args:
            start_s, end_s: the span, seconds of the drive; it must be in memory.

        Returns:
            The first step's time, and (steps, movers, 6) x, y, z, yaw, pitch, roll in the world,
            metres and radians; yaw is unwrapped over the steps.
        """
        first = max(int(np.floor(start_s / STEP_S + 1e-9)), 0)
        last = int(np.ceil(end_s / STEP_S - 1e-9))
        oldest = self._step - len(self._history) + 1
        chosen = range(first - oldest, max(last, first + 1) - oldest + 1)
        poses = np.stack([self._history[k] for k in chosen])
        poses[:, :, 3] = np.unwrap(poses[:, :, 3], axis=0)
        return first * STEP_S, poses

    def _place_drivers(self, lengths: list[float], slow: list[bool]) -> list[Driver]:
        drivers: list[Driver] = []
        straight = [k for k, lane in enumerate(self._lanes) if not lane.is_turn]
        free = dict.fromkeys(straight, 8.0)
        for length, is_slow in zip(lengths, slow, strict=True):
            roomy = [k for k in straight if free[k] + length + 4 < self._lanes[k].length - 8]
            if not roomy:
                raise ValueError('more vehicles than the streets have room for')
            lane = int(self._rng.choice(roomy))
            along = free[lane] + length / 2
            free[lane] += length + 4.0
            limit = self._rng.uniform(4.0, 5.5) if is_slow else self._rng.uniform(8.0, 11.0)
            shift = 0.9 if is_slow else 0.0
            following = int(self._rng.choice(self._lanes[lane].following))
            drivers.append(Driver(length, limit, shift, lane, along, following))
        return drivers

    def _drive(self) -> None:
        """Advance every vehicle by one step."""
        last: dict[int, Driver] = {}  # rearmost vehicle of each lane
        leaders: dict[int, Driver] = {}  # vehicle ahead of each vehicle in its lane
        order = sorted(range(len(self._drivers)), key=lambda k: self._drivers[k].along)
        for k in reversed(order):
            driver = self._drivers[k]
            if driver.lane in last:
                leaders[k] = last[driver.lane]
            last[driver.lane] = driver
        for k, driver in enumerate(self._drivers):
            driver.acceleration = self._decide(k, leaders.get(k), last)
        for k, driver in enumerate(self._drivers):
            driver.speed = max(driver.speed + driver.acceleration * STEP_S, 0.0)
            driver.along += driver.speed * STEP_S
            self._follow_lane(k, driver)

    def _follow_lane(self, k: int, driver: Driver) -> None:
        lane = self._lanes[driver.lane]
        if driver.along >= lane.length:
            driver.along -= lane.length
            driver.lane = driver.next_lane
            driver.next_lane = int(self._rng.choice(self._lanes[driver.lane].following))
            driver.has_stopped = False
        if (
            driver.crossing >= 0
            and not self._lanes[driver.lane].is_turn
            and self._lanes[driver.lane].crossing != driver.crossing
            and driver.along > driver.length / 2
        ):
            self._owner[driver.crossing] = -1
            driver.crossing = -1

    def _decide(self, k: int, leader: Driver | None, last: dict[int, Driver]) -> float:
        """Return the acceleration of vehicle `k`, m/s^2; reserve its intersection if possible.

        Args:
            k: index of the vehicle.
            leader: the vehicle ahead of it in its lane, if any.
            last: the rearmost vehicle of each lane.
        """
        driver = self._drivers[k]
        lane = self._lanes[driver.lane]
        limit = min(driver.speed_limit, lane.speed)
        to_end = lane.length - driver.along
        if not lane.is_turn:
            turn_speed = self._lanes[driver.next_lane].speed
            limit = min(limit, math.sqrt(turn_speed**2 + 2 * 1.5 * max(to_end, 0.0)))
        gap, leader_speed = math.inf, 0.0
        leads = leader is None
        if leader is not None:
            gap = leader.along - driver.along - (leader.length + driver.length) / 2
            leader_speed = leader.speed
        elif driver.next_lane in last:
            leader = last[driver.next_lane]
            gap = to_end + leader.along - (leader.length + driver.length) / 2
            leader_speed = leader.speed
        if not lane.is_turn and driver.crossing != lane.crossing:
            to_line = to_end - driver.length / 2
            if leads and self._may_cross(driver, lane, to_line, last):
                self._owner[lane.crossing] = k
                driver.crossing = lane.crossing
            elif to_line + _GAP - 0.3 < gap:
                gap, leader_speed = to_line + _GAP - 0.3, 0.0
        return _intelligent_driver(driver.speed, limit, gap, driver.speed - leader_speed)

    def _may_cross(
        self, driver: Driver, lane: Lane, to_line: float, last: dict[int, Driver]
    ) -> bool:
        if self._stop_sign[lane.crossing]:
            driver.has_stopped |= to_line < 1.5 and driver.speed < 0.3
            ready = driver.has_stopped
        else:
            ready = to_line < 14.0
        if not ready or self._owner[lane.crossing] != -1:
            return False
        beyond = self._lanes[driver.next_lane].following[0]
        return beyond not in last or last[beyond].along > driver.length + 8.0

    def _poses(self, time_s: float) -> NDArray[np.float64]:
        drivers = self._drivers
        places = self._lane_table.poses([d.lane for d in drivers], [d.along for d in drivers])
        x, y, yaw = np.concatenate([places, self._walkers.poses(time_s)]).T
        plan = [x + self._shift * np.sin(yaw), y - self._shift * np.cos(yaw), self._height]
        poses = self._terrain.poses(np.stack(plan, axis=1), yaw)
        # The nose dips under braking: about half a degree at 3 m/s^2.
        poses[: len(drivers), 4] += [-0.003 * driver.acceleration for driver in drivers]
        poses[len(drivers) :, 4:] = 0.0  # people stand upright on a slope
        return poses


def _intelligent_driver(speed: float, limit: float, gap: float, closing: float) -> float:
    free = 1.0 - (speed / max(limit, 0.5)) ** 4
    if not math.isfinite(gap):
        return min(max(_ACCELERATION * free, -_BRAKING), _ACCELERATION)
    wanted = speed * _HEADWAY_S + speed * closing / (2 * math.sqrt(_ACCELERATION * _BRAKING))
    wanted = _GAP + max(wanted, 0.0)
    wish = _ACCELERATION * (free - (wanted / max(gap, 0.1)) ** 2)
    return min(max(wish, -8.0), _ACCELERATION)
