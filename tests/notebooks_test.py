"""The notebooks run from their first cell to their last at toy size, and show what they say."""

import fcntl
import os
import pathlib
import re

import pytest

pytestmark = pytest.mark.slow

nbclient = pytest.importorskip('nbclient')
nbformat = pytest.importorskip('nbformat')
pytest.importorskip('ipykernel')

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Notebook -> (pictures at least, what its text shows).
SHOWN = {
    'quick_start': (2, ['CpuDevice', r'mAP \d+\.\d, rank-1 \d+\.\d under mars-paper, step 2', 'continued to step 3']),
    'protocols': (
        1,
        [r'rrs +\(50, \d+\)', r'mAP +\d+\.\d\d \[.*torchreid', r'minus .*features', 're-ranking k-reciprocal'],
    ),
    'attention_and_memories': (6, ["'attention': \\(4, 4, ", 'match_maps', r'\d\.\d\d of 5 items used']),
    'own_tracklets': (
        1,
        [r'\d+ crops in', r'tracklet,pid,camera', r'--config configs/strf_manifest.py', r'written .*answers.html'],
    ),
}


@pytest.fixture(scope='session')
def runs(tmp_path_factory):
    """Folder of runs and caches that all notebooks share, whichever process executes them; one at a time writes it."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base) / 'notebooks'


def execute(name, runs, monkeypatch):
    """The notebook with its outputs."""
    monkeypatch.setenv('JAXREID_TOY', '1')
    monkeypatch.setenv('JAXREID_RUNS', str(runs / 'runs'))
    monkeypatch.setenv('JAXREID_CACHE', str(runs / 'cache'))
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    monkeypatch.setenv('IPYTHONDIR', str(runs / 'ipython'))
    monkeypatch.setenv('JPY_PARENT_PID', '0')
    monkeypatch.setenv('XLA_FLAGS', os.environ['XLA_FLAGS'].replace('device_count=8', 'device_count=1'))
    notebook = nbformat.read(ROOT / 'notebooks' / f'{name}.ipynb', as_version=4)
    runs.mkdir(exist_ok=True)
    with open(runs / 'lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        nbclient.NotebookClient(notebook, timeout=300, resources={'metadata': {'path': str(runs)}}).execute()
    return notebook


def text(notebook):
    """Everything that it printed."""
    said = []
    for cell in notebook.cells:
        for output in cell.get('outputs', ()):
            said.append(
                output.get('text', '')
                if output.output_type == 'stream'
                else output.get('data', {}).get('text/plain', '')
            )
    return '\n'.join(said)


@pytest.mark.parametrize('name', SHOWN)
def test_a_notebook_runs(name, runs, monkeypatch):
    pictures, said = SHOWN[name]
    notebook = execute(name, runs, monkeypatch)
    kinds = [kind for cell in notebook.cells for output in cell.get('outputs', ()) for kind in output.get('data', {})]
    assert sum(kind in ('image/png', 'image/svg+xml') for kind in kinds) >= pictures
    for pattern in said:
        assert re.search(pattern, text(notebook)), f'{pattern} in\n{text(notebook)}'


@pytest.mark.parametrize('path', sorted((ROOT / 'notebooks').glob('*.ipynb')), ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs_and_is_executed(path):
    assert path.stem in SHOWN
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get('outputs')
        assert cell.get('execution_count') is None


def test_the_page_of_notebooks_names_each_of_them():
    named = re.findall(r'`(\w+)\.ipynb`', (ROOT / 'docs' / 'notebooks.md').read_text())
    assert sorted(named) == sorted(SHOWN)
