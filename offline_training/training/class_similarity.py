"""The similarity of a network's classes, for predictions of minimum Bayes risk.

Pseudo-classes are finer than semantic classes: a facade may belong to any of six. If a network is
undecided between five of these and trees, trees can be the most probable single class although the
pixel is most likely facade. If errors between similar classes cost little, the class with the
highest expected similarity to the true one minimises the Bayes risk.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from offline_training.networks.segmenter import Segmenter
from offline_training.training.frame_images import Images

# Images looked at, at most: the matrix is a mean, which these tell well enough.
_MOST_IMAGES = 256
# Share of the labelled pixels at which half of what is measured of a class's likeness is believed.
_HALF_BELIEVED = 1e-3


@torch.no_grad()
def class_similarity(network: Segmenter, images: Images, support: NDArray[np.float64]) -> Tensor:
    """Return the cosine between every two classes' probabilities over all pixels of images.

    Classes that the network confuses are similar, whatever they show: no label is needed. A
    class with few labelled pixels is hardly known, its probability small everywhere and so alike
    in direction to many others': its similarities are shrunk towards zero.

    Args:
        network: in evaluation mode, on any device.
        images: (H, W, 3) uint8 RGB each, at network size; evenly spaced ones are taken of more
            than 256.
        support: (K,) share of the labelled pixels that are of each class.

    Returns:
        (K, K) float32, 0..1, symmetric, 1 on its diagonal; 0 in all else of a class without
        support.
    """
    device = network.class_similarity.device
    classes = network.configuration.classes
    products = torch.zeros(classes, classes, dtype=torch.float64, device=device)
    chosen = np.linspace(0, len(images) - 1, min(len(images), _MOST_IMAGES)).round().astype(int)
    for index in chosen:
        image = torch.from_numpy(np.array(images[int(index)])).to(device)
        cells = network.cell_probability(image.permute(2, 0, 1)[None].float() / 255.0)
        probability = cells[0].flatten(1)
        products += (probability @ probability.T).double()
    # A product of a matrix and its transpose is symmetric; as some processors add it up, nearly.
    products = (products + products.T) / 2.0
    length = products.diagonal().sqrt().clamp(min=torch.finfo(torch.float32).tiny)
    believed = torch.from_numpy(np.sqrt(support / (support + _HALF_BELIEVED))).to(device)
    cosine = products / (length[:, None] * length) * (believed[:, None] * believed)
    return cosine.fill_diagonal_(1.0).float()
