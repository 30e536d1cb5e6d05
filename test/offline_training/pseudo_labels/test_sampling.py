import numpy as np
import pytest
from tables import tracked

from offline_training.pseudo_labels import sampling
from offline_training.pseudo_labels.sampling import (
    Candidates,
    SampleJob,
    join_samples,
    sample,
    track,
)


def drawn(random, objects):
    """Return the candidates of a drive whose objects have one to nine segments each."""
    draw = np.sort(random.random(objects))[: sampling.MOST_OBJECTS + 1]
    counts = random.integers(1, 10, len(draw))
    return Candidates(draw, counts, frozenset(), int(counts.sum()))


def test_few_objects_are_all_taken():
    assert drawn(np.random.default_rng(0), 500).limit() == np.inf


@pytest.mark.parametrize('seed', range(3))
def test_the_lowest_draws_of_all_drives_are_taken(seed, monkeypatch):
    monkeypatch.setattr(sampling, 'MOST_OBJECTS', 300)
    random = np.random.default_rng(seed)
    drives = [drawn(random, int(objects)) for objects in random.integers(0, 2000, 6)]

    limit = (drives[0] + drives[1] + drives[2] + drives[3] + drives[4] + drives[5]).limit()
    other = (drives[5] + (drives[3] + drives[4]) + drives[0] + (drives[1] + drives[2])).limit()

    assert limit == other
    draws = np.sort(np.concatenate([drive.draw for drive in drives]))
    assert (draws < limit).sum() == 300
    assert (draws[:300] < limit).all()


def test_no_more_segments_are_taken_than_memory_has_room_for(monkeypatch):
    monkeypatch.setattr(sampling, 'MOST_SEGMENTS', 1000)
    drive = drawn(np.random.default_rng(0), 5000)

    taken = drive.draw < drive.limit()

    assert 990 < drive.segments[taken].sum() <= 1000


def test_an_object_of_more_segments_than_that_is_taken_alone(monkeypatch):
    monkeypatch.setattr(sampling, 'MOST_SEGMENTS', 3)
    drive = Candidates(np.array([0.1, 0.2]), np.array([9, 1]), frozenset(), 10)

    assert (drive.draw < drive.limit()).tolist() == [True, False]


@pytest.mark.parametrize(('follow', 'objects'), [(True, 4), (False, 12)])
def test_objects_are_taken_whole_and_of_the_frames_to_learn_from_only(
    painted_drive, follow, objects
):
    (plan,) = tracked(painted_drive.dataset)
    job = SampleJob(plan, slice(3), follow, seed=0)

    candidates = track(job)
    whole = sample(job)
    limit = float(candidates.draw[1])
    some = sample(SampleJob(plan, slice(3), follow, 0, limit))

    assert len(candidates.draw) == objects
    assert candidates.segments.sum() == len(whole.owner) == 12
    assert candidates.stuff == {0, 2}
    assert candidates.learned == 18
    assert len(some.owner) == candidates.segments[0]
    both = join_samples([some, whole])
    assert np.bincount(both.owner).tolist() == [
        *np.bincount(some.owner).tolist(),
        *np.bincount(whole.owner).tolist(),
    ]
    assert len(both.pixels) == len(both.features['size']) == len(both.owner)


def test_a_seed_takes_others(painted_drive):
    (plan,) = tracked(painted_drive.dataset)

    one, other = (track(SampleJob(plan, slice(None), True, seed)) for seed in (0, 1))

    assert (one.draw != other.draw).all()
