"""Who may read what is written is decided by the person's umask, whatever wrote it."""

import os

import numpy as np
import pytest

from data_pipelines import build
from jaxreid import config, main
from jaxreid.data import source
from jaxreid.data.synthetic import render
from jaxreid.evaluation.report import command as report
from jaxreid.search import gallery
from tests.fixtures import commands, mars_folder
from tests.reliability import flips, kills


@pytest.fixture(autouse=True)
def nobody_else():
    """Nobody else is to read or enter anything."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def records(folder):
    root = mars_folder.write(folder / 'mars')
    out = build.build('mars', str(root), str(folder / 'records'), frames_per_shard=20)
    data = config.Data(dataset='mars', records=out, store='records', height=16, width=8)
    source._records.cache_clear()
    source.store(data, source.read(data), split='train').read(0, np.arange(2))


def rendered(folder):
    render.ensure(folder / 'data', 'tiny', workers=1, progress=False)


def galleries(folder):
    gallery.append(folder / 'shop', kills.some(0, 20))
    gallery.append(folder / 'shop', kills.some(20, 20))


MADE = {
    'records': records,
    'a gallery': galleries,
    'a rendered data set': rendered,
    **{what: make for what, make in flips.KINDS.items() if what not in ('a gallery', 'a record set')},
}


def open_to_others(folder):
    """Files and folders that somebody else may read, write or enter."""
    return [path.name for path in folder.rglob('*') if path.lstat().st_mode & 0o077]


@pytest.mark.slow
@pytest.mark.parametrize('what', list(MADE))
def test_what_is_written_is_nobody_elses(what, tmp_path, monkeypatch):
    monkeypatch.setenv('JAXREID_CACHE', str(tmp_path / 'cache'))
    (tmp_path / 'made').mkdir()
    MADE[what](tmp_path / 'made')
    assert len(list(tmp_path.rglob('*'))) > 1
    assert open_to_others(tmp_path) == []


@pytest.mark.slow
def test_neither_is_anything_of_a_run_its_cache_and_its_report(tmp_path, monkeypatch):
    monkeypatch.setenv('JAXREID_CACHE', str(tmp_path / 'cache'))
    monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR', raising=False)
    steps = [
        '--config.train.max_steps=8',
        '--config.train.eval_every_epochs=1',
        '--config.train.checkpoint_every_steps=4',
    ]
    assert main.run(['main', commands.TINY, f'--workdir={tmp_path / "run"}', *commands.SMALL, *steps]) == 0
    assert report.run([str(tmp_path / 'run')]) == 0
    for file in ('best', 'checkpoints', 'features.npz', 'log.txt', 'report.html', 'settings.toml', 'tensorboard'):
        assert (tmp_path / 'run' / file).exists()
    assert open_to_others(tmp_path) == []


def test_a_umask_that_lets_a_group_read_does(tmp_path):
    os.umask(0o027)
    galleries(tmp_path)
    assert {oct(path.stat().st_mode & 0o777) for path in (tmp_path / 'shop').rglob('*') if path.is_dir()} == {'0o750'}
    assert {oct(path.stat().st_mode & 0o777) for path in (tmp_path / 'shop').rglob('*') if path.is_file()} == {'0o640'}
