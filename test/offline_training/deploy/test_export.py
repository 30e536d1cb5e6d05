"""Export: one graph, the same masks as PyTorch, with operators and types that TensorRT has."""

from __future__ import annotations

import collections
import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from typer.testing import CliRunner

from drive_segment_ros import cli
from drive_segment_ros.errors import ImageError, ModelError
from drive_segment_ros.inference.machine import Machine
from drive_segment_ros.inference.model import read_model
from drive_segment_ros.inference.segmenter import load
from drive_segment_ros.perception.resizing import resize_image
from drive_segment_ros.ros.bags import BagReader
from drive_segment_ros.ros.images import decode_image
from offline_training.common.classes import ClassName, save_classes
from offline_training.deploy import export as export_module
from offline_training.deploy.calibration import calibration_images, has_images
from offline_training.deploy.deployed_segmenter import DeployedSegmenter, average_resize
from offline_training.deploy.export import export
from offline_training.deploy.segment import segment
from offline_training.evaluation.evaluate import evaluate
from offline_training.evaluation.predictors import load_predictor
from offline_training.networks.segmenter import NetworkConfiguration, Segmenter
from offline_training.pseudo_labels.model import ClassModel
from offline_training.training.checkpoints import save_model

HEIGHT, WIDTH, CLASSES = 64, 112, 7
CONFIGURATION = NetworkConfiguration(CLASSES, HEIGHT, WIDTH, 64, depth=2, heads=2)
# Operators that our networks may need and that are marked `Y` in docs/operators.md of
# github.com/onnx/onnx-tensorrt (branch 10.1-GA). TensorRT 10.0 reads opsets 9 to 20 (same page).
TENSORRT_OPERATORS = {
    *('Add', 'ArgMax', 'AveragePool', 'Cast', 'Ceil', 'Clip', 'Concat', 'Constant', 'Conv'),
    *(
        'ConvTranspose',
        'DepthToSpace',
        'Div',
        'Einsum',
        'Equal',
        'Erf',
        'Exp',
        'Expand',
        'Flatten',
        'Floor',
    ),
    *('Gather', 'Gelu', 'Gemm', 'Identity', 'InstanceNormalization', 'LayerNormalization'),
    *('LpNormalization', 'MatMul', 'Max', 'Min', 'Mul', 'Neg', 'Pad', 'Pow', 'Reciprocal'),
    *('ReduceL2', 'ReduceMax', 'ReduceMean', 'ReduceMin', 'ReduceSum', 'Relu', 'Reshape'),
    *('Resize', 'Round', 'Sigmoid', 'Slice', 'Softmax', 'Split', 'Sqrt', 'Squeeze', 'Sub'),
    *('Sum', 'Tanh', 'TopK', 'Transpose', 'Unsqueeze', 'Where'),
    *('DequantizeLinear', 'QuantizeLinear'),
}
TENSORRT_OPSETS = range(9, 21)
FLOATING = (TensorProto.FLOAT, TensorProto.FLOAT16)
DELICATE = {'Softmax', 'LayerNormalization', 'ReduceMean', 'ReduceL2', 'TopK'}


def random_network(configuration: NetworkConfiguration = CONFIGURATION) -> Segmenter:
    """Return a network with random weights, large enough for several classes in each mask."""
    torch.manual_seed(0)
    network = Segmenter(configuration).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2.0)
    return network


@pytest.fixture(scope='module')
def network():
    return random_network()


@pytest.fixture(scope='module')
def run(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp('run')
    save_model(
        folder / 'student/model.safetensors', network, {'data': 'fingerprint', 'version': '0.0'}
    )
    classes = [ClassName(f'thing {i}', (i, 2 * i, 3 * i)) for i in range(CLASSES)]
    save_classes(folder / 'classes.yaml', classes)
    return folder


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    """Return a folder of calibration images."""
    folder = tmp_path_factory.mktemp('pictures')
    for index in range(100, 108):
        cv2.imwrite(str(folder / f'{index}.png'), street(index))
    return folder


@pytest.fixture(scope='module')
def models(run, pictures, tmp_path_factory):
    """Return a folder with four exported models; `camera` has a larger input than the network."""
    folder = tmp_path_factory.mktemp('models')
    export(run, folder / 'int8', 'int8', calibrate=pictures)
    export(run, folder / 'fp32')
    export(run, folder / 'camera', height=100, width=250)
    export(run, folder / 'fp16', 'fp16')
    return folder


def street(index: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Return an image with gradients, edges and noise, (H, W, 3) uint8."""
    random = np.random.default_rng(index)
    image = np.zeros((height, width, 3), np.float32)
    image[: height // 2] = np.linspace(230, 150, height // 2)[:, None, None] * [1.0, 0.9, 0.75]
    image[height // 2 :] = np.linspace(90, 60, height - height // 2)[:, None, None]
    for _ in range(12):
        left, top = random.integers(0, width), random.integers(height // 4, height)
        cv2.rectangle(
            image,
            (int(left), int(top)),
            (int(left) + width // 6, int(top) + height // 5),
            random.integers(0, 255, 3).tolist(),
            -1,
        )
    return np.clip(image + random.normal(0, 8, image.shape), 0, 255).astype(np.uint8)


def torch_mask(network, image):
    with torch.inference_mode():
        size = network.configuration.size_for(*image.shape[:2])
        label, confidence = DeployedSegmenter(network, size)(torch.from_numpy(image)[None])
    return label[0].numpy(), confidence[0].numpy()


def assert_same_mask(network, model, images):
    """Check that 99.9 % of the pixels have the class of PyTorch; confidence may differ by 1."""
    pixels = different = 0
    for backend in ('onnxruntime', 'openvino'):
        segmenter = load(model, backend, threads=1, exact=True)
        for image in images:
            expected, certain = torch_mask(network, image)
            label, confidence = segmenter.segment(image)
            assert len(np.unique(expected)) > 2
            pixels += label.size
            different += np.count_nonzero(label != expected)
            assert np.abs(confidence.astype(int) - certain).max() <= 1
        segmenter.close()
    assert different <= 0.001 * pixels


def test_classes_are_merged_in_the_graph(network, run, tmp_path):
    merges = np.array([[4, 1], [4, 2], [0, 3], [0, 5]])
    nothing = ClassModel.without_objects(np.arange(2))
    dataclasses.replace(nothing, merges=merges).save(tmp_path / 'run/clusters.npz')
    shutil.copytree(run, tmp_path / 'run', dirs_exist_ok=True)
    group = np.array([0, 1, 1, 0, 1, 0, 2])

    report = export(tmp_path / 'run', tmp_path / 'model', classes=3)

    assert report['classes'] == 3
    names = [item.name for item in read_model(tmp_path / 'model').classes]
    assert names == ['thing 0', 'thing 4', 'thing 6']
    with torch.inference_mode():
        probability = network.probability(_pixels(street(0)))[0]
        pooled = torch.stack([probability[torch.from_numpy(group == g)].sum(0) for g in range(3)])
        expected = pooled.argmax(0).numpy()
    segmenter = load(tmp_path / 'model', 'onnxruntime', threads=1, exact=True)
    label, _ = segmenter.segment(street(0))
    segmenter.close()
    assert np.mean(label != expected) < 1e-3
    assert len(np.unique(expected)) > 1
    with pytest.raises(ModelError, match='7 classes cannot be merged to 2; choose 3 to 7'):
        export(tmp_path / 'run', tmp_path / 'other', classes=2)


def _pixels(image):
    rgb = np.ascontiguousarray(image[..., ::-1]).astype(np.float32) / 255.0
    return torch.from_numpy(rgb).permute(2, 0, 1)[None]


def test_torch_onnxruntime_and_openvino_give_the_same_mask(network, models):
    assert_same_mask(network, models / 'fp32', [street(i) for i in range(4)])


def test_the_same_mask_with_resizing_in_the_graph(network, models):
    # Neither side is smaller than the network's input, and the aspect ratio is the camera's.
    assert read_model(models / 'camera').output_size == (64, 160)
    assert_same_mask(network, models / 'camera', [street(i, 100, 250) for i in range(4)])


def test_the_same_mask_on_real_images(network, models, real_bag):
    images = []
    with BagReader(real_bag) as reader:
        topic = next(t for t, info in reader.topics.items() if 'Image' in info.type)
        for message in reader.messages([topic]):
            content = reader.deserialize(message.raw, reader.topics[topic].type)
            images.append(resize_image(decode_image(content, reduce=4), HEIGHT, WIDTH))
            if len(images) == 3:
                break

    assert_same_mask(network, models / 'fp32', images)


def test_half_precision_changes_few_pixels(network, models):
    image = street(0)
    expected, _ = torch_mask(network, image)

    label, _ = load(models / 'fp16', 'onnxruntime', threads=1).segment(image)

    assert np.mean(label != expected) < 0.02
    sizes = [(models / name / 'model.onnx').stat().st_size for name in ('fp16', 'fp32')]
    assert sizes[0] < 0.6 * sizes[1]


@pytest.mark.parametrize('backend', ['onnxruntime', 'openvino'])
def test_eight_bits_change_few_pixels(network, models, backend):
    images = [street(index) for index in range(4)]
    expected = np.stack([torch_mask(network, image)[0] for image in images])
    segmenter = load(models / 'int8', backend, threads=1, exact=True)

    label = np.stack([segmenter.segment(image)[0] for image in images])

    assert 'int8' in segmenter.backend
    # Probabilities of an untrained network are close: 4 % of the pixels change with int8
    # instructions, some more without, and a third with scales that are four times too small.
    assert np.mean(label != expected) < 0.2


def test_eight_bits_are_for_what_is_heavy_and_symmetric(models):
    graph = onnx.load(models / 'int8/model.onnx').graph
    made_by = {name: node for node in graph.node for name in node.output}
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}

    def operator(name):
        return made_by[name].op_type if name in made_by else ''

    heavy = [n for n in graph.node if any(operator(x) == 'DequantizeLinear' for x in n.input)]
    assert {node.op_type for node in heavy} == {'MatMul'}
    # Four per block (two in the encoder, one in the decoder), and the decoder's projection.
    assert len(heavy) == 4 * (2 + 1) + 1
    for node in heavy:
        assert [operator(name) for name in node.input] == ['DequantizeLinear'] * 2
        values, scale, _ = made_by[node.input[1]].input
        assert constants[values].dtype == np.int8
        assert constants[scale].shape == constants[values].shape[1:]
    for node in graph.node:
        if node.op_type in ('QuantizeLinear', 'DequantizeLinear'):
            assert constants[node.input[2]].dtype == np.int8
            assert not constants[node.input[2]].any()


def test_auto_takes_what_the_machine_is_fastest_in_and_says_why(
    run, pictures, tmp_path, monkeypatch
):
    machine = Machine(frozenset({'avx512_vnni'}), gpu=False)
    monkeypatch.setattr(export_module, 'this_machine', lambda: machine)

    with_images = export(run, tmp_path / 'a', 'auto', calibrate=pictures)
    without = export(run, tmp_path / 'b', 'auto')

    assert with_images['precision'] == read_model(tmp_path / 'a').precision == 'int8'
    assert 'avx512_vnni' in with_images['reason']
    assert without['precision'] == read_model(tmp_path / 'b').precision == 'fp32'
    assert 'no images to calibrate int8 on; give --calibrate' in without['reason']


def test_a_run_is_calibrated_on_the_images_it_learned_from(network, pictures, tmp_path):
    save_model(tmp_path / 'run/student/model.safetensors', network, {})
    shard = tmp_path / 'run/cache/images/00000'
    shard.mkdir(parents=True)
    np.save(
        shard / 'images.npy', np.stack([street(index)[..., ::-1] for index in range(100, 108)])
    )

    own = export(tmp_path / 'run', tmp_path / 'own', 'int8')

    assert (
        own['sha256']
        == export(tmp_path / 'run', tmp_path / 'x', 'int8', calibrate=pictures)['sha256']
    )


def test_a_model_file_at_the_root_has_no_images(monkeypatch):
    file = Path('/model.safetensors')
    monkeypatch.setattr('offline_training.deploy.calibration.model_file', lambda run: file)

    assert not has_images(file, None)


def test_images_to_calibrate_on_are_not_distorted(run, tmp_path):
    cv2.imwrite(
        str(tmp_path / 'wide.png'), np.hstack([street(0)[:, :20], street(1), street(0)[:, :20]])
    )

    (image,) = calibration_images(run, tmp_path, HEIGHT, WIDTH)

    assert (image == street(1)).all()


def test_a_drive_is_calibrated_on_its_images_and_not_on_its_labels(run, paint_drive, tmp_path):
    drive = paint_drive(tmp_path / 'set', 2)

    images = calibration_images(run, drive.dataset / 'painted', HEIGHT, WIDTH)

    assert len(images) == 2
    expected = calibration_images(run, drive.dataset, HEIGHT, WIDTH)
    assert all((a == b).all() for a, b in zip(images, expected, strict=True))


@pytest.mark.parametrize(
    'change',
    [{}, {'window': 2}, {'stem': 'patch'}, {'stem': 'patch', 'patch': 8}],
    ids=['conv', 'window', 'patch 16', 'patch 8'],
)
def test_a_graph_answers_as_its_network_does(change):
    network = random_network(dataclasses.replace(CONFIGURATION, **change))
    images = [street(index) for index in range(3)]
    with torch.inference_mode():
        expected = torch.cat([network.probability(_pixels(image)) for image in images])

    answers = [torch_mask(network, image) for image in images]

    label, confidence = (np.stack(one) for one in zip(*answers, strict=True))
    largest, best = (part.numpy() for part in expected.max(dim=1))
    assert len(np.unique(best)) > 2
    assert np.mean(label != best) < 1e-4
    assert np.abs(confidence - 255.0 * largest).max() < 0.51


def test_blue_comes_first(network):
    image = street(1)
    rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None] / 255.0
    with torch.inference_mode():
        certainty = network.probability(rgb)[0]

    label, confidence = torch_mask(network, image)

    assert (label == certainty.argmax(dim=0).numpy()).all()
    assert np.abs(confidence / 255.0 - certainty.max(dim=0)[0].numpy()).max() < 0.01


@pytest.mark.parametrize('name', ['fp32', 'camera', 'fp16', 'int8'])
def test_tensorrt_has_every_operator_and_type(models, name):
    graph = onnx.load(models / name / 'model.onnx')

    assert {node.op_type for node in graph.graph.node} <= TENSORRT_OPERATORS
    assert [opset.domain for opset in graph.opset_import] == ['']
    assert graph.opset_import[0].version in TENSORRT_OPSETS
    types = tensor_types(graph)
    inputs = {item.name for item in graph.graph.input}
    outputs = {item.name for item in graph.graph.output}
    for node in graph.graph.node:
        # TensorRT has UINT8 at inputs and outputs only, cast to and from floating point.
        for tensor in [*node.input, *node.output]:
            assert types.get(tensor) != TensorProto.UINT8 or tensor in inputs | outputs
        if inputs.intersection(node.input):
            assert node.op_type == 'Cast'
            assert types[node.output[0]] in FLOATING
        if outputs.intersection(node.output):
            assert node.op_type == 'Cast'
            assert types[node.input[0]] in FLOATING
        if node.op_type == 'Resize':
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            assert attributes['mode'] == b'linear'
            assert not attributes.get('antialias')


def test_half_precision_keeps_delicate_parts_in_full(models):
    graph = onnx.load(models / 'fp16/model.onnx')
    types = tensor_types(graph)
    of = collections.defaultdict(set)
    for node in graph.graph.node:
        of[node.op_type].add(types[node.input[0]])

    assert all(of[name] == {TensorProto.FLOAT} for name in DELICATE)
    assert of['Conv'] == of['MatMul'] == {TensorProto.FLOAT16}


def test_the_file_tells_nothing_about_the_machine_it_was_made_on(models):
    data = (models / 'fp32/model.onnx').read_bytes()

    assert b'.py' not in data
    assert b'/home' not in data


def test_shapes_are_fixed(models):
    graph = onnx.load(models / 'camera/model.onnx').graph

    shapes = {
        item.name: [d.dim_value for d in item.type.tensor_type.shape.dim]
        for item in (*graph.input, *graph.output)
    }
    assert shapes == {
        'image': [1, 100, 250, 3],
        'label': [1, 64, 160],
        'confidence': [1, 64, 160],
    }


def test_the_description_says_what_it_is_and_where_from(models, run):
    model = read_model(models / 'camera')

    assert model.input_size == (100, 250)
    assert model.output_size == (64, 160)
    assert [(c.name, c.color) for c in model.classes][2] == ('thing 2', (2, 4, 6))
    assert model.provenance['training']['data'] == 'fingerprint'
    assert model.provenance['run'] == f'{run.name}/student'
    content = json.loads((models / 'camera/model.json').read_text())
    assert content['input']['encoding'] == 'bgr8'


def test_the_command_gives_the_same_bytes_each_time(run, models, tmp_path):
    arguments = ['export', run, '-o', tmp_path / 'model', '--json']

    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])

    report = json.loads(result.stdout)
    assert report['sha256'] == read_model(models / 'fp32').sha256
    assert report['input'] == report['output'] == [HEIGHT, WIDTH]
    assert report['bytes'] == (tmp_path / 'model/model.onnx').stat().st_size


def test_the_engine_command_without_a_model_is_one_line(tmp_path):
    result = CliRunner().invoke(cli.app, ['build-engine', str(tmp_path)])

    assert result.exit_code == 1
    assert 'not an exported model' in result.stderr


@pytest.mark.parametrize('size', [(HEIGHT * 3, WIDTH * 3), (150, 200), (HEIGHT, WIDTH * 2)])
def test_shrinking_averages_as_training_did(size):
    image = cv2.GaussianBlur(street(3, *size), (0, 0), 1.5)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()

    resized = average_resize(pixels, HEIGHT, WIDTH)[0].permute(1, 2, 0).numpy()

    difference = np.abs(resized - resize_image(image, HEIGHT, WIDTH))
    assert np.percentile(difference, 95) < 4.0


def test_segment_and_evaluate_take_a_model_folder(network, models, tmp_path):
    for index in range(2):
        image = street(index)
        (tmp_path / 'in').mkdir(exist_ok=True)
        (tmp_path / 'truth').mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / f'in/{index}.png'), image)
        cv2.imwrite(str(tmp_path / f'truth/{index}.png'), torch_mask(network, image)[0])

    segment(models / 'fp32', [tmp_path / 'in'], tmp_path / 'out')
    scores = evaluate(models / 'fp32', tmp_path / 'in', tmp_path / 'truth')

    assert cv2.imread(str(tmp_path / 'out/label/0.png'), -1).shape == (HEIGHT, WIDTH)
    assert scores['k'] == CLASSES
    assert scores['strict']['accuracy'] > 95.0
    with pytest.raises(ModelError, match='omit --zoom'):
        load_predictor(models / 'fp32', zoom=2)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'precision': 'int4'}, "precision 'int4'; choose from fp32, fp16, int8, auto"),
        ({'precision': 'int8'}, 'has no images; give --calibrate IMAGES'),
        ({'precision': 'int8', 'calibrate': Path('/no/images')}, '/no/images does not exist'),
        ({'height': 100}, 'give height and width'),
        ({'height': -1, 'width': -1}, 'is invalid'),
        ({'height': 100, 'width': 16385}, 'at most 16384 a side'),
    ],
)
def test_wrong_options_are_one_line(run, tmp_path, arguments, message):
    with pytest.raises((ImageError, ModelError), match=message):
        export(run, tmp_path / 'model', **arguments)
    with pytest.raises(ModelError, match='not a trained model'):
        export(tmp_path, tmp_path / 'model')


def tensor_types(model):
    """Return the element type of every tensor of a graph."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [*graph.input, *graph.output, *graph.value_info]
    types = {item.name: item.type.tensor_type.elem_type for item in values}
    return types | {item.name: item.data_type for item in graph.initializer}
