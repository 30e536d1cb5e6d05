import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from drive_segment_ros.errors import ModelError
from offline_training.networks.segmenter import NetworkConfiguration, Segmenter
from offline_training.training.augmentation import AugmentationParameters
from offline_training.training.batches import batches
from offline_training.training.checkpoints import TrainingState, load_checkpoint, load_model
from offline_training.training.frame_targets import FrameTargets, pseudo_label_targets
from offline_training.training.loss import soft_cross_entropy
from offline_training.training.optimizers import make_optimizers, schedule
from offline_training.training.training import fit
from offline_training.training.training_parameters import TrainingParameters

UNCHANGED = AugmentationParameters(
    **{field.name: 0.0 for field in dataclasses.fields(AugmentationParameters)}
    | {'smallest_crop': 1.0}
)
CONFIGURATION = NetworkConfiguration(2, 32, 48, embedding=32, depth=1, heads=2)


def parameters(**changes) -> TrainingParameters:
    return TrainingParameters(**{'epochs': 3, 'batch_size': 2, 'precision': 'fp32', **changes})


def two_halves(folder, count=5):
    """Return images, dark left (class 0) and bright right (1), and targets, a third unknown."""
    random = np.random.default_rng(0)
    images = np.empty((count, 32, 48, 3), np.uint8)
    labels = np.empty((count, 32, 48), np.uint8)
    for index in range(count):
        labels[index] = np.arange(48) > random.integers(12, 36)
        images[index] = 60 + 120 * labels[index, ..., None] + random.integers(0, 20, (32, 48, 1))
        labels[index, :10] = 255
    return images, targets_of(folder / 'targets', labels)


def targets_of(folder, labels) -> FrameTargets:
    """Write and return the targets of labels (N, 32, 48) of two classes."""
    made = [pseudo_label_targets(label, 2, 32, 48) for label in labels]
    FrameTargets.write(folder, len(made), lambda frames: (made[index] for index in frames))
    return FrameTargets(folder, len(made))


def network() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(CONFIGURATION)


def test_training_learns_and_the_saved_model_is_what_was_learned(tmp_path):
    images, targets = two_halves(tmp_path)

    result = fit(network(), images, targets, parameters(epochs=30), tmp_path / 'run', {})

    assert result.losses[-1] < 0.3 * result.losses[0]
    assert 0.0 <= result.data_wait_fraction < 1.0
    loaded, _ = load_model(tmp_path / 'run')
    image = torch.full((1, 3, 32, 48), 60 / 255.0)
    image[..., 24:] = 190 / 255.0
    with torch.no_grad():
        answer = loaded.probability(image)[0].argmax(dim=0)
        assert torch.allclose(loaded(image), result.network(image), atol=1e-4)
    assert (answer[:, :18] == 0).all()
    assert (answer[:, 30:] == 1).all()


def test_a_class_without_a_labelled_pixel_is_never_an_answer(tmp_path):
    images, _ = two_halves(tmp_path)
    labels = [np.where(np.arange(48) < 24, 0, 2)[None].repeat(32, 0).astype(np.uint8)] * len(
        images
    )
    made = [pseudo_label_targets(label, 4, 32, 48) for label in labels]
    FrameTargets.write(tmp_path / 'three', len(made), lambda frames: (made[i] for i in frames))
    torch.manual_seed(0)
    network = Segmenter(dataclasses.replace(CONFIGURATION, classes=4))

    targets = FrameTargets(tmp_path / 'three', len(made))
    fit(network, images, targets, parameters(epochs=1), tmp_path / 'run', {})

    loaded, _ = load_model(tmp_path / 'run')
    # Without the restriction, so short a training would predict any class on noise.
    with torch.no_grad():
        probability = loaded.probability(torch.rand(4, 3, 32, 48))
    assert (probability[:, [1, 3]] == 0.0).all()
    assert set(probability.argmax(dim=1).unique().tolist()) <= {0, 2}


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(tmp_path):
    images, targets = two_halves(tmp_path)
    whole = fit(network(), images, targets, parameters(), tmp_path / 'whole', {})

    def killed(progress):
        if progress.step == 5:  # in the middle of an epoch of three steps
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(network(), images, targets, parameters(checkpoint_s=0.0), tmp_path / 'run', {}, killed)
    torch.manual_seed(99)  # a new process starts from other random numbers
    resumed = fit(Segmenter(CONFIGURATION), images, targets, parameters(), tmp_path / 'run', {})

    assert resumed.losses == whole.losses
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], tensor), name


def test_the_rates_follow_the_schedule(tmp_path, monkeypatch):
    images, targets = two_halves(tmp_path)
    used = []
    step = torch.optim.AdamW.step

    def noted(optimizer):
        used.append(optimizer.param_groups[0]['lr'])
        return step(optimizer)

    monkeypatch.setattr(torch.optim.AdamW, 'step', noted)
    fit(network(), images, targets, parameters(learning_rate=0.5), tmp_path / 'run', {})

    assert used == [0.5 * schedule(number, 9, 0.1) for number in range(9)]


def test_the_average_of_the_weights_is_what_is_kept(tmp_path):
    images, targets = two_halves(tmp_path)

    last, mean = (
        fit(network(), images, targets, parameters(ema_decay=decay), tmp_path / str(decay), {})
        for decay in (0.0, 0.995)
    )

    assert last.losses == mean.losses
    assert not torch.equal(
        last.network.decoder.mask_norm.weight, mean.network.decoder.mask_norm.weight
    )


@pytest.mark.parametrize(('clip', 'norms'), [(0.25, [0.25]), (0.0, [])])
def test_the_gradient_is_clipped_as_asked(tmp_path, monkeypatch, clip, norms):
    images, targets = two_halves(tmp_path)
    asked = []
    monkeypatch.setattr(
        torch.nn.utils, 'clip_grad_norm_', lambda tensors, norm: asked.append(norm)
    )

    how = parameters(gradient_clip=clip, epochs=1, batch_size=5)
    result = fit(network(), images, targets, how, tmp_path / 'run', {})

    assert asked == norms
    assert len(result.losses) == 1


def test_order_and_augmentation_follow_the_seed(tmp_path):
    images, targets = two_halves(tmp_path)

    def first(seed, **changes):
        how = parameters(seed=seed, augmentation=AugmentationParameters(**changes))
        return next(batches(images, targets, how, 0, 1)).images

    unchanged = dataclasses.asdict(UNCHANGED)
    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1, **unchanged), first(2, **unchanged))
    # A single image has only one order.
    images = images[:1]
    assert torch.equal(first(1, **unchanged), first(2, **unchanged))
    assert not torch.equal(first(1), first(2))


def test_a_checkpoint_of_other_data_is_not_resumed(tmp_path):
    images, targets = two_halves(tmp_path)
    fit(network(), images, targets, parameters(epochs=1), tmp_path / 'run', {'data': 'a'})

    with pytest.raises(ModelError, match='other data'):
        fit(network(), images, targets, parameters(epochs=1), tmp_path / 'run', {'data': 'b'})


def test_divergence_is_an_error_that_says_what_to_do(tmp_path):
    images, targets = two_halves(tmp_path)
    broken = network()
    with torch.no_grad():
        broken.decoder.mask_norm.weight.fill_(torch.nan)

    with pytest.raises(ModelError, match='learning_rate'):
        fit(broken, images, targets, parameters(), tmp_path / 'run', {})


def test_unknown_pixels_teach_nothing():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    probability = torch.rand(1, 3, 4, 4)
    weight = torch.ones(1, 4, 4)
    weight[..., 2:] = 0.0

    soft_cross_entropy(logits, probability, weight).backward()

    assert logits.grad[..., 2:].abs().max() == 0.0
    assert logits.grad[..., :2].abs().min() > 0.0


def test_the_loss_is_the_cross_entropy_of_hard_targets():
    logits = torch.randn(2, 3, 4, 5)
    label = torch.randint(0, 3, (2, 4, 5))
    probability = torch.nn.functional.one_hot(label, 3).permute(0, 3, 1, 2)

    loss = soft_cross_entropy(logits, probability, torch.ones(2, 4, 5))

    assert loss.item() == pytest.approx(
        torch.nn.functional.cross_entropy(logits, label).item(), rel=1e-6
    )


def test_the_rate_rises_to_its_peak_then_falls_to_zero():
    shape = [schedule(step, 100, warmup=0.1) for step in range(100)]

    assert np.argmax(shape) in (9, 10)
    assert max(shape) == 1.0
    assert (np.diff(shape[:10]) > 0).all()
    assert (np.diff(shape[10:]) < 0).all()
    assert 0.0 < shape[-1] < 0.01 * max(shape)


@pytest.mark.parametrize('matrix_learning_rate', [2e-3, 0.0])
def test_every_tensor_has_one_optimiser_and_only_weights_decay(matrix_learning_rate):
    learner = network()
    chosen = parameters(matrix_learning_rate=matrix_learning_rate)

    optimizers = make_optimizers(learner, chosen)

    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    owned = [id(tensor) for group in groups for tensor in group['params']]
    assert sorted(owned) == sorted(id(tensor) for tensor in learner.parameters())
    for group in groups:
        decays = {tensor.ndim in (2, 4) for tensor in group['params']}
        assert decays == {group['weight_decay'] == chosen.weight_decay}
        matrices = {tensor.ndim == 2 for tensor in group['params']}
        if matrix_learning_rate:
            assert matrices == {group['peak'] == matrix_learning_rate}
        else:
            assert group['peak'] == chosen.learning_rate


def test_every_frame_is_seen_each_epoch_and_batches_depend_on_step_alone(tmp_path):
    images, targets = two_halves(tmp_path)
    marked = images.copy()
    marked[:] = np.arange(5)[:, None, None, None] * 50
    plain = parameters(batch_size=1).without_pasting()

    seen = [batch.images.mean().item() for batch in batches(marked, targets, plain, 0, 5)]
    later = next(batches(images, targets, parameters(), 4, 5))
    *_, last = batches(images, targets, parameters(), 0, 5)

    assert len({round(value, 6) for value in seen}) == 5
    assert torch.equal(later.images, last.images)


def things_on(folder: Path, greys: list[int]):
    """Return frames of one grey each and their targets: a thing in the same place of each."""
    label = np.zeros((32, 48), np.uint8)
    label[8:12, 8:12] = 1
    images = np.repeat(np.array(greys, np.uint8), 32 * 48 * 3).reshape(-1, 32, 48, 3)
    return images, targets_of(folder / 'targets', [label] * len(greys))


def test_rare_things_of_other_frames_come_into_a_sample(tmp_path):
    images, targets = things_on(tmp_path, [0, 50, 100, 150, 200])
    asked = parameters(augmentation=dataclasses.replace(UNCHANGED, paste=1.0), epochs=20)

    def mixed(parameters):
        drawn = batches(images, targets, parameters, 0, 40)
        samples = [(image * 255).round() for batch in drawn for image in batch.images]
        return [len(torch.unique(sample)) == 2 for sample in samples]

    assert np.mean(mixed(asked)) > 0.3
    assert not any(mixed(asked.without_pasting()))


def test_things_come_from_frames_of_the_same_camera_only(tmp_path):
    images, targets = things_on(tmp_path, [0, 40, 80, 120, 160, 200])
    asked = parameters(augmentation=dataclasses.replace(UNCHANGED, paste=1.0), epochs=20)

    drawn = batches(images, targets, asked, 0, 60, cameras=['front', 'rear'] * 3)

    pairs = set()
    for sample in (image for batch in drawn for image in batch.images):
        numbers = torch.unique((sample * 255).round() / 40).int().tolist()
        pairs |= {tuple(numbers)} if len(numbers) == 2 else set()
    assert len(pairs) > 3
    assert all(one % 2 == other % 2 for one, other in pairs)


_SCRIPT = """
import sys
from pathlib import Path
import numpy as np
import torch
import torch.distributed as dist
from offline_training.networks.segmenter import NetworkConfiguration, Segmenter
from offline_training.training.frame_targets import FrameTargets
from offline_training.training.training import fit
from offline_training.training.training_parameters import TrainingParameters

folder = Path(sys.argv[1])
torch.set_num_threads(1)
dist.init_process_group('gloo')
torch.manual_seed(0)
network = Segmenter(NetworkConfiguration(2, 32, 48, embedding=32, depth=1, heads=2))
parameters = TrainingParameters(
    epochs=3, batch_size=2, precision='fp32', matrix_learning_rate=float(sys.argv[2])
)
targets = FrameTargets(folder / 'targets', 8)
fit(network, np.load(folder / 'images.npy'), targets, parameters, folder / 'two', {})
dist.destroy_process_group()
"""


@pytest.mark.parametrize('rate', [0.0, 2e-3])
def test_two_processes_match_one_with_the_doubled_batch(tmp_path, in_two_processes, rate):
    images, targets = two_halves(tmp_path, count=8)
    np.save(tmp_path / 'images.npy', images)
    (tmp_path / 'script.py').write_text(_SCRIPT)
    chosen = parameters(batch_size=4, matrix_learning_rate=rate)
    one = fit(network(), images, targets, chosen, tmp_path / 'one', {})

    in_two_processes(str(tmp_path / 'script.py'), str(tmp_path), str(rate))

    two, _ = load_model(tmp_path / 'two')
    for name, tensor in one.network.state_dict().items():
        difference = (two.state_dict()[name] - tensor).abs()
        assert difference.max() < 1e-4, name
    two_again = network()
    optimizers = make_optimizers(two_again, chosen)
    state = TrainingState(two_again, network(), optimizers)
    load_checkpoint(tmp_path / 'two' / 'checkpoint.safetensors', state)
    assert state.losses == pytest.approx(one.losses, abs=1e-4)
