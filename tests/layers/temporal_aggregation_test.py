import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from jax.test_util import check_grads

from jaxreid.layers import batch_norm, temporal_aggregation
from tests.oracles import star as oracle

KINDS = ['gsta', 'lstm', 'conv3d', 'holistic', 'pool']
WEIGHED = ('gsta', 'lstm', 'holistic')
HIDDEN, C = 4, 6
LENGTHS = np.array([2, 5, 1])


def module_of(kind, *, dtype=jnp.float32, train=False, hidden=HIDDEN):
    norm = functools.partial(batch_norm.BatchNorm, train=train, dtype=dtype)
    return {
        'gsta': temporal_aggregation.Gsta(hidden, dtype=dtype),
        'lstm': temporal_aggregation.LstmKernel(hidden, dtype=dtype),
        'conv3d': temporal_aggregation.Conv3d(hidden, norm, dtype=dtype),
        'holistic': temporal_aggregation.Holistic(),
        'pool': temporal_aggregation.Pool(),
    }[kind]


def maps(dtype=np.float32, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(3, 5, 3, 2, C)), dtype)


def random_variables(module, x, seed=1):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x, None)
    flat = {
        path: jnp.asarray(
            rng.uniform(0.7, 1.3, a.shape) if path[-1] == 'var' else rng.normal(size=a.shape) / 2, x.dtype
        )
        for path, a in traverse_util.flatten_dict(shapes).items()
    }
    return traverse_util.unflatten_dict(flat)


@functools.partial(jax.jit, static_argnums=0)
def apply(module, variables, x, real=None):
    return module.apply(variables, x, real)


@pytest.mark.parametrize('kind', KINDS)
def test_values_are_those_of_the_loops_and_gradients_those_of_differences(kind):
    with jax.enable_x64(True):
        x, module = maps(np.float64), module_of(kind, dtype=jnp.float64)
        v = random_variables(module, x)
        vector, weights = apply(module, v, x)
        assert vector.dtype == np.float64
        arrays = jax.tree.map(np.asarray, v)
        for b, clip in enumerate(np.asarray(x)):
            expected, expected_weights = oracle.aggregate(
                clip, arrays.get('params'), arrays.get('batch_stats'), kind=kind
            )
            np.testing.assert_allclose(vector[b], expected, rtol=1e-10)
            if kind in WEIGHED:
                np.testing.assert_allclose(weights[b], expected_weights, rtol=1e-10)
            else:
                assert weights is None

        def of_params(params, x):
            return apply(module, {**v, 'params': params}, x)[0]

        if kind != 'pool':
            check_grads(of_params, (v['params'], x), order=1, modes=['rev'], eps=1e-6, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize('kind', KINDS)
def test_padded_clips_give_what_the_clips_give_without_padding(kind):
    with jax.enable_x64(True):
        x, module = maps(np.float64), module_of(kind, dtype=jnp.float64)
        v = random_variables(module, x)
        real = jnp.arange(5)[None] < LENGTHS[:, None]
        vector, weights = apply(module, v, x, real)
        nonsense = jnp.where(real[..., None, None, None], x, jnp.nan if kind != 'conv3d' else 1e6)
        np.testing.assert_array_equal(apply(module, v, nonsense, real)[0], vector)
        for b, length in enumerate(LENGTHS):
            alone, alone_weights = apply(module, v, x[b : b + 1, :length])
            np.testing.assert_allclose(vector[b], alone[0], rtol=1e-12)
            if weights is not None:
                np.testing.assert_allclose(weights[b, :length], alone_weights[0], rtol=1e-12)
                assert not weights[b, length:].any()


@pytest.mark.parametrize('kind', WEIGHED)
def test_weights_of_frames_lie_between_0_and_1_and_sum_to_1(kind):
    x, module = maps(), module_of(kind)
    weights = apply(module, random_variables(module, x), x)[1]
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    assert weights.min() > 0
    assert weights.max() < 1


@pytest.mark.parametrize('kind', ['gsta', 'lstm', 'conv3d'])
def test_without_w9_the_vector_is_the_mean_of_the_maps(kind):
    x, module = maps(), module_of(kind)
    v = random_variables(module, x)
    v['params']['w9']['kernel'] *= 0
    np.testing.assert_allclose(apply(module, v, x)[0], x.mean((1, 2, 3)), rtol=1e-5, atol=1e-6)


def test_a_fresh_network_starts_near_the_mean_of_the_maps():
    x, module = maps(), module_of('gsta')
    vector = apply(module, module.init(jax.random.key(0), x, None), x)[0]
    gap = np.abs(vector - x.mean((1, 2, 3)))
    assert 0 < gap.max() < 1e-2


@pytest.mark.parametrize('kind', ['gsta', 'lstm'])
def test_the_bias_b8_has_no_effect(kind):
    x, module = maps(), module_of(kind)
    v = random_variables(module, x)
    before = apply(module, v, x)
    v['params']['kernel']['w8']['bias'] += 3.0
    after = apply(module, v, x)
    np.testing.assert_allclose(after[0], before[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after[1], before[1], rtol=1e-5)


def test_the_order_of_frames_matters_to_the_recurrent_ones_and_the_convolution_only():
    x, order = maps(), np.array([3, 0, 4, 1, 2])
    for kind in KINDS:
        module = module_of(kind)
        v = random_variables(module, x)
        gap = np.abs(apply(module, v, x[:, order])[0] - apply(module, v, x)[0]).max()
        assert (gap < 1e-5) == (kind in ('holistic', 'pool')), kind


def test_gsta_and_its_relatives_have_the_parameters_of_the_specification():
    x = jax.ShapeDtypeStruct((1, 2, 8, 4, 2048), jnp.float32)

    def count(kind):
        shapes = jax.eval_shape(module_of(kind, hidden=256).init, jax.random.key(0), x, None)
        return sum(a.size for a in jax.tree.leaves(shapes.get('params', {})))

    assert count('gsta') == 21_775_489
    behind = 21_775_489 - 21_234_688  # W7, W8, W9 and the two biases
    assert count('lstm') == 4 * 256 * (2048 + 256 + 2) + behind
    assert count('conv3d') == 27 * (2048 * 256 + 256 * 256) + 4 * 256 + 256 * 2048
    assert count('holistic') == 2049
    assert count('pool') == 0


def test_training_updates_the_statistics_of_the_3d_convolution():
    x, module = maps(), module_of('conv3d', train=True)
    v = random_variables(module, x)
    _, new = module.apply(v, x, None, mutable=['batch_stats'])
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), new['batch_stats'], v['batch_stats'])
    assert jax.tree.leaves(changed) == [True] * 4
