import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxreid import config, sharding
from jaxreid.layers import batch_norm
from jaxreid.models import resnet

BLOCKS_3D = ('i3d', 'p3da', 'p3db', 'p3dc')


def bottleneck(block, *, strf=None, stride=2, train=True, dtype=jnp.float32):
    norm = functools.partial(batch_norm.BatchNorm, train=train, dtype=dtype)
    return resnet.Bottleneck(planes=4, stride=stride, block=block, strf=strf, norm=norm, dtype=dtype)


def features(dtype=np.float32):
    return np.random.default_rng(0).normal(size=(2, 3, 6, 4, 8)).astype(dtype)


@pytest.mark.slow
@pytest.mark.parametrize('location', ['3x1x1', '1x3x3'])
@pytest.mark.parametrize('block', BLOCKS_3D)
def test_a_bottleneck_and_its_gradients_are_those_of_pytorchs_3d_layers(block, location):
    torch = pytest.importorskip('torch')
    from tests.oracles import torch_video_resnet as oracle

    order = {'3x1x1': 't_then_s', '1x3x3': 's_then_t'}[location]
    with jax.enable_x64(True):
        strf = config.Strf(reduction=2, location=location, order=order, kappa=4.0)
        layer, x = bottleneck(block, strf=strf, dtype=jnp.float64), features(np.float64)
        rng = np.random.default_rng(1)
        shapes = jax.eval_shape(layer.init, jax.random.key(0), x)
        # Every parameter random, those that start at zero too, so that each has an effect.
        v = jax.tree.map(lambda s: rng.normal(size=s.shape) / np.sqrt(max(1, np.prod(s.shape[:-1]))), shapes)
        weight = rng.normal(size=(2, 3, 3, 2, 16))

        def loss(params, x):
            (y, shown), _ = layer.apply({**v, 'params': params}, x, mutable=['batch_stats'])
            return (y * weight).sum(), (y, shown)

        (_, (y, shown)), grads = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(v['params'], x)
        assert 0 <= float(shown['mask_entropy']) < np.log(24)

    def tensors(tree, **kwargs):
        return {f'b/{k}': torch.tensor(a, **kwargs) for k, a in traverse_util.flatten_dict(tree, sep='/').items()}

    p = tensors(v['params'], requires_grad=True)
    x_torch = torch.tensor(x, requires_grad=True)
    y_torch = oracle.bottleneck(
        x_torch.movedim(-1, 1),
        p,
        'b',
        oracle.normaliser(p, tensors(v['batch_stats']), True),
        kind=block,
        stride=2,
        has_unit=True,
        location=location,
        order=order,
    ).movedim(1, -1)
    (y_torch * torch.tensor(weight)).sum().backward()
    np.testing.assert_allclose(y, y_torch.detach(), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(grads[1], x_torch.grad, rtol=1e-5, atol=1e-8)
    for key, grad in traverse_util.flatten_dict(grads[0], sep='/').items():
        np.testing.assert_allclose(grad, p[f'b/{key}'].grad, rtol=1e-5, atol=1e-8, err_msg=key)


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('block', BLOCKS_3D)
def test_every_3d_block_starts_as_c2d(block, stride):
    x = features()
    flat, deep = bottleneck('c2d', stride=stride, train=False), bottleneck(block, stride=stride, train=False)

    @jax.jit
    def both(key):
        v = deep.init(key, x)
        params = {k: p for k, p in v['params'].items() if k != 'temporal'}
        if block == 'i3d':
            params['conv2'] = {'kernel': params['conv2']['kernel'][1]}
        return deep.apply(v, x)[0], flat.apply({**v, 'params': params}, x)[0]

    ours, c2d = both(jax.random.key(0))
    np.testing.assert_allclose(ours, c2d, rtol=1e-5, atol=1e-6)


def test_a_trained_p3dc_without_its_temporal_convolution_is_c2d():
    x, rng = features(), np.random.default_rng(1)
    flat, deep = bottleneck('c2d', stride=1, train=False), bottleneck('p3dc', stride=1, train=False)
    shapes = jax.eval_shape(deep.init, jax.random.key(0), x)
    v = jax.tree.map(lambda s: np.abs(rng.normal(size=s.shape)).astype(s.dtype), shapes)
    params = {k: p for k, p in v['params'].items() if k != 'temporal'}
    still = {**v, 'params': params | {'temporal': jax.tree.map(np.zeros_like, v['params']['temporal'])}}
    run = jax.jit(lambda v: deep.apply(v, x)[0])
    c2d = jax.jit(lambda v: flat.apply(v, x)[0])({**v, 'params': params})
    np.testing.assert_allclose(run(still), c2d, rtol=1e-5, atol=1e-5)
    assert not np.allclose(run(v), c2d, rtol=1e-2)


@pytest.mark.parametrize(('block', 'equal'), [('p3db', True), ('p3dc', True), ('p3da', False), ('i3d', False)])
def test_a_unit_before_a_zero_temporal_convolution_changes_nothing_at_first_and_gets_no_gradient(block, equal):
    x = features()
    without, layer = bottleneck(block, train=False), bottleneck(block, strf=config.Strf(reduction=2), train=False)

    @jax.jit
    def run(key):
        v = layer.init(key, x)
        plain = {**v, 'params': {k: p for k, p in v['params'].items() if k != 'strf'}}

        def loss(params):
            y = layer.apply({**v, 'params': params}, x)[0]
            return (y**2).sum(), y

        grads, y = jax.grad(loss, has_aux=True)(v['params'])
        return y, without.apply(plain, x)[0], grads['strf']

    y, expected, grads = run(jax.random.key(0))
    assert np.allclose(y, expected, rtol=1e-5, atol=1e-6) == equal
    assert len(grads) == 4
    assert all(bool(g.any()) != equal for g in grads.values())


def test_recomputing_activations_changes_no_gradient_or_statistic_on_two_devices():
    x = features()
    spec = jax.sharding.PartitionSpec
    mesh = jax.make_mesh((2,), ('data',), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
    norm = functools.partial(batch_norm.BatchNorm, train=True, axis_name='data')

    def stage(remat, norm=norm):
        strf = config.Strf(reduction=2)
        return resnet.Stage(planes=4, depth=1, stride=1, block='p3da', strf=strf, norm=norm, remat=remat)

    v = jax.jit(stage(False, functools.partial(batch_norm.BatchNorm, train=False)).init)(jax.random.key(0), x)

    def run(remat):
        def loss(params, x):
            params = sharding.varying(params, 'data')
            (y, _), new = stage(remat).apply({**v, 'params': params}, x, mutable=['batch_stats'])
            return jax.lax.pmean((y**2).mean(), 'data'), new

        grad = jax.grad(loss, has_aux=True)
        return jax.shard_map(grad, mesh=mesh, in_specs=(spec(), spec('data')), out_specs=spec())

    plain, again = jax.jit(run(False))(v['params'], x), jax.jit(run(True))(v['params'], x)
    assert 'remat' in str(jax.make_jaxpr(run(True))(v['params'], x))
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_module_needs_a_bottleneck_to_follow():
    norm = functools.partial(batch_norm.BatchNorm, train=False)
    stage = resnet.Stage(
        planes=4, depth=2, stride=1, block='c2d', strf=None, norm=norm, after=dict.fromkeys((1, 3)), name='layer2'
    )
    with pytest.raises(ValueError, match=r'follow bottlenecks \[3\], but layer2 has 2'):
        stage.init(jax.random.key(0), features())


def test_an_unknown_block_is_refused():
    with pytest.raises(ValueError, match=r"backbone\.block = 'p4d'"):
        jax.eval_shape(bottleneck('p4d').init, jax.random.key(0), features())
