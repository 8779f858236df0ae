"""One device, eight devices and two processes compute the same training."""

import re
import shutil
import sys

import jax
import numpy as np
import pytest

from tests.fixtures import checkpoint_arrays, commands, gradient_worker

CASES = [('float32', 1, 1e-4), ('float64', 1, 1e-9), ('float64', 4, 1e-9), ('float64', 2, 1e-9)]  # groups, tolerance
# The neck takes out what these add to all clips alike: where no ReLU is in between, their gradient is zero but for
# the rounding of what it is summed from.
SHIFTS = [f"['gradient']['layer4']['block0']['{norm}']['bias']" for norm in ('bn3', 'downsample_bn')]


@pytest.fixture(scope='module')
def two_processes(command, tmp_path_factory):
    """Folder of what two processes of two devices each found, on a mesh where one's lie between the other's."""
    out = tmp_path_factory.mktemp('two')
    address = f'127.0.0.1:{commands.free_port()}'
    worker = [sys.executable, '-m', 'tests.fixtures.gradient_worker', str(out), address, '2']
    running = [command.launch([*worker, str(i)], devices=2, quick=True) for i in range(2)]
    for process in running:
        output = process.communicate(timeout=600)[0]
        assert process.returncode == 0, output
    return out


@pytest.mark.parametrize(('dtype', 'groups', 'tolerance'), CASES)
def test_gradients_of_the_first_step_agree_leaf_by_leaf(command, request, monkeypatch, dtype, groups, tolerance):
    monkeypatch.setenv('JAXREID_CACHE', str(command.cache))
    one = gradient_worker.first_gradient(dtype, groups, jax.devices()[:1])
    if (dtype, groups) in gradient_worker.OF_TWO_PROCESSES:
        many = dict(np.load(request.getfixturevalue('two_processes') / f'{dtype}-{groups}.npz'))
    else:
        many = gradient_worker.first_gradient(dtype, groups, jax.devices())
    assert one.keys() == many.keys()
    gradients = [value for name, value in one.items() if 'gradient' in name]
    rounding = np.finfo(dtype).eps * np.sqrt(sum(np.square(value, dtype=float).sum() for value in gradients))
    for name in one:
        difference = np.linalg.norm(one[name] - many[name])
        zero = 1e-12 + (rounding if name in SHIFTS else 0)
        assert difference <= tolerance * np.linalg.norm(one[name]) + zero, name
    assert sum(np.linalg.norm(v) > 0 for k, v in one.items() if 'gradient' in k) > 30


def test_groups_of_clips_that_two_processes_share_are_those_of_one(two_processes):
    found = np.load(two_processes / 'spread.npz')
    for groups in (1, 2, 4):
        np.testing.assert_allclose(found[str(groups)], gradient_worker.spread(groups, jax.devices()[:1]), rtol=1e-6)
    assert len({float(value) for value in found.values()}) == 3


LISTENING = """
import psutil, sys
from jaxreid import main
mine = psutil.Process().net_connections
main.summary.write = lambda *_: print([one.laddr for one in mine() if one.status == 'LISTEN'])
sys.exit(main.run(['main', *sys.argv[1:]]))
"""


def test_the_coordinator_listens_at_the_address_asked_for_and_at_no_other(command, tmp_path):
    port = commands.free_port()
    cluster = [f'--coordinator=127.0.0.1:{port}', '--num_processes=1', '--process_id=0']
    arguments = [commands.TINY, '--mode=summary', f'--workdir={tmp_path}', *cluster]
    output = command.execute([sys.executable, '-c', LISTENING, *arguments])
    assert re.search(rf"\[addr\(ip='(::ffff:)?127\.0\.0\.1', port={port}\)\]", output), output


EXACT = '--config.train.compute_dtype=float64'


@pytest.fixture(scope='module', params=[(), commands.TFCLIP], ids=['strf', 'tfclip'])
def system(request):
    """Arguments that choose the network: the later of two configs counts."""
    return request.param


@pytest.fixture(scope='module')
def one(command, system):
    """Workdir of ten steps on one device, with checkpoints of steps 5 and 10."""
    arguments = EXACT, '--config.train.max_steps=10', '--config.train.checkpoint_every_steps=5'
    return command.once(f'one-device-{len(system)}', *system, *arguments, quick=True)


def assert_same_state(ours, theirs, step):
    ours, theirs = checkpoint_arrays.read(ours, step), checkpoint_arrays.read(theirs, step)
    assert ours.keys() == theirs.keys()
    # dot_product_attention has its softmax in float32, and of the rounding of small gradients Adam makes larger steps.
    # Of a bias of all keys softmax takes no notice: its gradient is nothing but rounding.
    atol = 1e-5 if any("['qkv']" in name for name in ours) else 1e-6
    for name in ours:
        both = ours[name], theirs[name]
        if name.endswith("['qkv']['bias']"):
            both = [np.delete(x, np.s_[len(x) // 3 : 2 * len(x) // 3]) for x in both]
        np.testing.assert_allclose(*both, rtol=1e-6, atol=atol, err_msg=name)


def test_two_processes_train_to_the_parameters_of_one(command, system, one, tmp_path):
    arguments = [*system, EXACT, '--config.train.max_steps=5']
    address = f'--coordinator=127.0.0.1:{commands.free_port()}'
    running = [
        command.start(tmp_path, *arguments, address, '--num_processes=2', f'--process_id={i}', quick=True)
        for i in range(2)
    ]
    outputs = [process.communicate(timeout=400)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], '\n'.join(outputs)
    assert_same_state(tmp_path, one, 5)


def test_a_run_continues_on_another_number_of_devices_with_the_same_numbers(command, system, one, tmp_path):
    moved = shutil.copytree(one, tmp_path / 'moved')
    shutil.rmtree(moved / 'checkpoints' / '10')
    output = command.run(moved, *system, EXACT, '--config.train.max_steps=10', devices=8, quick=True)
    assert 'start: checkpoint of step 5' in output
    assert_same_state(moved, one, 10)
