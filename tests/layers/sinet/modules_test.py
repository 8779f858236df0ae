"""IDM and SBM of SINet beside PyTorch's, and what they do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid import config
from jaxreid.layers import batch_norm
from jaxreid.layers.sinet import integration_distribution, salient_to_broad
from jaxreid.weights import torch_names
from tests.fixtures import torch_modules

C = 8
QUICKLY = {'xla_backend_optimization_level': 0}


def norm(train=False, dtype=jnp.float32):
    return functools.partial(batch_norm.BatchNorm, train=train, dtype=dtype)


def idm(train=False, dtype=jnp.float32):
    return integration_distribution.IntegrationDistribution(norm(train, dtype), 4, dtype)


def sbm(salient, train=False, dtype=jnp.float32, **settings):
    settings = {'beta': 5.0, 'alpha': 0.1} | settings
    return salient_to_broad.SalientToBroad(norm(train, dtype), salient, dtype=dtype, **settings)


@functools.partial(jax.jit, static_argnums=0, compiler_options=QUICKLY)
def run(module, v, x):
    return module.apply(v, x)


@functools.partial(jax.jit, static_argnums=0, compiler_options=QUICKLY)
def start(module, x):
    return module.init_with_output(jax.random.key(0), x)


def rectified(*shape, dtype=np.float32, seed=0):
    return np.maximum(np.random.default_rng(seed).normal(size=(*shape, C)) + 0.5, 0).astype(dtype)


def names_of(theirs, ours):
    e = config.Experiment(system='sinet', backbone=config.Backbone(depths=(1, 1, 1, 1)))
    e.sinet = config.Sinet(idm=(0,), sbm=(0,))
    return torch_modules.part(torch_names.published(e), theirs, ours)


def compare(module, net, names, x, train):
    """Output, gradients and running means are PyTorch's in float64."""
    import torch

    net = net.double().train(train)
    weight = np.random.default_rng(5).normal(size=x.shape)
    v = torch_modules.variables(net, names)
    x_torch = torch.tensor(x, requires_grad=True)
    y_torch = net(x_torch.movedim(-1, 1)).movedim(1, -1)
    (y_torch * torch.tensor(weight)).sum().backward()

    @functools.partial(jax.jit, compiler_options=QUICKLY)
    def ours(v, x):
        def loss(params, x):
            y, new = module.apply({**v, 'params': params}, x, mutable=['batch_stats'])
            return (y * weight).sum(), (y, new['batch_stats'])

        (_, seen), grads = jax.value_and_grad(loss, (0, 1), has_aux=True)(v['params'], x)
        return *seen, *grads

    with jax.enable_x64(True):
        y, statistics, to_params, to_x = jax.device_get(ours(v, x))
    np.testing.assert_allclose(y, y_torch.detach(), rtol=1e-9, atol=1e-11)
    scale = np.abs(x_torch.grad.numpy()).max()
    np.testing.assert_allclose(to_x / scale, x_torch.grad / scale, atol=1e-8)
    torch_modules.check_gradients(to_params, net, names)
    torch_modules.check_means(statistics, net, names)


@pytest.mark.parametrize('train', [False, True])
def test_idm_and_its_gradients_are_pytorchs(train):
    pytest.importorskip('torch')
    from tests.oracles import torch_sinet

    net = torch_sinet.randomise(torch_sinet.IntegrationDistribution(C, 2 * 5 * 3, 4))
    x = rectified(3, 2, 5, 3, dtype=np.float64)
    compare(idm(train, jnp.float64), net, names_of('layer2.1.', 'layer2/idm0'), x, train)


@pytest.mark.parametrize('train', [False, True])
@pytest.mark.parametrize('salient', [1, 2, 3])
def test_sbm_and_its_gradients_are_pytorchs(salient, train):
    pytest.importorskip('torch')
    from tests.oracles import torch_sinet

    net = torch_sinet.randomise(torch_sinet.SalientToBroad(C, salient))
    for frames in (4, 12):
        net.zero_grad()
        x = 0.5 * rectified(2, frames, 5, 3, dtype=np.float64)
        compare(sbm(salient, train, jnp.float64), net, names_of('layer3.1.', 'layer3/sbm0'), x, train)


def test_a_fresh_idm_leaves_what_is_rectified_as_it_is():
    x = rectified(2, 3, 4, 4)
    y, _ = start(idm(train=True), x)
    np.testing.assert_array_equal(y, x)


def test_an_idm_takes_clips_of_its_own_length_and_size_only():
    x = rectified(2, 3, 4, 4)
    _, v = start(idm(), x)
    for other in (rectified(2, 4, 4, 4), rectified(2, 3, 4, 5)):
        with pytest.raises(ValueError, match='has weights for 48 positions in all'):
            idm().apply(v, other)
    with pytest.raises(ValueError, match=r'sinet\.reduction = 4 leaves none'):
        idm().init(jax.random.key(0), rectified(2, 1, 3, 1))


@pytest.fixture(scope='module')
def fresh():
    x = rectified(5, 4, 6, 4)
    return x, start(sbm(1), x)[1]


def test_a_later_frame_is_suppressed_where_it_looks_like_the_first(fresh):
    x, v = fresh
    x = 0.1 * x
    x[:, 0, 2:4, 1:3] += 5  # every channel is stronger inside
    shown = x.copy()
    shown[:, 2, 2:4, 1:3] += 5
    kept = np.asarray(run(sbm(1, alpha=0.0), v, shown))
    np.testing.assert_array_equal(kept[:, 0], shown[:, 0])
    ratio = kept[:, 2].sum(-1) / shown[:, 2].sum(-1)
    assert ratio[:, 2:4, 1:3].min((1, 2)).max() < 0.2
    np.testing.assert_allclose(ratio[:, [0, 5]], 1, rtol=1e-5)


def test_frames_exchange_means(fresh):
    x, v = fresh
    alone, both = (np.asarray(run(sbm(1, alpha=a), v, x)) for a in (0.0, 0.5))
    np.testing.assert_allclose(
        (both - alone)[:, 1:] / 0.5,
        np.broadcast_to(x[:, :1].mean((1, 2, 3), keepdims=True), x[:, 1:].shape),
        rtol=1e-4,
        atol=1e-5,
    )
    keep = alone[:, 1:] / np.where(x[:, 1:] > 0, x[:, 1:], np.nan)
    keep = np.nanmean(keep, -1, keepdims=True)
    missed = ((1 - keep) * x[:, 1:]).sum((1, 2, 3)) / (1 - keep).sum((1, 2, 3))
    expected = np.broadcast_to(missed[:, None, None, None], x[:, :1].shape)
    np.testing.assert_allclose((both - alone)[:, :1] / 0.5, expected, rtol=1e-3, atol=1e-4)


def test_clips_without_a_difference_have_finite_values_and_gradients(fresh):
    _, v = fresh
    gradient = jax.jit(jax.grad(lambda v, x: (sbm(1).apply(v, x) ** 2).sum(), (0, 1)), compiler_options=QUICKLY)
    for value in (0.0, 1.0):
        x = jnp.full((2, 4, 6, 4, C), value)
        y = run(sbm(1), v, x)
        assert all(np.isfinite(a).all() for a in jax.device_get(jax.tree.leaves((gradient(v, x), y))))
        np.testing.assert_array_equal(y[:, 0], x[:, 0])


def test_fours_are_taken_apart_and_other_lengths_and_narrow_maps_refused(fresh):
    x, v = fresh
    both = np.concatenate([x[:2], x[2:4]], 1)
    np.testing.assert_allclose(run(sbm(1), v, both)[:, 4:], run(sbm(1), v, x[2:4]), rtol=1e-5, atol=1e-6)
    for refused in (x[:, :3], np.concatenate([x, x[:, :2]], 1), x[:, :, :, :2]):
        with pytest.raises(ValueError, match='takes multiples of 4 frames'):
            sbm(1).apply(v, refused)


@pytest.mark.parametrize('module', [idm(dtype=jnp.bfloat16), sbm(2, dtype=jnp.bfloat16)], ids=['idm', 'sbm'])
def test_half_precision_activations_keep_float32_parameters(module):
    x = jnp.asarray(rectified(2, 4, 4, 4), jnp.bfloat16)
    y, v = jax.eval_shape(module.init_with_output, jax.random.key(0), x)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(v)} == {jnp.dtype('float32')}
