import numpy as np
import pytest
import torch

from drive_segment_ros.dataset.reader import Dataset
from drive_segment_ros.perception.resizing import resize_labels
from offline_training.evaluation.predictors import load_predictor
from offline_training.pseudo_labels.assignment import LabelParameters
from offline_training.pseudo_labels.pseudo_classes import label
from offline_training.training.processes import training_device
from offline_training.training.train import TrainParameters, train
from offline_training.training.training_parameters import TrainingParameters

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason='no GPU that PyTorch can use on this machine'
)

FOUR = LabelParameters(classes=4, features='descriptor')


def quiet(description):
    return iter


def test_a_gpu_learns_and_what_it_learned_answers_alike_on_gpu_and_cpu(
    painted_drive, tmp_path, monkeypatch
):
    label([painted_drive.dataset], FOUR, quiet)
    chosen = TrainParameters(width=112, training=TrainingParameters(epochs=20, batch_size=2))
    assert training_device().type == 'cuda'

    train([painted_drive.dataset], tmp_path / 'run', chosen)

    frame = Dataset(painted_drive.dataset).drives[0].frames[0]
    on_gpu = load_predictor(tmp_path / 'run').predict(frame.image())
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    on_cpu = load_predictor(tmp_path / 'run').predict(frame.image())
    assert (on_gpu.label == on_cpu.label).mean() > 0.999
    assert np.abs(on_gpu.confidence.astype(int) - on_cpu.confidence).max() <= 2
    truth = painted_drive.truth[frame.stamp_ns]
    # Road and sky, each half of the image, have different pseudo-classes.
    truth = resize_labels(truth, *on_gpu.label.shape)
    road, sky = (np.bincount(on_gpu.label[truth == thing]).argmax() for thing in (0, 1))
    assert road != sky


def test_a_training_resumed_on_a_gpu_ends_close_to_an_uninterrupted_one(painted_drive, tmp_path):
    label([painted_drive.dataset], FOUR, quiet)
    chosen = TrainParameters(width=112, training=TrainingParameters(epochs=3, batch_size=2))
    whole, resumed = tmp_path / 'whole', tmp_path / 'resumed'

    train([painted_drive.dataset], whole, chosen)
    train([painted_drive.dataset], resumed, chosen)
    (resumed / 'student' / 'model.safetensors').unlink()
    train([painted_drive.dataset], resumed, chosen, resume=True)

    image = Dataset(painted_drive.dataset).drives[0].frames[0].image()
    labels = [load_predictor(run).predict(image).label for run in (whole, resumed)]
    # GPU kernels sum in no fixed order, so the results are not bitwise equal.
    assert (labels[0] == labels[1]).mean() > 0.95
