import dataclasses
import json

import numpy as np
import pytest

from drive_segment_ros.dataset.drive_calibration import DriveCalibration
from drive_segment_ros.dataset.frame import Frame, SweepRecord, encode_png
from drive_segment_ros.dataset.reader import Dataset, Drive
from drive_segment_ros.dataset.writer import DriveWriter
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.perception.cameras import CameraModel
from offline_training.pseudo_labels.cross_frame_matches import CrossFrameMatcher, mean_over_matches
from offline_training.pseudo_labels.features import Descriptor
from offline_training.pseudo_labels.segment_table import collect

WIDTH, HEIGHT = 320, 240
CAMERA = CameraModel(
    width=WIDTH,
    height=HEIGHT,
    K=np.array([[200.0, 0.0, 160.0], [0.0, 200.0, 120.0], [0.0, 0.0, 1.0]]),
    D=np.zeros(5),
    R=np.eye(3),
    P=np.zeros((3, 4)),
    distortion_model='plumb_bob',
    frame_id='camera',
    rectified=False,
)
# The LiDAR is turned a quarter and stands on the roof; the camera looks ahead from the windscreen.
T_BASE_LIDAR = np.array(
    [[0.0, -1.0, 0.0, 0.5], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.8], [0.0, 0.0, 0.0, 1.0]]
)
T_CAMERA_BASE = np.array(
    [[0.0, -1.0, 0.0, 0.0], [0.0, 0.0, -1.0, 1.2], [1.0, 0.0, 0.0, -1.0], [0.0, 0.0, 0.0, 1.0]]
)
CALIBRATION = DriveCalibration(CAMERA, T_CAMERA_BASE @ T_BASE_LIDAR, T_BASE_LIDAR)


@dataclasses.dataclass
class Box:
    """A thing in the world: its centre, and how wide and high it looks, metres."""

    x: float
    y: float
    z: float = 1.0
    wide: float = 2.0
    high: float = 2.0
    long: float = 2.0
    kind: int = 0


def pose(x=0.0, yaw=0.0):
    T = np.eye(4)
    T[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    T[0, 3] = x
    return T


def seen_from(T_odom_base, boxes):
    """Return segment image and proposals of boxes seen from a pose, near ones before far ones."""
    centre = np.array([[box.x, box.y, box.z] for box in boxes]).reshape(-1, 3)
    base = (centre - T_odom_base[:3, 3]) @ T_odom_base[:3, :3]
    segment = np.zeros((HEIGHT // 2, WIDTH // 2), np.uint16)
    for index in np.argsort(-base[:, 0]):
        x, y, z = T_CAMERA_BASE[:3, :3] @ base[index] + T_CAMERA_BASE[:3, 3]
        if z < 0.5:
            continue
        u, v = 100.0 * x / z + 80.0, 100.0 * y / z + 60.0
        half_u, half_v = (50.0 * size / z for size in (boxes[index].wide, boxes[index].high))
        rows = slice(max(round(v - half_v), 0), max(round(v + half_v), 0))
        segment[rows, max(round(u - half_u), 0) : max(round(u + half_u), 0)] = index + 1
    from_lidar = base - T_BASE_LIDAR[:3, 3]
    proposals = {
        'id': np.arange(1, len(boxes) + 1, dtype=np.uint16),
        'kind': np.array([box.kind for box in boxes], np.uint8),
        'range': np.linalg.norm(from_lidar, axis=1).astype(np.float32),
        'extent_long': np.array([box.long for box in boxes], np.float32),
        'extent_short': np.array([box.wide for box in boxes], np.float32),
        'extent_vertical': np.array([box.high for box in boxes], np.float32),
        **{
            f'centroid_{axis}': from_lidar[:, k].astype(np.float32) for k, axis in enumerate('xyz')
        },
    }
    return segment, proposals


def add(matcher, first, T_odom_base, boxes):
    segment, proposals = seen_from(T_odom_base, boxes)
    matcher.add(first + np.arange(len(boxes)), proposals, segment, T_odom_base)


def pairs(*frames, calibration=CALIBRATION):
    """Return the pairs of rows found in frames (pose, boxes), whose rows are numbered through."""
    matcher = CrossFrameMatcher()
    matcher.begin(calibration)
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

    # The whole car's centre lies below the roof, where the first frame has nothing.
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
    matcher = CrossFrameMatcher()
    matcher.begin(CALIBRATION)
    add(matcher, 0, pose(), [box])
    matcher.add(np.array([1]), {'id': np.array([1])}, np.ones((4, 4), np.uint16), None)

    assert len(matcher.matches()) == 0
    without_base = dataclasses.replace(CALIBRATION, T_base_lidar=None)
    for calibration in (None, without_base):
        assert pairs((pose(), [box]), (pose(), [box]), calibration=calibration) == set()


def test_a_new_drive_knows_nothing_of_the_one_before():
    matcher = CrossFrameMatcher()
    for first in (0, 1):
        matcher.begin(CALIBRATION)
        add(matcher, first, pose(), [Box(20.0, 0.0)])

    assert len(matcher.matches()) == 0


def test_the_table_of_a_dataset_holds_the_matches_of_each_drive(tmp_path):
    boxes = [Box(20.0, 4.0), Box(25.0, -3.0)]
    for name in 'ab':
        with DriveWriter(tmp_path / name, info(CALIBRATION)) as writer:
            for index in range(2):
                T = pose(2.0 * index)
                segment, proposals = seen_from(T, boxes)
                proposals['points'] = np.full(len(boxes), 50, np.int32)
                image = encode_png(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
                record = {'T_odom_base': T.tolist()}
                stamp = 10**9 + index * 10**8
                sweep = SweepRecord(stamp, proposals)
                writer.add(Frame('front', stamp, image, '.png', segment, sweep, record))

    table = collect([drive.frames for drive in Dataset(tmp_path).drives], Descriptor())

    assert table.frame.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    found = {(int(a), int(b)) for a, b in table.matches}
    assert found == {(0, 2), (2, 0), (1, 3), (3, 1), (4, 6), (6, 4), (5, 7), (7, 5)}


def test_means_are_over_all_views_by_weight():
    views = mean_over_matches(
        np.array([[0, 1], [0, 2], [2, 0]]), np.array([1.0, 2.0, 1.0]), np.ones(3, bool)
    )

    assert views @ np.array([4.0, 8.0, 0.0]) == pytest.approx([5.0, 8.0, 2.0])


def test_what_is_learned_from_takes_nothing_from_what_is_not():
    values = np.array([1.0, 3.0])
    both = np.array([[0, 1], [1, 0]])

    views = mean_over_matches(both, np.ones(2), np.array([True, False]))

    assert views @ values == pytest.approx([1.0, 2.0])


def info(calibration: DriveCalibration) -> dict:
    return {
        'cameras': {'front': calibration.camera_entry('/front/image', 0.0)},
        'lidar': calibration.lidar_entry('/points', 'lidar'),
    }


def write_info(folder, T_base_lidar=CALIBRATION.lidar_entry('', '')['T_base_lidar'], **camera):
    folder.mkdir()
    content = info(CALIBRATION)
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

    with pytest.raises(DatasetError, match='calibration of front makes no sense') as caught:
        DriveCalibration.of(drive, 'front')
    assert str(tmp_path / 'drive') in str(caught.value)
    assert '\n' not in str(caught.value)
