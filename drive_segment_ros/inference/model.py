"""An exported model on disk: `model.onnx`, and `model.json` which says everything about it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import ModelError

DESCRIPTION_FILE = 'model.json'
ONNX_FILE = 'model.onnx'
# Raised when a reader of an older version would misread the folder.
FORMAT = 1
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
    """What `model.json` says; the graph itself stays on the disk.

    The graph takes `image` (1, H, W, 3) uint8 BGR and gives `label` and `confidence`, each
    (1, h, w) uint8.

    Attributes:
        onnx_path: the graph.
        sha256: of that file, hexadecimal.
        precision: of weights and activations, `fp32` or `fp16`.
        opset: of ONNX.
        input_size: (H, W) of the image, px.
        output_size: (h, w) of label and confidence, px.
        classes: what each label means.
        provenance: run, code version, fingerprint of the data, ... as training recorded them.
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
    """Read a model folder and make sure that its graph is the one described.

    Args:
        folder: as `drive-segment export` writes it.

    Raises:
        ModelError: if the folder or a file is missing, damaged, or of another version.
    """
    path = folder / DESCRIPTION_FILE
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError as err:
        raise ModelError(
            f'{folder} is no exported model: it has no {DESCRIPTION_FILE}; make one by '
            f'`drive-segment export RUN -o {folder}`'
        ) from err
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
        return Model(
            onnx_path=path.parent / Path(content['onnx']['file']).name,
            sha256=str(content['onnx']['sha256']),
            precision=str(content['onnx']['precision']),
            opset=int(content['onnx']['opset']),
            input_size=_size(content['input']),
            output_size=_size(content['output']),
            classes=[_model_class(item) for item in content['classes']],
            provenance=dict(content['provenance']),
        )
    except KeyError as err:
        raise ModelError(f'{path} lacks {err}; export the model again') from err
    except (TypeError, ValueError) as err:
        raise ModelError(f'{path} is damaged: {err}; export the model again') from err


def _size(entry: dict[str, Any]) -> tuple[int, int]:
    return int(entry['height']), int(entry['width'])


def _model_class(entry: dict[str, Any]) -> ModelClass:
    red, green, blue = (int(part) for part in entry['color'])
    return ModelClass(str(entry['name']), (red, green, blue))


def _check_hash(model: Model) -> None:
    try:
        digest = hashlib.sha256(model.onnx_path.read_bytes()).hexdigest()
    except OSError as err:
        raise ModelError(
            f'cannot read {model.onnx_path}: {err.strerror}; export the model again'
        ) from err
    if digest != model.sha256:
        raise ModelError(
            f'{model.onnx_path} is not the file {DESCRIPTION_FILE} describes (sha256 '
            f'{digest[:12]} instead of {model.sha256[:12]}); copy both again or export again'
        )
