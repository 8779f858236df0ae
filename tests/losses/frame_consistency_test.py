"""The regularisation against loops over the drawn pairs; draws belong to clips, not to devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxreid.losses import frame_consistency
from tests.oracles import sta as oracle

B, T = 8, 4


def maps(t=T, seed=0):
    """[B, T, H, W], each frame's sums to 1."""
    g = np.random.default_rng(seed).uniform(size=(B, t, 4, 2)) ** 4
    return g / g.sum((2, 3), keepdims=True)


@functools.partial(jax.jit, static_argnames='squared')
def regularise(g, index=None, *, squared=False, seed=5):
    index = jnp.arange(len(g)) if index is None else index
    return frame_consistency.frame_consistency(g, jax.random.key(seed), index, squared=squared)


@pytest.mark.parametrize('squared', [False, True])
def test_value_and_gradient_are_those_of_the_drawn_pair(squared):
    g = maps()
    first, second = frame_consistency.frame_pairs(jax.random.key(5), jnp.arange(B), frames=T)

    def slow(g):
        return sum(oracle.frame_distance(g[b, first[b]], g[b, second[b]], squared=squared) for b in range(B))

    with jax.enable_x64(True):
        value, gradient = jax.value_and_grad(lambda g: regularise(g, squared=squared).sum())(g)
    assert gradient.dtype == np.float64  # and the draws are those of 32 bits
    np.testing.assert_allclose(value, slow(g), rtol=1e-12)
    np.testing.assert_allclose(gradient, oracle.slopes(slow, g), rtol=1e-6, atol=1e-9)


def test_every_ordered_pair_of_different_frames_is_drawn_alike():
    draws = 6000
    first, second = frame_consistency.frame_pairs(jax.random.key(0), jnp.arange(draws), frames=T)
    counts = np.zeros((T, T), int)
    np.add.at(counts, (np.asarray(first), np.asarray(second)), 1)
    assert (counts.diagonal() == 0).all()
    expected = draws / (T * (T - 1))
    off = counts[~np.eye(T, dtype=bool)]
    assert np.abs(off - expected).max() < 5 * np.sqrt(expected)


def test_other_keys_draw_other_pairs():
    g = maps()
    assert np.abs(regularise(g, seed=5) - regularise(g, seed=6)).max() > 1e-3


def test_one_frame_and_identical_frames_cost_nothing():
    np.testing.assert_array_equal(regularise(maps(t=1)), 0)
    still = np.repeat(maps(t=1), T, axis=1)
    np.testing.assert_allclose(regularise(still), 1e-6, rtol=1e-3)
    np.testing.assert_array_equal(regularise(still, squared=True), 0)
    assert np.isfinite(jax.grad(lambda g: regularise(g).sum())(still)).all()


def test_it_never_exceeds_the_root_of_two():
    far = np.zeros((B, 2, 4, 2), np.float32)
    far[:, 0, 0, 0] = far[:, 1, 3, 1] = 1
    np.testing.assert_allclose(regularise(far), np.sqrt(2), rtol=1e-6)
    assert float(regularise(maps()).max()) <= np.sqrt(2)


def test_eight_devices_draw_the_pairs_of_one():
    g, index = maps().astype(np.float32), np.array([3, 1, 4, 15, 9, 2, 6, 5])
    mesh = jax.make_mesh((8,), ('data',), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.shard_map(regularise, mesh=mesh, in_specs=(P('data'), P('data')), out_specs=P('data'))
    np.testing.assert_allclose(split(g, index), regularise(g, index), rtol=1e-6)


def test_half_precision_maps_are_compared_in_float32():
    assert regularise(jnp.asarray(maps(), jnp.bfloat16)).dtype == jnp.float32
