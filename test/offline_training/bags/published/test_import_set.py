"""The `import` command: listing, selection, resuming, overwriting, workers and clusters."""

from __future__ import annotations

import json
import shutil

import kitti_layout
import pytest
from typer.testing import CliRunner

from drive_segment_ros import cli
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.ros.bags import BagReader
from drive_segment_ros.storage import location
from offline_training.bags.import_record import read_record
from offline_training.bags.published.import_set import ImportOptions, import_set, list_drives
from offline_training.bags.published.registry import find_set, set_names


def run(*arguments):
    return CliRunner().invoke(cli.app, ['import', *map(str, arguments)])


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Return a SemanticKITTI set with two sequences."""
    folder = tmp_path_factory.mktemp('sets') / 'set'
    kitti_layout.write_semantic(folder, count=3)
    sequences = folder / 'sequences'
    shutil.copytree(sequences / '08', sequences / '09')
    return folder


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def test_several_drives_are_listed_until_some_are_chosen(root, tmp_path):
    result = run('semantic-kitti', root, '-o', tmp_path / 'bags')
    assert result.exit_code == 0
    assert '08: 3 sweeps; cameras image_2; labels: points of 3 sweeps' in result.output
    assert 'choose with --drive NAME (repeatable), or --all' in result.output
    assert not (tmp_path / 'bags').exists()
    listed = json.loads(run('semantic-kitti', root, '-o', tmp_path / 'b', '--json').stdout)
    assert [entry['name'] for entry in listed['available']] == ['08', '09']


def test_all_drives_and_the_same_bytes_by_any_number_of_workers(root, tmp_path):
    for workers in (1, 2):
        output = tmp_path / str(workers)
        result = run('semantic-kitti', root, '-o', output, '--all', '--workers', workers, '--json')
        assert result.exit_code == 0, result.output
        report = json.loads(result.stdout)
        assert [done['name'] for done in report['drives']] == ['08', '09']
        assert sorted(path.name for path in output.iterdir()) == [
            *('08', '08_truth', '09', '09_truth')
        ]
    assert files(tmp_path / '1') == files(tmp_path / '2')


def test_a_cluster_makes_the_same_bytes(root, tmp_path):
    from clusters import Cluster

    (tmp_path / 'cluster').mkdir()
    cluster = Cluster(tmp_path / 'cluster', 1)
    try:
        output = tmp_path / 'there'
        result = run('semantic-kitti', root, '-o', output, '--all', '--scheduler', cluster.address)
        assert result.exit_code == 0, result.output
    finally:
        cluster.close()
    import_set('semantic-kitti', root, tmp_path / 'here', ImportOptions(workers=1))
    assert files(tmp_path / 'there') == files(tmp_path / 'here')


@pytest.mark.parametrize('option', ['--camera', '--cameras'])
def test_frames_and_cameras_are_chosen(root, tmp_path, option):
    result = run(
        *('semantic-kitti', root, '-o', tmp_path, '--scene', '08', '--frames', '1:2'),
        *(option, 'image_2'),
    )
    assert result.exit_code == 0, result.output
    assert 'licence CC BY-NC-SA' in result.output
    with BagReader(tmp_path / '08') as reader:
        counts = {name: topic.count for name, topic in reader.topics.items()}
    assert counts['/lidar/points'] == 1
    assert counts['/camera/image_2/image_raw/compressed'] == 1


@pytest.mark.parametrize(
    ('arguments', 'what'),
    [
        (('--drive', '17'), 'has no drive 17; it has 08, 09'),
        (('--drive', '08', '--camera', 'left'), '08 has no camera left; it has image_2'),
        (('--drive', '08', '--frames', '7:9'), 'frames 7:9 selects none of its 3 sweeps'),
    ],
)
def test_a_choice_that_is_not_there_is_told(root, tmp_path, arguments, what):
    result = run('semantic-kitti', root, '-o', tmp_path / 'bags', *arguments)
    assert result.exit_code == 1
    assert what in ' '.join(result.output.split())
    assert not (tmp_path / 'bags' / '08').exists()


def test_another_folder_and_another_set_are_told(tmp_path):
    with pytest.raises(DatasetError, match='has no files of SemanticKITTI; expected: sequences/'):
        list_drives('semantic-kitti', tmp_path)
    with pytest.raises(DatasetError, match='is not a folder'):
        list_drives('semantic-kitti', tmp_path / 'nowhere')
    with pytest.raises(DatasetError, match=r'choose from .*kitti-raw'):
        find_set('kitti')
    assert {'kitti-raw', 'semantic-kitti', 'pandaset'} <= set(set_names())


def test_a_drive_that_is_there_is_kept_unless_it_is_to_be_replaced(root, tmp_path):
    options = ImportOptions(['08'], workers=1)
    import_set('semantic-kitti', root, tmp_path, options)
    before = (tmp_path / '08' / '08.mcap').stat().st_mtime_ns
    with pytest.raises(DatasetError, match='is not overwritten'):
        import_set('semantic-kitti', root, tmp_path, options)
    report = import_set('semantic-kitti', root, tmp_path, ImportOptions(['08'], resume=True))
    assert (report.present, report.drives) == (['08'], [])
    assert (tmp_path / '08' / '08.mcap').stat().st_mtime_ns == before
    report = import_set('semantic-kitti', root, tmp_path, ImportOptions(['08'], overwrite=True))
    assert len(report.drives) == 1
    assert (tmp_path / '08' / '08.mcap').stat().st_mtime_ns > before


def test_what_was_not_imported_is_never_replaced(root, tmp_path):
    (tmp_path / '08').mkdir()
    (tmp_path / '08' / 'mine.txt').write_text('kept')
    with pytest.raises(DatasetError, match='was not made by import and is not replaced'):
        import_set('semantic-kitti', root, tmp_path, ImportOptions(['08'], overwrite=True))
    assert (tmp_path / '08' / 'mine.txt').read_text() == 'kept'


def test_a_truth_that_was_not_imported_is_never_replaced(root, tmp_path):
    (tmp_path / '08_truth').mkdir()
    (tmp_path / '08_truth' / 'mine.txt').write_text('kept')
    with pytest.raises(DatasetError, match='08_truth was not made by import and is not replaced'):
        import_set('semantic-kitti', root, tmp_path, ImportOptions(['08'], overwrite=True))
    assert (tmp_path / '08_truth' / 'mine.txt').read_text() == 'kept'


def test_an_import_that_was_killed_while_replacing_is_repeated(root, tmp_path, monkeypatch):
    options = ImportOptions(['08'], workers=1, overwrite=True)
    import_set('semantic-kitti', root, tmp_path, options)
    # As if killed: the new truth is in its place, the new bag is not yet.
    (tmp_path / '.importing_08').mkdir()
    (tmp_path / '08').rename(tmp_path / '.importing_08' / '08')
    resumed = ImportOptions(['08'], workers=1, resume=True)
    assert len(import_set('semantic-kitti', root, tmp_path, resumed).drives) == 1
    assert (tmp_path / '08' / '08.mcap').exists()
    assert not (tmp_path / '.importing_08').exists()


def test_a_link_is_not_replaced(root, tmp_path):
    options = ImportOptions(['08'], workers=1, overwrite=True)
    import_set('semantic-kitti', root, tmp_path, options)
    (tmp_path / '08').rename(tmp_path / 'elsewhere')
    (tmp_path / '08').symlink_to(tmp_path / 'elsewhere')
    with pytest.raises(DatasetError, match='08 is not a folder made by import and is not repla'):
        import_set('semantic-kitti', root, tmp_path, options)
    assert (tmp_path / '08_truth').is_dir()
    assert (tmp_path / 'elsewhere' / '08.mcap').exists()


def test_a_drive_is_complete_or_absent(root, tmp_path, monkeypatch):
    from offline_training.bags.published import import_drive

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(import_drive, 'write_record', killed)
    with pytest.raises(KeyboardInterrupt):
        import_set('semantic-kitti', root, tmp_path, ImportOptions(['08'], workers=1))
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    # Leftovers of a killed import do not prevent the next one.
    (tmp_path / '.importing_08' / '08').mkdir(parents=True)
    import_set('semantic-kitti', root, tmp_path, ImportOptions(['08'], workers=1, resume=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['08', '08_truth']


def test_one_drive_that_fails_leaves_the_others(root, tmp_path):
    shutil.copytree(root, tmp_path / 'set')
    (tmp_path / 'set' / 'sequences' / '08' / 'calib.txt').unlink()
    result = run('semantic-kitti', tmp_path / 'set', '-o', tmp_path / 'bags', '--all', '--json')
    assert result.exit_code == 3
    report = json.loads(result.stdout)
    assert list(report['failed']) == ['08']
    assert 'calib.txt' in report['failed']['08']
    assert [done['name'] for done in report['drives']] == ['09']


def test_a_bag_says_whose_data_it_holds_and_extract_is_told_what_follows(root, tmp_path):
    import_set('semantic-kitti', root, tmp_path, ImportOptions(['08'], workers=1))
    record = read_record(tmp_path / '08')
    assert record is not None
    assert (record.set, record.drive, record.weights) == ('SemanticKITTI', '08', 'non-commercial')
    assert record.parameters == {'point_motion': 'compensated'}
    for given, motion in (((), 'compensated'), (('--set', 'point_motion=auto'), 'auto')):
        dataset = tmp_path / f'dataset_{motion}'
        result = CliRunner().invoke(
            cli.app, ['extract', str(tmp_path / '08'), '-o', str(dataset), '--workers=1', *given]
        )
        assert result.exit_code == 0, result.output
        written = json.loads((dataset / '08' / 'drive.json').read_text())
        assert written['parameters']['point_motion'] == motion


def test_a_damaged_record_is_told_by_extract_and_keeps_no_other_bag_from_it(root, tmp_path):
    import_set('semantic-kitti', root, tmp_path, ImportOptions(workers=1))
    (tmp_path / '08' / 'import.yaml').write_text('set: [')
    bags = [str(tmp_path / name) for name in ('08', '09')]
    output = str(tmp_path / 'dataset')
    result = CliRunner().invoke(cli.app, ['extract', *bags, '-o', output, '--workers=1'])
    assert result.exit_code == 3
    assert 'import.yaml is damaged' in ' '.join(result.output.split())
    assert (tmp_path / 'dataset' / '09' / 'drive.json').is_file()


def test_a_set_is_read_from_a_url(root, tmp_path):
    remote = location('memory://sets/semantic')
    for name, data in files(root).items():
        if name.startswith('sequences/08'):
            (remote / name).parent.mkdir(parents=True, exist_ok=True)
            (remote / name).write_bytes(data)
    result = run('semantic-kitti', 'memory://sets/semantic', '-o', tmp_path / 'remote')
    assert result.exit_code == 0, result.output
    import_set('semantic-kitti', root, tmp_path / 'local', ImportOptions(['08'], workers=1))
    assert files(tmp_path / 'remote') == files(tmp_path / 'local')
