import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.layers.memories import memory_match
from tests.oracles import stmn as oracle

N, D = 5, 6


def draw(seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, 3, D)).astype(dtype), rng.normal(size=(N, D)).astype(dtype)


@functools.partial(jax.jit, static_argnames='key_norm')
def probabilities(queries, keys, key_norm='item'):
    return memory_match.match_probabilities(queries, keys, key_norm=key_norm)


@pytest.mark.parametrize('key_norm', ['item', 'channel'])
def test_a_match_is_the_softmax_of_cosines_of_slow_loops(key_norm):
    queries, keys = draw()
    expected = [[oracle.match(q, keys, key_norm=key_norm) for q in row] for row in queries]
    found = probabilities(queries, keys, key_norm)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-6)


@pytest.mark.parametrize('key_norm', ['item', 'channel'])
def test_the_gradient_is_pytorchs(key_norm):
    torch = pytest.importorskip('torch')
    (queries, keys), weight = draw(), np.random.default_rng(2).normal(size=(2, 3, N)).astype(np.float32)
    grads = jax.jit(jax.grad(lambda q, k: (probabilities(q, k, key_norm) * weight).sum(), (0, 1)))(queries, keys)
    q, k = (torch.tensor(x, requires_grad=True) for x in (queries, keys))
    unit = torch.nn.functional.normalize
    cosines = unit(q, dim=-1) @ unit(k, dim={'item': 1, 'channel': 0}[key_norm]).T
    (torch.softmax(cosines, -1) * torch.tensor(weight)).sum().backward()
    for ours, theirs in zip(grads, (q.grad, k.grad), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_lengths_of_queries_and_keys_do_not_matter():
    queries, keys = draw()
    longer = np.linspace(0.1, 20, N, dtype=np.float32)[:, None]
    np.testing.assert_allclose(
        probabilities(queries * 7, keys * longer), probabilities(queries, keys), rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize('items', [2, 5, 20])
def test_a_cosine_bounds_the_probabilities_and_the_bounds_are_reached(items):
    direction = draw()[0][0, 0]
    keys = np.tile(-direction, (items, 1))
    keys[0] = 3 * direction
    most = probabilities(direction[None], keys)[0, 0]
    least = probabilities(-direction[None], keys)[0, 0]
    np.testing.assert_allclose(most, np.e**2 / (np.e**2 + items - 1), rtol=1e-5)
    np.testing.assert_allclose(least, 1 / (1 + (items - 1) * np.e**2), rtol=1e-5)
    any_match = probabilities(*draw(1)) if items == N else np.array([least, most])
    assert any_match.min() >= least * (1 - 1e-6)
    assert any_match.max() <= most * (1 + 1e-6)


def test_a_zero_query_matches_all_items_alike_and_has_finite_gradients():
    _, keys = draw()
    zero = jnp.zeros((1, D))
    np.testing.assert_allclose(probabilities(zero, keys), 1 / N, rtol=1e-6)
    grads = jax.grad(lambda q, k: probabilities(q, k)[0, 0], (0, 1))(zero, keys)
    assert all(np.isfinite(g).all() for g in grads)


def test_half_precision_queries_match_in_float32():
    queries, keys = draw()
    assert probabilities(queries.astype(jnp.bfloat16), keys).dtype == jnp.float32


def test_an_unknown_normalisation_is_refused():
    with pytest.raises(ValueError, match=r"stmn\.key_norm = 'row'"):
        memory_match.match_probabilities(*draw(), key_norm='row')


def test_the_strongest_items_of_a_clip_are_counted():
    match = np.random.default_rng(3).dirichlet(np.ones(N), (2, 3, 4)).astype(np.float32)
    expected = np.zeros((2, N))
    for clip, position in np.ndindex(2, 12):
        expected[clip, np.argsort(match.reshape(2, 12, N)[clip, position])[-1]] += 1
    np.testing.assert_array_equal(memory_match.item_counts(match), expected)
