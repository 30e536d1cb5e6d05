"""Superpixels at 960x540 on one core, compared with those of OpenCV and scikit-image.

All are by Felzenszwalb and Huttenlocher's graph segmentation. The image is the first of the real
drive (DRIVE_SEGMENT_DATA, else searched beside the repository), or a synthetic one if there is no
drive; the result says which.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from drives import real_drive
from rosbags.highlevel import AnyReader

from drive_segment_ros.perception.superpixels import felzenszwalb

SIGMA = 0.8
MIN_SIZE = 50
SCALES = {'one_scale': [100.0], 'two_scales': [30.0, 100.0]}


def run(quick: bool = False) -> dict[str, Any]:
    """Time all implementations; a ratio is the time over ours for the same number of scales.

    Args:
        quick: few repetitions, and without scikit-image, which takes seconds.

    Returns:
        `results` as `drive-segment bench` prints them, and `picture`, `real` or `drawn`.
    """
    real = _first_picture_of_the_drive()
    picture = _drawn_picture() if real is None else real
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        results = []
        for group, scales in SCALES.items():
            ours = _seconds(_task(_segment, picture, scales), runs=5 if quick else 40)
            results.append(_result(f'superpixels.{group}', ours, ours, peer=False))
            for peer, segment in _peers(quick).items():
                theirs = _seconds(_task(segment, picture, scales), runs=1 if quick else 5)
                results.append(_result(f'superpixels.{group}.{peer}', theirs, ours, peer=True))
    finally:
        cv2.setNumThreads(threads)
    return {'results': results, 'picture': 'drawn' if real is None else 'real'}


Segment = Callable[[np.ndarray, list[float]], Any]


def _segment(picture: np.ndarray, scales: list[float]) -> Any:
    return felzenszwalb(picture, scales, SIGMA, MIN_SIZE)


def _opencv(picture: np.ndarray, scales: list[float]) -> Any:
    create = cv2.ximgproc.segmentation.createGraphSegmentation
    return [create(SIGMA, scale, MIN_SIZE).processImage(picture) for scale in scales]


def _scikit_image(picture: np.ndarray, scales: list[float]) -> Any:
    from skimage.segmentation import felzenszwalb as skimage_felzenszwalb

    # Not exactly the same work: it has edges to eight neighbours, OpenCV and ours to four.
    return [skimage_felzenszwalb(picture, scale, SIGMA, MIN_SIZE) for scale in scales]


def _peers(quick: bool) -> dict[str, Segment]:
    """Return the other implementations that are installed, by name."""
    peers: dict[str, Segment] = {}
    if hasattr(cv2, 'ximgproc'):
        peers['opencv'] = _opencv
    if importlib.util.find_spec('skimage') and not quick:
        peers['scikit_image'] = _scikit_image
    return peers


def _task(segment: Segment, picture: np.ndarray, scales: list[float]) -> Callable[[], Any]:
    return lambda: segment(picture, scales)


def _seconds(task: Callable[[], Any], runs: int) -> np.ndarray:
    """Return the time of each run of a task, seconds, after a warm-up run."""
    task()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - start)
    return np.array(seconds)


def _result(name: str, seconds: np.ndarray, reference: np.ndarray, peer: bool) -> dict[str, Any]:
    return {
        'name': name,
        'median_s': float(np.median(seconds)),
        'p95_s': float(np.percentile(seconds, 95)),
        'best_s': float(seconds.min()),
        'runs': len(seconds),
        'peer': peer,
        'ratio': float(np.median(seconds) / np.median(reference)),
    }


def _first_picture_of_the_drive() -> np.ndarray | None:
    """Return the real drive's first image at 960x540, BGR, or None if there is no drive."""
    drive = real_drive()
    if drive is None:
        return None
    with AnyReader([drive / 'bag']) as reader:
        cameras = [c for c in reader.connections if c.msgtype.endswith('CompressedImage')]
        connection, _, raw = next(iter(reader.messages(cameras)))
        message: Any = reader.deserialize(raw, connection.msgtype)
    return cv2.imdecode(message.data, cv2.IMREAD_REDUCED_COLOR_2)


def _drawn_picture() -> np.ndarray:
    """Return a synthetic image: a gradient with many ellipses and noise, (540, 960, 3) uint8."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(220, 60, 540, dtype=np.float32)
    picture = np.ascontiguousarray(np.broadcast_to(ramp[:, None, None], (540, 960, 3)))
    for _ in range(300):
        centre = rng.integers(0, (960, 540)).tolist()
        axes = rng.integers(4, 80, 2).tolist()
        colour = rng.integers(0, 256, 3).tolist()
        cv2.ellipse(picture, centre, axes, float(rng.integers(180)), 0, 360, colour, -1)
    return np.clip(picture + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)
