import cv2
import pytest

from offline_training.training.training import Progress
from offline_training.training.training_log import TrainingLog

accumulators = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')


def log_steps(folder, steps):
    with TrainingLog(folder, 'teacher', enabled=True) as log:
        for step in steps:
            log.show(Progress(step, 8, 1.0 / step, 1e-3, 5.0, 0.1))
        log.draw([1.0 / step for step in range(1, max(steps) + 1)])


def test_steps_done_again_after_an_interruption_are_logged_once(tmp_path):
    log_steps(tmp_path, range(1, 7))
    log_steps(tmp_path, range(4, 9))

    events = accumulators.EventAccumulator(str(tmp_path / 'tensorboard')).Reload()

    assert [event.step for event in events.Scalars('loss')] == list(range(1, 9))
    assert cv2.imread(str(tmp_path / 'loss.png')) is not None


def test_others_than_the_first_process_log_nothing(tmp_path):
    with TrainingLog(tmp_path / 'run', 'teacher', enabled=False) as log:
        log.draw([1.0])

    assert not (tmp_path / 'run').exists()
