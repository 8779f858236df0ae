"""The reproduced table: mean and spread, ranges, what was not run, and whose figures stand beside ours."""

import json
import pathlib
import types

from jaxreid.reproduce import table as report_table
from jaxreid.reproduce.published import tables

TABLE = 'sta-table3'


def run(index, seed, variant):
    """A stand-in for `one_run.Run`."""
    return types.SimpleNamespace(
        row=index,
        spec=f'configs/sta_mars.py:{variant}',
        folder=pathlib.Path(f'{variant}-seed{seed}'),
        overrides=('--config.data.root=/x', '--config.optim.lr=0.1', f'--config.train.seed={seed}'),
        command=lambda: 'python -m jaxreid.main',
    )


def left(mean_ap, rank1):
    """What a finished run leaves."""
    protocol = {'name': 'mars-paper', 'ap': 'step', 'answered_queries': 7, 'distance': 'euclidean'}
    cmc = {'1': rank1, '5': 90.0, '10': 91.0, '20': 92.0}
    return {'row': {'mAP': mean_ap, 'cmc': cmc, 'step': 3, 'protocol': protocol}, 'checkpoint_of': None}


def table(results, seeds=(0, 1), dataset='mars'):
    """Markdown lines of the rows and the collected table."""
    rows = tables.find(TABLE).rows
    runs = [run(i, seed, row.variant) for i, row in enumerate(rows) for seed in seeds]
    found = report_table.collect(TABLE, dataset, runs, {pathlib.Path(k): v for k, v in results.items()})
    return report_table.markdown(found), found


def test_mean_and_sample_deviation_stand_beside_the_papers_figures():
    text, found = table({'table3_k2-seed0': left(60.0, 70.0), 'table3_k2-seed1': left(64.0, 71.0)})
    first = next(line for line in text.splitlines() if line.startswith('| K = 2'))
    # The deviation of 60 and 64 from 62, divided by n - 1 = 1: sqrt(8).
    assert first.startswith(
        '| K = 2 | `table3_k2` | 2 | 3 | 62.0 ± 2.8 | 80.3 | 70.5 ± 0.7 | 85.3 | 90.0 ± 0.0 | 95.1 |'
    )
    assert found['rows'][0]['ours']['mAP']['values'] == [60.0, 64.0]


def test_rows_that_are_not_run_not_complete_or_failed_say_so():
    text, found = table({'table3_k2-seed1': left(60.0, 70.0), 'table3_k8-seed0': 'step 3: loss is nan'})
    assert [row['status'] for row in found['rows']] == ['1 of 2 runs', 'not run', 'failed']
    assert '| K = 4 | `table1_full` | not run | – | – | 80.8 |' in text
    assert found['rows'][2]['runs'][0]['error'] == 'step 3: loss is nan'


def test_one_run_has_no_spread():
    text, _ = table({'table3_k2-seed0': left(60.0, 70.0)}, seeds=(0,))
    assert '| 1 | 3 | 60.0 | 80.3 | 70.0 | 85.3 |' in text
    assert '±' not in text


def test_the_rendered_benchmark_stands_beside_another_data_set_and_says_so():
    text, _ = table({}, dataset='synthetic')
    assert '| mAP | paper, mars |' in text
    assert 'say nothing about' in text


def test_overrides_are_named_but_not_the_seed_and_the_root():
    text, _ = table({})
    assert '`--config.optim.lr=0.1`' in text
    assert '--config.train.seed' not in text
    assert '/x' not in text


def test_ranges_of_the_paper_are_printed_as_ranges():
    found = report_table.collect('strf-table4', 'mars', [], {})
    assert '| 85.1 to 85.2 | – | 89.7 to 90.0 |' in report_table.markdown(found)


def test_both_files_are_written(tmp_path):
    text, path = report_table.write(tmp_path / 'new' / 'sta-table3-mars', TABLE, 'mars', [run(0, 0, 'table3_k2')], {})
    assert path.read_text() == text
    assert json.loads(path.with_suffix('.json').read_text())['title'] == tables.find(TABLE).title
    assert sorted(p.name for p in path.parent.iterdir()) == ['sta-table3-mars.json', 'sta-table3-mars.md']
