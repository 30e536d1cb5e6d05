"""Extraction in parts: the same bytes however the bag is divided and whichever workers run it."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from clusters import Cluster
from engine_jobs import FATAL_POINTS, FatalParameters
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from drive_segment_ros import cli
from drive_segment_ros.dataset import part_writer
from drive_segment_ros.dataset.own_files import PARTS_FOLDER
from drive_segment_ros.dataset.part_joining import locked
from drive_segment_ros.dataset.parts import read_parts
from drive_segment_ros.dataset.reader import Dataset
from drive_segment_ros.dataset.repair import repair
from drive_segment_ros.errors import BagError, DatasetError
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.storage import filesystem, key, location, write_files
from offline_training.bags import drive_extraction, drive_plan
from offline_training.bags.extract import ExtractOptions, extract
from offline_training.common.engine import Engine
from offline_training.common.workers import EngineError

SECOND = 1_000_000_000
START = 1_000 * SECOND
PERIOD = SECOND // 10


def run(bag: Path | list[Path], dataset: Path, workers: int = 1, **options):
    bags = [bag] if isinstance(bag, Path) else bag
    return extract(bags, dataset, FrameParameters(), ExtractOptions(workers=workers, **options))


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


@pytest.fixture
def divide(monkeypatch):
    """Return a function that sets where bags are divided into parts, as shares of their length."""

    def at(*shares: float) -> None:
        def bounds(plan, parallel):
            whole = plan.end_ns + 1 - plan.start_ns
            inner = sorted({round(share * whole) for share in shares if 0.0 < share < 1.0})
            return [plan.start_ns + length for length in (0, *inner, whole)]

        monkeypatch.setattr(drive_extraction, 'bounds', bounds)

    return at


def clock_set_back(stamp_ns: int) -> int:
    """Set the clock back by 2.75 s after 5 s; later stamps then fall between earlier ones."""
    return stamp_ns - (275 * PERIOD // 10 if stamp_ns >= START + 5 * SECOND else 0)


@pytest.fixture(scope='module')
def troubled(tmp_path_factory, bag_writer):
    """Return a 9 s bag with faulty stamps, and the files and report of extraction as one part."""
    lost = {7, 8, 41, 66}

    def stamp(stamp_ns: int) -> int:
        number = (stamp_ns - START) // PERIOD
        return 0 if number in (12, 13, 58) else clock_set_back(stamp_ns)

    def sweep_stamp(stamp_ns: int) -> int:
        number = (stamp_ns - START) // PERIOD
        return stamp_ns + 40 * SECOND if number in lost else clock_set_back(stamp_ns)

    bag = bag_writer(
        tmp_path_factory.mktemp('troubled') / 'drive',
        count=90,
        cameras=('/left', '/right'),
        stamp=stamp,
        sweep_stamp=sweep_stamp,
    )
    whole = tmp_path_factory.mktemp('whole')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drive_extraction, 'bounds', lambda plan, _: [plan.start_ns, plan.end_ns + 1])
        report = run(bag, whole)
    return bag, files(whole), report


@given(shares=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=5))
@settings(max_examples=8)
def test_any_division_gives_the_same_bytes(shares, troubled, tmp_path_factory):
    bag, whole, one = troubled
    dataset = tmp_path_factory.mktemp('divided')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            drive_extraction,
            'bounds',
            lambda plan, _: [
                plan.start_ns,
                *sorted({plan.start_ns + round(s * 9 * SECOND) for s in shares}),
                plan.end_ns + 1,
            ],
        )
        report = run(bag, dataset)
    assert files(dataset) == whole
    told = ('images', 'sweeps', 'frames', 'dropped', 'segments_from', 'incomplete_sweeps')
    assert {name: getattr(report, name) for name in told} == {
        name: getattr(one, name) for name in told
    }
    assert report.images == 180
    assert report.frames + sum(report.dropped.values()) == report.images


@pytest.mark.parametrize('workers', [2, 4])
def test_any_number_of_workers_gives_the_same_bytes(workers, troubled, tmp_path):
    bag, whole, _ = troubled
    run(bag, tmp_path, workers)
    assert files(tmp_path) == whole


def test_the_default_division_keeps_workers_busy_and_parts_short(troubled):
    bag, _, _ = troubled
    plan = drive_plan.plan_drive(drive_plan.PlanJob((bag,), (), '', '', None, FrameParameters()))
    assert plan.images == 180
    assert [len(drive_plan.bounds(plan, count)) - 1 for count in (1, 2, 4, 16)] == [1, 2, 4, 8]
    end_ns = plan.start_ns + 3600 * SECOND
    span = (plan.start_ns, end_ns)
    long = dataclasses.replace(plan, end_ns=end_ns, last_ns=end_ns, spans=[span])
    for parallel in (1, 16):
        ends = drive_plan.bounds(long, parallel)
        assert (ends[0], ends[-1]) == (long.start_ns, long.end_ns + 1)
        assert (len(ends) - 1) % parallel == 0
        assert 9 * SECOND < min(np.diff(ends)) <= max(np.diff(ends)) <= 10 * SECOND
    whole = dataclasses.replace(long, divisible=False)
    assert drive_plan.bounds(whole, 16) == [whole.start_ns, whole.end_ns + 1]


def test_a_clock_that_is_set_while_recording_makes_no_parts_of_the_gap(make_bag, tmp_path):
    """As on a computer that starts in 1970; one message has an impossible stamp, too."""
    year_ns = 365 * 86_400 * SECOND

    def set_after_a_second(stamp_ns: int) -> int:
        if stamp_ns == START + 2 * SECOND:
            return 2**63 + 7
        return stamp_ns + (50 * year_ns if stamp_ns > START + SECOND else 0)

    run(make_bag('steady', count=40), tmp_path / 'steady_set')
    bag = make_bag('drive', count=40, bag_stamp=set_after_a_second)
    plan = drive_plan.plan_drive(drive_plan.PlanJob((bag,), (), '', '', None, FrameParameters()))
    assert [(last - first) // PERIOD for first, last in plan.spans] == [10, 29]
    assert len(drive_plan.bounds(plan, 1)) <= 4
    report = run(bag, tmp_path / 'dataset', workers=2)
    assert report.frames == 39
    assert any('impossible bag stamps' in line for line in report.damage)
    (before,) = Dataset(tmp_path / 'steady_set').drives
    (after,) = Dataset(tmp_path / 'dataset').drives
    (lost,) = {frame.stamp_ns for frame in before.frames} - {f.stamp_ns for f in after.frames}
    assert lost == START + 2 * SECOND


def test_frames_written_twice_are_those_of_the_first_part(make_bag, tmp_path, divide):
    """If a drive was recorded twice into one bag, the second pass is dropped as duplicates."""

    def picture(message, pixels: np.ndarray) -> None:
        nonlocal number
        number += 1
        message.format = 'png'
        pixels[:] = number
        message.data = cv2.imencode('.png', pixels)[1].reshape(-1)

    def looped(stamp_ns: int) -> int:
        return START + (stamp_ns - START) % (3 * SECOND)

    number = 0
    bag = make_bag(count=60, image=picture, stamp=looped, sweep_stamp=looped)
    divide()
    one = run(bag, tmp_path / 'one')
    divide(0.3, 0.55, 0.8)
    other = run(bag, tmp_path / 'other')
    assert files(tmp_path / 'one') == files(tmp_path / 'other')
    assert one.dropped == other.dropped
    assert one.dropped['duplicate'] > 20
    images = [frame.image()[0, 0, 0] for frame in Dataset(tmp_path / 'other').drives[0].frames]
    assert max(images) <= 31


def test_what_a_killed_client_left_is_no_drive_until_it_is_resumed(make_bag, tmp_path):
    bag = make_bag(count=240)
    run(bag, tmp_path / 'whole')
    dataset = tmp_path / 'dataset'
    command = ['extract', str(bag), '-o', str(dataset), '--workers', '1']
    with subprocess.Popen([sys.executable, '-m', 'drive_segment_ros.cli', *command]) as process:
        until = time.monotonic() + 120.0
        while time.monotonic() < until and not any(dataset.glob('drive/parts/[0-9]*.json')):
            time.sleep(0.01)
        process.kill()
    assert not (dataset / 'drive/drive.json').exists()
    # As if it had been killed while writing these.
    for name in ('parts/.1700000000.json', 'parts/.plan.json', '.drive.json'):
        (dataset / f'drive/{name}.x7_k2m1q').write_text('{')
    with pytest.raises(DatasetError, match='exists and is not overwritten'):
        run(bag, dataset)
    repaired = tmp_path / 'repaired'
    subprocess.run(['cp', '-r', str(dataset), str(repaired)], check=True)
    assert run(bag, dataset, resume=True).frames < 240
    assert files(dataset) == files(tmp_path / 'whole')
    # Instead of resuming, `repair` makes a drive of the complete parts.
    report = repair(repaired)
    assert report.problems == []
    assert 0 < report.frames < 240
    (drive,) = Dataset(repaired).drives
    assert len(drive.frames) == report.frames
    assert not (repaired / 'drive' / PARTS_FOLDER).exists()
    run(bag, repaired, resume=True)
    assert files(repaired) == files(tmp_path / 'whole')


def test_a_part_that_is_half_written_is_written_again(make_bag, tmp_path, divide):
    bag = make_bag(count=60)
    divide(0.4, 0.7)
    run(bag, tmp_path / 'whole')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drive_extraction, 'remove_manifests', lambda drive: None)
        run(bag, tmp_path / 'dataset')
    drive = tmp_path / 'dataset/drive'
    first, second, *_ = sorted((drive / PARTS_FOLDER).glob('[0-9]*.json'))
    stamps = [record['stamp_ns'] for record in read_parts(drive)[1].frames['front']]
    second.unlink()
    (drive / f'front/image/{stamps[3]}.jpg').write_bytes(b'half')
    (drive / f'front/segment/{stamps[4]}.png').unlink()
    (drive / 'drive.json').unlink()
    (drive / 'front/frames.jsonl').unlink()
    assert first.exists()
    assert run(bag, tmp_path / 'dataset', resume=True).frames == len(stamps)
    assert files(tmp_path / 'dataset') == files(tmp_path / 'whole')


def test_other_parameters_are_not_mixed_with_what_is_there(make_bag, tmp_path):
    bag = make_bag()
    run(bag, tmp_path / 'dataset')
    before = files(tmp_path / 'dataset')
    arguments = ['extract', str(bag), '-o', str(tmp_path / 'dataset'), '--workers', '1']
    answer = CliRunner().invoke(cli.app, [*arguments, '--resume', '--set', 'densify.purity=0.6'])
    assert answer.exit_code == 1
    assert 'was written with other parameters; resume it with those' in answer.stderr
    assert files(tmp_path / 'dataset') == before


def test_cameras_may_come_later(make_bag, tmp_path):
    bag = make_bag(cameras=('/left', '/right'), count=30)
    run(bag, tmp_path / 'both')
    run(bag, tmp_path / 'dataset', cameras=['left'])
    assert run(bag, tmp_path / 'dataset', cameras=['right'], resume=True).frames == 30
    assert files(tmp_path / 'dataset') == files(tmp_path / 'both')


def test_two_at_once_do_not_write_one_drive(make_bag, tmp_path):
    bag = make_bag()
    begun = tmp_path / 'dataset/drive'
    with locked(begun), pytest.raises(DatasetError, match='another process is writing this'):
        run(bag, tmp_path / 'dataset', resume=True)
    assert run(bag, tmp_path / 'dataset', resume=True).frames == 4


def test_a_dataset_may_be_a_url(make_bag, tmp_path):
    bag = make_bag(count=40)
    run(bag, tmp_path / 'local')
    remote = location('memory://extracted/dataset')
    assert run(bag, remote).frames == 40
    written = {
        str(path).partition('dataset/')[2]: path.read_bytes()
        for path in remote.rglob('*')
        if path.is_file()
    }
    assert written == files(tmp_path / 'local')
    assert run(bag, remote, resume=True).frames == 0


def test_files_are_on_the_disk_before_the_manifest_says_so(make_bag, tmp_path, monkeypatch):
    synced: set[str] = set()

    def sync(paths) -> None:
        assert not list(tmp_path.glob('dataset/drive/parts/[0-9]*.json'))
        synced.update(str(path.relative_to(tmp_path / 'dataset')) for path in paths)

    monkeypatch.setattr(part_writer, 'sync_files', sync)
    run(make_bag(), tmp_path / 'dataset')
    described = {'drive/drive.json', 'drive/front/frames.jsonl'}
    assert synced == files(tmp_path / 'dataset').keys() - described


def test_a_folder_that_workers_do_not_share_is_told(make_bag, tmp_path, monkeypatch):
    """Extraction fails if the parts that workers report are not visible to the client."""
    monkeypatch.setattr(drive_extraction, '_SEEN_WITHIN_S', 0.0)
    monkeypatch.setattr(drive_extraction, 'read_parts', lambda drive: [])
    with pytest.raises(DatasetError, match='of 1 parts that workers have written 0 are visible'):
        run(make_bag(), tmp_path / 'dataset')


def test_bags_and_dataset_in_object_storage(make_bag, bucket, tmp_path):
    """Workers that read from and write to object storage make the same dataset as local ones."""
    bags = [make_bag(name, count=30) for name in ('one', 'two')]
    run(bags, tmp_path / 'here')
    for bag in bags:
        write_files(bucket / 'bags' / bag.name, files(bag))
    report = run([bucket / 'bags' / bag.name for bag in bags], bucket / 'dataset', 2)
    assert (report.frames, report.failed) == (60, {})
    names = filesystem(bucket).find(key(bucket / 'dataset'))
    written = {name.partition('/dataset/')[2]: name for name in names}
    here = files(tmp_path / 'here')
    assert set(written) == set(here)
    assert all(filesystem(bucket).cat_file(written[name]) == here[name] for name in here)
    assert len(Dataset(bucket / 'dataset').drives) == 2
    with pytest.raises(DatasetError, match='exists and is not overwritten'):
        run(bags[0], bucket / 'dataset')


def test_no_sensor_data_passes_through_the_client(make_bag, tmp_path, monkeypatch):
    sent = []
    real = Engine.run

    def run_and_weigh(engine, function, jobs):
        for outcome in real(engine, function, jobs):
            sent.append(len(pickle.dumps(outcome)))
            yield outcome

    monkeypatch.setattr(Engine, 'run', run_and_weigh)
    bag = make_bag(count=60)
    assert run(bag, tmp_path / 'dataset', 2).frames == 60
    recorded = sum(path.stat().st_size for path in bag.iterdir())
    assert len(sent) == 1 + 2  # a plan and two parts
    assert max(sent) < 20_000 < recorded / 100


# Tests with a Dask cluster.


@pytest.fixture
def cluster(tmp_path):
    pytest.importorskip('distributed')
    (tmp_path / 'cluster').mkdir()
    started = Cluster(tmp_path / 'cluster')
    yield started
    started.close()


def test_a_cluster_writes_what_one_process_writes(cluster, make_bag, tmp_path, monkeypatch):
    bags = [make_bag(name, count=30) for name in ('one', 'two')]
    run(bags, tmp_path / 'here')
    # Workers run in other folders, so relative paths must be made absolute.
    monkeypatch.chdir(tmp_path)
    report = run([Path('one'), Path('two')], Path('there'), scheduler=cluster.address)
    assert report.frames == 60
    assert files(tmp_path / 'there') == files(tmp_path / 'here')


def test_twenty_killed_workers_lose_and_damage_nothing(cluster, make_bag, tmp_path, divide):
    bag = make_bag(count=300)
    divide(*(number / 30 for number in range(1, 30)))
    run(bag, tmp_path / 'here')
    chosen, ended, killed = random.Random(7), threading.Event(), []
    # Kill at a rate relative to the run time: a job whose workers die too often is given up.
    began = time.monotonic()
    run(bag, tmp_path / 'undisturbed', scheduler=cluster.address)
    run_s = time.monotonic() - began

    def kill() -> None:
        while len(killed) < 20 and not ended.wait(chosen.uniform(0.02, 0.2) * run_s):
            # The worker process is a child of its nanny, which restarts it.
            found = subprocess.run(
                ['pgrep', '-P', str(chosen.choice(cluster.workers).pid)],
                capture_output=True,
                check=False,
            )
            for child in found.stdout.split():
                os.kill(int(child), signal.SIGKILL)
                killed.append(int(child))

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        for turn in range(20):
            report = run(bag, tmp_path / f'there{turn}', scheduler=cluster.address)
            assert (report.frames, report.failed) == (300, {})
            assert files(tmp_path / f'there{turn}') == files(tmp_path / 'here')
            if not killer.is_alive():
                break
    finally:
        ended.set()
        killer.join()
    assert len(killed) >= 20


@pytest.mark.parametrize('where', ['here', 'a cluster'])
def test_a_bag_that_ends_every_worker_is_set_aside(where, request, make_bag, tmp_path):
    def few_points(message, number: int) -> None:
        if number == 25:
            message.width = FATAL_POINTS
            message.row_step = FATAL_POINTS * message.point_step
            message.data = message.data[: message.row_step]

    bags = [make_bag('deadly', count=40, sweep=few_points), make_bag('good', count=40)]
    address = request.getfixturevalue('cluster').address if where == 'a cluster' else ''
    options = ExtractOptions(workers=2, scheduler=address)
    report = extract(bags, tmp_path / 'd', FatalParameters(), options)
    assert list(report.failed) == ['deadly']
    assert 'deadly is skipped from 2.0 to 4.0 s: ' in report.failed['deadly']
    deadly, good = Dataset(tmp_path / 'd').drives
    assert (len(deadly.frames), len(good.frames)) == (20, 40)
    # Resuming with parameters that kill no worker completes the drive.
    assert run(bags, tmp_path / 'd', resume=True).failed == {}
    run(bags, tmp_path / 'whole')
    assert files(tmp_path / 'd') == files(tmp_path / 'whole')


def test_a_scheduler_that_is_gone_leaves_what_is_done(cluster, make_bag, tmp_path):
    bag = make_bag(count=240)
    run(bag, tmp_path / 'here')
    dataset = tmp_path / 'there'

    def kill() -> None:
        until = time.monotonic() + 100.0
        while time.monotonic() < until and not any(dataset.glob('drive/parts/[0-9]*.json')):
            time.sleep(0.01)
        cluster.scheduler.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(EngineError, match='no longer answers; finished work is kept'):
        run(bag, dataset, scheduler=cluster.address)
    killer.join()
    for worker in cluster.workers:
        worker.kill()
        worker.wait()
    assert run(bag, dataset, resume=True).frames < 240
    assert files(dataset) == files(tmp_path / 'here')


def test_two_clients_share_a_cluster(cluster, make_bag, tmp_path):
    bags = [make_bag(name, count=30) for name in ('one', 'two')]
    run(bags, tmp_path / 'here')
    reports = {}

    def work(name: str, bag: Path) -> None:
        reports[name] = run(bag, tmp_path / 'there', scheduler=cluster.address)

    threads = [threading.Thread(target=work, args=(bag.name, bag)) for bag in bags]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: report.frames for name, report in reports.items()} == {'one': 30, 'two': 30}
    assert files(tmp_path / 'there') == files(tmp_path / 'here')


def test_json_says_what_could_not_be_done(make_bag, tmp_path):
    good, bad = make_bag('good'), make_bag('bad', transforms=False)
    arguments = ['extract', str(bad), str(good), '-o', str(tmp_path / 'd'), '--json']
    answer = CliRunner().invoke(cli.app, [*arguments, '--workers', '1'])
    assert answer.exit_code == 3
    assert list(json.loads(answer.stdout)['failed']) == ['bad']
    with pytest.raises(BagError):
        run(make_bag('none', cameras=()), tmp_path / 'e')
