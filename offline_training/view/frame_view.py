"""Adds an image with segments, pseudo-label and mask to a recording."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.reader import FrameRecord
from drive_segment_ros.storage import is_there
from offline_training.evaluation.prediction import Prediction, Predictor
from offline_training.view.recording import PSEUDO_LABEL, ViewRecording


def add_pixels(
    made: ViewRecording,
    camera: str,
    stamp_ns: int,
    picture: NDArray[np.uint8],
    frame: FrameRecord | None,
    predictor: Predictor | None,
) -> NDArray[np.uint8] | None:
    """Add an image, its pseudo-label and its mask.

    Args:
        made: the recording.
        camera: name of the camera.
        stamp_ns: of the image.
        picture: (H, W, 3) uint8 BGR.
        frame: the extracted frame of the image, if there is one.
        predictor: model for the mask; None for the recorded mask of the frame, if there is one.

    Returns:
        (h, w) uint8, the mask or else the pseudo-label; None without both.
    """
    made.image(camera, stamp_ns, picture)
    classes = None
    if frame is not None and is_there(frame.pseudo_label_path):
        classes = frame.pseudo_label()
        made.labels(camera, stamp_ns, PSEUDO_LABEL, classes)
    mask = None
    if predictor is not None:
        mask = predictor.predict(picture)
    elif frame is not None and frame.model_label_path is not None:
        mask = Prediction(frame.model_label(), frame.model_confidence())
    if mask is None:
        return classes
    made.mask(camera, stamp_ns, mask)
    return mask.label
