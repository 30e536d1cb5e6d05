"""Self-distillation: balanced targets, the loss, and the views and masks of images."""

import numpy as np
import pytest
import torch

from offline_training.pretraining.self_distillation import (
    SelfDistillation,
    balanced,
    distillation_loss,
    teacher_targets,
)
from offline_training.pretraining.views import draw_mask, draw_view, draw_views

pytestmark = pytest.mark.usefixtures('small_network')


def test_balanced_targets_take_all_prototypes_equally():
    torch.manual_seed(0)
    # Without balancing, most samples would take the first prototype.
    scores = 0.05 * torch.randn(400, 6)
    scores[:, 0] += 0.1

    targets = balanced(scores)

    assert targets.sum(dim=1) == pytest.approx(torch.ones(400), abs=1e-5)
    shares = targets.mean(dim=0)
    assert shares.min() > 0.5 / 6
    assert shares.max() < 1.5 / 6


def test_a_student_that_says_what_it_is_taught_loses_less():
    target = torch.eye(4)[torch.tensor([0, 1, 2, 3])]  # Two images, two views each.
    patches = torch.eye(4)[torch.tensor([[0, 1], [1, 2], [2, 3], [3, 0]])]
    masked = torch.tensor([[True, False]] * 4)
    right = (target[[2, 3, 0, 1]], target[[0, 1]], patches[masked])

    def loss(*answers):
        return distillation_loss(answers, (target, patches), masked)

    # Whole views learn the other view's target, parts those of both views, patches their own.
    for index in range(3):
        wrong = [*right[:index], right[index].roll(1, dims=-1), *right[index + 1 :]]
        assert loss(*wrong) > loss(*right)
    assert loss(right[0][[2, 3, 0, 1]], *right[1:]) > loss(*right)


def test_spread_is_none_where_all_images_look_alike():
    torch.manual_seed(0)
    teacher = SelfDistillation('tiny', 32, 8).eval()

    *_, alike = teacher_targets(teacher, torch.rand(1, 3, 32, 32).expand(4, -1, -1, -1))
    *_, different = teacher_targets(teacher, torch.rand(4, 3, 1, 1).expand(-1, -1, 32, 32))

    assert alike == pytest.approx(0.0, abs=1e-5)
    assert different > 0.05


def test_hidden_patches_do_not_reach_the_student():
    torch.manual_seed(0)
    student = SelfDistillation('tiny', 32, 8).eval()
    hidden = torch.tensor([[True, False, False, False]])
    image, other = torch.rand(2, 1, 3, 32, 32)
    other[..., 16:] = image[..., 16:]
    other[..., 16:, :16] = image[..., 16:, :16]

    with torch.no_grad():
        assert not torch.allclose(student.tokens(image), student.tokens(other))
        assert torch.equal(student.tokens(image, hidden), student.tokens(other, hidden))


@pytest.mark.parametrize('hidden', [0, 1, 2])
def test_few_hidden_patches_are_learned_from(hidden):
    torch.manual_seed(0)
    student = SelfDistillation('tiny', 32, 8)
    whole, parts = torch.rand(4, 3, 32, 32), torch.rand(2, 3, 16, 16)
    masked = torch.zeros(4, 4, dtype=torch.bool)
    masked[:hidden, 0] = True
    *targets, _ = teacher_targets(student, whole)

    loss = distillation_loss(student(whole, masked, parts), tuple(targets), masked)

    assert loss.isfinite()


def test_views_are_squares_of_the_image():
    random = np.random.default_rng(0)
    images = [np.full((48, 80, 3), colour, np.uint8) for colour in (0, 255)]

    views = draw_views(images, [random, random], 64, 3, 16)

    assert views.whole.shape == (4, 3, 64, 64)
    assert views.masked.shape == (4, 16)
    assert views.parts.shape == (6, 3, 32, 32)
    # The first views of all images come before the second views.
    bright = views.whole.mean(dim=(1, 2, 3)) > 0.5
    assert bright.tolist() == [False, True, False, True]


def test_up_to_half_of_the_patches_are_hidden_in_pieces():
    masks = [draw_mask(8, np.random.default_rng(seed)) for seed in range(50)]

    shares = [mask.mean() for mask in masks]
    assert 0.0 <= min(shares) < 0.1
    assert 0.4 < max(shares) <= 0.5
    # Masks are contiguous: neighbours agree more often than by chance.
    grids = np.stack(masks).reshape(-1, 8, 8)
    agree = (grids[:, :, 1:] == grids[:, :, :-1]).mean()
    chance = np.mean([share**2 + (1 - share) ** 2 for share in shares])
    assert agree > chance + 0.1


def test_a_view_depends_on_its_generator_alone():
    image = np.random.default_rng(1).integers(0, 256, (48, 80, 3)).astype(np.uint8)

    first, again, other = (
        draw_view(image, (0.4, 1.0), 32, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )

    assert (first == again).all()
    assert (first != other).any()
