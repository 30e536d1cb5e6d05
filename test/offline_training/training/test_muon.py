import pytest
import torch

from offline_training.training.muon import Muon, orthogonal


def steps(make, count=4):
    """Return a (12, 40) and a (40, 12) matrix after `count` steps with random gradients."""
    random = torch.Generator().manual_seed(0)
    shapes = ((12, 40), (40, 12))
    matrices = [torch.nn.Parameter(torch.randn(shape, generator=random)) for shape in shapes]
    optimizer = make(matrices)
    for _ in range(count):
        for matrix in matrices:
            matrix.grad = torch.randn(matrix.shape, generator=random)
        optimizer.step()
    return matrices


def test_it_is_that_of_pytorch_but_for_its_rounding():
    ours = steps(lambda matrices: Muon(matrices, 0.1, 0.05))
    reference = steps(
        lambda matrices: torch.optim.Muon(matrices, 0.1, 0.05, adjust_lr_fn='match_rms_adamw')
    )
    start = steps(lambda matrices: Muon(matrices, 0.0, 0.0))

    for matrix, expected, before in zip(ours, reference, start, strict=True):
        moved = (expected - before).norm()
        assert moved > 1.0
        assert (matrix - expected).norm() < 0.02 * moved


@pytest.mark.parametrize('shape', [(6, 20), (20, 6), (8, 8)])
def test_a_direction_is_nearly_orthogonal_and_as_exact_as_its_input(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))

    direction = orthogonal(matrix)
    nudged = orthogonal(matrix * (1.0 + 1e-6))

    singular = torch.linalg.svdvals(direction)
    assert singular.min() > 0.3
    assert singular.max() < 1.3
    assert (direction - nudged).abs().max() < 1e-5


def test_in_bf16_it_takes_nearly_the_same_steps_and_moves_weights_of_full_precision():
    full = steps(lambda matrices: Muon(matrices, 0.1, 0.05))
    half = steps(lambda matrices: Muon(matrices, 0.1, 0.05, bf16=True))
    start = steps(lambda matrices: Muon(matrices, 0.0, 0.0))

    for matrix, expected, before in zip(half, full, start, strict=True):
        difference = (matrix - expected).norm() / (expected - before).norm()
        assert 0.0 < difference < 0.03
        assert matrix.dtype == torch.float32
