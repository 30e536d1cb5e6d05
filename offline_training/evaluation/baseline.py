"""The baseline: k-means on superpixels of the images, without LiDAR and network.

A superpixel is described by its mean colour, gradient and position; k-means on all frames' gives
the classes, and a new image's superpixels go to the nearest.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.array_files import parse_npz
from drive_segment_ros.dataset.reader import Dataset
from drive_segment_ros.errors import ModelError
from drive_segment_ros.parameters import parameter
from drive_segment_ros.perception.resizing import resize_image
from drive_segment_ros.perception.superpixels import felzenszwalb
from drive_segment_ros.storage import read_whole
from offline_training.common.files import write_atomic
from offline_training.common.frame_selection import select_frames
from offline_training.common.pooling import pool
from offline_training.pseudo_labels.kmeans import kmeans, nearest

BASELINE_FILE = 'baseline.npz'
_SCALE, _SIGMA, _MIN_SIZE = 100.0, 0.5, 60


@dataclasses.dataclass(frozen=True)
class BaselineParameters:
    """Parameters of the baseline."""

    classes: int = parameter(30, 'Number of clusters.', minimum=2, maximum=254)
    frames: str = parameter(
        '', 'Frames of each camera of each drive to cluster, FIRST:LAST; empty for all.'
    )
    cameras: list[str] = parameter(  # noqa: RUF009
        [], 'Cameras to cluster, by name; empty for all.'
    )
    width: int = parameter(512, 'Working width of the images.', unit='px', minimum=16)
    seed: int = parameter(0, 'Seed of k-means.', minimum=0, maximum=2**31 - 1)


@dataclasses.dataclass(frozen=True)
class ColourClusters:
    """Clusters of superpixels.

    Attributes:
        mean, std: (D,) of each feature over the training superpixels.
        centres: (K, D) cluster centres of the standardised features.
        width: to which images are resized, px.
    """

    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    centres: NDArray[np.float32]
    width: int

    @staticmethod
    def learn(
        images: Iterable[NDArray[np.uint8]], parameters: BaselineParameters
    ) -> ColourClusters:
        """Cluster the superpixels of BGR images."""
        rows = [superpixel_features(image, parameters.width)[0] for image in images]
        values = np.vstack(rows)
        mean, std = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-6)
        clusters = kmeans((values - mean) / std, parameters.classes, parameters.seed)
        return ColourClusters(mean, std, clusters.centres, parameters.width)

    def predict(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the cluster of each pixel of a BGR image, (h, w) uint8 at the resized size."""
        values, labels = superpixel_features(image, self.width)
        assigned, _ = nearest((values - self.mean) / self.std, self.centres)
        return assigned.astype(np.uint8)[labels]

    def save(self, path: Path) -> None:
        """Write the clusters, atomically."""
        buffer = io.BytesIO()
        np.savez(
            buffer, mean=self.mean, std=self.std, centres=self.centres, width=np.int64(self.width)
        )
        write_atomic(path, buffer.getvalue())

    @staticmethod
    def load(path: Path) -> ColourClusters:
        """Read clusters written by `save`.

        Raises:
            ModelError: if the file is damaged.
        """
        try:
            arrays = parse_npz(read_whole(path))
            width = int(arrays.pop('width'))
            return ColourClusters(width=width, **arrays)
        except (OSError, ValueError, KeyError, TypeError) as err:
            raise ModelError(f'{path} is not a baseline: {err}') from err


def superpixel_features(
    image: NDArray[np.uint8], width: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Describe the superpixels of a BGR image.

    Returns:
        (R, 6) float32: CIE Lab, gradient (log), row and column, and the superpixel of each pixel
        (h, w) int32.
    """
    height = max(round(width * image.shape[0] / image.shape[1]), 1)
    small = resize_image(image, height, width)
    ((labels, _),) = felzenszwalb(small, [_SCALE], _SIGMA, _MIN_SIZE)
    lab = np.asarray(cv2.cvtColor(small.astype(np.float32) / 255.0, cv2.COLOR_BGR2LAB))
    across = cv2.Sobel(lab[..., 0], cv2.CV_32F, 1, 0)
    along = cv2.Sobel(lab[..., 0], cv2.CV_32F, 0, 1)
    gradient = np.log1p(np.hypot(across, along))
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    layers = np.dstack([lab, gradient, rows / height, columns / width])
    means, _ = pool(layers.reshape(-1, layers.shape[-1]).astype(np.float32), labels)
    return means, labels


def make_baseline(
    datasets: Sequence[Path],
    folder: Path,
    parameters: BaselineParameters,
    progress: Callable[[Iterable], Iterable] = iter,
) -> None:
    """Fit the baseline to the images of datasets and write it to `folder`."""
    cameras = select_frames(Dataset(*datasets), parameters.frames, parameters.cameras)
    frames = [frame for camera in cameras for frame in camera]
    images = (frame.image() for frame in progress(frames))
    ColourClusters.learn(images, parameters).save(folder / BASELINE_FILE)
