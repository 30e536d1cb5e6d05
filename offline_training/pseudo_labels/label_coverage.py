"""The labelled share of a drive's frames, and warnings if it is far below the drive's norm.

A calibration that changes during a drive, a lost sector of the LiDAR or dirt on a lens cause
frames with hardly any labels, which would otherwise go unnoticed.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A drive's norm is its 90th percentile, so that it is valid even if most frames are damaged.
_NORM = 0.9
# Frames below this part of the norm are poor; scenes vary by less.
_POOR = 0.7
# Poor frames are reported if so many are consecutive, or if they are this share of a drive.
_RUN, _SHARE = 5, 0.1
# Shares of pixels and of frames with objects below which a drive has hardly any labels.
_LEAST_LABELLED, _LEAST_WITH_OBJECTS = 0.25, 0.5
# A drive with less than this part of the best drive's norm is considered damaged.
_OTHER_DRIVES = 0.5


@dataclasses.dataclass(frozen=True)
class DriveCoverage:
    """The labelled shares of the frames of a camera in a drive, in order of time.

    Attributes:
        drive: the drive's name and the camera's, `drive/camera`.
        labelled: (F,) share of each frame's pixels that have a pseudo-class, F > 0.
        objects: (F,) object segments of each frame.
    """

    drive: str
    labelled: NDArray[np.float64]
    objects: NDArray[np.int64]

    @property
    def norm(self) -> float:
        """The labelled share of pixels in good frames of this drive."""
        return float(np.quantile(self.labelled, _NORM))

    def summary(self) -> dict[str, Any]:
        """Return the values, ready for JSON; `poor` are ranges FIRST:LAST, last excluded."""
        return {
            'drive': self.drive,
            'frames': len(self.labelled),
            'labelled_fraction': _mean(self.labelled),
            'norm': round(self.norm, 4),
            'frames_with_objects': _mean(self.objects > 0),
            'poor': [
                {
                    'frames': f'{first}:{last}',
                    'labelled_fraction': _mean(self.labelled[first:last]),
                    'frames_with_objects': _mean(self.objects[first:last] > 0),
                }
                for first, last in self._ranges()
            ],
        }

    def _ranges(self) -> list[tuple[int, int]]:
        """Return the ranges of poor frames, none if they are few and isolated."""
        poor = self.labelled < _POOR * self.norm
        if np.mean(self.objects > 0) >= _LEAST_WITH_OBJECTS:
            poor |= self.objects == 0
        ends = np.flatnonzero(np.diff(np.concatenate([[0], poor, [0]])))
        ranges = [(int(first), int(last)) for first, last in ends.reshape(-1, 2)]
        if np.count_nonzero(poor) > max(1.0, _SHARE * len(poor)):
            return ranges
        return [(first, last) for first, last in ranges if last - first >= _RUN]


def coverage_warnings(drives: list[DriveCoverage]) -> list[str]:
    """Return warnings to check before training, one line each."""
    warnings = []
    best = max((drive.norm for drive in drives), default=0.0)
    for drive in drives:
        labelled, with_objects = np.median(drive.labelled), np.mean(drive.objects > 0)
        poor = drive.summary()['poor']
        if poor:
            warnings.append(_of_ranges(drive, poor))
        elif labelled < _LEAST_LABELLED:
            warnings.append(
                f'{drive.drive}: {labelled:.1%} of the pixels of a typical frame are labelled, '
                'hardly anything to train on; check the calibration with drive-segment inspect'
            )
        elif drive.norm < _OTHER_DRIVES * best:
            warnings.append(
                f'{drive.drive}: {drive.norm:.1%} of the pixels of its good frames are labelled, '
                f'in other drives up to {best:.1%}; check calibration by drive-segment inspect'
            )
        if with_objects < _LEAST_WITH_OBJECTS:
            warnings.append(
                f'{drive.drive}: {1 - with_objects:.1%} of its frames have no object; check its '
                'LiDAR and calibration with drive-segment inspect'
            )
    return warnings


def _of_ranges(drive: DriveCoverage, poor: list[dict[str, Any]]) -> str:
    bounds = [tuple(int(end) for end in entry['frames'].split(':')) for entry in poor]
    inside = np.concatenate([np.arange(*pair) for pair in bounds])
    longest = sorted(bounds, key=lambda pair: pair[0] - pair[1])[:3]
    named = ', '.join(f'{first}:{last}' for first, last in sorted(longest))
    labelled, objects = drive.labelled[inside], drive.objects[inside]
    return (
        f'{drive.drive}: frames {named}{" and others" if len(bounds) > 3 else ""} '
        f'({len(inside)} of {len(drive.labelled)}) have {np.mean(labelled):.1%} of their '
        f'pixels labelled, and {np.mean(objects > 0):.1%} of them have an object; good frames of '
        f'this drive have {drive.norm:.1%} labelled; check sensors and calibration there before '
        'training, or exclude them with --frames'
    )


def _mean(values: NDArray[Any]) -> float:
    return round(float(np.mean(values)), 4)
