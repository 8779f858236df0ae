"""Whatever reads a checkpoint ends in one line where it is damaged: training, evaluation, exports, search."""

import shutil

import jax
import numpy as np
import pytest

from jaxreid import command_line, config, main, sharding
from jaxreid.export import program
from jaxreid.search import __main__ as search
from jaxreid.training import checkpoint
from jaxreid.weights import export_torch
from tests.fixtures import commands


@pytest.fixture(scope='module')
def sound(tmp_path_factory):
    """A workdir whose checkpoint is of the settings of the tiny variant; its arrays are of no network."""
    experiment = command_line.read_config(commands.TINY.partition('=')[2])
    meta = {'config': config.to_dict(experiment), 'labels': {str(pid): pid - 1 for pid in range(1, 13)}}
    workdir = tmp_path_factory.mktemp('run')
    kept = checkpoint.Checkpoints(workdir / 'checkpoints', keep=2)
    state = {'params': {'kernel': np.ones(3)}, 'batch_stats': {'mean': np.ones(3)}}
    for at in (1, 2):
        kept.save(at, sharding.copy_to_all(state, sharding.make_mesh(jax.devices()[:1])), meta)
    kept.close()
    (workdir / 'crops' / 'one').mkdir(parents=True)
    (workdir / 'crops' / 'one' / '1.jpg').write_bytes(b'')
    return workdir


def cut_meta(at):
    """Half of what lies beside the state."""
    file = at / 'meta' / 'metadata'
    file.write_bytes(file.read_bytes()[:500])


def no_keys(at):
    """Neither settings nor labels, as no version of ours has written it."""
    (at / 'meta' / 'metadata').write_text('{}')


def no_arrays(at):
    """Of the state the folder alone."""
    shutil.rmtree(at / 'state')
    (at / 'state').mkdir()


def no_description(at):
    """Of Orbax' own."""
    (at / '_CHECKPOINT_METADATA').write_text('{')
    (at / 'state' / '_METADATA').unlink()


@pytest.mark.parametrize('break_it', [cut_meta, no_keys, no_arrays, no_description])
@pytest.mark.parametrize('command', ['train', 'eval', 'export', 'export_torch', 'search'])
def test_a_damaged_checkpoint_is_one_line_of_every_command(sound, tmp_path, capfd, monkeypatch, command, break_it):
    monkeypatch.setenv('JAXREID_CACHE', str(sound.parent / 'cache'))
    workdir = shutil.copytree(sound, tmp_path / 'run')
    break_it(workdir / 'checkpoints' / '2')
    match command:
        case 'train':
            status = main.run(['main', commands.TINY, f'--workdir={workdir}'])
        case 'eval':
            status = main.run(['main', commands.TINY, f'--workdir={workdir}', '--mode=eval'])
        case 'export':
            status = program.run([str(workdir), str(tmp_path / 'out')])
        case 'export_torch':
            status = export_torch.main([str(workdir), str(tmp_path / 'out.safetensors')])
        case 'search':
            status = search.run([str(workdir / 'crops'), str(workdir / 'crops'), '--checkpoint', str(workdir)])
    (said,) = [
        line for line in capfd.readouterr().err.split('\n') if line.startswith(('jaxreid:', 'Traceback', 'ERROR'))
    ]
    assert status == 1
    assert f'jaxreid: checkpoint {workdir}/checkpoints/2 is damaged (' in said
    assert f'continue from step 1, which is sound: mv {workdir}/checkpoints/2 {workdir}/damaged-2' in said
