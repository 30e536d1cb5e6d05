"""Malicious or invalid `classes.yaml` files, and other YAML files that commands read."""

from __future__ import annotations

from pathlib import Path

import pytest

from drive_segment_ros.errors import (
    CalibrationError,
    DriveSegmentError,
    ModelError,
    ParameterError,
)
from drive_segment_ros.parameter_files import read_parameters
from drive_segment_ros.perception.calibration import load_calibration
from offline_training.common.classes import ClassName, load_classes, load_names, save_classes
from offline_training.pseudo_labels.assignment import LabelParameters

LEVELS = [f'l{n}: &l{n} [{", ".join([f"*l{n - 1}"] * 10)}]' for n in range(1, 10)]
LAUGHS = '\n'.join(['l0: &l0 [x]', *LEVELS])
DEEP = '[' * 3000 + ']' * 3000
READERS = {
    'classes': (load_classes, ModelError),
    'names': (load_names, ModelError),
    'calibration': (load_calibration, CalibrationError),
    'parameters': (lambda path: read_parameters(LabelParameters, path), ParameterError),
}


@pytest.mark.parametrize('name', READERS)
@pytest.mark.parametrize('text', [LAUGHS, DEEP, f'a: {"9" * 9999}', 'a: b\0', '&a [*a]'])
def test_yaml_that_does_harm_is_one_line(name: str, text: str, tmp_path: Path) -> None:
    read, kind = READERS[name]
    file = tmp_path / 'file.yaml'
    file.write_text(text)
    with pytest.raises(kind, match=r'file\.yaml.*YAML') as error:
        read(file)
    assert isinstance(error.value, DriveSegmentError)
    assert '\n' not in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('{name: [a, b], color: [1, 2, 3]}', 'a name is a string of 1 to'),
        ('{name: "a\\x1b[2J", color: [1, 2, 3]}', 'not printable'),
        ('{name: a, color: [1, 2, 1e9]}', '0..255'),
        ('{name: a, color: [1, 2, true]}', '0..255'),
        ('{name: a, color: 1}', 'a list'),
        ('[]', 'needs a name'),
    ],
)
def test_a_class_that_makes_no_sense(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / 'classes.yaml').write_text(f'0: {line}\n')
    with pytest.raises(ModelError, match=message):
        load_classes(tmp_path / 'classes.yaml')


def test_more_classes_than_a_label_holds(tmp_path: Path) -> None:
    file = tmp_path / 'classes.yaml'
    save_classes(file, [ClassName(str(n), (n % 256, 0, 0)) for n in range(300)])
    with pytest.raises(ModelError, match='has 300 classes; at most 255 are possible'):
        load_classes(file)
    names = [ClassName(name, (1, 2, 3)) for name in ('1e3', '10:45', 'yes', 'ä: [b]', '7')]
    save_classes(file, names)
    assert load_classes(file) == names
