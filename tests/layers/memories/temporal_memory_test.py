import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.layers.memories import temporal_memory
from tests.oracles import stmn as oracle

B, L, D, N = 3, 4, 5, 2


def clips(seed=0):
    return np.random.default_rng(seed).normal(size=(B, L, D)).astype(np.float32)


def random_like(module, x, seed=1):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape) * 0.7, s.dtype), shapes)


@functools.partial(jax.jit, static_argnums=0)
def run(module, v, x):
    return module.apply(v, x)


@pytest.mark.parametrize('key_norm', ['item', 'channel'])
def test_frame_weights_and_match_are_those_of_slow_loops(key_norm):
    module, x = temporal_memory.TemporalMemory(N, key_norm=key_norm), clips()
    v = random_like(module, x)
    weights, match = run(module, v, x)
    p = jax.tree.map(np.asarray, v['params'])
    expected, expected_match = oracle.temporal_memory(x, p['lstm'], p['keys'], p['values'], key_norm=key_norm)
    np.testing.assert_allclose(match, expected_match, rtol=1e-4)
    np.testing.assert_allclose(weights, expected, rtol=1e-4)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(match.sum(1), 1, rtol=1e-6)


def test_the_small_network_gives_the_frame_weights_of_slow_loops():
    module, x = temporal_memory.TemporalMlp(6), clips()
    v = random_like(module, x)
    weights = run(module, v, x)
    p = jax.tree.map(np.asarray, v['params'])
    np.testing.assert_allclose(weights, oracle.temporal_mlp(x, p['lstm'], p['inner'], p['outer']), rtol=1e-4)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    'module', [temporal_memory.TemporalMemory(N, dtype=jnp.float64), temporal_memory.TemporalMlp(6, dtype=jnp.float64)]
)
def test_the_gradients_are_the_slopes_of_the_layer(module):
    rng = np.random.default_rng(3)
    with jax.enable_x64(True):
        x = clips().astype(np.float64)
        v = random_like(module, x)
        weight = rng.normal(size=(B, L))

        @jax.jit
        def loss(inputs):
            out = module.apply(*inputs)
            return ((out[0] if isinstance(out, tuple) else out) * weight).sum()

        inputs = (v, x)
        grads = jax.jit(jax.grad(loss))(inputs)
        assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(grads))
        direction = jax.tree.map(lambda a: rng.normal(size=np.shape(a)), inputs)
        ahead, behind = (jax.tree.map(lambda a, d, s=s: a + s * d, inputs, direction) for s in (1e-5, -1e-5))
        slope = (loss(ahead) - loss(behind)) / 2e-5
        along = sum(np.vdot(g, d) for g, d in zip(jax.tree.leaves(grads), jax.tree.leaves(direction), strict=True))
        np.testing.assert_allclose(along, slope, rtol=1e-6)


def test_equal_values_weigh_all_frames_alike():
    module, x = temporal_memory.TemporalMemory(N), clips()
    v = random_like(module, x)
    v['params']['values'] = jnp.broadcast_to(jnp.array([[0.3], [2.0]]), (N, L))
    np.testing.assert_allclose(run(module, v, x)[0], 1 / L, rtol=1e-6)


def test_reversed_frames_are_another_query():
    module, x = temporal_memory.TemporalMemory(N), clips()
    v = random_like(module, x)
    assert np.abs(run(module, v, x)[1] - run(module, v, x[:, ::-1])[1]).min() > 1e-4


def test_the_order_of_the_items_does_not_matter():
    module, x = temporal_memory.TemporalMemory(N), clips()
    v = random_like(module, x)
    weights, match = run(module, v, x)
    flipped = {'params': v['params'] | {k: v['params'][k][::-1] for k in ('keys', 'values')}}
    same, flipped_match = run(module, flipped, x)
    np.testing.assert_allclose(same, weights, rtol=1e-5)
    np.testing.assert_allclose(flipped_match, match[:, ::-1], rtol=1e-6)


def test_keys_start_normal_and_values_between_zero_and_one():
    v = jax.jit(temporal_memory.TemporalMemory(50).init)(jax.random.key(0), clips())['params']
    assert 0.85 < v['keys'].std() < 1.15
    assert 0 <= v['values'].min() < 0.1
    assert 0.9 < v['values'].max() <= 1


def test_with_as_many_hidden_units_as_items_the_small_network_has_as_many_parameters():
    x = jax.ShapeDtypeStruct((1, 6, 2048), jnp.float32)

    def count(module):
        tree = jax.eval_shape(module.init, jax.random.key(0), x)['params']
        return sum(np.prod(leaf.shape) for k, v in tree.items() if k != 'lstm' for leaf in jax.tree.leaves(v))

    assert count(temporal_memory.TemporalMemory(5)) == count(temporal_memory.TemporalMlp(5)) == 10_270
    assert count(temporal_memory.TemporalMlp(512)) == 2048 * 512 + 512 * 6
