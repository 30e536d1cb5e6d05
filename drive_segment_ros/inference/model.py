"""An exported model on disk: `model.onnx`, and `model.json`, which describes it."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import ModelError
from drive_segment_ros.staging import local_copy, named_as
from drive_segment_ros.storage import is_remote
from drive_segment_ros.text_files import read_json, shown
from drive_segment_ros.what_is import not_wanted

DESCRIPTION_FILE = 'model.json'
ONNX_FILE = 'model.onnx'
# Increased when an older version would misread the folder.
FORMAT = 1
# Labels are 8 bits, 255 is unknown.
MOST_CLASSES = 255
_LONGEST_NAME = 200
# Largest input and output of a graph, px; a network's input is some 1000 px wide.
LARGEST_SIDE = 16384
INPUT_NAME, LABEL_NAME, CONFIDENCE_NAME = 'image', 'label', 'confidence'


@dataclasses.dataclass(frozen=True)
class ModelClass:
    """One pseudo-class.

    Attributes:
        name: free text; several classes may share one.
        color: red, green, blue, 0..255.
    """

    name: str
    color: tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Model:
    """The content of `model.json`; the graph itself is not loaded.

    The graph takes `image` (1, H, W, 3) uint8 BGR and gives `label` and `confidence`, each
    (1, h, w) uint8.

    Attributes:
        onnx_path: the graph.
        sha256: of that file, hexadecimal.
        precision: of weights and activations, `fp32`, `fp16` or, between Q/DQ nodes, `int8`.
        opset: of ONNX.
        input_size: (H, W) of the image, px.
        output_size: (h, w) of label and confidence, px.
        classes: what each label means.
        provenance: run, code version, fingerprint of the data, ... as recorded by training.
    """

    onnx_path: Path
    sha256: str
    precision: str
    opset: int
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    classes: list[ModelClass]
    provenance: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `model.json`."""
        return {
            'format': FORMAT,
            'onnx': {
                'file': self.onnx_path.name,
                'sha256': self.sha256,
                'precision': self.precision,
                'opset': self.opset,
            },
            'input': {
                'name': INPUT_NAME,
                'layout': 'NHWC',
                'encoding': 'bgr8',
                'height': self.input_size[0],
                'width': self.input_size[1],
            },
            'output': {
                'names': [LABEL_NAME, CONFIDENCE_NAME],
                'layout': 'NHW',
                'encoding': 'mono8',
                'height': self.output_size[0],
                'width': self.output_size[1],
            },
            'classes': [dataclasses.asdict(item) for item in self.classes],
            'provenance': self.provenance,
        }


def read_model(folder: Path) -> Model:
    """Read a model folder and check that its graph is the one described.

    Args:
        folder: written by `drive-segment export`; one in object storage is copied to this machine.

    Raises:
        ModelError: if the folder or a file is missing, damaged, or of another version.
        StorageError: if it cannot be copied.
    """
    if is_remote(folder):
        copy = local_copy(folder)
        with named_as(folder, copy):
            return read_model(copy)
    path = folder / DESCRIPTION_FILE
    try:
        content = read_json(path)
    except (FileNotFoundError, NotADirectoryError) as err:
        advice = 'give a folder written by `drive-segment export RUN -o MODEL`'
        raise ModelError(not_wanted(folder, 'an exported model', advice)) from err
    except OSError as err:
        raise ModelError(f'cannot read {path}: {err.strerror}') from err
    except ValueError as err:
        raise ModelError(f'{path} is damaged: {err}; export the model again') from err
    model = _from_dict(path, content)
    _check_hash(model)
    return model


def _from_dict(path: Path, content: Any) -> Model:
    try:
        if content['format'] != FORMAT:
            raise ModelError(
                f'{path} has format {content["format"]}, this version reads {FORMAT}; '
                'export the model again'
            )
        onnx, classes = content['onnx'], content['classes']
        if not isinstance(classes, list) or not 1 <= len(classes) <= MOST_CLASSES:
            raise ValueError(f'it must list 1 to {MOST_CLASSES} classes')
        return Model(
            # In the same folder, regardless of the path given.
            onnx_path=path.parent / (Path(_text(onnx['file'])).name or ONNX_FILE),
            sha256=_text(onnx['sha256']),
            precision=_text(onnx['precision']),
            opset=_whole(onnx['opset'], 1000),
            input_size=_size(content['input']),
            output_size=_size(content['output']),
            classes=[_model_class(item) for item in classes],
            provenance=dict(content['provenance']),
        )
    except KeyError as err:
        raise ModelError(f'{path} lacks {err}; export the model again') from err
    except (TypeError, ValueError) as err:
        raise ModelError(f'{path} is damaged: {err}; export the model again') from err


def _size(entry: dict[str, Any]) -> tuple[int, int]:
    return _whole(entry['height'], LARGEST_SIDE), _whole(entry['width'], LARGEST_SIDE)


def class_name(value: Any) -> str:
    """Return a class's name from an untrusted file.

    Raises:
        ValueError: if it is not a short printable text, as for terminals and web pages.
    """
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_NAME:
        raise ValueError(f'a name is a string of 1 to {_LONGEST_NAME} letters, not {shown(value)}')
    if not value.isprintable():
        raise ValueError(f'the name {shown(value)} is not printable')
    return value


def class_color(value: Any) -> tuple[int, int, int]:
    """Return a class's colour, red, green, blue, from an untrusted file.

    Raises:
        ValueError: if it is not a list of three integers in 0..255.
    """
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError('a color is a list [red, green, blue]')
    if not all(type(part) is int and 0 <= part <= 255 for part in value):
        raise ValueError('the components of a color are integers in 0..255')
    red, green, blue = value
    return red, green, blue


def _model_class(entry: dict[str, Any]) -> ModelClass:
    return ModelClass(class_name(entry['name']), class_color(entry['color']))


def _text(value: Any) -> str:
    if not isinstance(value, str) or '\0' in value:
        raise ValueError(f'{shown(value)} is not a string')
    return value


def _whole(value: Any, largest: int) -> int:
    if type(value) is not int or not 1 <= value <= largest:
        raise ValueError(f'{value!r} is not an integer from 1 to {largest}')
    return value


def _check_hash(model: Model) -> None:
    try:
        digest = _sha256(model.onnx_path)
    except OSError as err:
        raise ModelError(
            f'cannot read {model.onnx_path}: {err.strerror}; export the model again'
        ) from err
    if digest != model.sha256:
        raise ModelError(
            f'{model.onnx_path} is not the file {DESCRIPTION_FILE} describes (sha256 '
            f'{digest[:12]} instead of {model.sha256[:12]}); copy both again or export again'
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
