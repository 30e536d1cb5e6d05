"""Time and memory of `label` by number of segments, from a drive's descriptors with jitter.

The steps of `label` that work on segment tables are timed: tracking objects, sampling, clustering
and assigning pseudo-classes. The tables are those of a drive, repeated many times: the real one
(DRIVE_SEGMENT_DATA, else searched beside the repository) or a simulated one; the result says
which.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import operator
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from drives import some_bag

from drive_segment_ros.dataset.own_files import DRIVE_FILE, INDEX_FILE
from drive_segment_ros.dataset.reader import Dataset, Drive
from drive_segment_ros.frame.parameters import FrameParameters
from offline_training.bags.extract import ExtractOptions, extract
from offline_training.common.engine import open_engine
from offline_training.pseudo_labels.assignment import LabelParameters
from offline_training.pseudo_labels.columns import read_columns, write_columns
from offline_training.pseudo_labels.describe import DescribeJob, describe
from offline_training.pseudo_labels.drive_plan import DrivePlan, FrameRange, plan_drives
from offline_training.pseudo_labels.fit import fit
from offline_training.pseudo_labels.label_drive import AssignJob, DriveLabels, label_segments
from offline_training.pseudo_labels.model import MODEL_FILE
from offline_training.pseudo_labels.sampling import SampleJob, join_samples, sample, track
from offline_training.pseudo_labels.segment_table import FEATURE, ROWS_A_FRAME

SIZES = (10_000, 50_000, 200_000, 1_000_000)
QUICK_SIZES = (2_000,)
# Largest number of segments of a synthetic drive, which is some minutes.
DRIVE = 100_000
WORKERS = 2
# Standard deviations relative to that of a descriptor's column: of an object from the original
# one, and of a segment from its object.
_OBJECT_JITTER, _VIEW_JITTER = 0.1, 0.02
# Offset in time and distance between repetitions, so that no track continues into the next.
_APART_NS, _APART_M = 10**12, 10_000.0


def run(quick: bool = False) -> dict[str, Any]:
    """Measure each size.

    Args:
        quick: one small size only.

    Returns:
        `results` as `drive-segment bench` prints them: the time of sampling, clustering and
        assigning, that of each step, the peak memory of all processes together, and the exponent
        of the time's growth with the number of segments since the previous size; and `drive`,
        real or simulated.
    """
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bag, origin = some_bag(folder, 4.0)
        extract([bag], folder / 'original', FrameParameters(), ExtractOptions())
        for size in QUICK_SIZES if quick else SIZES:
            results.append(measure(described(folder / 'original'), folder / str(size), size))
            if len(results) > 1:
                before, now = results[-2:]
                times = now['median_s'] / before['median_s']
                more = now['segments'] / before['segments']
                now['exponent'] = round(float(np.log(times) / np.log(more)), 2)
    return {'results': results, 'drive': origin}


def described(dataset: Path) -> DrivePlan:
    """Return the plan of a dataset's first drive; describe and track it as one range if needed."""
    plan, *_ = plan_drives(Dataset(dataset), [], 1, frames_a_range=10**6)
    if not plan.tracks_path.exists():
        describe(DescribeJob(plan, plan.ranges[0], 'descriptor'))
        track(SampleJob(plan, slice(None), True, 0))
    return plan


def measure(original: DrivePlan, dataset: Path, segments: int) -> dict[str, Any]:
    """Write a synthetic dataset of at least `segments` segments, and time the steps on it."""
    plans = repeat(original, dataset, segments)
    parameters = LabelParameters()
    everything = slice(None)
    seconds = {}
    with peak_memory() as peak, open_engine(WORKERS) as engine:
        begun = time.perf_counter()

        def step(name: str) -> None:
            nonlocal begun
            seconds[name] = time.perf_counter() - begun
            begun = time.perf_counter()

        jobs = [SampleJob(plan, everything, True, parameters.seed) for plan in plans]
        limit = functools.reduce(operator.add, engine.map(track, jobs)).limit()
        step('track')
        jobs = [dataclasses.replace(job, limit=limit) for job in jobs]
        learned = join_samples(list(engine.map(sample, jobs)))
        step('sample')
        model, _ = fit(learned, [0, 1, 2], parameters)
        model.save(dataset / MODEL_FILE)
        step('fit')
        assign = [
            AssignJob(p, dataset / MODEL_FILE, everything, parameters, parameters.classes)
            for p in plans
        ]
        found: DriveLabels = functools.reduce(operator.add, engine.map(label_segments, assign))
        step('assign')
    total = seconds['sample'] + seconds['fit'] + seconds['assign']
    return {
        'name': f'labelling.{segments}',
        'median_s': total,
        'p95_s': total,
        'runs': 1,
        'peer': False,
        'ratio': None,
        'segments': found.segments,
        'drives': len(plans),
        **{f'{name}_s': round(value, 3) for name, value in seconds.items()},
        'learned_from': len(learned.owner),
        'peak_rss_mb': round(peak[0] / 2**20),
    }


def repeat(original: DrivePlan, dataset: Path, segments: int) -> list[DrivePlan]:
    """Write drives without images whose tables repeat those of one drive, with jitter.

    Args:
        original: the drive, described as one range of one camera.
        dataset: folder for the new drives.
        segments: minimum number of segments in all drives together.

    Returns:
        The plans of the new drives.
    """
    camera = original.ranges[0].camera
    objects = read_columns(original.tracks_path)['track']
    tables = {
        content: read_columns(original.path(original.ranges[0], content))
        for content in ('segments', 'matches', 'seen_through')
    }
    count = len(tables['segments']['id'])
    repetitions = -(-segments // count)
    drives = -(-repetitions // max(DRIVE // count, 1))
    shares = np.array_split(np.arange(repetitions), drives)
    for number, share in enumerate(shares):
        _write_drive(original, camera, dataset / f'drive_{number:04d}', len(share))
    plans = []
    frames = original.frames[camera]
    for plan, share in zip(plan_drives(Dataset(dataset), [], 1), shares, strict=True):
        ranges = tuple(FrameRange(camera, k * frames, (k + 1) * frames) for k in range(len(share)))
        plan = dataclasses.replace(plan, ranges=ranges)
        for part, repetition in zip(ranges, share.tolist(), strict=True):
            _write_tables(plan, part, tables, objects, seed=repetition)
        plans.append(plan)
    return plans


def _write_drive(original: DrivePlan, camera: str, folder: Path, repetitions: int) -> None:
    """Write a drive's description and frame index, without images and proposals."""
    (folder / camera).mkdir(parents=True)
    info = {**Drive(original.drive).info}
    info['cameras'] = {camera: info['cameras'][camera]}
    (folder / DRIVE_FILE).write_text(json.dumps(info))
    with open(folder / camera / INDEX_FILE, 'w') as index:
        for k in range(repetitions):
            for frame in original.camera_frames(camera):
                record = dict(frame.record)
                for stamp in ('stamp_ns', 'sweep_stamp_ns'):
                    record[stamp] = int(record[stamp]) + k * _APART_NS
                if record.get('T_odom_base') is not None:
                    T = np.array(record['T_odom_base'])
                    T[0, 3] += k * _APART_M
                    record['T_odom_base'] = T.tolist()
                index.write(json.dumps(record) + '\n')


def _write_tables(
    plan: DrivePlan,
    part: FrameRange,
    tables: dict[str, dict[str, np.ndarray]],
    objects: np.ndarray,
    seed: int,
) -> None:
    """Write the tables of a range: the original's with later stamps and jittered descriptors."""
    random = np.random.default_rng(seed)
    segments = dict(tables['segments'])
    segments['frame'] = (segments['frame'] + part.first).astype(np.int32)
    later = part.first // (part.last - part.first) * _APART_NS
    segments['sweep'] = segments['sweep'] + later
    for name, values in segments.items():
        if name.startswith(FEATURE):
            spread = np.nanstd(values, axis=0)
            noise = random.normal(0.0, _VIEW_JITTER, values.shape)
            looks = random.normal(0.0, _OBJECT_JITTER, (objects.max() + 1, values.shape[1]))
            noise += looks[objects]
            segments[name] = (values + spread * noise).astype(np.float32)
    write_columns(plan.path(part, 'segments'), segments)
    for content in ('matches', 'seen_through'):
        first = part.first * ROWS_A_FRAME
        rows = {name: code + first for name, code in tables[content].items()}
        write_columns(plan.path(part, content), rows)


@contextlib.contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Yield a list whose one element is the peak memory of this process and its descendants.

    In bytes of resident memory, sampled ten times per second; memory shared by several processes
    is counted for each of them.
    """
    peak, ended = [0], threading.Event()

    def look() -> None:
        while not ended.wait(0.1):
            peak[0] = max(peak[0], sum(map(_resident, _descendants('self'))))

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    try:
        yield peak
    finally:
        ended.set()
        watch.join()


def _descendants(process: str) -> Iterator[str]:
    yield process
    with contextlib.suppress(OSError):
        for task in Path(f'/proc/{process}/task').iterdir():
            for child in (task / 'children').read_text().split():
                yield from _descendants(child)


def _resident(process: str) -> int:
    try:
        return int(Path(f'/proc/{process}/statm').read_text().split()[1]) * 4096
    except OSError:  # it has ended
        return 0
