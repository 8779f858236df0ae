"""docs/checklist.md: every row of the papers is there, and what it names exists."""

import importlib
import importlib.util
import pathlib
import re

import pytest

from jaxreid import config
from jaxreid.reproduce import runs as reproduce
from jaxreid.reproduce.published import tables

ROOT = pathlib.Path(__file__).resolve().parents[1]
TEXT = (ROOT / 'docs' / 'checklist.md').read_text()
ROWS = {int(i): (label, runs) for i, label, runs in re.findall(r'^\| (\d+) \| (.*?) \| (.*) \|$', TEXT, re.MULTILINE)}


def resolve(entry: str) -> None:
    """Raises where a variant or a test does not exist."""
    if entry.startswith('tests/'):
        path, _, name = entry.partition('::')
        assert re.search(rf'^def {name}\(', (ROOT / path).read_text(), re.MULTILINE), entry
        return
    if entry.startswith('python -m '):
        assert importlib.util.find_spec(entry.split()[2]), entry
        return
    file, _, variant = entry.partition(':')
    experiment = config.validate(importlib.import_module(f'configs.{file}').get_config(variant))
    assert experiment.data.dataset == file.split('_')[1]


def test_every_number_is_there_once():
    assert sorted(ROWS) == list(range(1, 153))
    assert len(re.findall(r'^\| \d+ \|', TEXT, re.MULTILINE)) == 152


def test_what_the_rows_name_exists():
    for number, (_, runs) in ROWS.items():
        entries = re.findall('`([^`]+)`', runs)
        assert entries, number
        for entry in entries:
            resolve(entry)


@pytest.mark.parametrize('command', re.findall(r'^python -m jaxreid\.reproduce (.*)$', TEXT, re.MULTILINE))
def test_a_command_plans_its_runs(command, tmp_path):
    options, overrides = reproduce.parse([*command.split(), f'--workdir={tmp_path}'])
    table = tables.find(options.table)
    assert options.dataset in reproduce.datasets(table.system)
    assert {run.row for run in reproduce.plan(table, options, overrides)} == set(range(len(table.rows)))


def test_every_table_of_the_papers_has_its_command():
    named = set(re.findall(r'^python -m jaxreid\.reproduce (\S+)', TEXT, re.MULTILINE))
    assert named == {name for name, table in tables.TABLES.items() if table.system != 'ap3d'}


@pytest.mark.parametrize(
    ('entry', 'error'),
    [
        ('strf_mars:table9', config.ConfigError),
        ('strf_lsvid:table2_p3dc', ModuleNotFoundError),
        ('tests/checklist_test.py::test_that_is_not_there', AssertionError),
        ('tests/nothing_test.py::test_x', FileNotFoundError),
    ],
)
def test_what_does_not_exist_does_not_resolve(entry, error):
    with pytest.raises(error):
        resolve(entry)
