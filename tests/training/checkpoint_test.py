"""Checkpoints come back on any placement, and what does not fit is named."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid import config, sharding
from jaxreid.training import checkpoint

STATE = {'params': {'kernel': np.arange(6.0).reshape(2, 3), 'bias': np.ones(3)}, 'step': np.int32(4)}


@pytest.fixture
def folder(tmp_path):
    """A workdir with checkpoints of steps 3 and 4, written on two devices."""
    mesh = sharding.make_mesh(jax.devices()[:2])
    checkpoints = checkpoint.Checkpoints(tmp_path / 'checkpoints', keep=2)
    for step in (2, 3, 4):
        checkpoints.save(step, sharding.copy_to_all(STATE, mesh), {'config': {}, 'labels': {'7': 0}})
    checkpoints.close()
    return tmp_path


def placed(tree, devices):
    """The abstract tree on so many devices."""
    mesh = sharding.make_mesh(jax.devices()[:devices])
    arrays = jax.tree.map(jnp.asarray, tree)
    return checkpoint.abstract_like(arrays, jax.sharding.NamedSharding(mesh, sharding.COPIED))


def test_the_newest_are_kept_and_found_from_workdir_folder_or_step(folder):
    assert sorted(p.name for p in (folder / 'checkpoints').glob('[0-9]*')) == ['3', '4']
    for path, step in ((folder, 4), (folder / 'checkpoints', 4), (folder / 'checkpoints' / '3', 3)):
        assert checkpoint.find(path) == (folder / 'checkpoints', step)


def test_a_state_comes_back_on_another_number_of_devices(folder):
    state = checkpoint.restore(folder / 'checkpoints', 4, placed(STATE, 8))
    np.testing.assert_array_equal(state['params']['kernel'], STATE['params']['kernel'])
    assert len(state['params']['kernel'].sharding.device_set) == 8
    assert int(state['step']) == 4


def test_a_branch_can_be_restored_alone(folder):
    state = checkpoint.restore(folder / 'checkpoints', 4, placed({'params': STATE['params']}, 1))
    assert state.keys() == {'params'}


def test_meta_comes_back(folder):
    assert checkpoint.read_meta(folder / 'checkpoints', 4)['labels'] == {'7': 0}


def test_the_best_is_the_first_of_the_highest_map_and_is_known_to_the_next_process(tmp_path):
    mesh, meta = sharding.make_mesh(jax.devices()[:1]), {'config': {}, 'labels': {'7': 0}}
    for scores in ({1: 40.0, 2: 60.0, 3: 60.0}, {4: 59.0, 5: 60.0}):  # the second continues the first
        best = checkpoint.Best(tmp_path / 'best')
        for step, score in scores.items():
            monitored = checkpoint.Monitored(mAP=score, rank1=100.0 - step, step=step, clips='rrs')
            best.offer(monitored, sharding.copy_to_all(STATE, mesh), meta)
        best.checkpoints.close()
        assert checkpoint.find(tmp_path / 'best') == (tmp_path / 'best', 2)
        assert best.score == {'mAP': 60.0, 'rank1': 98.0, 'step': 2, 'clips': 'rrs'}
    assert checkpoint.read_meta(tmp_path / 'best', 2)['selected'] == 'on the test set'


def test_another_model_is_refused_with_every_difference(folder):
    other = {'params': {'kernel': np.zeros((2, 4)), 'scale': np.zeros(3)}}
    with pytest.raises(checkpoint.CheckpointError) as error:
        checkpoint.restore(folder / 'checkpoints', 4, placed(other, 1))
    for part in (
        'belongs to another model',
        'params/kernel: shape (2, 3) in the checkpoint, (2, 4) in the model',
        'params/scale: missing in the checkpoint',
        'params/bias: in the checkpoint, not in the model',
    ):
        assert part in str(error.value)


def test_a_folder_without_checkpoints_says_what_was_expected(tmp_path):
    with pytest.raises(checkpoint.CheckpointError, match='expected a workdir with checkpoints/<step>/'):
        checkpoint.find(tmp_path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(checkpoint.CheckpointError, match='cannot create the checkpoint folder'):
        checkpoint.Checkpoints(tmp_path / 'file' / 'checkpoints', keep=1)


def test_only_settings_that_change_nothing_may_change_between_parts_of_a_run(tmp_path):
    experiment = config.Experiment()
    saved = {'config': config.to_dict(experiment)}
    experiment.data.root, experiment.data.threads, experiment.train.log_every_steps = '/moved', 9, 1
    experiment.train.epochs, experiment.test.flip = 300, True
    checkpoint.check_same_run(saved, experiment, tmp_path)
    experiment.sampler.num_ids = 4
    with pytest.raises(checkpoint.CheckpointError, match=r'config.sampler.num_ids: 8 before, 4 now'):
        checkpoint.check_same_run(saved, experiment, tmp_path)


def test_the_length_of_a_cosine_run_may_not_change(tmp_path):
    experiment = config.Experiment()
    experiment.optim.schedule = 'cosine'
    saved = {'config': config.to_dict(experiment)}
    experiment.train.epochs = 300
    with pytest.raises(checkpoint.CheckpointError, match=r'config.train.epochs: 250 before, 300 now'):
        checkpoint.check_same_run(saved, experiment, tmp_path)


def test_a_network_is_told_apart_by_the_options_of_its_own_system_only():
    e = config.Experiment(system='stmn')
    saved = {'config': config.to_dict(e)}
    e.stmn.alpha, e.stmn.spread, e.sta.stripes, e.ap3d.temperature = 0.5, 'off', 2, 1.0  # nothing of this network
    checkpoint.check_same_model(saved, e, pathlib.Path('7'))
    e.stmn.key_norm = 'channel'
    with pytest.raises(checkpoint.CheckpointError, match=r"config\.stmn\.key_norm: 'item' before, 'channel' now"):
        checkpoint.check_same_model(saved, e, pathlib.Path('7'))
    e = config.Experiment()
    older = {'config': {k: v for k, v in config.to_dict(e).items() if k not in ('ap3d', 'stmn', 'sta', 'star')}}
    checkpoint.check_same_model(older, e, pathlib.Path('7'))
