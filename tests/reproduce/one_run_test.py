"""What counts as finished, and whose checkpoint serves another row."""

import json

import pytest

from jaxreid import config
from jaxreid.evaluation import results
from jaxreid.reproduce import one_run, runs
from jaxreid.reproduce.published import tables

ROW = {'mAP': 50.0, 'cmc': {'1': 60.0}, 'step': 2, 'selected': 'last step', 'protocol': {'name': 'mars-paper'}}


def plan(tmp_path, table, *arguments):
    """Runs of a table for a command line."""
    options, overrides = runs.parse([table, f'--workdir={tmp_path}', *arguments])
    return runs.plan(tables.find(table), options, overrides)


def finish(run, *, trained=True):
    """Leaves what a finished run leaves."""
    results.append(run.folder / 'results.json', [ROW])
    left = {'config': config.to_dict(run.experiment), 'trained': trained, 'checkpoint_of': None, 'row': ROW}
    (run.folder / 'finished.json').write_text(json.dumps(left))


def test_rows_that_differ_at_test_time_only_share_one_training(tmp_path):
    planned = plan(tmp_path, 'sta-table2', '--dataset=mars')
    assert len({run.trained_as() for run in planned}) == 1
    finish(planned[0])
    assert one_run.donor(planned[1]) == planned[0].folder
    (planned[1].folder / 'checkpoints').mkdir(parents=True)
    assert one_run.donor(planned[1]) is None  # it began a training of its own
    other = plan(tmp_path, 'sta-table3', '--dataset=mars')[0]
    assert one_run.donor(other) is None


def test_a_row_tested_from_anothers_checkpoint_has_none_to_give(tmp_path):
    planned = plan(tmp_path, 'sta-table2', '--dataset=mars')
    finish(planned[0], trained=False)
    assert one_run.donor(planned[1]) is None


def test_a_row_is_finished_only_with_the_settings_asked_for(tmp_path):
    run = plan(tmp_path, 'sta-table2', '--dataset=mars')[0]
    assert one_run.finished(run) is None
    finish(run)
    assert one_run.finished(run)['row'] == ROW
    changed = plan(tmp_path, 'sta-table2', '--dataset=mars', '--config.test.distance=cosine')[0]
    assert one_run.finished(changed) is None
    moved = plan(tmp_path, 'sta-table2', '--dataset=mars', '--root=/elsewhere', '--config.data.threads=7')[0]
    assert one_run.finished(moved) is not None


@pytest.mark.parametrize('name', ['results.json', 'finished.json'])
def test_a_row_whose_files_are_lost_or_damaged_is_run_again(tmp_path, name):
    run = plan(tmp_path, 'sta-table2', '--dataset=mars')[0]
    finish(run)
    (run.folder / name).write_text('[{')
    assert one_run.finished(run) is None
    (run.folder / name).unlink()
    assert one_run.finished(run) is None
