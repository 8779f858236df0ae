"""Checkpoints come back on any placement, and what does not fit is named."""

import errno
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import time
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid import config, sharding
from jaxreid.training import checkpoint

STATE = {'params': {'kernel': np.arange(6.0).reshape(2, 3), 'bias': np.ones(3)}, 'step': np.int32(4)}
META = {'config': {}, 'labels': {'7': 0}}


@pytest.fixture
def folder(tmp_path):
    """A workdir with checkpoints of steps 3 and 4, written on two devices."""
    mesh = sharding.make_mesh(jax.devices()[:2])
    checkpoints = checkpoint.Checkpoints(tmp_path / 'checkpoints', keep=2)
    for step in (2, 3, 4):
        checkpoints.save(step, sharding.copy_to_all(STATE, mesh), META)
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
    mesh, meta = sharding.make_mesh(jax.devices()[:1]), META
    for scores in ({1: 40.0, 2: 60.0, 3: 60.0}, {4: 59.0, 5: 60.0}):  # the second continues the first
        best = checkpoint.Best(tmp_path / 'best')
        for step, score in scores.items():
            monitored = checkpoint.Monitored(mAP=score, rank1=100.0 - step, step=step, clips='rrs')
            best.offer(monitored, sharding.copy_to_all(STATE, mesh), meta)
        best.checkpoints.close()
        assert checkpoint.find(tmp_path / 'best') == (tmp_path / 'best', 2)
        assert best.score == {'mAP': 60.0, 'rank1': 98.0, 'step': 2, 'clips': 'rrs'}
    assert checkpoint.read_meta(tmp_path / 'best', 2)['selected'] == 'on the test set'


def flip(file, place=-1):
    """Turns over one bit of a file."""
    data = bytearray(file.read_bytes())
    data[place] ^= 4
    file.write_bytes(data)


def values(step):
    """The files of a checkpoint that hold numbers, the largest first."""
    return sorted((step / 'state' / 'ocdbt.process_0' / 'd').iterdir(), key=lambda file: -file.stat().st_size)


@pytest.mark.slow
def test_a_bit_that_is_no_longer_what_was_written_is_named_whatever_it_is_part_of(tmp_path):
    noise = {'params': {'kernel': np.random.default_rng(0).standard_normal((40, 50)).astype(np.float32)}}
    checkpoints = checkpoint.Checkpoints(tmp_path, keep=2)
    for step in (3, 4):
        checkpoints.save(step, sharding.copy_to_all(noise, sharding.make_mesh(jax.devices()[:1])), META)
    checkpoints.close()
    largest = values(tmp_path / '4')[0]
    whole, doubtful = largest.read_bytes(), 0
    for place in range(100, 7000, 700):
        flip(largest, place)
        with pytest.raises(checkpoint.CheckpointError, match='damaged') as error:
            checkpoint.restore(tmp_path, 4, placed(noise, 2))
        doubtful += 'params/kernel is not what was written' in str(error.value)  # Orbax has seen nothing
        largest.write_bytes(whole)
    assert doubtful > 5
    checkpoint.restore(tmp_path, 4, placed(noise, 2))


def test_a_changed_bit_beside_the_state_is_named(folder):
    file = folder / 'checkpoints' / '4' / 'meta' / 'metadata'
    file.write_text(file.read_text().replace('"7": 0', '"7": 1'))
    with pytest.raises(checkpoint.CheckpointError, match=r'4 is damaged \(its contents are not those'):
        checkpoint.read_meta(folder / 'checkpoints', 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    'break_it',
    [
        lambda at: [flip(file, 3) for file in (at / 'state').rglob('*') if file.is_file()],
        lambda at: [file.write_bytes(file.read_bytes()[:10]) for file in at.rglob('*') if file.is_file()],
        lambda at: shutil.rmtree(at / 'state'),
        lambda at: shutil.rmtree(at / 'meta'),
        lambda at: (at / 'meta' / 'metadata').write_text('[]'),
        lambda at: (at / 'meta' / 'metadata').write_text('{"config": {}}'),
        lambda at: (at / 'state' / '_METADATA').write_text('{}'),
        lambda at: (at / 'state' / 'manifest.ocdbt').unlink(),
        lambda at: [file.unlink() for file in at.rglob('d/*')],
    ],
)
def test_whatever_is_damaged_ends_in_one_line_with_what_goes_on_from_the_newest_sound_one(folder, break_it):
    break_it(folder / 'checkpoints' / '4')
    for path in (folder, folder / 'checkpoints' / '4'):
        found, at = checkpoint.find(path)
        with pytest.raises(checkpoint.CheckpointError) as error:  # noqa: PT012
            checkpoint.read_meta(found, at)
            checkpoint.restore(found, at, placed(STATE, 1))
        (line,) = str(error.value).splitlines()
        assert 'checkpoints/4 is damaged' in line
        assert 'continue from step 3' in line
    subprocess.run(line.partition('sound: ')[2], shell=True, check=True)
    assert checkpoint.find(folder)[1] == 3
    checkpoint.restore(folder / 'checkpoints', 3, placed(STATE, 1))


def test_a_damaged_older_checkpoint_is_not_the_one_to_go_on_from(folder):
    for step in ('3', '4'):
        shutil.rmtree(folder / 'checkpoints' / step / 'state')
    with pytest.raises(checkpoint.CheckpointError, match='no older one is beside it that is sound'):
        checkpoint.restore(folder / 'checkpoints', 4, placed(STATE, 1))


def test_a_best_checkpoint_without_its_score_is_damaged(tmp_path):
    checkpoints = checkpoint.Checkpoints(tmp_path, keep=1)
    checkpoints.save(5, sharding.copy_to_all(STATE, sharding.make_mesh(jax.devices()[:1])), META)
    checkpoints.close()
    with pytest.raises(checkpoint.CheckpointError, match=r'5 is damaged \(its meta has no score\)'):
        checkpoint.Best(tmp_path)


def test_a_best_checkpoint_is_on_disk_when_it_was_offered_and_what_killed_saves_left_goes(tmp_path):
    (tmp_path / '3.orbax-checkpoint-tmp' / 'state').mkdir(parents=True)
    (tmp_path / '3.orbax-checkpoint-tmp' / '_CHECKPOINT_METADATA').write_text('{}')
    best = checkpoint.Best(tmp_path)
    monitored = checkpoint.Monitored(mAP=1.0, rank1=2.0, step=7, clips='rrs')
    best.offer(monitored, sharding.copy_to_all(STATE, sharding.make_mesh(jax.devices()[:1])), META)
    assert os.listdir(tmp_path) == ['7']
    best.checkpoints.close()


def test_a_checkpoint_that_is_rotated_away_while_it_is_read_is_not_damaged(folder):
    with pytest.raises(checkpoint.CheckpointError, match='was removed while it was read'):
        checkpoint.read_meta(folder / 'checkpoints', 2)


def test_a_folder_that_is_removed_is_no_full_disk(folder):
    checkpoints = checkpoint.Checkpoints(folder / 'checkpoints', keep=2)
    shutil.rmtree(folder)
    with pytest.raises(checkpoint.CheckpointError, match='was removed while the run was at work'):
        checkpoints.save(5, sharding.copy_to_all(STATE, sharding.make_mesh(jax.devices()[:1])), META)


MANY = {'params': {f'a{i}': np.random.default_rng(i).random((60, 100)) for i in range(100)}}


@pytest.fixture
def late(monkeypatch):
    """What nobody can catch, since it is raised in threads of others."""
    said = []
    monkeypatch.setattr(sys, 'unraisablehook', lambda error: said.append(str(error.exc_value)))
    return said


def test_a_save_that_fails_ends_when_all_its_writes_have_ended(tmp_path, late):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for number in range(3):
        folder = tmp_path / str(number) / 'checkpoints'
        checkpoints = checkpoint.Checkpoints(folder, keep=1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # a full disk
        try:
            checkpoints.save(1, MANY, META)
            with pytest.raises(checkpoint.CheckpointError, match='Make space'):
                checkpoints.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        there = sorted(folder.rglob('*'))
        time.sleep(0.1)
        assert sorted(folder.rglob('*')) == there
    assert late == []


def test_a_restore_that_fails_ends_when_all_its_reads_have_ended(tmp_path, late):
    checkpoints = checkpoint.Checkpoints(tmp_path / 'checkpoints', keep=1)
    checkpoints.save(1, MANY, META)
    checkpoints.close()
    for file in (tmp_path / 'checkpoints' / '1' / 'state').rglob('d/*'):
        file.write_bytes(file.read_bytes()[:10])
    for _ in range(10):
        with pytest.raises(checkpoint.CheckpointError, match='is damaged'):
            checkpoint.read_arrays(tmp_path / 'checkpoints', 1)
    time.sleep(0.1)
    assert late == []


@pytest.mark.parametrize(
    ('error', 'disk'),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), True),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), True),
        (ValueError('RESOURCE_EXHAUSTED: writing [OS error 122: EDQUOT Disk quota exceeded]'), True),
        (jax.errors.JaxRuntimeError('Gloo all-reduce failed: Connection closed by peer [127.0.0.1]:4242'), False),
        (jax.errors.JaxRuntimeError('INTERNAL: Connection reset by peer'), False),
        (ValueError('an array of another kind'), False),
    ],
)
def test_only_an_error_of_the_disk_is_called_one(folder, monkeypatch, error, disk):
    checkpoints = checkpoint.Checkpoints(folder / 'checkpoints', keep=2)
    monkeypatch.setattr(checkpoints._manager, 'wait_until_finished', mock.Mock(side_effect=error))
    with pytest.raises(checkpoint.CheckpointError if disk else type(error)) as raised:
        checkpoints.wait()
    assert ('cannot write a checkpoint' in str(raised.value)) == disk
    assert ('MiB free' in str(raised.value)) == (disk and 'Read-only' not in str(raised.value))
    if not disk:
        assert raised.value is error


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


def test_a_cosine_run_may_become_longer_and_not_shorter(tmp_path):
    experiment = config.Experiment()
    experiment.optim.schedule = 'cosine'
    saved = {'config': config.to_dict(experiment)}
    experiment.train.epochs = 300
    checkpoint.check_same_run(saved, experiment, tmp_path)
    experiment.train.epochs = 200
    with pytest.raises(checkpoint.CheckpointError, match=r'config.train.epochs: 250 before, 200 now'):
        checkpoint.check_same_run(saved, experiment, tmp_path)
    experiment.optim.schedule = 'step'
    saved['config']['optim']['schedule'] = 'step'
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
