"""Recordings for Rerun: their content, by Rerun's own reader, and their display in its viewer."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from drive_segment_ros import cli
from drive_segment_ros.perception.colours import UNKNOWN_COLOUR

REPOSITORY = Path(__file__).resolve().parents[3]
FRONT = '/world/vehicle/camera/front/image'
START_NS = 1_000_000_000_000


def viewed(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(cli.app, ['view', *map(str, arguments), '--json'])
    assert result.exit_code == code, result.stderr
    return json.loads(result.stdout) if code == 0 else result.stderr


def rerun_chunk() -> Any:
    """Return Rerun's module that reads recordings; skip the test where it is missing."""
    return pytest.importorskip('rerun.chunk', reason="pip install '.[view]'")


def chunks_of(file: Path) -> list[Any]:
    return list(rerun_chunk().RrdReader(file).stream())


def entities(file: Path) -> dict[str, set[int | None]]:
    """Return the stamps of each entity; None stands for static data."""
    found: dict[str, set[int | None]] = {}
    for chunk in chunks_of(file):
        stamps = found.setdefault(chunk.entity_path, set())
        if chunk.is_static:
            stamps.add(None)
            continue
        assert chunk.timeline_names == ['stamp']
        stamps.update(chunk.to_record_batch().column('stamp').cast('int64').to_pylist())
    return found


def test_a_bag_is_seen_as_it_is_extracted(make_bag, model_folder, tmp_path):
    pytest.importorskip('rerun', reason="pip install '.[view]'")
    file = tmp_path / 'drive.rrd'
    bag = make_bag(count=5, cut=('/camera/front/image_raw/compressed', 2), kept=60)

    report = viewed(bag, '--model', model_folder, '--save', file)

    assert report['layers'] == {'front': ['mask', 'confidence', 'segment']}
    found = entities(file)
    images = [START_NS + k * 100_000_000 for k in (0, 1, 3, 4)]
    sweeps = [stamp + 50_000_000 for stamp in images]
    for layer in ('mask', 'confidence', 'segment'):
        assert found[f'{FRONT}/{layer}'] - {None} == set(images)
    # The camera model is static, the image is not.
    assert found[FRONT] == {None, *images}
    for cloud in ('points', 'painted/front'):
        assert found[f'/world/vehicle/lidar/{cloud}'] == set(sweeps)
    assert found['/world/vehicle'] >= {*images, *sweeps}
    assert found['/sync/offset_ms/front'] >= set(images)
    assert {'/world/path', '/legend'} <= found.keys()
    # The recording contains a layout (blueprint).
    assert len(rerun_chunk().RrdReader(file).blueprints()) == 1


def test_a_run_is_seen_by_the_images_it_keeps(run_folder, tmp_path):
    pytest.importorskip('rerun', reason="pip install '.[view]'")
    report = viewed(run_folder, '--save', tmp_path / 'run.rrd')
    layers = ['mask', 'confidence']
    assert report['layers'] == {'teacher': layers, 'student': layers}
    moving = [chunk for chunk in chunks_of(tmp_path / 'run.rrd') if not chunk.is_static]
    assert {tuple(chunk.timeline_names) for chunk in moving} == {('image',)}


def test_what_was_dropped_is_counted_by_reason(make_bag, tmp_path):
    pytest.importorskip('rerun', reason="pip install '.[view]'")
    file = tmp_path / 'drive.rrd'
    far = 30_000_000_000
    bag = make_bag(count=4, stamp=lambda ns: ns + far * (ns == START_NS + 100_000_000))
    viewed(bag, '--save', file)
    counted = {name for name in entities(file) if name.startswith('/sync/dropped/front/')}
    assert counted == {'/sync/dropped/front/no_sweep'}


def test_a_dataset_has_segments_pseudo_labels_and_poses(make_bag, model_folder, tmp_path):
    pytest.importorskip('rerun', reason="pip install '.[view]'")
    bag, dataset = make_bag(count=3), tmp_path / 'set'
    done = CliRunner().invoke(cli.app, ['extract', str(bag), '-o', str(dataset), '--workers', '1'])
    assert done.exit_code == 0, done.stderr
    frames = [json.loads(line) for line in next(dataset.rglob('frames.jsonl')).open()]
    (dataset / 'drive/front/pseudo_label').mkdir()
    for frame in frames:
        label = np.full((60, 80), 255, np.uint8)
        label[20:] = 1
        file = dataset / f'drive/front/pseudo_label/{frame["stamp_ns"]}.png'
        cv2.imwrite(str(file), label)
    stamps = {frame['stamp_ns'] for frame in frames}

    report = viewed(dataset, '--save', tmp_path / 'set.rrd', '--frames', '1:')
    assert report['layers'] == {'front': ['pseudo_label', 'segment']}
    found = entities(tmp_path / 'set.rrd')
    assert found[f'{FRONT}/pseudo_label'] == {None, *stamps} - {min(stamps)}
    assert found['/world/vehicle'] <= stamps
    assert not any(name.startswith('/world/vehicle/lidar/') for name in found)

    # With the bag there are also point clouds, coloured by pseudo-label.
    report = viewed(dataset, '--bag', bag, '--save', tmp_path / 'both.rrd')
    assert report['layers'] == {'front': ['pseudo_label', 'segment']}
    assert report['clouds'] == ['world/vehicle/lidar/points', 'world/vehicle/lidar/painted/front']


def test_a_class_has_the_colour_of_its_legend(make_bag, model_folder, tmp_path):
    pytest.importorskip('rerun', reason="pip install '.[view]'")
    file = tmp_path / 'drive.rrd'
    viewed(make_bag(count=2), '--model', model_folder, '--save', file)
    (context,) = (
        chunk.to_record_batch().to_pydict()
        for chunk in chunks_of(file)
        if chunk.entity_path == f'{FRONT}/mask' and chunk.is_static
    )
    (described,) = (value for name, value in context.items() if 'context' in name.lower())
    colours = {
        item['class_id']: item['class_description']['info']['color'] >> 8
        for item in described[0][0]
    }
    grey = int.from_bytes(bytes(UNKNOWN_COLOUR), 'big')
    assert colours == {0: 0x0000FF, 1: 0x00FF00, 2: 0xFF0000, 255: grey}


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['nowhere', '--save', 'x.rrd'], 'nowhere does not exist; give a dataset, a bag or a run'),
        (['drive', '--save', 'x.mp4'], 'must end in .rrd'),
        (['drive', '--save', 'x.rrd', '--web'], 'either --save or --web'),
        (['model', '--save', 'x.rrd'], 'has no images'),
        (['drive', '--save', 'there.rrd'], 'is not overwritten'),
        (['drive', '--save', 'empty.rrd'], 'cannot write empty.rrd'),
        (['drive', '--save', 'x.rrd', '--frames', '0:1'], '--frames has no effect on a bag'),
        (['drive', '--save', 'x.rrd', '--drive', 'a'], '--drive has no effect on a bag'),
        (['model', '--save', 'x.rrd', '--camera', 'a'], '--camera has no effect on a run'),
        (['model', 'drive', '--join', '--save', 'x.rrd'], 'drive cannot be joined to model'),
    ],
)
def test_mistakes_are_one_line(make_bag, model_folder, tmp_path, monkeypatch, arguments, words):
    pytest.importorskip('rerun', reason="pip install '.[view]'")
    make_bag(count=1)
    (tmp_path / 'there.rrd').write_text('mine')
    (tmp_path / 'empty.rrd').mkdir()
    monkeypatch.chdir(tmp_path)
    told = viewed(*arguments, code=1)
    assert words in told
    assert told.count('\n') == 1
    assert (tmp_path / 'there.rrd').read_text() == 'mine'


def test_a_drive_without_its_parameters_is_not_shown_with_a_bag(make_bag, paint_drive, tmp_path):
    pytest.importorskip('rerun', reason="pip install '.[view]'")
    dataset = paint_drive(tmp_path / 'set', 1).dataset
    told = viewed(dataset, '--bag', make_bag(count=1), '--save', tmp_path / 'x.rrd', code=1)
    assert 'drive.json has no parameters' in told
    assert told.count('\n') == 1


def test_a_recording_that_cannot_be_completed_leaves_the_earlier_one(make_bag, tmp_path):
    pytest.importorskip('rerun', reason="pip install '.[view]'")
    file, bag = tmp_path / 'drive.rrd', make_bag(count=5)
    file.write_text('earlier')
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        told = viewed(bag, '--save', file, '--overwrite', code=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f'cannot write {file}' in told
    assert file.read_text() == 'earlier'
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ''] == ['drive.rrd']


def test_without_a_display_it_says_what_to_do(make_bag, monkeypatch):
    pytest.importorskip('rerun', reason="pip install '.[view]'")
    monkeypatch.setattr(sys, 'platform', 'linux')
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    told = viewed(make_bag(count=1), code=1)
    assert 'no display on this machine; show it in a browser with --web' in told
    assert told.count('\n') == 1


def test_without_rerun_it_says_what_to_install(make_bag, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'rerun', None)
    told = viewed(make_bag(count=1), '--save', tmp_path / 'x.rrd', code=1)
    assert "needs Rerun; pip install '.[view]'" in told
    assert not (tmp_path / 'x.rrd').exists()


@pytest.fixture
def served(make_bag, model_folder, free_port) -> Iterator[str]:
    """The address of the web viewer, which shows a small drive."""
    pytest.importorskip('rerun', reason="pip install '.[view]'")
    arguments = [
        'view',
        make_bag(count=3),
        '--model',
        model_folder,
        '--web',
        '--port',
        free_port(),
    ]
    process = subprocess.Popen(
        [sys.executable, '-m', 'drive_segment_ros.cli', *map(str, arguments), '--json'],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(REPOSITORY), *sys.path])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())['address']
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130
    finally:
        process.kill()
        process.communicate()


# BGR of the model's red and blue classes, blended over the object and its surroundings.
OVER = [(18, 27, 221), (230, 72, 54)]


def test_the_viewer_in_a_browser_shows_it_and_asks_nobody_else(browser, served):
    page = browser.new_page(viewport={'width': 1000, 'height': 640})
    page.set_default_timeout(300_000.0)  # rendering is slow without a GPU
    asked, refused = [], []
    page.on('request', lambda request: asked.append(request.url))
    page.on(
        'requestfailed',
        lambda request: refused.append(request.url) if request.failure == 'csp' else None,
    )
    page.goto(served)
    deadline = time.monotonic() + 300.0
    seen: list[bool] = []
    while not (seen and all(seen)) and time.monotonic() < deadline:
        page.wait_for_timeout(2000)
        picture = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
        seen = [(np.abs(picture - np.array(c)).max(axis=2) < 30).sum() > 300 for c in OVER]
    page.close()
    assert seen == [True, True]
    others = [url for url in asked if not url.startswith(('http://127.0.0.1', 'data:', 'blob:'))]
    assert set(others) <= set(refused)
