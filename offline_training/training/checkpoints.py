"""Networks and training states on disk: safetensors, written atomically.

A model file contains the averaged weights and, in its header, the network's configuration and its
provenance. A checkpoint also contains the state that is needed to continue training.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from drive_segment_ros.errors import ModelError
from drive_segment_ros.staging import local_copy
from drive_segment_ros.text_files import parse_json
from drive_segment_ros.what_is import not_wanted
from offline_training.common.classes import CLASSES_FILE, ClassName, default_classes, load_classes
from offline_training.common.files import write_atomic
from offline_training.networks.segmenter import NetworkConfiguration, Segmenter

MODEL_FILE = 'model.safetensors'
CHECKPOINT_FILE = 'checkpoint.safetensors'
# Limit of a network's dimensions, far above those of trained networks. The patches need memory of
# their number squared, see `Neighbourhood`.
_LARGEST_MEASURE, _MOST_BLOCKS, _MOST_PATCHES = 16384, 100, 65536


@dataclasses.dataclass
class TrainingState:
    """Everything that changes while training.

    Attributes:
        network: is trained.
        average: exponential moving average of the network, which becomes the model.
        optimizers: one or more that together update all parameters of the network.
        losses: of each completed step; their number is the step to continue from.
        held_out: validations on held-out frames: step, cross-entropy, accuracy.
    """

    network: nn.Module
    average: nn.Module
    optimizers: list[torch.optim.Optimizer]
    losses: list[float] = dataclasses.field(default_factory=list)
    held_out: list[tuple[int, float, float]] = dataclasses.field(default_factory=list)


def save_model(path: Path, network: Segmenter, provenance: dict[str, Any]) -> None:
    """Write a network's weights with its configuration and provenance (parameters, version...)."""
    header = {'network': network.configuration.to_dict(), **provenance}
    _save(path, network.state_dict(), header)


def load_model(path: Path) -> tuple[Segmenter, dict[str, Any]]:
    """Build a network from a model file.

    Args:
        path: a model file, a stage of a run (`RUN/student`), or a run, for its last student.

    Returns:
        The network, in evaluation mode, and the file's header.

    Raises:
        ModelError: if there is none or it is damaged.
    """
    file = model_file(path)
    tensors, header = _load(file)
    network = _build(file, header, tensors)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as err:
        raise ModelError(f'{file} does not fit its own configuration; train it again') from err
    return network.eval(), header


def model_file(path: Path) -> Path:
    """Return the model file that a path refers to, see `load_model`.

    Raises:
        ModelError: if there is none.
    """
    if path.is_file() and path.suffix == '.safetensors':
        return path
    stages = [*sorted(path.glob(f'student*/{MODEL_FILE}')), path / MODEL_FILE]
    present = [file for file in stages if file.is_file()]
    if not present:
        if (path / 'run.json').is_file():
            raise ModelError(f'{path} has no trained model yet; continue by `train --resume`')
        advice = 'give a run, written by `drive-segment train DATASET -o RUN`, or a stage of it'
        raise ModelError(not_wanted(path, 'a trained model', advice))
    # The file of a stage takes precedence over its siblings'; of several students, the last round.
    return path / MODEL_FILE if (path / MODEL_FILE).is_file() else present[-1]


def classes_file(model: Path) -> Path:
    """Return the path of a run's class names and colours, in the folder of its stages.

    Args:
        model: as for `load_model`; may be relative or a link.
    """
    return model_file(model).resolve().parent.parent / CLASSES_FILE


def classes_of_run(model: Path, count: int) -> list[ClassName]:
    """Return the names and colours of a run's classes; numbers where it has none.

    Args:
        model: as for `load_model`.
        count: K of its network.

    Raises:
        ModelError: if the run's file cannot be read, or does not name K classes.
    """
    file = classes_file(model)
    if not file.is_file():
        return default_classes(count)
    classes = load_classes(file)
    if len(classes) != count:
        raise ModelError(f'{file} names {len(classes)} classes; the network has {count}')
    return classes


def save_checkpoint(path: Path, state: TrainingState, provenance: dict[str, Any]) -> None:
    """Write a training state; `load_checkpoint` continues from it to the same result."""
    tensors = {f'network.{name}': value for name, value in state.network.state_dict().items()}
    tensors |= {f'average.{name}': value for name, value in state.average.state_dict().items()}
    names: dict[Tensor, str] = {p: name for name, p in state.network.named_parameters()}
    for optimizer in state.optimizers:
        for parameter, moments in optimizer.state.items():
            name = f'optimizer.{names[parameter]}'
            tensors |= {f'{name}/{key}': value for key, value in moments.items()}
    tensors['losses'] = torch.tensor(state.losses, dtype=torch.float64)
    tensors['held_out'] = torch.tensor(state.held_out, dtype=torch.float64).reshape(-1, 3)
    _save(path, tensors, provenance)


def load_checkpoint(path: Path, state: TrainingState) -> dict[str, Any]:
    """Fill a training state from a checkpoint.

    Returns:
        The provenance it was written with.

    Raises:
        ModelError: if the file is damaged or of another network.
    """
    tensors, header = _load(path)
    moments: dict[str, dict[str, Tensor]] = {}
    for name, value in _below(tensors, 'optimizer.').items():
        parameter, key = name.rsplit('/', 1)
        moments.setdefault(parameter, {})[key] = value
    names: dict[Tensor, str] = {p: name for name, p in state.network.named_parameters()}
    try:
        state.network.load_state_dict(_below(tensors, 'network.'))
        state.average.load_state_dict(_below(tensors, 'average.'))
        for optimizer in state.optimizers:
            # An optimiser numbers its parameters group by group.
            owned = [names[p] for group in optimizer.param_groups for p in group['params']]
            kept = {i: moments[name] for i, name in enumerate(owned) if name in moments}
            groups = optimizer.state_dict()['param_groups']
            optimizer.load_state_dict({'state': kept, 'param_groups': groups})
    except (RuntimeError, ValueError) as err:
        raise ModelError(
            f'{path} has another network; resume with the same size, classes and input, or '
            'choose another run folder'
        ) from err
    state.losses = tensors['losses'].tolist()
    looks = tensors['held_out'].tolist() if 'held_out' in tensors else []
    state.held_out = [(int(step), loss, right) for step, loss, right in looks]
    return header


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _save(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    # safetensors' header is a flat map of strings; one JSON string keeps the nesting.
    write_atomic(path, safetensors.torch.save(whole, {'configuration': json.dumps(header)}))


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safetensors.safe_open(local_copy(path), 'pt') as file:
            header = parse_json(file.metadata()['configuration'])
            if not isinstance(header, dict):
                raise ValueError('its configuration is no object')
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118
    except FileNotFoundError as err:
        raise ModelError(f'{path} does not exist; train a model first') from err
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as err:
        raise ModelError(f'{path} is damaged or not a model of this package: {err}') from err


def _build(path: Path, header: dict[str, Any], tensors: dict[str, Tensor]) -> Segmenter:
    try:
        values = header['network']
        for name, value in values.items():
            most = _MOST_BLOCKS if name == 'depth' else _LARGEST_MEASURE
            if name not in ('stem', 'position') and not (
                type(value) is int and 0 <= value <= most
            ):
                raise ValueError(f'its {name} is invalid')
        configuration = NetworkConfiguration(**values)
        if math.prod(configuration.grid) > _MOST_PATCHES:
            raise ValueError('its height and width are invalid')
        # Build it without memory first, as the header of an untrusted file may demand any amount.
        with torch.device('meta'):
            shapes = {k: v.shape for k, v in Segmenter(configuration).state_dict().items()}
        if any(name not in tensors or tensors[name].shape != shapes[name] for name in shapes):
            raise ModelError(f'{path} does not fit its own configuration; train it again')
        return Segmenter(configuration)
    except (AttributeError, ArithmeticError, KeyError, TypeError, ValueError) as err:
        raise ModelError(f'{path} was written by another version: {err}; train it again') from err
