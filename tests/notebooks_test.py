"""The notebooks run from their first cell to their last at toy size, and what is kept of them shows what they say."""

import fcntl
import importlib.util
import os
import pathlib
import re

import pytest

pytest.importorskip('nbclient')
nbformat = pytest.importorskip('nbformat')
pytest.importorskip('ipykernel')

ROOT = pathlib.Path(__file__).resolve().parents[1]
MOST_BYTES = 400_000  # of a notebook with its outputs
SMALL = {
    'backbone.width': 8,
    'sampler.num_ids': 4,
    'sampler.tracklets_per_id': 2,
    'train.max_steps': 2,
    'train.epochs': 2,
    'train.log_every_steps': 1,
    'test.batch_clips': 16,
    'test.references': False,
    'backbone.block': 'c2d',  # without 3-D convolutions, which compile for longer
    'strf.stages': (),
}
# What a test adds to the end of a notebook: the run goes on from the bucket, for one step more.
GOES_ON = """
longer = jaxreid.settings(CONFIG, CHANGES | {'train.max_steps': result['step'] + 1})
print('continued to step', jaxreid.train(longer, again)[-1]['step'])
"""
# Notebook -> (pictures at least, what its text shows, also when it is executed in full, what only the toy shows).
SHOWN = {
    'quick_start': (
        3,
        ['CpuDevice', r'mAP \d+\.\d, rank-1 \d+\.\d under mars-paper, step \d+', r'\(\d+, \d+\)', r'^True$'],
        ['step 2', 'continued to step 3'],
    ),
    'protocols': (
        2,
        [
            r'rrs +\(50, \d+\)',
            r'mAP +\d+\.\d\d \[.*torchreid',
            r'minus .*features',
            r're-ranked: mAP \d+\.\d\d, rank-1 \d',
        ],
        [],
    ),
    'attention_and_memories': (6, ['squared output of stage 3', 'match_maps', r'\d\.\d\d of 5 items used'], []),
    'own_tracklets': (
        1,
        [
            r'\d+ crops in runs/crops',
            r'tracklet,pid,camera',
            r'--config configs/strf_manifest.py',
            r'written .*answers.html',
        ],
        [],
    ),
}


@pytest.fixture(scope='module')
def make_notebooks():
    spec = importlib.util.spec_from_file_location('make_notebooks', ROOT / 'docs' / 'site' / 'make_notebooks.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def folder(tmp_path_factory):
    """Where all notebooks run and keep their caches, whichever process executes them; one at a time writes it."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base) / 'notebooks'


def kept(name):
    return nbformat.read(ROOT / 'notebooks' / f'{name}.ipynb', as_version=4)


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get('outputs', ())]


def text(notebook):
    """Everything that it printed."""
    return '\n'.join(one.get('text') or one.get('data', {}).get('text/plain', '') for one in outputs(notebook))


def pictures(notebook, *kinds):
    return sum(kind in one.get('data', {}) for one in outputs(notebook) for kind in kinds)


@pytest.mark.slow
@pytest.mark.parametrize('name', SHOWN)
def test_a_notebook_runs(name, folder, make_notebooks, monkeypatch):
    monkeypatch.setenv('JAXREID_CACHE', str(folder / 'cache'))
    monkeypatch.setenv('IPYTHONDIR', str(folder / 'ipython'))
    monkeypatch.setenv('XLA_FLAGS', os.environ['XLA_FLAGS'].replace('device_count=8', 'device_count=1'))
    notebook = kept(name)
    make_notebooks.with_parameters(notebook, f'CHANGES = STMN_CHANGES = {SMALL}')
    if name == 'quick_start':
        notebook.cells.append(nbformat.v4.new_code_cell(GOES_ON))
    folder.mkdir(exist_ok=True)
    with open(folder / 'lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_notebooks.execute(notebook, folder, timeout=300)
    most, said, of_toys = SHOWN[name]
    assert pictures(notebook, 'image/jpeg', 'image/svg+xml') >= most
    for pattern in said + of_toys:
        assert re.search(pattern, text(notebook), re.MULTILINE), f'{pattern} in\n{text(notebook)}'
    make_notebooks.clean(notebook, folder)
    assert not re.search(make_notebooks.ABSOLUTE, text(notebook))


@pytest.mark.parametrize('path', sorted((ROOT / 'notebooks').glob('*.ipynb')), ids=lambda path: path.stem)
def test_a_notebook_is_kept_with_its_pictures_and_nothing_of_the_machine(path, make_notebooks):
    notebook = kept(path.stem)
    nbformat.validate(notebook)
    most, said, _ = SHOWN[path.stem]
    assert pictures(notebook, 'image/jpeg') >= 1, 'a plain viewer shows pictures of pixels'
    assert pictures(notebook, 'image/jpeg', 'image/svg+xml') >= most
    assert path.stat().st_size < MOST_BYTES
    for output in outputs(notebook):
        assert output.output_type != 'error'
        assert output.get('name') != 'stderr'
    assert not re.search(
        make_notebooks.ABSOLUTE, '\n'.join([text(notebook), *(cell.source for cell in notebook.cells)])
    )
    for pattern in said:
        assert re.search(pattern, text(notebook), re.MULTILINE), pattern
    code = [cell for cell in notebook.cells if cell.cell_type == 'code']
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)], 'executed once, in order'
    for cell in notebook.cells:
        assert not re.search(r'\bTOY\b|TEST|environ', cell.source)
        assert 'execution' not in cell.metadata


def test_outputs_are_cleaned_of_what_is_of_one_execution(make_notebooks, tmp_path):
    code = nbformat.v4.new_code_cell('x', metadata={'execution': {'iopub.status.busy': '2026'}})
    new = nbformat.v4.new_output
    code.outputs = [
        new('stream', name='stderr', text='train: 100%|####| 2/2'),
        new('stream', name='stdout', text='50 tracklets (indexed in 1.1 s)\n'),
        new('stream', name='stderr', text='test: 100%|####| 2/2'),
        new('stream', name='stdout', text=f'time        59 s: data 0 s\nwritten to {tmp_path}/runs/a.json\n'),
        new('execute_result', data={'text/plain': f"'{tmp_path}/runs'"}),
    ]
    notebook = nbformat.v4.new_notebook(cells=[code], metadata={'language_info': {'name': 'python', 'version': '3.0'}})
    make_notebooks.clean(notebook, tmp_path)
    assert text(notebook) == "50 tracklets\nwritten to runs/a.json\n\n'runs'"
    assert len(code.outputs) == 2
    assert (notebook.metadata.language_info, code.metadata) == ({'name': 'python'}, {})
    code.outputs.append(new('stream', name='stdout', text='read /home/somebody/data'))
    with pytest.raises(ValueError, match='a path of this machine'):
        make_notebooks.clean(notebook, tmp_path)


@pytest.mark.parametrize('name', SHOWN)
def test_how_a_notebook_is_opened_stands_in_one_setting(name, make_notebooks):
    cells = {cell.id: cell.source for cell in kept(name).cells}
    address = make_notebooks.repository()
    made = make_notebooks.opening(name, address)
    assert {key: cells[key] for key in made} == made, 'run python docs/site/make_notebooks.py --opening'
    others = '\n'.join(source for key, source in cells.items() if key not in made)
    assert 'colab.research.google.com' not in others
    assert not address or address not in others
    if not address:
        assert 'Upload notebook' in cells['opening']

    published = make_notebooks.opening(name, 'https://github.com/someone/jaxreid')
    link = f'https://colab.research.google.com/github/someone/jaxreid/blob/main/notebooks/{name}.ipynb'
    assert f'[Open in Colab]({link})' in published['opening']
    assert "'jaxreid @ git+https://github.com/someone/jaxreid'" in published['install']
    elsewhere = make_notebooks.opening(name, 'https://git.example.org/jaxreid')
    assert 'colab.research' not in elsewhere['opening']
    assert 'git+https://git.example.org/jaxreid' in elsewhere['install']


def test_the_page_of_notebooks_and_the_script_name_each_of_them(make_notebooks):
    named = re.findall(r'`(\w+)\.ipynb`', (ROOT / 'docs' / 'notebooks.md').read_text())
    assert sorted(named) == sorted(SHOWN) == sorted(make_notebooks.NAMES)
    assert sorted(SHOWN) == sorted(path.stem for path in (ROOT / 'notebooks').glob('*.ipynb'))
