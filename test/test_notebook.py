"""The notebook runs in an empty folder, and shows the same kinds of outputs as stored."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / 'notebooks/try_a_model.ipynb'
LIMIT_S = 600
# Small, as it is read in a browser and stored in the repository.
LARGEST_BYTES = 1_000_000


def outputs_of(notebook) -> list[str]:
    """Return the kinds of outputs of each code cell; how text is split into outputs varies."""
    shown = []
    for cell in notebook.cells:
        if cell['cell_type'] == 'code':
            kinds = [
                ' '.join(sorted(output.get('data', ()))) or output.get('name', '')
                for output in cell.get('outputs', ())
            ]
            shown.append(', '.join(dict.fromkeys(kinds)))
    return shown


def test_the_notebook_runs_and_shows_what_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbformat = pytest.importorskip('nbformat', reason="pip install '.[docs]'")
    client = pytest.importorskip('nbclient', reason="pip install '.[docs]'")
    packages = (str(NOTEBOOK.parents[1]), os.environ.get('PYTHONPATH', ''))
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(packages))
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    stored = nbformat.read(NOTEBOOK, as_version=4)
    run = nbformat.read(NOTEBOOK, as_version=4)
    client.NotebookClient(run, timeout=LIMIT_S, kernel_name='python3').execute(cwd=str(tmp_path))
    # To regenerate the stored outputs: jupyter execute --inplace notebooks/try_a_model.ipynb
    assert outputs_of(stored) == outputs_of(run)
    assert sum('image/png' in output for output in outputs_of(run)) == 3
    assert NOTEBOOK.stat().st_size < LARGEST_BYTES


def test_the_first_cell_installs_what_is_missing() -> None:
    nbformat = pytest.importorskip('nbformat', reason="pip install '.[docs]'")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    first = next(cell for cell in notebook.cells if cell['cell_type'] == 'code')
    assert "find_spec('drive_segment_ros') is None" in first['source']
    assert '%pip install' in first['source']
    # It uses no files that a first reader lacks.
    assert 'demo_output' not in str(notebook)
