import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxreid import sharding
from jaxreid.layers import batch_norm
from tests.oracles import batch_norm as oracle


def mesh(n):
    return jax.make_mesh((n,), ('data',), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:n])


def draw(shape, *, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    # Slices of the batch differ in mean and spread, so that a wrong grouping shows.
    offset = np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return (rng.normal(size=shape) * (1 + 0.1 * offset) + 0.3 * offset).astype(dtype)


def variables(c, dtype=jnp.float32, seed=1):
    rng = np.random.default_rng(seed)
    scale, bias, mean = (jnp.asarray(rng.normal(size=c), dtype) for _ in range(3))
    return {
        'params': {'scale': scale, 'bias': bias},
        'batch_stats': {'mean': mean, 'var': jnp.asarray(rng.uniform(0.5, 2, c), dtype)},
    }


def run(v, x, *, devices, groups, dtype=jnp.float32):
    """Output and new statistics of a training call on so many devices (0: one program without a mesh)."""
    layer = batch_norm.BatchNorm(train=True, groups=groups, axis_name='data' if devices else None, dtype=dtype)
    call = functools.partial(layer.apply, mutable=['batch_stats'])
    if devices:
        call = jax.shard_map(call, mesh=mesh(devices), in_specs=(P(), P('data')), out_specs=(P('data'), P()))
    return jax.jit(call)(v, x)


@pytest.mark.parametrize('train', [True, False])
def test_one_group_is_pytorchs_batch_norm_with_its_gradient(train):
    torch = pytest.importorskip('torch')
    x, weight = draw((4, 2, 5, 3, 6), dtype=np.float32), draw((4, 2, 5, 3, 6), seed=2, dtype=np.float32)
    v = variables(6)
    layer = batch_norm.BatchNorm(train=train)

    def loss(params, x):
        y, new = layer.apply({**v, 'params': params}, x, mutable=['batch_stats'])
        return (y * weight).sum(), (y, new['batch_stats'])

    (_, (y, stats)), (grads, x_grad) = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(v['params'], x)

    net = torch.nn.BatchNorm3d(6)
    with torch.no_grad():
        for theirs, (collection, leaf) in {
            'weight': ('params', 'scale'),
            'bias': ('params', 'bias'),
            'running_mean': ('batch_stats', 'mean'),
            'running_var': ('batch_stats', 'var'),
        }.items():
            getattr(net, theirs).copy_(torch.tensor(np.asarray(v[collection][leaf])))
    net.train(train)
    x_torch = torch.tensor(x).movedim(-1, 1).requires_grad_()
    y_torch = net(x_torch)
    (y_torch * torch.tensor(weight).movedim(-1, 1)).sum().backward()

    np.testing.assert_allclose(y, y_torch.detach().movedim(1, -1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(x_grad, x_torch.grad.movedim(1, -1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(grads['scale'], net.weight.grad, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(grads['bias'], net.bias.grad, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(stats['mean'], net.running_mean, rtol=1e-5, atol=1e-6)
    newest = (stats['var'] - 0.9 * v['batch_stats']['var']) / 0.1
    rows = x.size // 6
    kept = 0.9 * v['batch_stats']['var'] + 0.1 * newest * rows / (rows - 1)  # PyTorch keeps the unbiased variance
    np.testing.assert_allclose(kept if train else stats['var'], net.running_var, rtol=1e-5)


@pytest.mark.parametrize('groups', [1, 2, 4])
def test_groups_are_equal_slices_of_the_batch_in_order(groups):
    x, v = draw((8, 3, 2, 5)), variables(5)
    y, new = run(v, jnp.asarray(x, jnp.float32), devices=0, groups=groups)
    expected, mean, variance = oracle.grouped(
        x, *(np.asarray(v['params'][k]) for k in ('scale', 'bias')), groups=groups
    )
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    for leaf, value in (('mean', mean), ('var', variance)):
        np.testing.assert_allclose(new['batch_stats'][leaf], 0.9 * v['batch_stats'][leaf] + 0.1 * value, rtol=1e-5)


@pytest.mark.parametrize(('devices', 'groups'), [(8, 1), (8, 2), (8, 8), (8, 16), (2, 8), (1, 4), (4, 4)])
def test_the_number_of_devices_does_not_change_the_result(devices, groups):
    x, v = draw((16, 2, 3, 5), dtype=np.float32), variables(5)
    expected, new_expected = run(v, x, devices=0, groups=groups)
    y, new = run(v, x, devices=devices, groups=groups)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    for leaf in ('mean', 'var'):
        np.testing.assert_allclose(new['batch_stats'][leaf], new_expected['batch_stats'][leaf], rtol=1e-5)


@pytest.mark.parametrize(('dtype', 'tolerance'), [(np.float32, 1e-4), (np.float64, 1e-9)])
@pytest.mark.parametrize('groups', [1, 2, 8])
def test_gradients_through_eight_devices_are_those_of_one(dtype, tolerance, groups):
    with jax.enable_x64(True):
        x, weight = (jnp.asarray(draw((16, 2, 3, 5), seed=s), dtype) for s in (3, 4))
        v = variables(5, dtype)

        def loss(params, x, weight, axis_name):
            params = sharding.varying(params, axis_name)
            layer = batch_norm.BatchNorm(train=True, groups=groups, axis_name=axis_name, dtype=dtype)
            y, _ = layer.apply({**v, 'params': params}, x, mutable=['batch_stats'])
            value = (jnp.tanh(y) * weight).mean()
            return value if axis_name is None else jax.lax.pmean(value, axis_name)

        single = jax.jit(jax.grad(functools.partial(loss, axis_name=None), (0, 1)))(v['params'], x, weight)
        sharded = jax.shard_map(
            jax.grad(functools.partial(loss, axis_name='data'), (0, 1)),
            mesh=mesh(8),
            in_specs=(P(), P('data'), P('data')),
            out_specs=(P(), P('data')),
        )
        several = jax.jit(sharded)(v['params'], x, weight)
        for a, b in zip(jax.tree.leaves(several), jax.tree.leaves(single), strict=True):
            assert a.dtype == dtype
            np.testing.assert_allclose(a, b, atol=tolerance * float(jnp.abs(b).max()), rtol=0)


@pytest.mark.parametrize('relu', [True, False])
@pytest.mark.parametrize(('devices', 'groups'), [(0, 1), (0, 2), (4, 2), (2, 4)])
def test_the_gradient_is_that_of_the_formula(devices, groups, relu):
    def plain(params, x, shortcut):
        slices = x.reshape(groups, -1, x.shape[-1])
        apart = slices - slices.mean(1, keepdims=True)
        y = apart / jnp.sqrt((apart**2).mean(1, keepdims=True) + batch_norm.EPSILON)
        y = (y * params['scale'][None, None] + params['bias'][None, None]).reshape(x.shape) + shortcut
        return jnp.where(y > 0, y, 0) if relu else y

    with jax.enable_x64(True):
        x, shortcut, weight = (jnp.asarray(draw((8, 2, 3, 5), seed=s)) for s in (5, 6, 7))
        v = variables(5, jnp.float64)
        axis_name = 'data' if devices else None
        layer = batch_norm.BatchNorm(train=True, groups=groups, axis_name=axis_name, dtype=jnp.float64, relu=relu)

        def gradient(weight, *args):
            def value(params, x, shortcut):
                params = sharding.varying(params, axis_name)
                y, _ = layer.apply({**v, 'params': params}, x, shortcut, mutable=['batch_stats'])
                total = (jnp.sin(y) * weight).sum()
                return jax.lax.psum(total, axis_name) if devices else total

            return jax.grad(value, (0, 1, 2))(*args)

        if devices:
            gradient = jax.shard_map(
                gradient, mesh=mesh(devices), in_specs=(P('data'), P(), P('data'), P('data')),
                out_specs=(P(), P('data'), P('data')),
            )  # fmt: skip
        found = jax.jit(gradient)(weight, v['params'], x, shortcut)
        expected = jax.grad(lambda *args: (jnp.sin(plain(*args)) * weight).sum(), (0, 1, 2))(v['params'], x, shortcut)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-9 * float(jnp.abs(b).max()), rtol=0)


def test_a_large_mean_does_not_cancel_the_variance():
    x = (np.random.default_rng(0).normal(size=(8, 50, 4)) + 3000).astype(np.float32)
    y, _ = run(variables(4) | {'params': {'scale': jnp.ones(4), 'bias': jnp.zeros(4)}}, x, devices=0, groups=1)
    np.testing.assert_allclose(y.std((0, 1)), 1, rtol=1e-2)


@pytest.mark.parametrize(('devices', 'groups'), [(8, 1), (8, 2)])
def test_devices_that_share_a_group_agree_far_from_the_running_mean(devices, groups):
    x = (np.random.default_rng(0).normal(size=(8, 50, 4)) + 30).astype(np.float32)  # 30 standard deviations
    v = variables(4) | {'params': {'scale': jnp.ones(4), 'bias': jnp.zeros(4)}}
    y, _ = run(v, x, devices=devices, groups=groups)
    np.testing.assert_allclose(y, run(v, x, devices=0, groups=groups)[0], rtol=0, atol=2e-3)


@pytest.mark.parametrize('seed', [0, 1, 2])
@pytest.mark.parametrize(('devices', 'groups'), [(8, 1), (8, 2)])
def test_a_first_step_fifty_deviations_from_the_running_mean_is_that_of_float64(devices, groups, seed):
    """Statistics that start at 0 and 1, inputs of mean 50: what is counted from the running mean cancels most then."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(16, 64, 32)) + 0.2 * rng.normal(size=(16, 1, 32)) + 50).astype(np.float32)
    weight = rng.normal(size=x.shape)
    v = {
        'params': {'scale': jnp.ones(32), 'bias': jnp.zeros(32)},
        'batch_stats': {'mean': jnp.zeros(32), 'var': jnp.ones(32)},
    }
    y, new = run(v, x, devices=devices, groups=groups)
    slices = x.astype(np.float64).reshape(groups, -1, 32)
    variance = slices.var(1)
    expected = (slices - slices.mean(1, keepdims=True)) / np.sqrt(variance + batch_norm.EPSILON)[:, None]
    np.testing.assert_allclose((new['batch_stats']['var'] - 0.9) / 0.1, variance.mean(0), rtol=1e-3)
    assert abs((y * weight).mean() / (expected.reshape(x.shape) * weight).mean() - 1) < 1e-3  # a loss
    np.testing.assert_allclose(y, expected.reshape(x.shape), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(('groups', 'sums'), [(1, 2), (4, 2), (8, 1)])
def test_a_norm_sums_over_devices_once_forward_and_once_backward(groups, sums):
    """With respect to its input; groups of one device need the sum of their running statistics only."""
    x, v = draw((16, 2, 3, 5), dtype=np.float32), variables(5)

    def loss(x):
        layer = batch_norm.BatchNorm(train=True, groups=groups, axis_name='data')
        y, new = layer.apply({**v, 'params': sharding.varying(v['params'], 'data')}, x, mutable=['batch_stats'])
        return jnp.tanh(y).mean(), new

    gradient = jax.grad(loss, has_aux=True)
    mapped = jax.shard_map(gradient, mesh=mesh(8), in_specs=P('data'), out_specs=(P('data'), P()))
    text = jax.jit(mapped).lower(x).as_text()
    assert text.count('stablehlo.all_reduce') == sums


def test_statistics_of_bfloat16_are_float32():
    x = jnp.asarray(draw((8, 3, 5)), jnp.bfloat16)
    y, new = run(variables(5), x, devices=0, groups=1, dtype=jnp.bfloat16)
    assert y.dtype == jnp.bfloat16
    assert new['batch_stats']['mean'].dtype == jnp.float32
    expected = 0.9 * variables(5)['batch_stats']['mean'] + 0.1 * x.astype(jnp.float32).mean((0, 1))
    np.testing.assert_allclose(new['batch_stats']['mean'], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ('clips', 'groups', 'devices', 'message'),
    [(16, 3, 8, '3 BatchNorm groups do not fit 8 devices'), (3, 16, 8, '24 clips on 8 devices do not split into 16')],
)
def test_uneven_groups_are_refused(clips, groups, devices, message):
    with pytest.raises(ValueError, match=message):
        batch_norm.local_slices(clips, groups=groups, devices=devices)
