"""AP3D's blocks and networks; whole networks with weights from PyTorch are in weights/import_torch_test.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import traverse_util

from jaxreid import config
from jaxreid.layers import batch_norm
from jaxreid.models import build, cost, resnet

AP3D = config.Ap3d(reduction=2)
# PyTorch's name -> ours and the order of its axes, in channels-last order.
LEAVES = {
    'APM.semantic_mapping.weight': ('apm/semantic', 'io'),
    'APM.x_mapping.weight': ('apm/x_mapping', 'io'),
    'APM.n_mapping.weight': ('apm/n_mapping', 'io'),
    'APM.contrastive_att_net.0.weight': ('apm/contrast', 'i'),
    'spatial_conv3d.weight': ('conv2/kernel', 'hwio'),
    'temporal_conv3d.weight': ('temporal/kernel', 'tio'),
    'conv3d.weight': ('conv2/kernel', 'thwio'),
}


class Middle(resnet.Bottleneck):
    """Only what takes the place of the middle convolution."""

    @nn.compact
    def __call__(self, x):
        return self._middle(x)


def bottleneck(block, *, stride=2, dtype=jnp.float32, strf=None, kind=resnet.Bottleneck):
    norm = functools.partial(batch_norm.BatchNorm, train=False, dtype=dtype)
    return kind(planes=4, stride=stride, block=block, strf=strf, ap3d=AP3D, norm=norm, dtype=dtype)


def features(dtype=np.float32):
    return np.random.default_rng(0).normal(size=(2, 3, 5, 4, 4)).astype(dtype)


@pytest.mark.parametrize('block', config.AP3D_BLOCKS)
def test_a_block_and_its_gradients_are_those_of_pytorchs_3d_layers(block):
    torch = pytest.importorskip('torch')
    from tests.oracles import torch_ap3d

    theirs = torch_ap3d.Block(block, 4, 2, reduction=2, temperature=4, contrastive=True).double()
    theirs = torch_ap3d.randomise(theirs)
    x = features(np.float64)
    weight = np.random.default_rng(3).normal(size=(2, 3, 3, 2, 4))
    x_torch = torch.tensor(x, requires_grad=True)
    y_torch = theirs(x_torch.movedim(-1, 1)).movedim(1, -1)
    (y_torch * torch.tensor(weight)).sum().backward()

    def ours(tensor, axes):
        array = tensor.detach().numpy()
        array = array.reshape([n for n, kept in zip(array.shape, 'oithw', strict=True) if kept in axes or n > 1])
        kept = [a for a in 'oithw' if a in axes]
        return array.transpose([kept.index(a) for a in axes])

    params, grads = {}, {}
    for name, value in theirs.named_parameters():
        path, axes = LEAVES[name]
        params[path], grads[path] = ours(value, axes), ours(value.grad, axes)
    params = traverse_util.unflatten_dict(params, sep='/')

    with jax.enable_x64(True):
        layer = bottleneck(block, dtype=jnp.float64, kind=Middle)

        def loss(params, x):
            y, entropy = layer.apply({'params': params}, x)
            assert entropy is None
            return (y * weight).sum(), y

        (_, y), got = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(params, x)
    np.testing.assert_allclose(y, y_torch.detach(), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(got[1], x_torch.grad, rtol=1e-7, atol=1e-9)
    flat = traverse_util.flatten_dict(got[0], sep='/')
    assert flat.keys() == grads.keys()
    for path, grad in flat.items():
        np.testing.assert_allclose(grad, grads[path], rtol=1e-7, atol=1e-9, err_msg=path)


@pytest.mark.parametrize('block', config.AP3D_BLOCKS)
def test_every_block_starts_as_c2d(block):
    x = features()
    flat, deep = bottleneck('c2d'), bottleneck(block)

    @functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})  # compiles faster
    def both(key):
        v = deep.init(key, x)
        params = {k: p for k, p in v['params'].items() if k not in ('temporal', 'apm')}
        if block == 'ap3d_i3d':
            params['conv2'] = {'kernel': params['conv2']['kernel'][1]}
        return deep.apply(v, x)[0], flat.apply({**v, 'params': params}, x)[0]

    ours, c2d = both(jax.random.key(0))
    np.testing.assert_allclose(ours, c2d, rtol=1e-5, atol=1e-6)


def test_a_block_takes_no_strf_unit():
    with pytest.raises(ValueError, match=r'the blocks ap3d_\* take no STRF unit'):
        bottleneck('ap3d_c', strf=config.Strf(reduction=2)).init(jax.random.key(0), features())


@pytest.mark.parametrize(
    ('block', 'nonlocal_blocks', 'count'),
    [
        ('ap3d_c', ((), ()), 25_523_953),
        ('ap3d_c', ((1, 3), (1, 3, 5)), 32_882_417),
        ('ap3d_a', ((), ()), 25_523_953),
        ('ap3d_b', ((), ()), 25_523_953),
        ('ap3d_i3d', ((), ()), 28_921_521 + 43_072),
    ],
)
def test_parameter_counts_are_those_of_the_public_code(block, nonlocal_blocks, count):
    e = config.Experiment(backbone=config.Backbone(block=block), strf=config.Strf(stages=()))
    e.nonlocal_blocks = config.NonLocal(*nonlocal_blocks)
    model = build.build(config.validate(e), num_ids=625, dtype=jnp.float32)
    total, parts = cost.parameters(cost.shapes(model, frames=4, height=64, width=32))
    assert total == count
    assert parts['apm'] == 2 * (3 * 128 * 8 + 8) + 3 * (3 * 256 * 16 + 16)


def test_a_reduction_that_does_not_divide_a_stage_is_refused_before_anything_runs():
    backbone = config.Backbone(block='ap3d_c', width=4, depths=(1, 1, 1, 1), init='random')
    e = config.Experiment(backbone=backbone, strf=config.Strf(stages=()))
    with pytest.raises(config.ConfigError, match=r'ap3d.reduction = 16 does not divide the 8 channels of stage 2'):
        config.validate(e)
