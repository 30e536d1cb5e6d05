import numpy as np
import pytest

from drive_segment_ros.errors import DatasetError
from drive_segment_ros.storage import location
from offline_training.pseudo_labels.columns import read_columns, write_columns

COLUMNS = {
    'id': np.array([4, 65535], np.uint16),
    'stuff': np.array([-1, 2], np.int8),
    'sweep': np.array([2**62, 1], np.int64),
    'feature.size': np.array([[1.5, np.nan, 3.0], [0.1, -2.0, np.inf]], np.float32),
}


@pytest.mark.parametrize('rows', [2, 0])
@pytest.mark.parametrize('folder', ['', 'memory://tables'])
def test_columns_come_back_as_they_were(tmp_path, rows, folder):
    path = location(folder) / 'table.parquet' if folder else tmp_path / 'folder/table.parquet'
    columns = {name: values[:rows] for name, values in COLUMNS.items()}

    write_columns(path, columns)
    read = read_columns(path)

    assert list(read) == list(columns)
    for name, values in columns.items():
        assert read[name].dtype == values.dtype
        assert read[name].shape == values.shape
        assert np.array_equal(read[name], values, equal_nan=values.dtype.kind == 'f')


def test_some_columns_are_read_alone(tmp_path):
    write_columns(tmp_path / 'table.parquet', COLUMNS)

    assert list(read_columns(tmp_path / 'table.parquet', ['sweep', 'id'])) == ['sweep', 'id']


@pytest.mark.parametrize('content', [b'', b'PAR1', b'no table at all' * 10, None])
def test_what_is_no_table_is_one_line(tmp_path, content):
    path = tmp_path / 'table.parquet'
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(DatasetError, match=r'table\.parquet') as caught:
        read_columns(path)

    assert '\n' not in str(caught.value)


def test_a_table_of_other_columns_is_one_line(tmp_path):
    write_columns(tmp_path / 'table.parquet', {'id': COLUMNS['id']})

    with pytest.raises(DatasetError, match='no column sweep'):
        read_columns(tmp_path / 'table.parquet', ['sweep'])
