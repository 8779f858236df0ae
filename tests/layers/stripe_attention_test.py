"""Attention, scores and fusion against loops, and the properties that need no data."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.layers import stripe_attention
from tests.oracles import sta as oracle

KINDS = ['energy', 'l2']
H = 8


def clips(b=2, t=3, h=H, w=3, d=4, seed=0, dtype=np.float64):
    """Features after a ReLU; some positions do not fire at all."""
    x = np.maximum(np.random.default_rng(seed).normal(size=(b, t, h, w, d)), 0)
    x[:, :, ::3, 0] = 0
    return x.astype(dtype)


@functools.partial(jax.jit, static_argnames=('kind', 'stripes'))
def run(x, *, kind='energy', stripes=4):
    """g, S, F1, F2."""
    g = stripe_attention.attention_map(x, kind=kind)
    scores = stripe_attention.stripe_scores(g, stripes=stripes)
    return g, scores, stripe_attention.strongest(x, scores), stripe_attention.weighted(x, scores)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('stripes', [2, 4, 8])
def test_maps_scores_and_fused_features_are_those_of_loops(kind, stripes):
    x = clips()
    with jax.enable_x64(True):
        found = run(x, kind=kind, stripes=stripes)
    for i, clip in enumerate(x):
        g = oracle.attention_map(clip, kind=kind)
        scores = oracle.stripe_scores(g, stripes=stripes)
        for ours, expected in zip(found, (g, scores, *oracle.fuse(clip, scores)), strict=True):
            np.testing.assert_allclose(ours[i], expected, rtol=1e-12)


@pytest.mark.parametrize('kind', KINDS)
def test_gradients_reach_chosen_features_directly_and_weighted_ones_through_scores_too(kind):
    x = clips(b=1, h=4, w=2, d=3)
    rng = np.random.default_rng(1)
    of_map, of_first, of_second = rng.normal(size=x.shape[:-1]), rng.normal(size=(4, 2, 3)), rng.normal(size=(4, 2, 3))

    def slow(clip):
        g = oracle.attention_map(clip, kind=kind)
        first, second = oracle.fuse(clip, oracle.stripe_scores(g, stripes=2))
        return (g * of_map[0]).sum() + (first * of_first).sum() + (second * of_second).sum()

    def loss(x):
        g, _, first, second = run(x, kind=kind, stripes=2)
        return (g * of_map).sum() + (first[0] * of_first).sum() + (second[0] * of_second).sum()

    with jax.enable_x64(True):
        gradient = jax.jit(jax.grad(loss))(x)[0]
    assert np.isfinite(gradient).all()
    # Where nothing fires, and at a ReLU's edge, the length has no slope: central differences see another function.
    fires = (x[0] > 0).any(-1)
    np.testing.assert_allclose(gradient[fires], oracle.slopes(slow, x[0])[fires], rtol=1e-5, atol=1e-8)


def test_maps_and_scores_are_distributions():
    g, scores, _, _ = run(clips(dtype=np.float32))
    np.testing.assert_allclose(g.sum((2, 3)), 1, rtol=1e-5)
    np.testing.assert_allclose(g.reshape(2, 3, 4, -1).sum((2, 3)), 1, rtol=1e-5)  # sum over k of s(n, k)
    np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-5)
    assert float(g.min()) >= 0
    lengths = run(clips(dtype=np.float32), kind='l2')[0]
    np.testing.assert_allclose(jnp.square(lengths).sum((2, 3)), 1, rtol=1e-5)


def test_brightening_one_frame_changes_no_score():
    x = clips(dtype=np.float32)
    brighter = x * np.array([1, 7, 1], np.float32)[:, None, None, None]
    for kind in KINDS:
        np.testing.assert_allclose(run(brighter, kind=kind)[1], run(x, kind=kind)[1], rtol=1e-4)


def test_the_order_of_frames_does_not_matter():
    x, order = clips(dtype=np.float32), [2, 0, 1]
    _, scores, *fused = run(x)
    _, other_scores, *others = run(x[:, order])
    np.testing.assert_allclose(other_scores, scores[:, jnp.array(order)], rtol=1e-5)
    for a, b in zip(others, fused, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_one_frame_is_both_fusions():
    x = clips(t=1, dtype=np.float32)
    _, scores, first, second = run(x)
    np.testing.assert_array_equal(scores, 1)
    np.testing.assert_array_equal(first, x[:, 0])
    np.testing.assert_array_equal(second, x[:, 0])


def test_identical_frames_share_the_scores_and_fuse_to_themselves():
    x = np.repeat(clips(t=1, dtype=np.float32), 3, axis=1)
    _, scores, first, second = run(x)
    np.testing.assert_allclose(scores, 1 / 3, rtol=1e-5)
    np.testing.assert_array_equal(first, x[:, 0])
    np.testing.assert_allclose(second, first, rtol=1e-5)


def test_one_stripe_weighs_all_frames_alike():
    x = clips(dtype=np.float32)
    _, scores, _, second = run(x, stripes=1)
    np.testing.assert_allclose(scores, 1 / 3, rtol=1e-5)
    np.testing.assert_allclose(second, x.mean(1), rtol=1e-4, atol=1e-6)


def test_of_equal_scores_the_first_frame_is_taken():
    x = clips(b=1, t=4, dtype=np.float32)
    scores = jnp.array([[[0.1, 0.3], [0.4, 0.3], [0.4, 0.2], [0.1, 0.2]]])  # [1, 4, 2]
    first = stripe_attention.strongest(x, scores)
    np.testing.assert_array_equal(first[0, : H // 2], x[0, 1, : H // 2])
    np.testing.assert_array_equal(first[0, H // 2 :], x[0, 0, H // 2 :])


@pytest.mark.parametrize('kind', KINDS)
def test_frames_and_stripes_in_which_nothing_fires_give_finite_results_and_gradients(kind):
    x = clips(dtype=np.float32)
    x[0, 1] = 0
    x[1, :, : H // 4] = 0
    g, scores, _, _ = run(x, kind=kind)
    np.testing.assert_allclose(scores[1, :, 0], 1 / 3, rtol=1e-6)
    assert float(jnp.ptp(g[0, 1])) == 0
    gradient = jax.jit(jax.grad(lambda x: sum((y**2).sum() for y in run(x, kind=kind))))(x)
    assert np.isfinite(gradient).all()


def test_bfloat16_features_have_float32_maps_and_scores():
    g, scores, first, second = run(jnp.asarray(clips(dtype=np.float32), jnp.bfloat16))
    assert g.dtype == scores.dtype == jnp.float32
    assert first.dtype == second.dtype == jnp.bfloat16


def test_what_cannot_be_is_refused():
    x = clips()
    with pytest.raises(ValueError, match=r'8 rows .* do not split into sta.stripes = 3'):
        run(x, stripes=3)
    with pytest.raises(ValueError, match='Valid: energy, l2'):
        run(x, kind='softmax')
