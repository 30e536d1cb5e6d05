"""The extraction of one recording to a drive: submits its parts and joins the results."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from drive_segment_ros.dataset.own_files import PARTS_FOLDER, refuse_links
from drive_segment_ros.dataset.part_joining import (
    join_parts,
    locked,
    overwritten,
    remove_manifests,
    remove_unfinished,
    repeated,
)
from drive_segment_ros.dataset.parts import (
    Part,
    other_than_before,
    read_drive,
    read_parts,
    read_plan,
    write_plan,
)
from drive_segment_ros.errors import BagError, DatasetError, DriveSegmentError
from drive_segment_ros.outputs import is_taken
from drive_segment_ros.parameters import to_flat
from drive_segment_ros.perception.coverage import UsualCoverage
from drive_segment_ros.storage import is_remote
from offline_training.bags.drive_plan import DrivePlan, bounds
from offline_training.bags.extract_part import PartJob, PartSummary, explain_nothing, extract_part
from offline_training.common.engine import Engine, Outcome
from offline_training.common.workers import WorkerDiedError

# Files written by other machines are visible on network file systems with a delay.
_SEEN_WITHIN_S, _LOOKED_AT_S = 10.0, 0.2


class DriveExtraction:
    """A drive that is being extracted.

    Attributes:
        path: its folder.
        bags: the bag, or the bags that are its parts.
        error: why it could not be extracted completely; else None.
        total: sum of the parts' results, without those of an earlier run.
        images, images_done: number of images of all cameras, and of those processed.
        segments_from: number of sweeps by the source of their segments.
        lacking: what incomplete sweeps lack, as text by stamp.
    """

    def __init__(
        self,
        path: Path,
        bags: tuple[Path, ...],
        preview: bool,
        resume: bool,
        run: str,
    ) -> None:
        """Store the arguments; nothing is written yet.

        Args:
            path: folder to write to.
            bags: the bag, or the bags that are its parts.
            preview: whether to draw a picture of each frame.
            resume: whether to continue an unfinished drive.
            run: identifies this call of `extract`, see `kept_open.opened`.
        """
        self.path = path
        self.bags = bags
        self.error: DriveSegmentError | None = None
        self.total = PartSummary()
        self.images = self.images_done = 0
        self.segments_from: Counter[str] = Counter()
        self.lacking: dict[int, str] = {}
        self._preview, self._resume, self._run = preview, resume, run
        self._jobs: list[PartJob] = []
        self._missing: set[int] = set()
        self._lock = contextlib.ExitStack()
        self._begun = False

    @property
    def awaits(self) -> bool:
        """Whether parts are missing; after a failure, submitted ones may still be completed."""
        return bool(self._missing)

    def begin(self, plan: DrivePlan, parallel: int) -> Iterator[PartJob]:
        """Lock the drive, write its plan, and yield the jobs of missing parts until one fails.

        Args:
            plan: of the recording.
            parallel: number of jobs that run at a time.
        """
        try:
            self._begin(plan, parallel)
        except DriveSegmentError as err:
            self.error = err
            self._abandon()
            return
        for job in self._jobs:
            if self.error is not None:
                return
            if job.start_ns in self._missing:
                yield job

    def take(self, part: Outcome[PartJob, PartSummary]) -> None:
        """Add the outcome of a part's job to the results."""
        if isinstance(part.error, WorkerDiedError):
            first, last = (
                (stamp - part.job.plan.start_ns) * 1e-9
                for stamp in (part.job.start_ns, part.job.stop_ns)
            )
            self.error = self.error or BagError(
                f'{part.job.plan.name} is skipped from {first:.1f} to {last:.1f} s: {part.error}'
            )
        elif part.error is not None:
            self.error = self.error or part.error
        else:
            self._missing.discard(part.job.start_ns)
            if part.result is not None:
                self._add(part.result)

    def finish(self, engine: Engine) -> None:
        """Join the parts, and set the error if there is no frame."""
        if not self._begun:
            return
        self._begun = False
        try:
            if not self._missing:
                parts = self._all_parts()
                for number in overwritten(parts):
                    again = dataclasses.replace(self._jobs[number], again=True)
                    for _ in engine.map(extract_part, [again]):
                        pass
                self._join(parts)
                if not any(part.frames for part in parts) and not read_drive(self.path):
                    (reason,) = engine.map(explain_nothing, self._jobs[:1])
                    told = '; '.join(self.total.failures.values()) or reason
                    self.error = BagError(
                        f'{self._jobs[0].plan.name}: no frame could be extracted: {told}'
                    )
            else:
                self._join(read_parts(self.path))
        except DriveSegmentError as err:
            self.error = self.error or err
        finally:
            self._lock.close()

    def close(self) -> None:
        """Join the existing parts and release the lock, also after an error or interruption."""
        if self._begun:
            self._begun = False
            with contextlib.suppress(DriveSegmentError):
                self._join(read_parts(self.path))
        self._lock.close()

    def _begin(self, plan: DrivePlan, parallel: int) -> None:
        path = self.path
        if not self._resume and is_taken(path):
            raise DatasetError(
                f'{path} exists and is not overwritten; choose another output folder or resume it'
            )
        if not is_remote(path):
            refuse_links(path)
        self._lock.enter_context(locked(path))
        self._begun = True
        made = self._made_of(plan)
        self._compare(read_drive(path), made)
        there = read_plan(path)
        if there is not None and {**there, 'bounds': None} != {**made, 'bounds': None}:
            # Join the parts of an earlier plan to the drive; this plan adds to it.
            join_parts(path, read_parts(path))
            remove_manifests(path)
            there = None
        ends = bounds(plan, parallel) if there is None else list(there['bounds'])
        done = {part.start_ns: part for part in read_parts(path)}
        write_plan(path, {**made, 'bounds': ends})
        self.images = plan.images
        self._jobs = [
            PartJob(plan, start, stop, path, self._preview, self._run)
            for start, stop in itertools.pairwise(ends)
        ]
        self._missing = {job.start_ns for job in self._jobs} - done.keys()
        self.images_done = sum(part.summary['images'] for part in done.values())

    def _abandon(self) -> None:
        """Release a drive that could not be begun, and remove the folders made for it."""
        if self._begun and not is_remote(self.path):
            with contextlib.suppress(OSError):  # only empty ones
                (self.path / PARTS_FOLDER).rmdir()
                self.path.rmdir()
        self._begun = False
        self._lock.close()

    def _compare(self, there: Mapping[str, Any] | None, made: Mapping[str, Any]) -> None:
        """Check that the existing drive has the same odometry and parameters.

        The LiDAR is compared later, when frames are written.
        """
        changed = [n for n in ('odometry', 'parameters') if there and there.get(n) != made[n]]
        if changed:
            raise other_than_before(self.path, changed)

    def _made_of(self, plan: DrivePlan) -> dict[str, Any]:
        """Return the entries of the plan that must be equal for all parts of a drive."""
        return {
            'start_ns': plan.start_ns,
            'end_ns': plan.end_ns,
            'wanted_ns': [plan.first_ns, plan.last_ns],
            'cameras': sorted(plan.rig.cameras),
            'lidar': plan.rig.lidar,
            'odometry': list(plan.rig.odometry),
            'parameters': json.loads(json.dumps(to_flat(plan.params))),
            'offsets': plan.offsets,
        }

    def _add(self, part: PartSummary) -> None:
        total = self.total
        total.images += part.images
        total.sweeps += part.sweeps
        total.frames += part.frames
        total.dropped = dict(Counter(total.dropped) + Counter(part.dropped))
        total.failures = {**part.failures, **total.failures}
        total.damage = list(dict.fromkeys([*total.damage, *part.damage]))
        self.images_done += part.images

    def _all_parts(self) -> list[Part]:
        """Return the parts that workers have finished.

        Raises:
            DatasetError: if they do not become visible on this machine.
        """
        until = time.monotonic() + _SEEN_WITHIN_S
        while len(parts := read_parts(self.path)) < len(self._jobs):
            if time.monotonic() > until:
                raise DatasetError(
                    f'{self.path}: of {len(self._jobs)} parts that workers have written '
                    f'{len(parts)} are visible on this machine; give a shared folder, or a URL'
                )
            time.sleep(_LOOKED_AT_S)
        return parts

    def _join(self, parts: list[Part]) -> None:
        """Join the parts to a drive; remove the manifests if the drive is complete."""
        frames = join_parts(self.path, parts)
        twice = repeated(parts)
        if twice:
            self.total.frames -= twice
            self.total.dropped = dict(Counter(self.total.dropped) + Counter(duplicate=twice))
        self._judge_sweeps(parts)
        if not self._missing or not (parts or frames):
            remove_unfinished(self.path)
            remove_manifests(self.path)
            if not frames and not is_remote(self.path):
                with contextlib.suppress(OSError):  # it contains files of others
                    self.path.rmdir()

    def _judge_sweeps(self, parts: list[Part]) -> None:
        """Set `segments_from` and `lacking` from the records of all frames."""
        sweeps: dict[int, Mapping[str, Any]] = {
            record['sweep_stamp_ns']: record
            for part in parts
            for records in part.frames.values()
            for record in records
        }
        self.segments_from = Counter(record['segments_from'] for record in sweeps.values())
        usual = UsualCoverage(sweeps.values())
        lacking = {stamp: usual.lacking(record) for stamp, record in sweeps.items()}
        self.lacking = {stamp: text for stamp, text in lacking.items() if text}
