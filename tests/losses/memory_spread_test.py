import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid import sharding
from jaxreid.losses import memory_spread
from tests.oracles import stmn as oracle

M = 5


def probabilities(shape=(16, 3, 2, M), seed=0):
    logits = np.random.default_rng(seed).normal(size=shape)
    powers = np.exp(logits)
    return (powers / powers.sum(-1, keepdims=True)).astype(np.float32)


@functools.partial(jax.jit, static_argnames=('alpha', 'reduce', 'groups', 'devices'))
def value_and_gradient(match, *, alpha, reduce, groups=1, devices=0):
    loss = functools.partial(
        memory_spread.memory_spread,
        alpha=alpha,
        reduce=reduce,
        groups=groups,
        axis_name=sharding.AXIS if devices else None,
    )
    call = jax.value_and_grad(loss)
    if devices:
        mesh = sharding.make_mesh(jax.devices()[:devices])
        specs = {'in_specs': sharding.SPLIT, 'out_specs': (sharding.COPIED, sharding.SPLIT)}
        call = jax.shard_map(call, mesh=mesh, **specs)
    return call(match)


@pytest.mark.parametrize('groups', [1, 2, 16])
@pytest.mark.parametrize('reduce', ['mean', 'sum'])
def test_the_loss_is_that_of_slow_loops_for_every_number_of_groups(reduce, groups):
    match = probabilities()
    # The more groups, the fewer rows in each and the smaller the ranges: alpha 0.7 cuts some items off with one group.
    value, _ = value_and_gradient(match, alpha=0.7, reduce=reduce, groups=groups)
    expected = oracle.memory_spread(match, alpha=0.7, reduce=reduce, groups=groups)
    assert expected > 0
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_the_gradient_is_pytorchs():
    torch = pytest.importorskip('torch')
    match = probabilities()
    _, grad = value_and_gradient(match, alpha=0.9, reduce='mean', groups=2)
    x = torch.tensor(match, requires_grad=True)
    terms = []
    for part in x.split(8):
        rows = part.reshape(-1, M)
        terms.append(torch.relu(rows.amin(0) - rows.amax(0) + 0.9).mean())
    (sum(terms) / 2).backward()
    assert int((x.grad != 0).sum()) > M
    np.testing.assert_allclose(grad, x.grad, rtol=1e-5)


@pytest.mark.parametrize(('devices', 'groups'), [(8, 1), (8, 2), (8, 16), (2, 2), (2, 4)])
def test_devices_together_have_the_value_and_gradient_of_one(devices, groups):
    match = probabilities()
    value, grad = value_and_gradient(match, alpha=0.9, reduce='sum', groups=groups, devices=devices)
    expected, expected_grad = value_and_gradient(match, alpha=0.9, reduce='sum', groups=groups)
    assert np.abs(expected_grad).max() > 0
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(grad, expected_grad, rtol=1e-6)


def test_identical_queries_cost_alpha_per_item():
    same = np.broadcast_to(probabilities((M,)), (6, 4, M))
    mean, grad = value_and_gradient(same, alpha=0.3, reduce='mean')
    np.testing.assert_allclose(mean, 0.3, rtol=1e-6)
    assert np.isfinite(grad).all()
    np.testing.assert_allclose(value_and_gradient(same, alpha=0.3, reduce='sum')[0], 0.3 * M, rtol=1e-6)


def test_nothing_is_lost_where_every_range_exceeds_the_margin():
    sharp = np.eye(M, dtype=np.float32)[:, None]  # every item is certain for one clip and impossible for the others
    value, grad = value_and_gradient(sharp, alpha=0.99, reduce='sum')
    assert value == 0
    np.testing.assert_array_equal(grad, 0)


@pytest.mark.parametrize('seed', range(3))
def test_an_item_costs_between_zero_and_alpha_so_two_memories_at_most_two_alpha(seed):
    spatial, temporal = probabilities((8, 2, 3, 10), seed), probabilities((8, 5), seed)
    means = [float(value_and_gradient(m, alpha=0.3, reduce='mean')[0]) for m in (spatial, temporal)]
    sums = [float(value_and_gradient(m, alpha=0.3, reduce='sum')[0]) for m in (spatial, temporal)]
    assert min(means) >= 0
    assert sum(means) <= 2 * 0.3
    assert sum(sums) <= (10 + 5) * 0.3


def test_the_order_of_the_queries_does_not_matter():
    match = probabilities()
    shuffled = np.random.default_rng(1).permutation(match.reshape(-1, M)).reshape(match.shape)
    a, _ = value_and_gradient(match, alpha=0.9, reduce='mean')
    b, _ = value_and_gradient(shuffled, alpha=0.9, reduce='mean')
    np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize(('items', 'largest_range'), [(5, 0.616), (10, 0.436), (20, 0.273)])
def test_with_twenty_items_a_margin_of_three_tenths_cannot_be_reached(items, largest_range):
    # Cosines of +-1: the most and the least that a query can give one item.
    most, least = np.e**2 / (np.e**2 + items - 1), 1 / (1 + (items - 1) * np.e**2)
    match = np.full((2, items), np.nan, np.float32)
    match[:, 0] = most, least
    match[:, 1:] = (1 - match[:, :1]) / (items - 1)
    assert most - least == pytest.approx(largest_range, abs=5e-4)
    value, _ = value_and_gradient(match[:, :1], alpha=0.3, reduce='sum')
    assert (value > 0) == (items == 20)


def test_half_precision_matches_give_a_float32_loss():
    match = jnp.asarray(probabilities(), jnp.bfloat16)
    assert memory_spread.memory_spread(match, alpha=0.3, reduce='mean').dtype == jnp.float32


@pytest.mark.parametrize(
    ('shape', 'changed', 'message'),
    [
        ((4,), {}, r'shape \(4,\), expected \[B, \.\.\., M\]'),
        ((4, M), {'reduce': 'off'}, "stmn.spread = 'off'"),
        ((4, M), {'groups': 3}, 'stmn.spread_groups = 3'),
        ((4, M), {'groups': 0}, 'stmn.spread_groups = 0'),
    ],
)
def test_wrong_arguments_are_refused(shape, changed, message):
    with pytest.raises(ValueError, match=message):
        memory_spread.memory_spread(jnp.ones(shape), **({'alpha': 0.3, 'reduce': 'mean'} | changed))
