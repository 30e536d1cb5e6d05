"""A small demo folder: synthetic frames, an untrained run, and made-up scores."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from drive_segment_ros.dataset.frame import Frame, SweepRecord, encode_png
from drive_segment_ros.dataset.writer import DriveWriter
from offline_training.common.classes import ClassName, save_classes
from offline_training.common.files import write_json, write_png
from offline_training.report.sources import HELD_OUT, LEARNED_FROM

HEIGHT, WIDTH = 48, 64
CLASSES = [ClassName('road', (128, 64, 128)), ClassName('car <b>', (0, 0, 142))]
SCORE = {'miou': 41.25, 'accuracy': 77.5, 'per_class': {'road': 80.0, 'car': 2.5}}
SCORES = {
    'strict': SCORE,
    'ignore_unmatched': {**SCORE, 'miou': 47.0},
    'many_to_one': {**SCORE, 'miou': 55.5},
    'classes_present': 2,
    'k': 2,
    'images': 3,
    'matching_learned_on': 'scored images',
}
BASELINE = {kind: {**SCORE, 'miou': 21.5} for kind in ('strict', 'many_to_one')}
CONFUSION = {
    'images': [f'avenue/front/image/{stamp}000000000.png' for stamp in (1, 2, 3)],
    'classes': ['road', 'car'],
    'pixels': [[90, 10], [25, 75]],
    'pixels_without_prediction': [0, 0],
    'one_to_one': ['road', 'car'],
    'many_to_one': ['road', 'car'],
}
LIVE = {
    'received': {'image': 9},
    'frames': 8,
    'dropped': {'bad_image': 3},
    'rate_hz': 4.2,
    'latency_median_ms': 41.7,
    'latency_p95_ms': 70.0,
}
INSPECTED = {
    'topics': [
        {'name': '/p', 'type': 'T', 'count': 9, 'rate_hz': 10.0, 'clock_offset_s': None},
    ],
    'pairs': [{'camera': '/c', 'lidar': '/p', 'camera_lidar_offset_ms': 39.4}],
    'problems': [{'what': 'images are stamped late', 'fix': 'set camera_offset'}],
}
EXTRACTED = {'frames': 3, 'images': 5, 'sweeps': 5, 'dropped': {'no_sweep': 2}}
STEPS = {'inspect': INSPECTED, 'extract': EXTRACTED, 'live': LIVE}


def write_dataset(dataset: Path, labelled: bool, drive: str = 'street') -> None:
    """Write a drive of three frames like `extract` and, if `labelled`, the output of `label`."""
    random = np.random.default_rng(0)
    segment = np.ones((HEIGHT, WIDTH), np.uint16)
    segment[:, 20:40] = 2
    segment[:8] = 0
    proposals = {
        'id': np.array([1, 2], np.uint16),
        'kind': np.array([1, 0], np.uint8),
        'points': np.array([40, 9], np.int32),
    }
    info = {'cameras': {'front': {}}, 'parameters': {'beta': 10}}
    with DriveWriter(dataset / drive, info) as writer:
        for index in range(3):
            stamp = 1_000_000_000 * (1 + index)
            image = random.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
            record = {'offset_s': 0.05, 'motion': 'per_point', 'points_dropped': 0}
            sweep = SweepRecord(stamp - 1, proposals)
            writer.add(Frame('front', stamp, encode_png(image), '.png', segment, sweep, record))
            if labelled:
                label = np.where(segment > 0, segment - 1, 255).astype(np.uint8)
                write_png(dataset / f'{drive}/front/pseudo_label/{stamp}.png', label)
    if labelled:
        folder = dataset / 'pseudo_classes'
        counted = [
            {
                'class': number,
                'objects': 3,
                'segments': 5,
                'pixels': 100 * (3 - 2 * number),
                'kinds': {'object': 3, 'ground': 1},
                'height_max_m': 1.5,
            }
            for number in range(2)
        ]
        write_json(folder / 'statistics.json', {'features': 'x', 'class_statistics': counted})
        save_classes(folder / 'classes.yaml', CLASSES)
        (folder / 'gallery').mkdir()
        for number in range(2):
            cv2.imwrite(str(folder / f'gallery/class_{number:02d}.jpg'), np.zeros((30, 40, 3)))


@pytest.fixture
def demo_folder(tmp_path: Path, run_folder: Path) -> Path:
    """Return a demo folder with a labelled dataset, and a held-out one with ground truth."""
    folder = tmp_path / 'a demo'
    write_dataset(folder / 'dataset', labelled=True)
    write_dataset(folder / 'held', labelled=False, drive='avenue')
    truth = folder / 'truth'
    write_png(truth / '1000000000.png', np.zeros((HEIGHT, WIDTH), np.uint8))
    write_json(truth / 'classes.json', {'classes': ['road', 'car']})
    write_json(folder / 'scores/scores.json', SCORES)
    write_json(folder / 'scores/confusion.json', CONFUSION)
    write_json(folder / 'baseline_scores/scores.json', BASELINE)
    (folder / 'run').symlink_to(run_folder)
    steps = [
        {'title': f'{name} it', 'command': f'drive-segment {name} x', 'seconds': 1.5, 'result': r}
        for name, r in STEPS.items()
    ]
    drives = [
        {'role': LEARNED_FROM, 'dataset': 'dataset', 'bag': None, 'truth': None},
        {'role': HELD_OUT, 'dataset': 'held', 'bag': 'gone', 'truth': 'truth'},
    ]
    content = {
        'steps': steps,
        'folders': {
            'run': 'run',
            'scores': 'scores',
            'baseline': 'baseline_scores',
            'model': 'model',
        },
        'drives': drives,
    }
    (folder / 'demo.json').write_text(json.dumps(content))
    return folder
