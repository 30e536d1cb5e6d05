"""The time of each point of a sweep, whatever its name, unit and origin."""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Common field names in order of preference; then any other name made of words for time.
_USUAL = ('t', 'time', 'timestamp', 'time_stamp', 'timeStamp', 'offset_time', 'time_offset')
_TIME_WORDS = {'t', 'ts', 'time', 'times', 'stamp', 'timestamp', 'timestamps'}
_TIME_WORDS |= {'timeoffset', 'offsettime'}
_OTHER_WORDS = {'offset', 'point', 'relative', 'rel', 'delta', 'd', 'abs', 'absolute', 'sweep'}
_OTHER_WORDS |= {'scan', 'since', 'start', 'from', 'of', 'acquisition', 'firing'}
_SECONDS = {'s', 'sec', 'secs', 'second', 'seconds'}
_NANOSECONDS = {'ns', 'nsec', 'nsecs', 'nanosec', 'nanosecs', 'nanosecond', 'nanoseconds', 'nano'}
_UNITS = _SECONDS | _NANOSECONDS | {'ms', 'msec', 'millis', 'milliseconds'}
_UNITS |= {'us', 'usec', 'micros', 'microseconds'}
_SCALES = (1.0, 1e-3, 1e-6, 1e-9)
# Limits of the interquartile range of point times for sweeps of 10 ms to 1 s, seconds.
_SHORTEST_HALF_S, _LONGEST_HALF_S = 0.0025, 0.75
_LONGEST_S = 1.5
# Largest ratio of the full to the interquartile range; 2 if points are evenly spread in time.
_MOST_UNEVEN = 10.0
# Times that begin or end this near to the stamp, or to zero, are relative to it.
_NEAR_S = 2.0
# Offsets of known clocks: that of the stamp, TAI and GPS time (seconds ahead of UTC since 2017).
_KNOWN_CLOCKS_S = (0.0, 37.0, 18.0)
# Number of points that give percentiles to 1 % of the sweep.
_SAMPLE = 2000


@dataclasses.dataclass(frozen=True)
class PointTimes:
    """The times of a sweep's points.

    Attributes:
        seconds: (N,) float32 or float64 relative to the sweep's stamp, NaN where a point has none;
            a view of what was given where nothing had to be converted.
        clock_s: by how many seconds the points' clock is ahead of the stamp's; 0 where it is the
            same. The offset of atomic or GPS time is subtracted; for any other clock the first or
            last point is assumed to be measured at the stamp.
        missing: points without a time, or with one that cannot be of this sweep.
    """

    seconds: NDArray[np.floating]
    clock_s: float = 0.0
    missing: int = 0


def point_times(values: NDArray[Any], stamp_ns: int, stamped: str = 'first') -> PointTimes | None:
    """Return point times in seconds relative to a sweep's stamp, whatever their unit and origin.

    The unit follows from the middle half of the times, as a sweep lasts 10 ms to 1 s; values near
    the stamp in that unit are absolute. Outliers are treated as missing times, and so are zeros
    among absolute times: drivers leave them where nothing returned.

    Args:
        values: (N,) as in the message.
        stamp_ns: the sweep's header stamp.
        stamped: `first` or `last`: the point that was measured at the stamp; used only if the
            points have another clock.

    Returns:
        None if the values are plausible in no unit (all equal, for instance).
    """
    if len(values) == 0 or values.dtype.kind not in 'iuf':
        return None
    # An odd step samples every column of an organised cloud, in row and in column order.
    sample = np.asarray(values[:: len(values) // _SAMPLE | 1])
    if sample.dtype.kind == 'f':
        sample = sample[np.isfinite(sample)]
    found = _unit(sample)
    without_zeros = False
    if found is None and (sample == 0).any():
        found, without_zeros = _unit(sample[sample != 0]), True
    if found is None:
        return None
    scale, low, high = found
    inside, first, last = _inside(values, low, high, without_zeros)
    clock_s = _clock_difference(first * scale, stamp_ns * 1e-9)
    start = last if stamped == 'last' else first
    if clock_s and not _is_known(clock_s):
        clock_s += (start - first) * scale
    seconds: NDArray[np.floating]
    if clock_s is None:
        seconds = values if scale == 1.0 and values.dtype.kind == 'f' else _scaled(values, scale)
    elif values.dtype.kind in 'iu':
        # In integers where the message has them: float64 keeps only 240 ns.
        unit_ns = round(scale * 1e9)
        origin_ns = stamp_ns + round(clock_s * 1e9) if _is_known(clock_s) else start * unit_ns
        seconds = (values.astype(np.int64) * unit_ns - origin_ns) * 1e-9
    else:
        origin = stamp_ns * 1e-9 + clock_s if _is_known(clock_s) else start * scale
        seconds = _scaled(values, scale) - origin
    missing = 0
    if inside is not None:
        missing = len(values) - int(np.count_nonzero(inside))
        seconds = np.where(inside, seconds, np.asarray(np.nan, seconds.dtype))
    return PointTimes(seconds, clock_s or 0.0, missing)


@functools.lru_cache(maxsize=32)  # called for every sweep
def time_fields(names: tuple[str, ...]) -> list[str]:
    """Return the names of fields that hold times, the most usual first.

    Taken are the usual names and every other that is made of words for time, in any writing and
    with any unit: `timeOffset`, `time_offset_ns`, `t_us`, `pointTimestamp`.
    """
    usual = [name for name in _USUAL if name in names]
    return usual + [name for name in names if name not in usual and _is_time(_words(name))]


@functools.lru_cache(maxsize=32)
def split_time_fields(names: tuple[str, ...]) -> tuple[str, str] | None:
    """Return the fields with whole seconds and with nanoseconds, where times come in two."""
    words = {name: _words(name) for name in names}
    for name, parts in words.items():
        if parts and parts[-1] in _SECONDS and (_is_time(parts) or len(parts) == 1):
            for other, rest in words.items():
                if rest[:-1] == parts[:-1] and rest and rest[-1] in _NANOSECONDS:
                    return name, other
    return None


def resembles_time(name: str) -> bool:
    """Return whether a field that is not used may hold times, judging by its name."""
    return bool(re.search(r'time|stamp|offset|curvature|sec$|(^|_)(t|dt|ts)(_|\d|$)', name, re.I))


def _words(name: str) -> list[str]:
    spaced = re.sub(r'([a-z])([A-Z])', r'\1_\2', name)
    return [word for word in re.split(r'[^a-z]+', spaced.lower()) if word]


def _is_time(words: list[str]) -> bool:
    if len(words) > 1 and words[-1] in _UNITS:
        words = words[:-1]
    known = _TIME_WORDS | _OTHER_WORDS
    return any(word in _TIME_WORDS for word in words) and all(word in known for word in words)


def _unit(sample: NDArray[Any]) -> tuple[float, float, float] | None:
    """Return seconds per unit, and between which values times of this sweep lie."""
    if len(sample) == 0:
        return None
    ordered = np.sort(sample)

    def at(part: float) -> float:
        return float(ordered[round(part * (len(ordered) - 1))])

    half = at(0.75) - at(0.25)
    for scale in _SCALES:
        if not _SHORTEST_HALF_S <= half * scale <= _LONGEST_HALF_S:
            continue
        low, high = at(0.01), at(0.99)
        if (high - low) * scale > _LONGEST_S or high - low > _MOST_UNEVEN * half:
            low, high = at(0.25), at(0.75)  # many outliers
        # Part of the turn is nearly empty if the sensor's view is blocked to one side.
        margin = 1.5 * (high - low)
        return scale, low - margin, high + margin
    return None


def _inside(
    values: NDArray[Any], low: float, high: float, without_zeros: bool
) -> tuple[NDArray[np.bool_] | None, Any, Any]:
    """Return which values are times of this sweep, None where all are, and their first and last.

    First and last are Python's numbers, which do not overflow.
    """
    first, last = values.min().item(), values.max().item()
    if not without_zeros and low <= first and last <= high:
        return None, first, last
    with np.errstate(invalid='ignore'):
        inside = (values >= low) & (values <= high)
    if without_zeros:
        inside &= values != 0
    known = values[inside]
    return inside, known.min().item(), known.max().item()


def _scaled(values: NDArray[Any], scale: float) -> NDArray[np.floating]:
    with np.errstate(invalid='ignore', over='ignore'):  # from outliers
        return np.asarray(values * scale)


def _clock_difference(first_s: float, stamp_s: float) -> float | None:
    """Return how far the points' clock is ahead of the stamp's, None for relative times."""
    # Absolute times of a clock that started with the drive are small as well.
    ahead_s = first_s - stamp_s
    if abs(first_s) <= min(abs(ahead_s), _NEAR_S):
        return None
    near = (known for known in _KNOWN_CLOCKS_S if abs(ahead_s - known) < _NEAR_S)
    return next(near, ahead_s)


def _is_known(clock_s: float) -> bool:
    return clock_s in _KNOWN_CLOCKS_S
