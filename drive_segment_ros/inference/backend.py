"""The interface of a backend, and the import of optional packages."""

from __future__ import annotations

import importlib
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import DependencyError


class Backend(Protocol):
    """A loaded model. One thread at a time may use it."""

    @property
    def description(self) -> str:
        """Backend, device and precision, as text: `OpenVINO CPU bf16`."""

    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return label and confidence of an image.

        Args:
            image: (H, W, 3) uint8 BGR, C-contiguous, of the model's input size.

        Returns:
            Two (h, w) uint8 arrays that belong to the caller.

        Raises:
            ModelError: if the backend fails.
        """

    def close(self) -> None:
        """Free what the model holds; it cannot be used afterwards."""


def import_backend(module: str, distribution: str) -> Any:
    """Import a backend's package.

    Raises:
        DependencyError: if it is not installed, or a library it needs is missing.
    """
    try:
        found = importlib.import_module(module)
        # A package of type stubs alone imports as an empty namespace.
        if not found.__spec__ or found.__spec__.origin is None:
            raise ImportError(f'{module} holds no code')
    except ImportError as err:
        reason = ' '.join(str(err).split())
        raise DependencyError(
            f'{module} cannot be imported ({reason}); pip install {distribution}'
        ) from err
    return found
