"""Plan of a table's runs; the front door's refusals."""

import json

import pytest

from jaxreid import command_line, config
from jaxreid.reproduce import runs as reproduce
from jaxreid.reproduce.published import tables


def plan(tmp_path, table, *arguments):
    """Runs of a table for a command line."""
    options, overrides = reproduce.parse([table, f'--workdir={tmp_path}', *arguments])
    return reproduce.plan(tables.find(table), options, overrides)


def test_every_row_and_seed_has_a_folder_and_a_command_of_its_own(tmp_path):
    runs = plan(tmp_path, 'sta-table1', '--dataset=synthetic', '--seeds=0,7', '--preset=tiny', '--config.optim.lr=0.5')
    assert len(runs) == len({run.folder for run in runs}) == 12
    assert [run.experiment.train.seed for run in runs[:4]] == [0, 7, 0, 7]
    assert {run.experiment.optim.lr for run in runs} == {0.5}
    assert {run.experiment.data.preset for run in runs} == {'tiny'}
    assert runs[1].command() == (
        'python -m jaxreid.main --config configs/sta_synthetic.py:table1_baseline,tiny --config.optim.lr=0.5 '
        f'--config.train.seed=7 --workdir={tmp_path}/sta_synthetic-table1_baseline,tiny-seed7'
    )


def test_ten_splits_are_run_where_the_papers_average_over_them(tmp_path):
    runs = plan(tmp_path, 'star-table1', '--dataset=prid')
    assert [run.experiment.data.split for run in runs] == 2 * list('0123456789')
    one = plan(tmp_path, 'star-table1', '--dataset=prid', '--splits=3')
    assert [run.experiment.data.split for run in one] == ['3', '3']


def test_five_draws_of_queries_share_one_training(tmp_path):
    runs = plan(tmp_path, 'stmn-alpha', '--dataset=mars')
    assert len(runs) == 25
    assert len({run.trained_as() for run in runs}) == 5
    assert len({json.dumps(config.deciding(run.experiment, 'test')) for run in runs}) == 25


@pytest.mark.parametrize(
    ('arguments', 'status', 'message'),
    [
        ([], 2, '--list names them all'),
        (['sta-table9', '--dataset=mars'], 1, 'Did you mean'),
        (['sta-table1', '--dataset=prid'], 2, 'can be run on dukev, mars, synthetic'),
        (['sta-table1'], 2, 'can be run on dukev, mars, synthetic'),
        (['sta-table1', '--dataset=mars'], 1, 'config.data.root is empty'),
        (['sta-table1', '--dataset=mars', '--seeds=0,x'], 2, '--seeds=0,x is not a list'),
        (['sta-table1', '--dataset=mars', '--seeds=1,1'], 2, 'different numbers'),
        (['sta-table1', '--dataset=mars', '--seeds=0,-1'], 2, '--seeds=0,-1 is not a list'),
        (['sta-table1', '--dataset=mars', '--splits=1'], 2, 'belongs to ilids and prid'),
        (['sta-table1', '--dataset=mars', '--preset=tiny'], 2, 'belongs to --dataset synthetic'),
        (['sta-table1', '--dataset=mars', '--config.train.seed=1'], 2, 'use --seeds'),
        (['sta-table1', '--dataset=mars', '--config.optim.lrr=1'], 1, "Did you mean 'optim.lr'"),
        (['sta-table1', '--dataset=mars', '--config.train.epochs=0'], 1, 'is not at least 1'),
        (['sta-table1', '--dataset=mars', '--config.train.epochs', '1'], 2, 'unexpected argument'),
        (['sta-table1', '--dataset=synthetic', '--rows=table1_ful'], 1, "Did you mean 'table1_full'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_message(tmp_path, monkeypatch, capsys, arguments, status, message):
    monkeypatch.chdir(tmp_path)
    assert command_line.run(lambda: reproduce.run(arguments)) == status
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'runs').exists()


def test_the_list_names_every_table_and_row(capsys):
    assert reproduce.run(['--list']) == 0
    printed = capsys.readouterr().out
    for name, table in tables.TABLES.items():
        assert f'{name}: {table.title}' in printed
        assert all(f'  {row.variant}' in printed for row in table.rows)


@pytest.mark.slow
def test_a_dry_run_prints_commands_and_costs_and_makes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert reproduce.run(['strf-location', '--dataset=synthetic', '--dry-run', '--seeds=0,1']) == 0
    printed = capsys.readouterr().out
    assert printed.count('python -m jaxreid.main --config configs/strf_synthetic.py:') == 4
    assert printed.count('496 steps of 128 frames; 0.0') == 4
    assert 'An estimate' in printed
    assert not list(tmp_path.iterdir())
