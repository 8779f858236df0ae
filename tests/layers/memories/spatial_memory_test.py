import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.layers import batch_norm
from jaxreid.layers.memories import spatial_memory
from tests.oracles import stmn as oracle

B, L, H, W, D, M = 2, 3, 2, 2, 8, 4


def layer(*, train=False, dtype=jnp.float32, **options):
    norm = functools.partial(batch_norm.BatchNorm, train=train, dtype=dtype)
    return spatial_memory.SpatialMemory(M, norm, **options)


def maps(seed=0):
    rng = np.random.default_rng(seed)
    query, person = rng.normal(size=(2, B, L, H, W, D)).astype(np.float32)
    return query, np.abs(person)


def variables(seed=1):
    rng = np.random.default_rng(seed)

    def leaf(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    return {
        'params': {'keys': leaf(M, D), 'values': leaf(M, D), 'norm': {'scale': leaf(D), 'bias': leaf(D)}},
        'batch_stats': {'norm': {'mean': leaf(D), 'var': leaf(D) ** 2 + 0.1}},
    }


@functools.partial(jax.jit, static_argnums=0)
def run(module, v, query, person):
    return module.apply(v, query, person, mutable=['batch_stats'])


@pytest.mark.parametrize('layout', ['position', 'flat'])
def test_the_refined_map_and_the_match_are_those_of_slow_loops(layout):
    v, (query, person) = variables(), maps()
    key_norm = {'position': 'item', 'flat': 'channel'}[layout]
    module = layer(train=True, query_layout=layout, key_norm=key_norm)
    (refined, match), new = run(module, v, query, person)
    p = jax.tree.map(np.asarray, v['params'])
    expected, expected_match = oracle.spatial_memory(
        query, person, p['keys'], p['values'], **p['norm'], query_layout=layout, key_norm=key_norm
    )
    np.testing.assert_allclose(match, expected_match, rtol=1e-5)
    np.testing.assert_allclose(match.sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(refined, expected, rtol=1e-4, atol=1e-5)
    assert not np.array_equal(new['batch_stats']['norm']['mean'], v['batch_stats']['norm']['mean'])


@pytest.mark.parametrize('layout', ['position', 'flat'])
def test_the_gradients_are_the_slopes_of_the_layer(layout):
    (query, person), rng = maps(), np.random.default_rng(3)
    with jax.enable_x64(True):
        v = jax.tree.map(lambda a: np.asarray(a, np.float64), variables())
        module = layer(train=True, dtype=jnp.float64, query_layout=layout)
        weight, match_weight = rng.normal(size=person.shape), rng.normal(size=(B, L, H, W, M))

        def loss(inputs):
            params, q, f = inputs
            (refined, match), _ = module.apply({**v, 'params': params}, q, f, mutable=['batch_stats'])
            return (refined * weight).sum() + (match * match_weight).sum()

        loss = jax.jit(loss)
        inputs = (v['params'], query.astype(np.float64), person.astype(np.float64))
        grads = jax.jit(jax.grad(loss))(inputs)
        direction = jax.tree.map(lambda a: rng.normal(size=np.shape(a)), inputs)
        ahead, behind = (jax.tree.map(lambda a, d, s=s: a + s * d, inputs, direction) for s in (1e-5, -1e-5))
        slope = (loss(ahead) - loss(behind)) / 2e-5
        along = sum(np.vdot(g, d) for g, d in zip(jax.tree.leaves(grads), jax.tree.leaves(direction), strict=True))
        np.testing.assert_allclose(along, slope, rtol=1e-6)


def test_the_memory_changes_nothing_at_first():
    query, person = maps()
    module = layer(train=True)
    v = jax.jit(module.init)(jax.random.key(0), query, person)
    (refined, _), _ = run(module, v, query, person)
    np.testing.assert_array_equal(refined, person)
    keys = np.concatenate([np.ravel(v['params'][k]) for k in ('keys', 'values')])
    assert 0.7 < keys.std() < 1.3


def test_positions_and_frames_are_refined_alike_wherever_they_are():
    v, (query, person) = variables(), maps()
    positions, frames = np.array([2, 0, 3, 1]), np.array([1, 2, 0])

    def move(x):
        return x.reshape(B, L, H * W, -1)[:, frames][:, :, positions].reshape(*x.shape)

    (refined, match), _ = run(layer(), v, query, person)
    (moved, moved_match), _ = run(layer(), v, move(query), move(person))
    np.testing.assert_allclose(moved, move(np.asarray(refined)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(moved_match, move(np.asarray(match)), rtol=1e-5)


def test_the_order_of_the_items_does_not_matter():
    v, (query, person) = variables(), maps()
    order = np.array([3, 1, 0, 2])
    shuffled = {**v, 'params': v['params'] | {k: v['params'][k][order] for k in ('keys', 'values')}}
    (refined, match), _ = run(layer(), v, query, person)
    (same, shuffled_match), _ = run(layer(), shuffled, query, person)
    np.testing.assert_allclose(same, refined, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(shuffled_match, match[..., order], rtol=1e-6)


def test_the_results_of_half_precision_maps_are_float32():
    query, person = (x.astype(jnp.bfloat16) for x in maps())
    (refined, match), _ = run(layer(dtype=jnp.bfloat16), variables(), query, person)
    assert refined.dtype == match.dtype == jnp.float32


def test_an_unknown_layout_is_refused():
    with pytest.raises(ValueError, match=r"stmn\.query_layout = 'rows'"):
        layer(query_layout='rows').apply(variables(), *maps())
