import json
import statistics

import numpy as np
import pytest
import scipy.io

from jaxreid import command_line, config, main, training_loop
from jaxreid.evaluation import evaluate, results
from jaxreid.reproduce import ten_splits as splits
from jaxreid.training import checkpoint
from tests.fixtures import listed_folder as listing_fixture

RANKS = ('1', '5', '10', '20')


def row(split, name='ilids', **changes):
    """What a run of one split would give."""
    numbers = {'1': 40.0 + split, '5': 60.0 + 2 * split, '10': 80.0, '20': 100.0}
    protocol = {
        'name': name,
        'dataset': 'ilids',
        'ap': 'step',
        'gallery_size': 150 - split,
        'frames_seen': 9000 + split,
    }
    texts = {'trained_on': f'ilids split {split}', 'tested_on': f'ilids split {split}', 'selected': 'last step'}
    return (
        {'protocol': protocol, 'mAP': 50.0 + split**2, 'mINP': 30.0 + 3 * split, 'cmc': numbers, 'step': 7}
        | texts
        | changes
    )


@pytest.fixture
def experiment(tmp_path):
    people = range(1, 9)
    listing_fixture.touch(
        tmp_path / 'data',
        [f'i-LIDS-VID/sequences/cam{c}/person{p:03d}/cam{c}_person{p:03d}_00001.png' for c in (1, 2) for p in people],
    )
    (tmp_path / 'data' / 'train-test people splits').mkdir()
    table = np.stack([np.random.default_rng(i).permutation(8) + 1 for i in range(10)])
    scipy.io.savemat(
        tmp_path / 'data' / 'train-test people splits' / 'train_test_splits_ilidsvid.mat', {'ls_set': table}
    )
    return config.Experiment(data=config.Data(dataset='ilids', root=str(tmp_path / 'data'), split='all'))


@pytest.fixture
def runs(monkeypatch):
    """Trainings and tests without a network; the list of splits and folders that were asked for."""
    asked = []

    def fake(e, workdir, *rest, recipe='', **how):
        split = int(e.data.split)
        rows = [row(split), row(split, 'torchreid')]
        asked.append((split, workdir.name, *rest, *how.values()))
        if how.get('scored', True):
            results.append(workdir / 'results.json', rows)
        return rows

    monkeypatch.setattr(training_loop, 'train_and_evaluate', fake)
    monkeypatch.setattr(evaluate, 'run', fake)
    return asked


def check_means(found):
    values = {'mAP': [50.0 + s**2 for s in range(10)], '1': [40.0 + s for s in range(10)]}
    assert [r['protocol']['name'] for r in found] == ['ilids', 'torchreid']
    for r in found:
        assert r['mAP'] == pytest.approx(sum(values['mAP']) / 10)
        assert r['mAP_std'] == pytest.approx(np.std(values['mAP'], ddof=1))
        assert (r['mINP'], r['mINP_std']) == pytest.approx((43.5, 3 * np.std(range(10), ddof=1)))
        assert r['cmc']['1'] == pytest.approx(44.5)
        assert r['cmc_std']['1'] == pytest.approx(statistics.stdev(values['1']))
        assert (r['cmc']['10'], r['cmc_std']['10']) == (80.0, 0.0)
        assert [one['mAP'] for one in r['splits']] == values['mAP']
        assert (r['trained_on'], r['tested_on']) == ('ilids split all', 'ilids split all')
        assert 'gallery_size' not in r['protocol']
        assert r['protocol']['ap'] == 'step'


@pytest.mark.slow
def test_ten_splits_run_in_folders_of_their_own_and_their_mean_and_spread_are_written(experiment, runs, tmp_path):
    check_means(splits.train(experiment, tmp_path / 'run'))
    assert runs == [(split, f'split{split}') for split in range(10)]
    check_means(json.loads((tmp_path / 'run' / 'results.json').read_text()))
    assert results.read(tmp_path / 'run' / 'results.json')
    assert experiment.data.split == 'all'


def test_finished_splits_are_read_and_the_others_continue(experiment, runs, tmp_path, monkeypatch):
    whole = training_loop.train_and_evaluate

    def stops(e, workdir, **how):
        if e.data.split == '4':
            raise KeyboardInterrupt
        return whole(e, workdir, **how)

    with monkeypatch.context() as patch:
        patch.setattr(training_loop, 'train_and_evaluate', stops)
        with pytest.raises(KeyboardInterrupt):
            splits.train(experiment, tmp_path / 'run')
    assert [split for split, _ in runs] == [0, 1, 2, 3]
    assert not (tmp_path / 'run' / 'results.json').exists()
    check_means(splits.train(experiment, tmp_path / 'run'))
    assert [split for split, _ in runs] == list(range(10))
    experiment.optim.lr = 1.0  # what was finished with other settings does not count
    splits.train(experiment, tmp_path / 'run')
    assert len(runs) == 20


def test_every_split_is_tested_with_the_network_that_was_trained_on_it(experiment, runs, tmp_path):
    for split in range(10):
        (tmp_path / 'trained' / f'split{split}').mkdir(parents=True)
    found = splits.from_checkpoints(experiment, tmp_path / 'eval', tmp_path / 'trained', scored=True)
    check_means(found)
    check_means(json.loads((tmp_path / 'eval' / 'results.json').read_text()))
    assert runs == [(s, f'split{s}', tmp_path / 'trained' / f'split{s}', True) for s in range(10)]
    assert splits.from_checkpoints(experiment, tmp_path / 'extract', tmp_path / 'trained', scored=False) == []
    assert not (tmp_path / 'extract' / 'results.json').exists()


@pytest.mark.parametrize('also', [(), ('ilids:3=/x',)])
def test_one_network_is_tested_on_all_splits_only_where_it_saw_other_data(
    experiment, runs, tmp_path, monkeypatch, also
):
    trained = config.Experiment(data=config.Data(dataset='mars' if also else 'ilids', also=also))
    monkeypatch.setattr(checkpoint, 'find', lambda path: (path / 'checkpoints', 7))
    monkeypatch.setattr(checkpoint, 'read_meta', lambda folder, step: {'config': config.to_dict(trained)})
    with pytest.raises(checkpoint.CheckpointError, match='has seen people of all the others'):
        splits.from_checkpoints(experiment, tmp_path / 'eval', tmp_path / 'one', scored=True)
    assert not runs
    trained.data = config.Data(dataset='mars', also=('dukev=/x',))
    splits.from_checkpoints(experiment, tmp_path / 'eval', tmp_path / 'one', scored=True)
    assert [one[2] for one in runs] == [tmp_path / 'one'] * 10


def test_the_table_has_a_line_per_split_and_mean_and_spread():
    lines = splits.table(splits.mean([row(split) for split in range(10)])).splitlines()
    assert lines[2].split() == ['0', '50.00', '40.00', '60.00', '80.00', '100.00', '30.00']
    assert lines[11].split()[:3] == ['9', '131.00', '49.00']
    assert lines[12].split() == ['mean', '78.50', '44.50', '69.00', '80.00', '100.00', '43.50']
    assert lines[13].split()[0::2] == ['+-', '3.03', '0.00', '9.08']
    other = splits.mean([row(split, trained_on='mars') for split in range(10)])
    assert splits.table(other).startswith('ilids split all, ilids; trained on mars; last step')


@pytest.mark.parametrize('value', ['10', '-1', 'every', 'All', '00'])
def test_other_splits_are_refused_with_what_is_valid(value, tmp_path, capsys):
    arguments = [
        'main',
        '--config=strf_ilids',
        f'--config.data.split={value}',
        '--config.data.root=/x',
    ]
    assert main.run([*arguments, f'--workdir={tmp_path}']) == 1
    assert f'config.data.split = {value!r} is not known. ' in (error := capsys.readouterr().err)
    assert ('0, 1, 2, 3, 4, 5, 6, 7, 8, 9, all' in error) == (value != 'All')


def test_the_flag_reads_all_and_numbers(experiment, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(splits, 'train', lambda e, workdir, recipe: asked.append((e.data.split, workdir)))
    monkeypatch.setattr(splits, 'from_checkpoints', lambda e, w, path, scored: asked.append((w, path, scored)))
    monkeypatch.setattr(command_line, 'set_up', lambda dtype: None)
    base = ['main', '--config=strf_ilids', f'--config.data.root={experiment.data.root}']
    every = [*base, '--config.data.split=all', f'--workdir={tmp_path}']
    assert main.run(every) == 0
    assert main.run([*every, '--mode=eval', '--checkpoint=/c']) == 0
    assert main.run([*every, '--mode=extract']) == 0
    assert [str(part) for one in asked for part in one] == [
        *('all', str(tmp_path)),
        *(str(tmp_path), '/c', 'True'),
        *(str(tmp_path), str(tmp_path), 'False'),
    ]
    with pytest.raises(config.ConfigError, match=r'data\.split = all belongs to ilids and prid; mars has one split'):
        config.validate(config.Experiment(data=config.Data(dataset='mars', split='all')))
    assert command_line.read_config('strf_ilids', ['--config.data.split=9']).data.split == '9'


def test_splits_that_took_other_numbers_of_steps_are_of_the_most():
    mean = splits.mean([row(split, step=step) for split, step in enumerate((5, 9, 7))])
    assert mean['step'] == 9
    assert [one['step'] for one in mean['splits']] == [5, 9, 7]
