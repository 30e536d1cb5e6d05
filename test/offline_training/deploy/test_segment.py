import itertools
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from drive_segment_ros.errors import ImageError, ModelError, OutputError
from drive_segment_ros.perception.resizing import resize_image
from offline_training.common.classes import ClassName, default_classes, palette, save_classes
from offline_training.common.engine import open_engine
from offline_training.common.files import write_png
from offline_training.deploy.segment import segment
from offline_training.evaluation.baseline import BaselineParameters, make_baseline
from offline_training.evaluation.evaluate import evaluate
from offline_training.evaluation.image_sources import (
    image_parts,
    named_apart,
    names_of,
    read_image,
    unique,
)
from offline_training.evaluation.network_prediction import NetworkPredictor, window_starts
from offline_training.evaluation.predictors import load_predictor
from offline_training.networks.segmenter import NetworkConfiguration, Segmenter
from offline_training.training.checkpoints import save_model


def images_in(source, skipped):
    """Yield the names and images of all parts of a source."""
    with open_engine(1) as engine:
        for part in named_apart(image_parts(source), engine):
            yield from part.images(skipped, lambda name: True)


CONFIGURATION = NetworkConfiguration(3, 32, 48, 32, depth=1, heads=2)


@pytest.fixture
def run(tmp_path):
    torch.manual_seed(0)
    save_model(tmp_path / 'run/student/model.safetensors', Segmenter(CONFIGURATION), {})
    return tmp_path / 'run'


def write_image(path, height=40, width=60, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)
    cv2.imwrite(str(path), cv2.blur(image, (9, 9)))


def test_a_folder_of_mixed_sizes_dotted_names_and_a_broken_file(run, tmp_path):
    write_image(tmp_path / 'in/a.b.c.png', 40, 60)
    write_image(tmp_path / 'in/deep/d.jpg', 33, 47)
    write_image(tmp_path / 'in/same.jpg')
    write_image(tmp_path / 'in/same.png')
    (tmp_path / 'in/broken.png').write_text('no image')
    cv2.imwrite(str(tmp_path / 'in/grey16.png'), np.full((20, 30), 30000, np.uint16))

    report = segment(run, [tmp_path / 'in'], tmp_path / 'out')

    assert report['images'] == 5
    assert len(report['skipped']) == 1
    assert 'broken.png' in report['skipped'][0]
    for kind in ('label', 'color', 'overlay', 'confidence'):
        written = {
            str(p.relative_to(tmp_path / 'out' / kind))
            for p in (tmp_path / 'out' / kind).rglob('*.png')
        }
        assert written == {'a.b.c.png', 'deep/d.png', 'same.jpg.png', 'same.png.png', 'grey16.png'}
    label = cv2.imread(str(tmp_path / 'out/label/deep/d.png'), cv2.IMREAD_UNCHANGED)
    color = cv2.imread(str(tmp_path / 'out/color/deep/d.png'))
    assert label.shape == (33, 47)
    assert label.dtype == np.uint8
    assert (color[..., ::-1] == palette(default_classes(3))[label]).all()
    overlay = cv2.imread(str(tmp_path / 'out/overlay/deep/d.png'))
    below = {tuple(bgr) for bgr in overlay[33:].reshape(-1, 3).tolist()}
    assert overlay.shape[1] == 47
    assert {tuple(bgr) for bgr in color.reshape(-1, 3).tolist()} <= below


def test_a_stage_is_known_by_its_names_wherever_one_stands(run, tmp_path, monkeypatch):
    save_classes(run / 'classes.yaml', [ClassName(name, (1, 2, 3)) for name in ('a', 'b', 'c')])
    (tmp_path / 'latest').symlink_to(run / 'student')
    monkeypatch.chdir(run / 'student')

    for path in ('.', 'model.safetensors', tmp_path / 'latest'):
        assert [item.name for item in load_predictor(Path(path)).classes] == ['a', 'b', 'c']


def test_a_video_and_several_inputs(run, tmp_path):
    writer = cv2.VideoWriter(
        str(tmp_path / 'drive.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48)
    )
    for value in (50, 100, 150):
        writer.write(np.full((48, 64, 3), value, np.uint8))
    writer.release()
    write_image(tmp_path / 'one.png')

    report = segment(run, [tmp_path / 'drive.avi', tmp_path / 'one.png'], tmp_path / 'out')

    assert report['images'] == 4
    assert (tmp_path / 'out/label/drive.avi/drive/000002.png').exists()
    assert (tmp_path / 'out/label/one.png/one.png').exists()


def test_inputs_of_one_name_do_not_overwrite_each_other(run, tmp_path):
    folders = [tmp_path / name / 'image' for name in 'ab']
    for folder in folders:
        folder.mkdir(parents=True)
        write_image(folder / '0.png')

    segment(run, folders, tmp_path / 'out')

    assert sorted(p.parent.name for p in (tmp_path / 'out/label').rglob('*.png')) == [
        'image',
        'image_1',
    ]


def write_bag(path, *topics, bag_stamps=(10, 20)):
    types, kind = get_typestore(Stores.ROS2_JAZZY), 'sensor_msgs/msg/CompressedImage'
    header = types.types['std_msgs/msg/Header'](
        types.types['builtin_interfaces/msg/Time'](sec=0, nanosec=7), 'camera'
    )
    data = cv2.imencode('.png', np.zeros((8, 12, 3), np.uint8))[1].reshape(-1)
    image = types.serialize_cdr(types.types[kind](header, 'png', data), kind)
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for name in topics:
            topic = writer.add_connection(name, kind, typestore=types)
            for stamp_ns in bag_stamps:
                writer.write(topic, stamp_ns, image)
    return path


def test_a_bag_that_was_not_finished_is_one_and_stamps_may_repeat(tmp_path):
    write_bag(tmp_path / 'bag', '/camera/front/image_raw/compressed', bag_stamps=(10, 20, 30))
    (tmp_path / 'bag/metadata.yaml').unlink()

    names = [name for name, _ in images_in(tmp_path / 'bag', [])]

    topic = 'camera/front/image_raw/compressed'
    assert names == [f'{topic}/7', f'{topic}/7_1', f'{topic}/7_2']


def test_a_bag(run, tmp_path, real_bag):
    skipped = []
    images = images_in(real_bag, skipped)

    name, image = next(images)

    assert name == 'camera/front/image_raw/compressed/1557539956450180054'
    assert image.shape == (1080, 1920, 3)
    assert skipped == []


def test_bags_joined_have_one_folder(run, tmp_path):
    write_image(tmp_path / 'one.png')
    front = write_bag(tmp_path / 'front', '/front/image')
    sides = write_bag(tmp_path / 'sides', '/left/image', '/right/image')

    report = segment(run, [tmp_path / 'one.png', front, sides], tmp_path / 'out', join=True)

    assert report['images'] == 7
    pictures = [path for path in (tmp_path / 'out/label').rglob('*.png') if path.is_file()]
    files = {str(path.relative_to(tmp_path)) for path in pictures}
    assert files == {
        'out/label/one.png/one.png',
        *(
            f'out/label/front/{c}/image/7{n}.png'
            for c in ('front', 'left', 'right')
            for n in ('', '_1')
        ),
    }


def test_nothing_readable_is_an_error(run, tmp_path):
    (tmp_path / 'broken.png').write_text('no image')

    with pytest.raises(ImageError, match=r'broken\.png'):
        segment(run, [tmp_path / 'broken.png'], tmp_path / 'out')
    write_image(tmp_path / 'good.png')
    with pytest.raises(ImageError, match='missing does not exist'):
        segment(run, [tmp_path / 'good.png', tmp_path / 'missing'], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_one_unfit_input_does_not_stop_the_others(run, tmp_path):
    (tmp_path / 'broken.avi').write_text('not a readable video')
    (tmp_path / 'empty').mkdir()
    write_image(tmp_path / 'good.png')

    inputs = [tmp_path / name for name in ('broken.avi', 'empty', 'good.png')]
    report = segment(run, inputs, tmp_path / 'out')

    assert report['images'] == 1
    assert report['skipped'] == []
    assert list(report['failed']) == [str(tmp_path / name) for name in ('broken.avi', 'empty')]
    assert 'empty has no image' in report['failed'][str(tmp_path / 'empty')]


def test_pictures_written_before_are_no_input(run, tmp_path):
    write_image(tmp_path / 'in/a.png')

    reports = [segment(run, [tmp_path / 'in'], tmp_path / 'in') for _ in range(2)]

    assert [report['images'] for report in reports] == [1, 1]


def test_a_video_that_is_cut_off_is_told(tmp_path):
    path = tmp_path / 'drive.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48))
    noise = np.random.default_rng(0)
    for _ in range(20):
        writer.write(noise.integers(0, 255, (48, 64, 3)).astype(np.uint8))
    writer.release()
    skipped = []
    assert len(list(images_in(path, skipped))) == 20
    assert skipped == []
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    seen = len(list(images_in(path, skipped)))

    assert 0 < seen < 19
    assert skipped == [f'{path} ends after {seen} of 20 frames']


def test_links_to_folders_are_followed_and_circles_end(tmp_path):
    write_image(tmp_path / 'elsewhere/a.png')
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in/linked').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'elsewhere/back').symlink_to(tmp_path / 'in')

    assert [name for name, _ in images_in(tmp_path / 'in', [])] == ['linked/a']


def test_a_header_that_promises_too_much_is_an_unreadable_image(tmp_path):
    path = tmp_path / 'huge.png'
    cv2.imwrite(str(path), np.zeros((4, 4), np.uint8))
    data = bytearray(path.read_bytes())
    data[16:24] = (60000).to_bytes(4, 'big') * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, 'big')
    path.write_bytes(data)

    with pytest.raises(ImageError, match=r'huge\.png has 60000 x 60000 px'):
        read_image(path)


def test_a_run_whose_names_do_not_fit_is_refused(run):
    save_classes(run / 'classes.yaml', default_classes(2))

    with pytest.raises(ModelError, match='names 2 classes; the network has 3'):
        load_predictor(run)


def test_names_keep_their_dots_and_stay_apart(tmp_path):
    names = ('a.b.png', 'c.png', 'c.jpg', 'd/c.png', 'c.jpg.png')
    files = [tmp_path / name for name in names]

    assert names_of(files, tmp_path) == ['a.b', 'c.png', 'c.jpg', 'd/c', 'c.jpg_1']
    assert unique(['x', 'x', 'x_1', 'x']) == ['x', 'x_1', 'x_1_1', 'x_2']


@pytest.mark.parametrize(('length', 'window'), [(32, 32), (64, 32), (70, 32), (96, 32)])
def test_windows_cover_everything_and_overlap_by_half_at_least(length, window):
    starts = window_starts(length, window)

    assert starts[0] == 0
    assert starts[-1] + window == length
    assert all(b - a <= window / 2 for a, b in itertools.pairwise(starts))


def test_zoom_one_is_the_network_itself_and_zoom_two_sees_more(run):
    predictor = load_predictor(run)
    image = np.random.default_rng(0).integers(0, 255, (32, 48, 3)).astype(np.uint8)
    network = Segmenter(CONFIGURATION).eval()
    close = NetworkPredictor(network, default_classes(3), zoom=2)

    prediction = NetworkPredictor(network, default_classes(3)).predict(image)

    rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None] / 255.0
    with torch.no_grad():
        certainty = network.probability(rgb)[0]
    assert (prediction.label == certainty.argmax(dim=0).numpy()).all()
    assert np.abs(prediction.confidence / 255.0 - certainty.max(dim=0)[0].numpy()).max() < 0.01
    assert close.predict(image).label.shape == (64, 96)
    assert predictor.predict(image).label.shape == (32, 48)


@pytest.mark.parametrize(
    ('size', 'expected'), [((20, 80), (32, 128)), ((80, 80), (48, 48)), ((2, 100), (32, 48))]
)
def test_an_image_of_another_aspect_ratio_is_not_distorted(size, expected):
    network = Segmenter(CONFIGURATION).eval()
    image = np.random.default_rng(0).integers(0, 255, (*size, 3)).astype(np.uint8)
    seen = resize_image(image, *expected)

    label = NetworkPredictor(network, default_classes(3)).predict(image).label

    rgb = torch.from_numpy(seen[..., ::-1].copy()).permute(2, 0, 1)[None] / 255.0
    with torch.no_grad():
        assert (label == network.probability(rgb)[0].argmax(dim=0).numpy()).all()
    assert NetworkPredictor(network, default_classes(3), zoom=2).predict(
        image
    ).label.shape == tuple(2 * side for side in expected)


def test_threads_are_those_asked_for_while_an_image_is_looked_at_and_no_longer(monkeypatch):
    network = Segmenter(CONFIGURATION).eval()
    used = []
    looks = network.probability
    monkeypatch.setattr(
        network, 'probability', lambda x: used.append(torch.get_num_threads()) or looks(x)
    )
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for threads in (1, 0):
            predictor = NetworkPredictor(network, default_classes(3), threads=threads)
            predictor.predict(np.zeros((32, 48, 3), np.uint8))
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert used == [1, 2]


def test_the_baseline_is_a_model_like_any_other(painted_drive, tmp_path):
    truth = tmp_path / 'truth'
    truth.mkdir()
    for stamp, answer in painted_drive.truth.items():
        cv2.imwrite(str(truth / f'{stamp}.png'), answer)
    make_baseline(
        [painted_drive.dataset], tmp_path / 'baseline', BaselineParameters(classes=6, width=112)
    )

    scores = evaluate(tmp_path / 'baseline', painted_drive.dataset / 'painted/front/image', truth)

    assert scores['k'] == 6
    assert scores['many_to_one']['accuracy'] > 80.0


def test_what_was_interrupted_goes_on_with_the_images_that_are_left(run, tmp_path, monkeypatch):
    for number in range(3):
        write_image(tmp_path / f'in/{number}.png', seed=number)
    whole = tmp_path / 'whole'
    segment(run, [tmp_path / 'in'], whole)
    out = tmp_path / 'out'

    def stop(path, image):
        # While the outputs of the second image are written.
        if path == out / 'color/1.png':
            raise KeyboardInterrupt
        write_png(path, image)

    monkeypatch.setattr('offline_training.deploy.segment_job.write_png', stop)
    with pytest.raises(KeyboardInterrupt):
        segment(run, [tmp_path / 'in'], out)
    monkeypatch.undo()
    (first, *_) = sorted((out / 'overlay').iterdir())
    written_ns = first.stat().st_mtime_ns

    report = segment(run, [tmp_path / 'in'], out, resume=True)

    assert (report['images'], report['kept']) == (2, 1)
    assert first.stat().st_mtime_ns == written_ns
    files = sorted(path.relative_to(whole) for path in whole.rglob('*') if path.is_file())
    assert files == sorted(p.relative_to(out) for p in out.rglob('*') if p.is_file())
    assert all((whole / file).read_bytes() == (out / file).read_bytes() for file in files)
    again = segment(run, [tmp_path / 'in'], out, resume=True)
    assert (again['images'], again['kept']) == (0, 3)


def test_pictures_of_other_inputs_are_not_gone_on_with(run, tmp_path):
    for folder in ('a', 'b', 'c'):
        write_image(tmp_path / folder / '0.png', seed=ord(folder))
    a, b, c = (tmp_path / folder for folder in ('a', 'b', 'c'))
    segment(run, [a], tmp_path / 'one')
    with pytest.raises(OutputError, match=r'one has pictures of another model, zoom or input'):
        segment(run, [b], tmp_path / 'one', resume=True)
    segment(run, [a, b], tmp_path / 'several')
    report = segment(run, [a, b, c], tmp_path / 'several', resume=True)
    assert (report['images'], report['kept']) == (1, 2)
    assert segment(run, [b], tmp_path / 'several', resume=True)['images'] == 1
    report = segment(run, [a, b, c], tmp_path / 'several', resume=True)
    assert (report['images'], report['kept']) == (0, 3)


def test_pictures_of_another_model_or_zoom_are_not_gone_on_with(run, tmp_path):
    write_image(tmp_path / 'in.png')
    out = tmp_path / 'out'
    segment(run, [tmp_path / 'in.png'], out, resume=True)  # no output yet: it starts anew
    with pytest.raises(
        OutputError, match=r'out has pictures of another model, zoom or input.*--overwr'
    ):
        segment(run, [tmp_path / 'in.png'], out, zoom=2, resume=True)
    save_classes(run / 'classes.yaml', [ClassName(name, (1, 2, 3)) for name in ('a', 'b', 'c')])
    with pytest.raises(OutputError):
        segment(run, [tmp_path / 'in.png'], out, resume=True)
    segment(run, [tmp_path / 'in.png'], out)
    (out / 'segment.json').unlink()
    with pytest.raises(OutputError):
        segment(run, [tmp_path / 'in.png'], out, resume=True)
