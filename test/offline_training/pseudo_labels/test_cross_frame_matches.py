import dataclasses
import json

import numpy as np
import pytest
from boxes import CALIBRATION, CAMERA, T_BASE_LIDAR, Box, info, pose, seen_from, write_boxes
from tables import table_of

from drive_segment_ros.dataset.drive_calibration import DriveCalibration
from drive_segment_ros.dataset.reader import Drive
from drive_segment_ros.errors import DatasetError
from offline_training.pseudo_labels.cross_frame_matches import (
    CrossFrameMatcher,
    counted_matches,
    mean_over_matches,
)


def add(matcher, first, T_odom_base, boxes):
    segment, proposals = seen_from(T_odom_base, boxes)
    matcher.add(first + np.arange(len(boxes)), proposals, segment, T_odom_base)


def pairs(*frames, calibration=CALIBRATION):
    """Return matched pairs of rows, which are numbered through all frames (pose, boxes)."""
    matcher = CrossFrameMatcher(calibration)
    first = 0
    for T, boxes in frames:
        add(matcher, first, T, boxes)
        first += len(boxes)
    return {(int(a), int(b)) for a, b in matcher.matches()}


def test_a_standing_thing_is_found_where_it_is_from_wherever_it_is_seen():
    boxes = [Box(20.0, 4.0), Box(25.0, -3.0), Box(15.0, -4.0)]

    found = pairs((pose(), boxes), (pose(3.0, 0.05), boxes[::-1]))

    assert found == {(0, 5), (5, 0), (1, 4), (4, 1), (2, 3), (3, 2)}


def test_a_part_is_found_in_the_whole():
    roof = Box(20.0, 0.0, z=1.6, high=0.3)
    car = Box(20.5, 0.0, z=0.8, wide=2.0, high=2.0, long=4.0)

    # No match back: the car's centre is below the roof, where the first frame has no segment.
    assert pairs((pose(), [roof]), (pose(2.0), [car])) == {(0, 1)}


def test_what_stands_before_or_behind_it_is_another_thing():
    near, far = Box(10.0, 0.0), Box(20.0, 0.0)

    assert pairs((pose(), [near]), (pose(), [far])) == set()
    assert pairs((pose(), [far]), (pose(), [Box(19.0, 0.0)])) == {(0, 1), (1, 0)}


def test_stuff_matches_nothing():
    box = Box(20.0, 0.0)

    assert pairs((pose(), [box]), (pose(), [dataclasses.replace(box, kind=1)])) == set()


def test_what_lies_behind_the_camera_is_not_seen():
    box = Box(10.0, 0.0)

    assert (0, 1) not in pairs((pose(), [box]), (pose(20.0), [box]))


def test_only_frames_nearby_are_looked_at():
    frames = [(pose(0.1 * k), [Box(30.0, 0.0)]) for k in range(12)]

    found = pairs(*frames)

    assert (0, 10) in found
    assert (0, 11) not in found
    assert (1, 11) in found


def test_without_pose_or_calibration_there_are_no_matches():
    box = Box(20.0, 0.0)
    matcher = CrossFrameMatcher(CALIBRATION)
    add(matcher, 0, pose(), [box])
    matcher.add(np.array([1]), {'id': np.array([1])}, np.ones((4, 4), np.uint16), None)

    assert len(matcher.matches()) == 0
    without_base = dataclasses.replace(CALIBRATION, T_base_lidar=None)
    for calibration in (None, without_base):
        assert pairs((pose(), [box]), (pose(), [box]), calibration=calibration) == set()


def test_frames_without_a_pose_are_frames_too():
    box = Box(30.0, 0.0)
    matcher = CrossFrameMatcher(CALIBRATION)
    add(matcher, 0, pose(), [box])
    for _ in range(9):
        matcher.add(np.array([9]), {'id': np.array([1])}, np.ones((4, 4), np.uint16), None)
    add(matcher, 1, pose(1.0), [box])
    add(matcher, 2, pose(1.1), [box])

    assert {(int(a), int(b)) for a, b in matcher.matches()} == {(0, 1), (1, 0), (1, 2), (2, 1)}


def test_what_is_remembered_is_matched_with_what_comes_but_not_with_what_was():
    matcher = CrossFrameMatcher(CALIBRATION)
    for row in (0, 1):
        segment, proposals = seen_from(pose(), [Box(20.0, 0.0)])
        matcher.remember(np.array([row]), proposals, segment, pose())
    add(matcher, 2, pose(), [Box(20.0, 0.0)])

    assert {(int(a), int(b)) for a, b in matcher.matches()} == {(0, 2), (2, 0), (1, 2), (2, 1)}


def test_the_table_of_a_drive_holds_the_matches_of_each_camera(tmp_path):
    boxes = [Box(20.0, 4.0), Box(25.0, -3.0), Box(40.0, 0.0)]
    write_boxes(tmp_path / 'drive', boxes, 2, 'front', 'mirror')

    table = table_of(tmp_path)

    assert table.frame.tolist() == np.repeat([0, 1, 2, 3], 3).tolist()
    found = {(int(a), int(b)) for a, b in table.matches}
    front = {(0, 3), (3, 0), (1, 4), (4, 1), (2, 5), (5, 2)}
    # In the mirrored images only the box straight ahead is where the calibration puts it.
    assert found == front | {(8, 11), (11, 8)}


def test_means_are_over_all_views_by_weight():
    views = mean_over_matches(np.array([[0, 1], [0, 2], [2, 0]]), np.array([1.0, 2.0, 1.0]))

    assert views @ np.array([4.0, 8.0, 0.0]) == pytest.approx([5.0, 8.0, 2.0])


def test_what_is_learned_from_takes_nothing_from_what_is_not():
    both = np.array([[0, 1], [1, 0]])

    counted = counted_matches(both, np.array([True, False]))

    assert counted.tolist() == [[1, 0]]
    assert mean_over_matches(counted, np.ones(2)) @ [1.0, 3.0] == pytest.approx([1.0, 2.0])


def write_info(folder, T_base_lidar=CALIBRATION.lidar_entry('', '')['T_base_lidar'], **camera):
    folder.mkdir()
    content = info(CALIBRATION, 'front')
    content['lidar']['T_base_lidar'] = T_base_lidar
    content['cameras']['front'].update(camera)
    (folder / 'drive.json').write_text(json.dumps(content))
    return Drive(folder)


def test_a_drives_calibration_comes_back(tmp_path):
    read = DriveCalibration.of(write_info(tmp_path / 'drive'), 'front')

    assert read.camera.to_dict() == CAMERA.to_dict()
    assert (read.T_camera_lidar == CALIBRATION.T_camera_lidar).all()
    assert (read.T_base_lidar == T_BASE_LIDAR).all()
    unknown = write_info(tmp_path / 'a', T_base_lidar=None)
    assert DriveCalibration.of(unknown, 'front').T_base_lidar is None


@pytest.mark.parametrize(
    'wrong',
    [
        {'T_base_lidar': [1.0]},
        {'T_base_lidar': (2 * np.eye(4)).tolist()},
        {'T_camera_lidar': None},
        {'T_camera_lidar': np.zeros((4, 4)).tolist()},
        {'model': {}},
    ],
)
def test_a_calibration_that_makes_no_sense_is_one_line(tmp_path, wrong):
    drive = write_info(tmp_path / 'drive', **wrong)

    with pytest.raises(DatasetError, match='calibration of front is invalid') as caught:
        DriveCalibration.of(drive, 'front')
    assert str(tmp_path / 'drive') in str(caught.value)
    assert '\n' not in str(caught.value)
