import numpy as np
import pytest

from offline_training.pseudo_labels.tracks import UNTRACKED, follow


def frame(places, kinds=None):
    """Return proposals at (x, y), metres, relative to the vehicle, each 4 x 2 x 1.5 m."""
    places = np.array(places, np.float32).reshape(-1, 2)
    count = len(places)
    return {
        'id': np.arange(1, count + 1),
        'kind': np.zeros(count, np.uint8) if kinds is None else np.array(kinds, np.uint8),
        'centroid_x': places[:, 0],
        'centroid_y': places[:, 1],
        'centroid_z': np.zeros(count, np.float32),
        'extent_long': np.full(count, 4.0, np.float32),
        'extent_short': np.full(count, 2.0, np.float32),
        'extent_vertical': np.full(count, 1.5, np.float32),
    }


def pose(x, yaw=0.0):
    T = np.eye(4)
    T[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    T[0, 3] = x
    return T


def test_parked_cars_keep_their_numbers_while_the_car_drives_and_turns():
    parked = np.array([[20.0, 3.0], [26.0, 3.0], [20.0, -5.0]])
    proposals, poses = [], []
    for step in range(8):
        T = pose(1.5 * step, 0.03 * step)
        seen = (parked - T[:2, 3]) @ T[:2, :2]
        order = np.random.default_rng(step).permutation(3)
        proposals.append((frame(seen[order]), order))
        poses.append(T)

    tracks = follow([rows for rows, _ in proposals], poses)

    for (_, order), track in zip(proposals, tracks, strict=True):
        assert track.tolist() == tracks[0][np.argsort(proposals[0][1])][order].tolist()


def test_a_moving_car_is_followed_and_a_far_one_is_new():
    tracks = follow([frame([10, 0]), frame([10.8, 0]), frame([30, 0])], [pose(0)] * 3)

    assert tracks[0][0] == tracks[1][0] != tracks[2][0]


@pytest.mark.parametrize(('lost', 'same'), [(2, True), (3, False)])
def test_an_object_hidden_for_a_moment_is_found_again(lost, same):
    hidden = [frame([]) for _ in range(lost)]
    tracks = follow([frame([10, 0]), *hidden, frame([10, 0])], [pose(0)] * (lost + 2))

    assert (tracks[0][0] == tracks[-1][0]) == same


def test_two_do_not_become_one():
    tracks = follow([frame([10, 0]), frame([[10.2, 0], [10.4, 0]])], [pose(0)] * 2)

    assert tracks[1][0] == tracks[0][0]
    assert tracks[1][1] != tracks[0][0]


def test_a_size_that_jumps_is_another_object():
    grown = frame([10, 0])
    grown['extent_long'] = np.array([9.0])

    tracks = follow([frame([10, 0]), grown], [pose(0)] * 2)

    assert tracks[0][0] != tracks[1][0]


def test_ground_and_sky_are_not_followed_and_an_unknown_pose_ends_tracks():
    rows = frame([[10, 0], [0, 0], [0, 0]], kinds=[0, 1, 2])

    tracks = follow([rows, rows, rows], [pose(0), None, pose(0)])

    assert tracks[0][1:].tolist() == [UNTRACKED, UNTRACKED]
    assert tracks[1].tolist() == [UNTRACKED] * 3
    assert tracks[2][0] != tracks[0][0]
