"""Reading a model folder: its content, and errors for missing or invalid files."""

import json

import pytest

from drive_segment_ros.errors import ModelError
from drive_segment_ros.inference.model import ModelClass, read_model


def edit(folder, change):
    content = json.loads((folder / 'model.json').read_text())
    change(content)
    (folder / 'model.json').write_text(json.dumps(content))


def test_a_folder_is_read_as_it_was_described(model_folder):
    model = read_model(model_folder)

    assert model.onnx_path == model_folder / 'model.onnx'
    assert model.input_size == (8, 12)
    assert model.classes[2] == ModelClass('red', (255, 0, 0))
    assert json.dumps(model.to_dict()) == (model_folder / 'model.json').read_text()


def test_a_folder_may_be_moved(model_folder, tmp_path):
    model_folder.rename(tmp_path / 'elsewhere')

    assert read_model(tmp_path / 'elsewhere').onnx_path == tmp_path / 'elsewhere/model.onnx'


@pytest.mark.parametrize(
    ('break_it', 'message'),
    [
        (lambda f: (f / 'model.json').unlink(), 'without its model.json'),
        (lambda f: (f / 'model.onnx').unlink(), 'cannot read .*model.onnx'),
        (lambda f: (f / 'model.json').write_text('{"format": 1'), 'damaged'),
        (lambda f: (f / 'model.json').write_text('[]'), 'damaged'),
        (lambda f: (f / 'model.json').write_bytes(b'\xff\xfe'), 'damaged'),
        (lambda f: (f / 'model.onnx').write_bytes(b'other'), 'sha256'),
        (lambda f: edit(f, lambda c: c.update(format=99)), 'format 99'),
        (lambda f: edit(f, lambda c: c.pop('classes')), "lacks 'classes'"),
        (lambda f: edit(f, lambda c: c['input'].update(width='wide')), 'damaged'),
        (lambda f: edit(f, lambda c: c['classes'][0].update(color=[1, 2])), 'damaged'),
    ],
)
def test_a_wrong_folder_is_one_line(model_folder, break_it, message):
    break_it(model_folder)

    with pytest.raises(ModelError, match=message) as error:
        read_model(model_folder)

    assert '\n' not in str(error.value)


def test_a_missing_folder_says_how_to_make_one(tmp_path):
    with pytest.raises(ModelError, match='drive-segment export'):
        read_model(tmp_path / 'none')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'classes': []}, '1 to 255 classes'),
        ({'classes': [{'name': 'x', 'color': [1, 2, 3]}] * 300}, '1 to 255 classes'),
        ({'classes': [{'name': ['x'] * 9, 'color': [1, 2, 3]}]}, 'a name is a string of 1 to'),
        ({'classes': [{'name': 'a\x1b[2J', 'color': [1, 2, 3]}]}, 'is not printable'),
        ({'classes': [{'name': 'x', 'color': [1, 2, 300]}]}, 'integers in 0..255'),
        ({'classes': [{'name': 'x', 'color': '123'}]}, 'a color is a list'),
        ({'input': {'height': 10**30, 'width': 8}}, 'is not an integer'),
        ({'output': {'height': 8, 'width': 1e30}}, 'is not an integer'),
        ({'onnx': {'file': 7, 'sha256': '', 'precision': '', 'opset': 18}}, 'is not a string'),
        ({'provenance': 7}, 'damaged'),
        ({'deep': json.loads('[' * 60 + ']' * 60)}, 'nested too deeply'),
    ],
    ids=str,
)
def test_a_description_by_strangers_is_one_line(tmp_path, change, message):
    described = {
        'format': 1,
        'onnx': {'file': 'model.onnx', 'sha256': '0', 'precision': 'fp32', 'opset': 18},
        'input': {'height': 8, 'width': 8},
        'output': {'height': 8, 'width': 8},
        'classes': [{'name': 'road', 'color': [1, 2, 3]}],
        'provenance': {},
    }
    (tmp_path / 'model.json').write_text(json.dumps({**described, **change}))
    with pytest.raises(ModelError, match=message) as error:
        read_model(tmp_path)
    assert '\n' not in str(error.value)
    assert len(str(error.value)) < 500


def test_the_graph_lies_beside_its_description(tmp_path):
    (tmp_path / 'model').mkdir()
    (tmp_path / 'outside.onnx').write_bytes(b'x')
    described = {
        'format': 1,
        'onnx': {'file': '../outside.onnx', 'sha256': '0', 'precision': 'fp32', 'opset': 18},
        'input': {'height': 8, 'width': 8},
        'output': {'height': 8, 'width': 8},
        'classes': [{'name': 'road', 'color': [1, 2, 3]}],
        'provenance': {},
    }
    (tmp_path / 'model/model.json').write_text(json.dumps(described))
    with pytest.raises(ModelError, match=r'model/outside\.onnx: No such file'):
        read_model(tmp_path / 'model')
