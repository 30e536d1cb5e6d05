"""Tracks of a rig: an object has one track in all cameras and sweeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tables import tracked

from drive_segment_ros.dataset.frame import Frame, SweepRecord, encode_png
from drive_segment_ros.dataset.reader import Drive
from drive_segment_ros.dataset.writer import DriveWriter
from offline_training.pseudo_labels.segment_table import read_segments
from offline_training.pseudo_labels.sweep_tracks import TRACKED_BY, sweep_poses, sweep_tracks

IMAGE = encode_png(np.zeros((4, 6, 3), np.uint8))


def write(
    folder: Path,
    sweeps: list[dict[int, float]],
    shown: dict[str, list[set[int]]],
    pose: bool = True,
) -> list[dict[int, int]]:
    """Write a drive of a standing vehicle; return each sweep's tracks by proposal id.

    Args:
        folder: of the drive.
        sweeps: x of each object by id, metres, for each sweep.
        shown: the ids in each camera's image, for each sweep.
        pose: whether the vehicle's pose is known.
    """
    with DriveWriter(folder, {'cameras': {name: {} for name in shown}}) as writer:
        for index, objects in enumerate(sweeps):
            stamp = (index + 1) * 10**8
            count = len(objects)
            rows = {
                'id': np.array(list(objects), np.uint16),
                'kind': np.zeros(count, np.uint8),
                'points': np.full(count, 9, np.int32),
                'centroid_x': np.array(list(objects.values()), np.float32),
            }
            others = ('centroid_y', 'centroid_z', 'extent_long', 'extent_short', 'extent_vertical')
            rows |= {name: np.zeros(count, np.float32) for name in others}
            sweep = SweepRecord(stamp, rows)
            for shift, (camera, ids) in enumerate(shown.items()):
                segment = np.zeros((4, 6), np.uint16)
                segment.reshape(-1)[: len(ids[index])] = sorted(ids[index])
                record = {'T_odom_base': np.eye(4).tolist()} if pose else {}
                writer.add(Frame(camera, stamp + shift, IMAGE, '.png', segment, sweep, record))
    (plan,) = tracked(folder.parent)
    segments = read_segments(plan, [*TRACKED_BY, 'frame'])
    poses = sweep_poses(Drive(folder).frames)
    found: list[dict[int, int]] = [{} for _ in sweeps]
    columns = (segments[name].tolist() for name in ('sweep', 'id'))
    for sweep, number, track in zip(*columns, sweep_tracks(segments, poses), strict=True):
        # An object has the same track in all cameras.
        assert found[sweep // 10**8 - 1].setdefault(number, int(track)) == track
    return found


def test_an_object_keeps_its_track_as_it_goes_from_one_camera_to_another(tmp_path):
    sweeps = [{4: 10.0, 5: 30.0}, {4: 30.1, 5: 10.4}, {7: 10.8}]
    shown = {'left': [{4}, {5}, set()], 'front': [{5}, {4, 5}, {7}]}

    first, second, third = write(tmp_path / 'drive', sweeps, shown)

    assert first[4] == second[5] == third[7]
    assert first[5] == second[4] != first[4]


def test_what_no_image_shows_draws_no_track_away(tmp_path):
    # Fragment 5 is in no image, and nearer to the last position of object 4 than 4 itself.
    sweeps = [{4: 10.0}, {4: 10.6, 5: 10.1}]

    first, second = write(tmp_path / 'drive', sweeps, {'front': [{4}, {4}]})

    assert second == {4: first[4]}
    assert first[4] >= 0


def test_without_a_pose_nothing_is_tracked(tmp_path):
    first, second = write(
        tmp_path / 'drive', [{4: 10.0}, {4: 10.1}], {'front': [{4}, {4}]}, pose=False
    )

    assert (first[4], second[4]) == (-1, -1)
