"""From a folder of crops to a trained, evaluated, extracted network, mixed with another, tested on a third."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from flax import traverse_util

from configs import finetune_manifest, strf_manifest
from data_pipelines import manifest
from jaxreid import command_line, config, sharding, training_loop
from jaxreid.evaluation import evaluate, results
from jaxreid.training import checkpoint
from jaxreid.weights import publish
from tests.fixtures import listed_folder as listing_fixture

PATTERN = r'(?P<pid>[^/]+)/cam(?P<camera>\d)/(?P<tracklet>\d)_\d+\.png'


def own(folder, people, *, test_share=0.5):
    """A manifest of drawn crops that the tool wrote."""
    listing_fixture.draw(
        folder, [f'{p}/cam{c}/{t}_{f}.png' for p in people for c in (1, 2) for t in (1, 2) for f in (1, 2)]
    )
    said = manifest.run([str(folder), f'{folder}/own.csv', '--pattern', PATTERN, f'--test-share={test_share}'])
    return said.split('--config.data.root=')[1]


def settings(root, **changes):
    made = strf_manifest.get_config('small')
    made.data = dataclasses.replace(made.data, root=root, height=16, width=8, **changes)
    made.backbone.width, made.backbone.strides, made.strf.stages, made.backbone.block = 4, (1, 1, 1, 1), (), 'c2d'
    made.sampler = config.Sampler(kind='camera_epoch_distinct', num_ids=4, tracklets_per_id=2, frames=2)
    made.train.max_steps, made.train.eval_every_epochs = 1, 0
    made.test.batch_clips, made.test.frames, made.test.clips = 8, 2, 'begin_crop'
    return config.validate(made)


def test_a_network_trained_on_two_data_sets_is_tested_on_a_third(tmp_path, monkeypatch):
    one = sharding.make_mesh(jax.devices()[:1])  # a program for eight compiles for long
    monkeypatch.setattr(sharding, 'make_mesh', lambda: one)
    first = own(tmp_path / 'first', ['ann', 'bob', 'cem', 'dee'])
    second = own(tmp_path / 'second', range(1, 7))
    rows = training_loop.train_and_evaluate(settings(first, also=(f'manifest={second}',)), tmp_path / 'run')
    assert rows[0]['trained_on'] == 'manifest first/own.csv + manifest second/own.csv'
    assert rows[0]['tested_on'] == 'manifest first/own.csv'
    meta = checkpoint.read_meta(tmp_path / 'run' / 'checkpoints', 1)
    names = {label: meta['pid_names'].get(pid, pid) for pid, label in meta['labels'].items()}
    assert sorted(names) == list(range(5))
    trained = [names[label] for label in range(5)]
    assert trained[:2] == sorted(set(trained) & {'ann', 'bob', 'cem', 'dee'})
    assert all(name.startswith('manifest second/own.csv ') for name in trained[2:])

    # How many identities the other data set has does not matter; the classifier is not asked.
    third = settings(own(tmp_path / 'third', range(20, 29), test_share=0.99))
    again = evaluate.run(third, tmp_path / 'run', tmp_path / 'run', scored=True)
    assert again[0]['trained_on'] == rows[0]['trained_on']
    assert 'test_ids_trained_on' not in again[0]
    assert again[0]['protocol']['answered_queries'] == 18
    assert json.loads((tmp_path / 'run' / 'results.json').read_text()) == rows + again
    assert (
        'trained on manifest first/own.csv + manifest second/own.csv; tested on manifest third/own.csv'
        in results.table(again)
    )
    (file,) = (tmp_path / 'run').glob('features-*.npz')
    with np.load(file) as kept:
        assert kept['embedding'].shape == (36, 128)

    # Without queries neither training nor a test begins.
    with open(first) as file:
        text = file.read()
    with open(first, 'w') as file:
        file.write(text.replace(',query+gallery,', ',gallery,'))
    for act in (
        lambda: training_loop.train_and_evaluate(settings(first), tmp_path / 'none'),
        lambda: evaluate.run(settings(first), tmp_path / 'none', tmp_path / 'run', scored=True),
    ):
        with pytest.raises(ValueError, match='nothing can be scored'):
            act()


def arrays(workdir):
    return traverse_util.flatten_dict(checkpoint.read_arrays(*checkpoint.find(workdir)), sep='/')


def test_a_network_of_others_goes_on_with_own_people_and_what_is_frozen_stays(tmp_path, monkeypatch, capsys):
    one = sharding.make_mesh(jax.devices()[:1])
    monkeypatch.setattr(sharding, 'make_mesh', lambda *_: one)
    others, mine = own(tmp_path / 'others', range(1, 9)), own(tmp_path / 'mine', ['ann', 'bob', 'cem', 'dee', 'eve'])
    training_loop.train_and_evaluate(settings(others), tmp_path / 'first')
    publish.publish([tmp_path / 'first'], tmp_path / 'shared')
    before = arrays(tmp_path / 'first')

    e = finetune_manifest.get_config('c2d_small')
    small = settings(mine)
    e.data, e.sampler, e.backbone, e.test = small.data, small.sampler, small.backbone, small.test
    e.sampler.num_ids, e.train.max_steps, e.train.eval_every_epochs, e.optim.warmup_epochs = 2, 2, 0, 0.0
    e.optim.frozen_stages, e.optim.trunk_rate = (0, 1, 2), 0.5
    ends = []
    for name in ('first', 'shared'):
        e.backbone.init, e.backbone.weights = 'checkpoint', str(tmp_path / name)
        training_loop.train_and_evaluate(config.validate(e), tmp_path / f'from-{name}')
        assert f'arrays from {tmp_path / name}; anew: head' in capsys.readouterr().out
        ends.append(arrays(tmp_path / f'from-{name}'))
    assert ends[0].keys() == before.keys()
    for name, array in ends[0].items():
        np.testing.assert_array_equal(ends[1][name], array, err_msg=name)  # a published network is the same start
        if name.startswith(('params/stem', 'params/layer1', 'params/layer2')):
            np.testing.assert_array_equal(array, before[name], err_msg=name)
        elif name.startswith(('params/layer3', 'params/layer4')):
            assert not np.array_equal(array, before[name]), name
            np.testing.assert_allclose(array, before[name], atol=1.1e-3)  # two steps of half of the rate


def test_without_a_manifest_the_message_says_how_to_get_one():
    with pytest.raises(config.ConfigError, match=r'python -m jaxreid\.data_pipelines\.manifest FOLDER OUT\.csv'):
        command_line.check_root(config.Experiment(data=config.Data(dataset='manifest')))
