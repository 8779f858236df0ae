import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads

from jaxreid.losses import pyramid_ranking, triplet
from tests.oracles import star as oracle
from tests.oracles import triplet as triplet_oracle

LABELS = np.array([3, 1, 3, 0, 1, 3, 7, 0])  # uneven, unsorted, 7 is alone
LEVELS = (1, 2, 4)
MARGIN = 0.4


def stripes(seed=0, *, clips=8, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return {str(g): jnp.asarray(rng.normal(size=(clips, 3, g, 5)), dtype) for g in LEVELS}


@functools.partial(jax.jit, static_argnames='margin')
def loss(stripes, labels, mined_on=None, *, margin=MARGIN):
    return pyramid_ranking.pyramid_ranking(stripes, labels, margin=margin, axis_name=None, mined_on=mined_on)


def loops(stripes, labels, **kwargs):
    return oracle.pyramid_ranking([np.asarray(level) for level in stripes.values()], labels, **kwargs)


@pytest.mark.parametrize('mine', ['stripe', 'embedding'])
def test_value_is_that_of_the_loops_and_gradient_that_of_differences(mine):
    with jax.enable_x64(True):
        x = stripes()
        rows = None if mine == 'stripe' else jnp.asarray(np.random.default_rng(1).normal(size=(8, 6)))
        value = loss(x, LABELS, rows, margin=1.5)
        mined_on = None if rows is None else np.asarray(rows)
        np.testing.assert_allclose(value, loops(x, LABELS, margin=1.5, mined_on=mined_on), rtol=1e-10)
        check_grads(
            lambda x: loss(x, LABELS, rows, margin=1.5), (x,), order=1, modes=['rev'], eps=1e-6, atol=1e-7, rtol=1e-6
        )


def test_mining_sends_no_gradient_into_the_embedding():
    rows = jnp.asarray(np.random.default_rng(1).normal(size=(8, 6)), jnp.float32)
    gradient = jax.grad(lambda rows: loss(stripes(dtype=np.float32), LABELS, rows))(rows)
    assert not gradient.any()


def test_coincident_clips_give_the_margin():
    x = {k: jnp.tile(level[:1], (8, 1, 1, 1)) for k, level in stripes(dtype=np.float32).items()}
    labels = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    np.testing.assert_allclose(loss(x, labels), MARGIN, rtol=1e-5)


def test_well_separated_identities_cost_nothing_and_no_batch_costs_less():
    x = stripes(dtype=np.float32)
    apart = {k: 0.01 * level + LABELS[:, None, None, None] for k, level in x.items()}
    assert loss(apart, LABELS) == 0
    assert loss(x, LABELS) > 0


def test_level_1_alone_is_a_triplet_on_mean_plus_maximum():
    x = stripes(dtype=np.float32)['1']
    rows = np.asarray(x.mean(1) + x.max(1))[:, 0]
    expected, _ = triplet_oracle.batch_hard(rows, LABELS, kind='euclidean', margin=MARGIN)
    np.testing.assert_allclose(loss({'1': x}, LABELS), expected, rtol=1e-5)


def test_neither_the_order_of_frames_nor_that_of_clips_matters():
    x = stripes(dtype=np.float32)
    value = loss(x, LABELS)
    np.testing.assert_allclose(loss({k: a[:, [2, 0, 1]] for k, a in x.items()}, LABELS), value, rtol=1e-5)
    order = np.random.default_rng(2).permutation(8)
    np.testing.assert_allclose(loss({k: a[order] for k, a in x.items()}, LABELS[order]), value, rtol=1e-5)


def test_a_batch_of_one_identity_costs_nothing():
    value, gradient = jax.value_and_grad(loss)(stripes(dtype=np.float32), np.zeros(8, int))
    assert value == 0
    assert all(np.isfinite(g).all() and not g.any() for g in jax.tree.leaves(gradient))


@pytest.mark.slow
@pytest.mark.parametrize('mine', ['stripe', 'embedding'])
def test_eight_devices_give_the_loss_and_gradient_of_one(mine):
    with jax.enable_x64(True):
        x, labels = stripes(clips=16), jnp.asarray(np.tile(LABELS, 2))
        rows = jnp.asarray(np.random.default_rng(1).normal(size=(16, 6)))

        def of(x, rows, labels, axis_name=None):
            mined_on = rows if mine == 'embedding' else None
            return pyramid_ranking.pyramid_ranking(x, labels, margin=MARGIN, axis_name=axis_name, mined_on=mined_on)

        mesh = jax.make_mesh((8,), ('data',), axis_types=(jax.sharding.AxisType.Auto,))
        split = jax.shard_map(
            jax.value_and_grad(functools.partial(of, axis_name='data')),
            mesh=mesh,
            in_specs=(P('data'), P('data'), P('data')),
            out_specs=(P(), P('data')),
        )
        several, single = jax.jit(split)(x, rows, labels), jax.jit(jax.value_and_grad(of))(x, rows, labels)
        for a, b in zip(jax.tree.leaves(several), jax.tree.leaves(single), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_other_distances_can_choose_the_triplets():
    distances = jnp.array([[0.0, 1.0, 2.0, 3.0, 4.0]])
    mine_by = jnp.array([[0.0, 9.0, 5.0, 7.0, 6.0]])
    labels = jnp.array([0, 0, 0, 1, 1])
    value, _ = triplet.batch_hard(
        distances, labels[:1], labels, jnp.array([0]), margin=5.0, no_positive=0.0, mine_by=mine_by
    )
    np.testing.assert_allclose(value, [5 + 1 - 4])
