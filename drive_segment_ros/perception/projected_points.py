"""The points of a sweep in a camera's image."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class ProjectedPoints:
    """The M points of a sweep that lie in an image, in the sweep's order.

    Attributes:
        index: (M,) int32 into the cloud.
        u, v: (M,) float32 px, pixel centres at integers; rounding them gives a pixel.
        depth: (M,) float32 metres along the optical axis.
        shift_u, shift_v: (M,) float32 px, parallax: how far the point lies from where a camera
            of the same orientation, at the LiDAR's position when it measured the point, sees it.
    """

    index: NDArray[np.int32]
    u: NDArray[np.float32]
    v: NDArray[np.float32]
    depth: NDArray[np.float32]
    shift_u: NDArray[np.float32]
    shift_v: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.index)

    def where(self, mask: NDArray[np.bool_]) -> ProjectedPoints:
        """Return the points selected by a mask (M,)."""
        return ProjectedPoints(*(values[mask] for values in self._arrays()))

    def joined(self, other: ProjectedPoints) -> ProjectedPoints:
        """Return these points followed by others."""
        pairs = zip(self._arrays(), other._arrays(), strict=True)
        return ProjectedPoints(*(np.concatenate(pair) for pair in pairs))

    def _arrays(self) -> list[NDArray[Any]]:
        return [getattr(self, field.name) for field in dataclasses.fields(self)]
