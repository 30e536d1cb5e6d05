import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity

from offline_training.networks.segmenter import NetworkConfiguration, Segmenter
from offline_training.training.class_similarity import class_similarity

CONFIGURATION = NetworkConfiguration(5, 32, 48, 32, depth=1, heads=2)
# So many pixels of each class that nothing is shrunk to speak of.
ALIKE = np.full(5, 1e9)


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = Segmenter(CONFIGURATION).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3.0)
    return network


def pictures(count):
    return np.random.default_rng(0).integers(0, 255, (count, 32, 48, 3)).astype(np.uint8)


def columns(network, images):
    """Return the probabilities of all pixels of images one after another, (K, N)."""
    with torch.no_grad():
        logits = network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255.0)
    return logits.softmax(dim=1).transpose(0, 1).flatten(1).numpy()


def test_it_is_the_cosine_of_the_classes_probabilities(network):
    images = pictures(4)

    similarity = class_similarity(network, images, ALIKE).numpy()

    assert np.abs(similarity - cosine_similarity(columns(network, images))).max() < 1e-5
    assert (similarity == similarity.T).all()
    assert (np.diag(similarity) == 1.0).all()
    assert 0.02 < np.abs(similarity - 1.0).max() < 1.0


def test_it_is_symmetric_though_the_processor_adds_up_otherwise_below_the_diagonal(
    network, monkeypatch
):
    def rounded(left, right):
        product = torch.matmul(left, right)
        return product + product.tril(-1) * 1e-6

    logits = network(torch.from_numpy(pictures(1)).permute(0, 3, 1, 2).float() / 255.0)
    monkeypatch.setattr(network, 'forward', lambda images: logits)
    monkeypatch.setattr(torch.Tensor, '__matmul__', rounded)

    similarity = class_similarity(network, pictures(1), ALIKE)

    assert torch.equal(similarity, similarity.T)


def test_of_many_images_some_are_looked_at_from_first_to_last(network, monkeypatch):
    monkeypatch.setattr('offline_training.training.class_similarity._MOST_IMAGES', 3)
    images = pictures(9)

    similarity = class_similarity(network, images, ALIKE).numpy()

    expected = cosine_similarity(columns(network, images[[0, 4, 8]]))
    assert np.abs(similarity - expected).max() < 1e-5


def test_a_class_that_is_never_seen_is_like_itself_alone(network, monkeypatch):
    def never(images):
        logits = torch.zeros(len(images), 5, 8, 12)
        logits[:, 4] = -1000.0
        return logits

    monkeypatch.setattr(network, 'forward', never)

    similarity = class_similarity(network, pictures(1), ALIKE)

    assert torch.allclose(similarity[4], torch.eye(5)[4])
    assert torch.allclose(similarity[:4, :4], torch.ones(4, 4))


def test_like_classes_stand_in_for_each_other(network, monkeypatch):
    probability = torch.tensor([0.3, 0.3, 0.4, 0.0, 0.0])
    logits = probability.log().view(1, 5, 1, 1).expand(1, 5, 8, 12)
    monkeypatch.setattr(network, 'forward', lambda images: logits)
    image = torch.zeros(1, 3, 32, 48)

    alone = network.expected_similarity(image)[0, :, 0, 0]
    network.class_similarity[0, 1] = network.class_similarity[1, 0] = 0.9
    together = network.expected_similarity(image)[0, :, 0, 0]

    assert torch.allclose(alone, probability)
    assert torch.allclose(together, torch.tensor([0.57, 0.57, 0.4, 0.0, 0.0]))


def test_what_is_hardly_known_of_a_class_is_shrunk(network):
    images = pictures(2)
    support = np.array([0.5, 0.498, 0.001, 0.001, 0.0])

    similarity = class_similarity(network, images, support).numpy()

    cosine = cosine_similarity(columns(network, images))
    believed = np.array([1.0, 1.0, 0.5**0.5, 0.5**0.5, 0.0])
    expected = cosine * np.outer(believed, believed)
    np.fill_diagonal(expected, 1.0)
    assert np.abs(similarity - expected).max() < 3e-3


def test_a_class_that_training_never_showed_is_never_an_answer(network):
    supported = torch.tensor([True, True, False, True, False])
    image = torch.rand(1, 3, 32, 48)
    # Whatever its weights say for it.
    logits = network.decoder.mask_norm
    with torch.no_grad():
        logits.bias.copy_(torch.tensor([0.0, 0.0, 9.0, 0.0, 9.0]))
        assert set(network.expected_similarity(image).argmax(dim=1).unique().tolist()) <= {2, 4}
        network.restrict(supported)
        probability = network.probability(image)
        answer = network.expected_similarity(image).argmax(dim=1)

    assert (probability[:, ~supported] == 0.0).all()
    assert torch.allclose(probability.sum(dim=1), torch.ones(1, 32, 48), atol=1e-5)
    assert set(answer.unique().tolist()) <= {0, 1, 3}
