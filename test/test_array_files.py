"""Damaged NPZ archives are refused with ValueError, whatever is wrong with them."""

from __future__ import annotations

import io
import random
import warnings

import numpy as np
import pytest

from drive_segment_ros.array_files import parse_npz


def archive(**arrays: np.ndarray) -> bytes:
    """Return a compressed archive of arrays."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def test_arrays_come_back() -> None:
    arrays = parse_npz(archive(a=np.arange(5), b=np.ones((2, 3), np.float32)))

    assert arrays['a'].tolist() == [0, 1, 2, 3, 4]
    assert arrays['b'].shape == (2, 3)


def test_random_damage_is_a_value_error_or_goes_unnoticed() -> None:
    data = archive(a=np.arange(50, dtype=np.uint16), b=np.ones(50, np.float32))
    changes = random.Random(0)
    refused = 0
    for _ in range(2000):
        damaged = bytearray(data)
        for _ in range(changes.randint(1, 4)):
            damaged[changes.randrange(len(damaged))] = changes.randrange(256)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            try:
                parse_npz(bytes(damaged[: changes.choice([len(data), len(data) // 2])]))
            except ValueError:
                refused += 1
    assert refused > 1000


def test_objects_other_files_and_large_arrays_are_refused() -> None:
    objects = io.BytesIO()
    np.savez(objects, a=np.array([{}], dtype=object))
    single = io.BytesIO()
    np.save(single, np.arange(3))

    for data in (objects.getvalue(), single.getvalue(), b''):
        with pytest.raises(ValueError, match=r'\S'):
            parse_npz(data)
    with pytest.raises(ValueError, match='more than the limit of 1000'):
        parse_npz(archive(a=np.zeros(1000)), 1000)
