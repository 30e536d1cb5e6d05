import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from offline_training.pseudo_labels.consistency import consistency as of_joint
from offline_training.pseudo_labels.consistency import first_and_last


def consistency(label, *rest):
    return of_joint(first_and_last(label, *rest, classes=int(label.max(initial=0)) + 1))


def views(labels_by_track):
    label = np.concatenate(labels_by_track)
    track = np.repeat(np.arange(len(labels_by_track)), [len(row) for row in labels_by_track])
    frame = np.concatenate([np.arange(len(row)) for row in labels_by_track])
    return label, track, frame, np.ones(len(label))


def test_classes_that_hold_tell_all():
    tracks = [np.full(6, number % 3) for number in range(12)]

    assert consistency(*views(tracks)) == pytest.approx(np.log(3))


def test_classes_of_views_tell_nothing():
    tracks = [np.arange(6) // 2 for _ in range(12)]

    assert consistency(*views(tracks)) == pytest.approx(0.0, abs=1e-12)


def test_it_is_the_mutual_information_of_the_first_and_the_last_view():
    random = np.random.default_rng(0)
    tracks = [random.integers(0, 4, 7) for _ in range(200)]
    label, track, frame, weight = views(tracks)
    shuffled = random.permutation(len(label))

    found = consistency(label[shuffled], track[shuffled], frame[shuffled], weight)

    expected = mutual_info_score([row[0] for row in tracks], [row[-1] for row in tracks])
    assert found == pytest.approx(expected)


def test_objects_seen_a_moment_do_not_count():
    lasting = [np.full(6, number % 3) for number in range(12)]
    brief = [np.array([0, 1]) for _ in range(50)]

    assert consistency(*views(lasting + brief)) == pytest.approx(np.log(3))
    assert consistency(*views(brief)) == 0.0
    assert consistency(np.empty(0, int), np.empty(0, int), np.empty(0, int), np.empty(0)) == 0.0


def test_drives_add_up():
    tracks = [np.random.default_rng(0).integers(0, 4, 7) for _ in range(40)]
    whole, *parts = (
        first_and_last(*views(some), classes=4) for some in (tracks, tracks[:10], tracks[10:])
    )

    assert whole == pytest.approx(sum(parts))
