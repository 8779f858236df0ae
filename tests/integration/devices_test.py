"""One device, eight devices and two processes compute the same training."""

import subprocess
import sys

import numpy as np
import pytest

from tests.fixtures import checkpoint_arrays, commands


def gradients(command, out, dtype, bn_groups, *, devices=1, processes=1):
    """The .npz of gradient_worker."""
    address = f'127.0.0.1:{commands.free_port()}'
    environment = command.environment(devices)
    if dtype == 'float64':  # compiles in half the time; in float32 its rounding alone is 1e-3 of a small gradient
        environment['XLA_FLAGS'] += ' --xla_backend_optimization_level=0'
    running = []
    for i in range(processes):
        cluster = [address, str(processes), str(i)] if processes > 1 else []
        arguments = [
            sys.executable,
            '-m',
            'tests.fixtures.gradient_worker',
            str(out),
            dtype,
            str(bn_groups),
            *cluster,
        ]
        running.append(
            subprocess.Popen(
                arguments, env=environment, cwd=commands.ROOT, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True,
            )
        )  # fmt: skip
    for process in running:
        output = process.communicate(timeout=400)[0]
        assert process.returncode == 0, output
    return dict(np.load(out))


@pytest.fixture(scope='module')
def single(command, tmp_path_factory):
    """Gradients on one device, by (dtype, groups)."""
    cache = {}

    def get(dtype, groups):
        if (dtype, groups) not in cache:
            out = tmp_path_factory.mktemp('single') / 'gradients.npz'
            cache[dtype, groups] = gradients(command, out, dtype, groups)
        return cache[dtype, groups]

    return get


@pytest.mark.parametrize(
    ('dtype', 'groups', 'devices', 'processes', 'tolerance'),
    [
        ('float32', 1, 1, 2, 1e-4),
        ('float64', 1, 8, 1, 1e-9),
        ('float64', 4, 2, 2, 1e-9),
        ('float64', 2, 8, 1, 1e-9),
    ],
)
def test_gradients_of_the_first_step_agree_leaf_by_leaf(
    command, single, tmp_path, dtype, groups, devices, processes, tolerance
):
    one = single(dtype, groups)
    many = gradients(command, tmp_path / 'many.npz', dtype, groups, devices=devices, processes=processes)
    assert one.keys() == many.keys()
    for name in one:
        difference = np.linalg.norm(one[name] - many[name])
        assert difference <= tolerance * np.linalg.norm(one[name]) + 1e-12, name
    assert sum(np.linalg.norm(v) > 0 for k, v in one.items() if 'gradient' in k) > 30


def test_two_processes_train_to_the_parameters_of_one(command, tmp_path):
    arguments = ['--config.train.compute_dtype=float64', '--config.train.max_steps=5']
    command.run(tmp_path / 'one', *arguments)
    address = f'--coordinator=127.0.0.1:{commands.free_port()}'
    running = [
        command.start(tmp_path / 'two', *arguments, address, '--num_processes=2', f'--process_id={i}') for i in range(2)
    ]
    outputs = [process.communicate(timeout=400)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], '\n'.join(outputs)
    ours, theirs = checkpoint_arrays.read(tmp_path / 'two', 5), checkpoint_arrays.read(tmp_path / 'one', 5)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6, atol=1e-6, err_msg=name)


def test_eight_devices_train_to_the_parameters_of_one(command, tmp_path):
    arguments = ['--config.train.compute_dtype=float64', '--config.train.max_steps=5']
    command.run(tmp_path / 'one', *arguments)
    command.run(tmp_path / 'eight', *arguments, devices=8)
    ours, theirs = checkpoint_arrays.read(tmp_path / 'eight', 5), checkpoint_arrays.read(tmp_path / 'one', 5)
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6, atol=1e-6, err_msg=name)
