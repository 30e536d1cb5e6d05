"""Exports a trained network as one ONNX file, from camera image to mask."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

import drive_segment_ros
from drive_segment_ros.errors import ModelError
from drive_segment_ros.inference.machine import Machine, suitable_precision, this_machine
from drive_segment_ros.inference.model import (
    CONFIDENCE_NAME,
    DESCRIPTION_FILE,
    INPUT_NAME,
    LABEL_NAME,
    LARGEST_SIDE,
    ONNX_FILE,
    Model,
    ModelClass,
)
from offline_training.common.files import write_atomic, write_json
from offline_training.deploy.calibration import calibration_images, has_images
from offline_training.deploy.deployed_segmenter import DeployedSegmenter
from offline_training.deploy.eight_bits import to_int8
from offline_training.deploy.half_precision import to_half
from offline_training.deploy.model_card import CARD_FILE, model_card
from offline_training.networks.segmenter import Segmenter
from offline_training.pseudo_labels.merged_classes import find_merges, merge_to
from offline_training.training.checkpoints import (
    classes_file,
    classes_of_run,
    load_model,
    model_file,
)

PRECISIONS = ('fp32', 'fp16', 'int8')
AUTO = 'auto'
# TensorRT 10.0 reads opsets 9 to 20; the exporter supports all operators used here in 18.
OPSET = 18


def export(
    run: Path,
    folder: Path,
    precision: str = 'fp32',
    height: int = 0,
    width: int = 0,
    calibrate: Path | None = None,
    classes: int = 0,
) -> dict[str, Any]:
    """Write a model folder: `model.onnx`, `model.json`, and a model card, `README.md`.

    Args:
        run: a run, one of its stages, or a model file.
        folder: to write; a model in it is replaced.
        precision: of weights and activations, one of `PRECISIONS`, or `auto` for what this
            machine runs fastest.
        height, width: of its input images, px, for cameras with another aspect ratio than the
            training camera; 0 for the network's input size, to which callers resize images, which
            costs less than in the graph.
        calibrate: images to calibrate int8, see `calibration_images`; None for the training
            images of the run.
        classes: number of classes to predict: the most similar are merged; 0 merges none.

    Returns:
        `model` (folder), `sha256`, `bytes`, `precision`, `reason` (for `auto`),
        `classes`, `input` and `output` [height, width].

    Raises:
        ModelError: if there is no trained model, the precision is unknown, the input size is
            invalid, int8 lacks images, or the classes cannot be merged to so few.
        DatasetError: if the folder cannot be written.
        BagError, ImageError: if the images to calibrate on cannot be read.
        DependencyError: if int8 lacks ONNX Runtime.
    """
    if precision not in (*PRECISIONS, AUTO):
        known = ', '.join((*PRECISIONS, AUTO))
        raise ModelError(f'unknown precision {precision!r}; choose from {known}')
    if height < 0 or width < 0 or (height > 0) != (width > 0):
        raise ModelError(f'input size {height}x{width} is invalid; give height and width')
    if max(height, width) > LARGEST_SIDE:
        raise ModelError(f'input size {height}x{width} is invalid; at most {LARGEST_SIDE} a side')
    network, header = load_model(run)
    names = classes_of_run(run, network.configuration.classes)
    group = None
    if classes:
        merged = merge_to(names, find_merges(classes_file(run).parent), classes)
        names, group = merged.names, merged.group
    configuration = network.configuration
    input_size = (height, width) if height else (configuration.height, configuration.width)
    output_size = configuration.size_for(*input_size)
    reason = ''
    if precision == AUTO:
        precision, reason = chosen_precision(this_machine(), has_images(run, calibrate))
    graph = onnx_model(network, *input_size, group)
    if precision == 'fp16':
        graph = to_half(graph)
    elif precision == 'int8':
        graph = to_int8(graph, calibration_images(run, calibrate, *input_size))
    onnx.checker.check_model(graph, full_check=True)
    data = graph.SerializeToString()
    model = Model(
        onnx_path=folder / ONNX_FILE,
        sha256=hashlib.sha256(data).hexdigest(),
        precision=precision,
        opset=OPSET,
        input_size=input_size,
        output_size=output_size,
        classes=[ModelClass(item.name, item.color) for item in names],
        provenance={
            'run': '/'.join(model_file(run).resolve().parent.parts[-2:]),
            'exported_by': f'drive_segment_ros {drive_segment_ros.__version__}',
            'training': header,
        },
    )
    # In this order a description never lacks its graph; the hash detects mixtures.
    write_atomic(folder / CARD_FILE, model_card(model).encode(errors='replace'))
    write_atomic(model.onnx_path, data)
    write_json(folder / DESCRIPTION_FILE, model.to_dict())
    return {
        'model': str(folder),
        'sha256': model.sha256,
        'bytes': len(data),
        'precision': precision,
        'reason': reason,
        'classes': len(names),
        'input': list(input_size),
        'output': list(output_size),
    }


def chosen_precision(machine: Machine, has_images: bool) -> tuple[str, str]:
    """Return the precision in which a machine runs a model fastest, and why.

    Args:
        machine: its features.
        has_images: whether there are images to calibrate int8 on.
    """
    choice = suitable_precision(machine)
    if choice.precision == 'int8' and not has_images:
        return 'fp32', (
            f'{choice.reason}, but there are no images to calibrate int8 on; give --calibrate'
        )
    return choice.precision, choice.reason


def onnx_model(
    network: Segmenter, height: int, width: int, group: NDArray[np.integer] | None = None
) -> onnx.ModelProto:
    """Return a network as an ONNX graph for images of one size.

    Args:
        network: the network.
        height, width: of the images, px.
        group: see `DeployedSegmenter`.
    """
    size = network.configuration.size_for(height, width)
    image = torch.zeros(1, height, width, 3, dtype=torch.uint8)
    with _quiet():
        program = torch.onnx.export(
            DeployedSegmenter(network, size, group).eval(),
            (image,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=[LABEL_NAME, CONFIDENCE_NAME],
            external_data=False,
            verbose=False,
        )
    assert program is not None
    return _without_paths(program.model_proto)


def _without_paths(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove the exporter's metadata of each node: source lines of this machine."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.ClearField('doc_string')
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's messages about its internals."""
    logger = logging.getLogger('torch.onnx')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.setLevel(level)
