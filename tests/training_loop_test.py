"""What the training loop says and writes beside its steps; whole runs are in tests/integration."""

import importlib.util
import json
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid import config, sharding, training_loop
from jaxreid.data.datasets import mars
from jaxreid.data.tracklets import tracklet
from jaxreid.evaluation import feature_file
from jaxreid.training import schedule
from jaxreid.weights import rendered


def dataset():
    """Two training identities with names, and a test split of three tracklets with one query."""
    train = [tracklet.Tracklet(f'{pid}', pid, 1, ('a.jpg',)) for pid in (3, 3, 5)]
    test = [tracklet.Tracklet(f'{camera}', 7, camera, ('a.jpg',)) for camera in (1, 2, 3)]
    row = np.arange(3)
    return tracklet.Dataset(
        root=pathlib.Path(),
        train=train,
        test=test,
        query=row == 0,
        gallery=row > 0,
        pid_names={3: 'ann', 5: 'bob', 7: 'eve'},
    )


def settings(**changes):
    e = config.Experiment(train=config.Train(epochs=2, log_every_steps=2))
    for path, value in changes.items():
        section, field = path.split('__')
        setattr(getattr(e, section), field, value)
    return e


def opening(e, num_ids):
    return training_loop.opening(e, dataset(), num_ids, 1.26)


def test_the_opening_says_what_is_trained_on_what_and_from_where():
    e = settings(sampler__num_ids=4, sampler__tracklets_per_id=3, sampler__frames=6)
    text = opening(e, mars.FACTS.num_ids)
    assert '625 training ids, 3 tracklets; 3 test tracklets, 1 queries (indexed in 1.3 s)' in text
    assert text.endswith('\nmaking the network')
    assert 'note:' not in text
    plan = schedule.Schedule(e.train, steps_per_epoch=5)
    mesh = sharding.make_mesh(jax.devices()[:2])
    text = training_loop.outlook(e, plan, mesh, jnp.dtype('float32'), 'a random start')
    assert '5 steps per epoch, 10 steps in all, 12 clips x 6 frames a step, 2 device(s)' in text
    assert text.endswith('float32; start: a random start')


def test_other_identities_than_the_config_expects_are_noted_where_the_number_is_published():
    note = 'note: the config expects 625 training ids, but the data has 2 and decides'
    assert note in opening(settings(data__num_ids=625), 2)
    for mixed_or_unpublished in ({'data__also': ('prid=/data',)}, {'data__dataset': 'manifest'}):
        assert 'note:' not in opening(settings(data__num_ids=625, **mixed_or_unpublished), 2)


def test_beside_a_checkpoint_stand_settings_labels_names_and_versions():
    e = settings()
    meta = json.loads(json.dumps(training_loop.describe(e, dataset(), {3: 0, 5: 1}, 5)))
    assert config.from_dict(meta['config']) == e
    assert meta['labels'] == {'3': 0, '5': 1}
    assert meta['pid_names'] == {'3': 'ann', '5': 'bob', '7': 'eve'}
    assert meta['steps_per_epoch'] == 5
    assert meta['versions']['jax'] == jax.__version__


class Trained:
    """A network whose features rank the other camera's tracklet of the person first."""

    step = 8
    mesh = None

    def __init__(self, experiment):
        self.experiment, self.asked = experiment, []

    def features(self, dataset, *, clips='all_frames', label='evaluate'):
        self.asked.append(clips)
        made = {key: '' for key in feature_file.Making.__annotations__}
        return feature_file.Features(
            embedding=np.eye(3, dtype=np.float32)[[0, 0, 1]],
            embedding_before_neck=None,
            pid=np.array([7, 7, 7]),
            camera=np.array([1, 2, 3]),
            query=dataset.query,
            gallery=dataset.gallery,
            name=np.array(['a', 'b', 'c']),
            frames=np.ones(3, int),
            meta={**made, 'clips': clips, 'step': self.step, 'dataset': 'mars'},
        )


def test_a_score_amid_training_is_of_the_clips_for_monitoring():
    trained = Trained(settings(test__clips='all_frames', test__monitor_clips='rrs'))
    score, row = training_loop.score_amid(trained, dataset())
    assert trained.asked == ['rrs']
    assert score == {'mAP': 100.0, 'rank1': 100.0, 'step': 8, 'clips': 'rrs'}
    assert (row['selected'], row['step'], row['protocol']['clips']) == ('monitoring', 8, 'rrs')


def test_the_headline_has_references_where_the_data_set_is_rendered_and_they_are_asked_for(monkeypatch):
    monkeypatch.setattr(training_loop.sharding, 'copy_to_all', lambda variables, mesh: variables)
    monkeypatch.setattr(
        training_loop.references, 'compute', lambda trained, dataset, *, untrained, features: [untrained]
    )
    for name, asked, expected in (('synthetic', True, [{'w': 0}]), ('synthetic', False, None), ('mars', True, None)):
        trained = Trained(settings(data__dataset=name, test__references=asked))
        _, rows = training_loop.headline(trained, dataset(), lambda: ({'w': 0}, 'as drawn'))
        assert rows[0].get('references') == expected
        assert rows[0]['selected'] == 'last step'


def test_the_closing_tells_the_last_step_from_the_best_and_the_times_apart():
    rule = {'name': 'mars-paper', 'answered_queries': 100, 'unanswered_queries': 0, 'unanswerable': 'skip'}
    row = {'mAP': 61.24, 'cmc': {'1': 70.0}, 'protocol': rule, 'step': 10, 'asked_people': 30}
    score = {'mAP': 65.0, 'rank1': 72.5, 'step': 5, 'clips': 'rrs'}
    best = types.SimpleNamespace(score=score, checkpoints=types.SimpleNamespace(directory='run/best'))
    text = training_loop.closing(pathlib.Path('run'), row, best, 3.0, 20.0, 30.0, '3 damaged training frames')
    assert 'mAP 61.24, rank-1 70.00 under mars-paper, last step 10' in text
    assert '\n3 damaged training frames\n' in text
    assert 'best monitored: mAP 65.00, rank-1 72.50 (rrs, selected on the test set), step 5: run/best' in text
    assert 'checkpoint  run/checkpoints/10' in text
    assert '30 s: data 3 s, training with compilation 20 s, evaluation 7 s' in text
    assert ' few: ' not in text
    few = training_loop.closing(pathlib.Path('run'), row | {'asked_people': 3}, best, 3.0, 20.0, 30.0, '').split('\n')
    assert few[2] == '3 people are few: other people may well give quite other numbers.'
    best.score = None
    assert 'best monitored' not in training_loop.closing(pathlib.Path('run'), row, best, 3.0, 20.0, 30.0, '')


def test_the_bar_of_a_run_counts_the_steps_that_are_made_and_says_how_it_goes():
    with training_loop.progress_bar(10, 4, shown=True) as bar:
        assert (bar.total, bar.n, bar.disable) == (10, 4, False)
    assert training_loop.progress_bar(10, 4, shown=False).disable
    values = {
        'loss': 1.2345, 'cross_entropy': 1.0, 'triplet': 0.25, 'learning_rate': 3e-4, 'clips_per_second': 12.4,
        'waiting_for_data': 0.256,
    }  # fmt: skip
    assert training_loop.progress(values) == 'loss 1.234 (ce 1.000, triplet 0.250), lr 3.0e-04, 12 clips/s, waiting 26%'


@pytest.mark.parametrize('there', [False, True])
def test_the_network_to_start_from_is_trained_where_it_is_missing(monkeypatch, tmp_path, there):
    monkeypatch.setenv('JAXREID_CACHE', str(tmp_path))
    trained, experiment = [], config.Experiment(backbone=config.Backbone(width=8, depths=(1, 1, 1, 1)))
    monkeypatch.setattr(training_loop, 'train_and_evaluate', lambda e, folder: trained.append((e, folder)))
    folder = rendered.folder(experiment)
    folder.mkdir()
    if there:
        (folder / 'results.json').write_text('[]')
    training_loop.make_rendered_start(experiment)
    assert trained == ([] if there else [(rendered.experiment(experiment), folder)])


def test_tensorboard_is_mentioned_only_where_it_is_installed(monkeypatch):
    rule = {'name': 'mars-paper', 'answered_queries': 100, 'unanswered_queries': 0, 'unanswerable': 'skip'}
    row = {'mAP': 61.24, 'cmc': {'1': 70.0}, 'protocol': rule, 'step': 10}
    for found in (None, 'a module'):
        monkeypatch.setattr(importlib.util, 'find_spec', lambda name, found=found: found)
        text = training_loop.closing(pathlib.Path('run'), row, types.SimpleNamespace(score=None), 3.0, 20.0, 30.0, '')
        assert ('tensorboard --logdir run/tensorboard' in text) == (found is not None)
        assert 'curves      run/curves.svg' in text
