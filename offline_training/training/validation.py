"""Validation of a network during training on held-out labelled frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from drive_segment_ros.dataset.reader import FrameRecord
from drive_segment_ros.label_ids import IGNORE_LABEL
from drive_segment_ros.perception.resizing import crop_to_aspect, resize_image, resize_labels
from offline_training.networks.segmenter import Segmenter

# Number of frames and of validations; few, because they take time from training.
_FRAMES, TIMES = 8, 12


@dataclasses.dataclass(frozen=True)
class Validation:
    """Frames on which a network is validated.

    Attributes:
        images: (V, H, W, 3) uint8 RGB, at network size.
        labels: (V, H, W) uint8 pseudo-class, 255 unknown.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    @staticmethod
    def of(frames: Sequence[FrameRecord], height: int, width: int) -> Validation | None:
        """Read evenly spaced frames of a list; return None for an empty list.

        Args:
            frames: with pseudo-labels.
            height, width: of the network's input.
        """
        if not frames:
            return None
        chosen = np.linspace(0, len(frames) - 1, min(len(frames), _FRAMES)).round().astype(int)
        taken = [frames[index] for index in chosen.tolist()]
        size = height, width
        images = [resize_image(crop_to_aspect(f.image(), *size), *size)[..., ::-1] for f in taken]
        labels = [resize_labels(crop_to_aspect(f.pseudo_label(), *size), *size) for f in taken]
        return Validation(np.stack(images), np.stack(labels))

    @torch.no_grad()
    def measure(self, network: Segmenter) -> tuple[float, float]:
        """Return cross-entropy and accuracy over the labelled pixels.

        Args:
            network: in evaluation mode, on any device.
        """
        device = network.class_offset.device
        entropy, right, known = 0.0, 0, 0
        for image, label in zip(self.images, self.labels, strict=True):
            values = torch.from_numpy(np.ascontiguousarray(image)).to(device)
            logits = network(values.permute(2, 0, 1)[None].float() / 255.0).float()
            # Labels are brought to the network's grid, which costs less than the other way.
            small = resize_labels(label, *logits.shape[-2:]).astype(np.int64)
            target = torch.from_numpy(small).to(device)[None]
            there = target != IGNORE_LABEL
            entropy += float(
                functional.cross_entropy(
                    logits, target, ignore_index=IGNORE_LABEL, reduction='sum'
                )
            )
            right += int((logits.argmax(dim=1)[there] == target[there]).sum())
            known += int(there.sum())
        return entropy / max(known, 1), right / max(known, 1)
