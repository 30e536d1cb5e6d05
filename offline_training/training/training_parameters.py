"""The parameters of training one network."""

from __future__ import annotations

import dataclasses

from drive_segment_ros.parameters import parameter
from offline_training.training.augmentation import AugmentationParameters


@dataclasses.dataclass(frozen=True)
class TrainingParameters:
    """Parameters of training one network; the defaults train `tiny` on 45 frames in minutes."""

    epochs: int = parameter(80, 'Passes over the frames, for teacher and student each.', minimum=1)
    batch_size: int = parameter(4, 'Images per step and process.', minimum=1)
    learning_rate: float = parameter(
        5e-4,
        'Peak rate of AdamW, which updates kernels, biases, norms and embeddings.',
        minimum=0.0,
    )
    matrix_learning_rate: float = parameter(
        2e-3, 'Peak rate of Muon, which updates matrices; 0 uses AdamW for them.', minimum=0.0
    )
    class_balance: float = parameter(
        0.25,
        'Balance of classes: the weight of a pixel is the frequency of its class to minus this '
        'power.',
        minimum=0.0,
        maximum=1.0,
    )
    weight_decay: float = parameter(0.05, 'Decoupled weight decay of matrices.', minimum=0.0)
    warmup: float = parameter(
        0.1, 'Share of the steps for warm-up of the rate.', minimum=0.0, maximum=1.0
    )
    gradient_clip: float = parameter(
        1.0, 'Largest norm of the gradient; 0 for no clipping.', minimum=0.0
    )
    ema_decay: float = parameter(
        0.995,
        'Decay of the moving average of weights, which is the result.',
        minimum=0.0,
        maximum=1.0,
    )
    precision: str = parameter(
        'auto',
        'auto is bf16 if the processor is fast in it, else fp32.',
        choices=('auto', 'bf16', 'fp32'),
    )
    checkpoint_s: float = parameter(60.0, 'Time between checkpoints.', unit='s', minimum=0.0)
    seed: int = parameter(
        0, 'Seed of weights, order and augmentation.', minimum=0, maximum=2**31 - 1
    )
    augmentation: AugmentationParameters = dataclasses.field(
        default_factory=AugmentationParameters
    )

    def without_pasting(self) -> TrainingParameters:
        """Return these parameters without the pasting of rare classes."""
        augmentation = dataclasses.replace(self.augmentation, paste=0.0)
        return dataclasses.replace(self, augmentation=augmentation)
