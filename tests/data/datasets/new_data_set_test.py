"""The data set that docs/contributing.md adds in one file and one config: every command knows it then."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from jaxreid.data.datasets import catalogue
from tests.fixtures import field_folders, listed_folder

ROOT = pathlib.Path(__file__).resolve().parents[3]

# Runs where the package is a copy with the two files added, since settings take their choices when they are imported.
SCRIPT = """
import pathlib, sys
import numpy as np
import tensorflow_datasets as tfds
from configs import strf_shop
from data_pipelines import builders, verify
from jaxreid import command_line, config, summary
from jaxreid.data import source
from jaxreid.data.datasets import catalogue
from jaxreid.reproduce import published, runs

shop, mixed_root = sys.argv[1:]
assert pathlib.Path(config.__file__).parents[1] == pathlib.Path.cwd(), config.__file__
assert {'shop', 'mars'} <= set(config.DATASETS)
assert runs.datasets('strf') == ['dukev', 'ilids', 'mars', 'shop', 'synthetic']
try:
    command_line.check_root(strf_shop.get_config())
except config.ConfigError as e:
    assert 'A Shop folder holds train, query and gallery' in str(e)

experiment = strf_shop.get_config()
assert experiment.data.num_ids == 2 and experiment.test.protocols == ('mars-paper',)
experiment.data.root = shop
config.validate(experiment)
dataset = source.read(experiment.data)
assert [one.pid for one in dataset.train] == [1, 1, 2, 2] and dataset.query.sum() == 2
assert source.describe(experiment.data) == 'shop'
frames = source.store(experiment.data, dataset, split='train').read(0, np.array([0, 1]))
assert frames.shape == (2, 256, 128, 3)

mixed = config.Data(dataset='shop', root=shop, also=(f'shop={mixed_root}',))
assert len(source.read(config.validate(config.Experiment(data=mixed)).data).train) == 8

assert verify.main(['shop', shop, '--workers=1']) == 0
pathlib.Path(shop, 'query/3/1/0.jpg').unlink()
assert verify.main(['shop', shop, '--workers=1']) == 2

builder = builders.Shop(data_dir='records')
assert builder.__doc__ == 'Shop (an example).'
builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=mixed_root))
assert builder.info.splits['train'].num_examples == 8
assert tfds.data_source('shop', split='test', data_dir='records')[0]['tracklet'] == b'query/3/1'
from_records = config.Data(dataset='shop', store='records', records='records')
assert [one.name for one in source.read(from_records).train] == [one.name for one in dataset.train]

small = {'backbone.width': 8, 'backbone.depths': (1, 1, 1, 1), 'backbone.init': 'random', 'strf.reduction': 2}
overrides = [f'--config.{name}={value}' for name, value in small.items()]
arguments = ['strf-location', '--dataset=shop', '--dry-run', '--config.sampler.num_ids=2', '--config.train.epochs=7']
assert runs.run([*arguments, f'--root={shop}', *overrides]) == 0
summary.write(command_line.read_config('configs/strf_shop.py', overrides), pathlib.Path('summary'))
"""


def example(where):
    page = (ROOT / 'docs' / 'contributing.md').read_text()
    (text,) = re.findall(rf'```python\n# {re.escape(where)}\n(.*?)```', page, re.DOTALL)
    return text


@pytest.fixture
def house(tmp_path):
    """A copy of the code with the example's two files."""
    for package in ('jaxreid', 'configs', 'data_pipelines'):
        shutil.copytree(ROOT / package, tmp_path / 'house' / package, ignore=shutil.ignore_patterns('__pycache__'))
    for where in ('jaxreid/data/datasets/shop.py', 'configs/strf_shop.py'):
        (tmp_path / 'house' / where).write_text(example(where))
    return tmp_path / 'house'


def write(root):
    people = {'train': (1, 2), 'query': (3, 4), 'gallery': (3, 4)}
    cameras = {'train': (1, 2), 'query': (1,), 'gallery': (2,)}
    names = [
        f'{part}/{person}/{camera}/{frame}.jpg'
        for part in people
        for person in people[part]
        for camera in cameras[part]
        for frame in ((0,) if part == 'query' else (0, 1))
    ]
    listed_folder.draw(root, names)
    return root


@pytest.mark.slow
def test_one_file_and_one_config_add_a_data_set_everywhere(house, tmp_path):
    arguments = [write(tmp_path / 'shop'), write(tmp_path / 'again')]
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT, *map(str, arguments)], cwd=house, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-2000:]
    assert f'shop in {arguments[0]}: as published\n' in done.stdout
    assert 'python -m jaxreid.main --config configs/strf_shop.py:' in done.stdout
    assert '7 steps of 32 frames' in done.stdout


@pytest.mark.parametrize('name', ['dukev', 'ilids', 'lsvid', 'prid', *field_folders.WRITERS])
def test_a_data_set_is_named_by_its_reader_its_configs_and_the_published_tables_only(name):
    files = [path for package in ('jaxreid', 'configs', 'data_pipelines') for path in (ROOT / package).rglob('*.py')]
    named = {path.relative_to(ROOT).as_posix() for path in files if name in path.read_text()}
    (reader,) = [path.relative_to(ROOT).as_posix() for path in files if path.stem == name]
    assert reader in named
    rest = {path for path in named - {reader} if not re.fullmatch(r'configs/(recipes/)?\w+\.py', path)}
    assert {path for path in rest if not path.startswith('jaxreid/reproduce/published')} == set()


def test_published_counts_and_training_ids_agree():
    for facts in catalogue.by_name().values():
        counted = facts.published.get('train ids', facts.published.get('train ids of a split'))
        assert counted in (None, facts.num_ids), facts.name
