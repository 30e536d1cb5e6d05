"""The engine cache: engines are reused for the same key only, cache errors stop no start."""

import dataclasses
from pathlib import Path

import pytest

from drive_segment_ros.errors import ModelError
from drive_segment_ros.inference.engine_cache import EngineKey, cached_engine, engine_folder

KEY = EngineKey('a' * 64, '10.13.0', 'NVIDIA X sm_89', 'fp16', (288, 512))


class Library:
    """Fake library that counts builds and loads only plans of its own version."""

    def __init__(self, version=b'10'):
        self.version = version
        self.builds = 0

    def build(self):
        self.builds += 1
        return b'plan of ' + self.version

    def load(self, plan):
        return plan.decode() if plan == b'plan of ' + self.version else None


def test_an_engine_is_built_once(tmp_path):
    library = Library()

    first = cached_engine(tmp_path, KEY, library.build, library.load)
    second = cached_engine(tmp_path, KEY, library.build, library.load)

    assert first == second == 'plan of 10'
    assert library.builds == 1
    assert [path.name for path in tmp_path.iterdir()] == [KEY.file_name]


@pytest.mark.parametrize(
    'change',
    [
        {'onnx_sha256': 'b' * 64},
        {'tensorrt': '11.0.0'},
        {'gpu': 'NVIDIA Y sm_90'},
        {'precision': 'fp32'},
        {'input_size': (512, 288)},
    ],
)
def test_whatever_changes_makes_another_engine(tmp_path, change):
    library = Library()
    cached_engine(tmp_path, KEY, library.build, library.load)

    cached_engine(tmp_path, dataclasses.replace(KEY, **change), library.build, library.load)

    assert library.builds == 2
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize('content', [b'', b'plan of 9', b'plan o'])
def test_an_engine_that_does_not_load_is_built_again_once(tmp_path, content, caplog):
    (tmp_path / KEY.file_name).write_bytes(content)
    library = Library()

    assert cached_engine(tmp_path, KEY, library.build, library.load) == 'plan of 10'

    assert library.builds == 1
    assert 'building it again' in caplog.text
    assert (tmp_path / KEY.file_name).read_bytes() == b'plan of 10'


def test_an_engine_that_never_loads_is_an_error_after_one_build(tmp_path):
    library = Library()

    with pytest.raises(ModelError, match='NVIDIA X'):
        cached_engine(tmp_path, KEY, library.build, lambda _: None)

    assert library.builds == 1


def test_a_cache_that_cannot_be_written_does_not_stop_the_start(tmp_path, caplog):
    (tmp_path / 'file').write_text('in the way')
    library = Library()

    engine = cached_engine(tmp_path / 'file/cache', KEY, library.build, library.load)

    assert engine == 'plan of 10'
    assert 'cannot save the engine' in caplog.text


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr('os.replace', interrupt)
    library = Library()

    with pytest.raises(KeyboardInterrupt):
        cached_engine(tmp_path, KEY, library.build, library.load)

    assert list(tmp_path.iterdir()) == []


def test_the_folder_follows_the_xdg_variable(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))

    assert engine_folder() == tmp_path / 'drive_segment_ros/engines'


def test_without_a_home_folder_the_error_says_what_to_set(monkeypatch, tmp_path):
    def no_home():
        raise RuntimeError('Could not determine home directory.')

    monkeypatch.setattr(Path, 'home', no_home)
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    with pytest.raises(ModelError, match='set XDG_CACHE_HOME'):
        engine_folder()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert engine_folder() == tmp_path / 'drive_segment_ros/engines'
