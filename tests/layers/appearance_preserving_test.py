import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid import config
from jaxreid.layers import appearance_preserving
from tests.oracles import appearance_preserving as oracle

SMALL = config.Ap3d(reduction=2)


def clips(b=2, t=4, h=3, w=2, c=6, seed=0):
    return np.random.default_rng(seed).normal(size=(b, t, h, w, c)).astype(np.float32)


def kernels(c=6, contrastive=True, seed=1):
    rng = np.random.default_rng(seed)
    names = ('semantic', 'x_mapping', 'n_mapping') if contrastive else ('semantic',)
    p = {name: rng.normal(size=(c, c // 2)).astype(np.float32) for name in names}
    return p | ({'contrast': rng.normal(size=c // 2).astype(np.float32)} if contrastive else {})


@functools.partial(jax.jit, static_argnums=0)
def run(module, p, x):
    return module.apply({'params': p}, x)


def aligned(x, p, settings=SMALL, **kwargs):
    return [np.asarray(y) for y in run(appearance_preserving.AppearancePreserving(settings, **kwargs), p, x)]


@pytest.mark.parametrize(('contrastive', 'temperature'), [(True, 4.0), (False, 1.5)])
def test_neighbours_equal_loops_over_positions(contrastive, temperature):
    x, p = clips(), kernels(contrastive=contrastive)
    x[0, 1, 1, 1] = 0  # a vector without direction
    settings = config.Ap3d(reduction=2, contrastive=contrastive, temperature=temperature)
    before, after = aligned(x, p, settings)
    for clip, *got in zip(x, before, after, strict=True):
        expected = oracle.aligned_neighbours(clip.astype(np.float64), p, temperature=temperature)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_frames_beyond_the_ends_are_zero_and_one_frame_has_no_neighbours():
    before, after = aligned(clips(), kernels())
    assert not before[:, 0].any()
    assert not after[:, -1].any()
    assert before[:, 1:].all()
    assert after[:, :-1].all()
    assert not np.any(aligned(clips(t=1), kernels()))


def test_a_neighbour_is_a_convex_combination_of_its_positions():
    x = clips()
    before, after = aligned(x, kernels(contrastive=False), config.Ap3d(reduction=2, contrastive=False))
    for got, source in ((before[:, 1:], x[:, :-1]), (after[:, :-1], x[:, 1:])):
        assert (got <= source.max((2, 3), keepdims=True) + 1e-5).all()
        assert (got >= source.min((2, 3), keepdims=True) - 1e-5).all()


def test_at_temperature_zero_a_neighbour_is_its_spatial_mean():
    x, settings = clips(), config.Ap3d(reduction=2, temperature=0.0, contrastive=False)
    before, _ = aligned(x, kernels(contrastive=False), settings)
    expected = np.broadcast_to(x[:, :-1].mean((2, 3), keepdims=True), x[:, 1:].shape)
    np.testing.assert_allclose(before[:, 1:], expected, rtol=1e-4, atol=1e-5)


def test_where_the_neighbours_positions_lie_does_not_matter_and_the_result_lies_where_the_frame_has_it():
    x, p = clips(b=1, t=2), kernels()
    moved = x.copy()
    moved[:, 0] = x[:, 0, ::-1]  # the person stands elsewhere in the frame before
    before, after = aligned(x, p)
    moved_before, moved_after = aligned(moved, p)
    np.testing.assert_allclose(moved_before[:, 1], before[:, 1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moved_after[:, 0], after[:, 0, ::-1], rtol=1e-4, atol=1e-5)
    assert np.abs(after[:, 0] - after[:, 0, ::-1]).max() > 0.1


def test_time_reversed_swaps_before_and_after():
    x, p = clips(), kernels()
    before, after = aligned(x, p)
    reversed_before, reversed_after = aligned(x[:, ::-1], p)
    np.testing.assert_allclose(reversed_before[:, ::-1], after, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(reversed_after[:, ::-1], before, rtol=1e-4, atol=1e-5)


def test_the_lengths_of_semantic_vectors_do_not_matter():
    x, p = clips(), kernels()
    np.testing.assert_allclose(aligned(x, p | {'semantic': 3 * p['semantic']}), aligned(x, p), rtol=1e-4, atol=1e-5)


def test_with_a_stride_every_other_position_is_rebuilt_from_all_positions():
    x, p = clips(h=5, w=4), kernels()
    for got, full in zip(aligned(x, p, stride=2), aligned(x, p), strict=True):
        np.testing.assert_allclose(got, full[:, :, ::2, ::2], rtol=1e-4, atol=1e-5)


def test_large_maps_are_aligned_frame_by_frame_with_the_same_result_and_gradient(monkeypatch):
    x, p = jnp.asarray(clips()), kernels()

    def value_and_gradients():
        def loss(p, x):
            before, after = appearance_preserving.AppearancePreserving(SMALL).apply({'params': p}, x)
            return (before * x + 2 * after * x**2).sum()

        value, grads = jax.jit(jax.value_and_grad(loss, (0, 1)))(p, x)
        return value, grads, str(jax.make_jaxpr(loss)(p, x))

    value, grads, jaxpr = value_and_gradients()
    monkeypatch.setattr(appearance_preserving, 'MAX_PAIRS', 35)
    slow_value, slow_grads, slow_jaxpr = value_and_gradients()
    assert 'scan' in slow_jaxpr
    assert 'scan' not in jaxpr
    np.testing.assert_allclose(slow_value, value, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), slow_grads, grads)


def test_contrastive_attention_gives_no_gradient_to_the_features_through_its_mappings():
    x, p = jnp.asarray(clips()), kernels()
    module = appearance_preserving.AppearancePreserving(SMALL)
    plain = appearance_preserving.AppearancePreserving(config.Ap3d(reduction=2, contrastive=False))
    gate = module.apply({'params': p}, x)[0][:, 1:] / plain.apply({'params': {'semantic': p['semantic']}}, x)[0][:, 1:]

    @jax.jit
    def gradients(p, x):
        gated = jax.grad(lambda p, x: module.apply({'params': p}, x)[0].sum(), (0, 1))(p, x)
        semantic = {'params': {'semantic': p['semantic']}}
        frozen = jax.grad(lambda x: (plain.apply(semantic, x)[0][:, 1:] * gate).sum())(x)
        return *gated, frozen

    of_parameters, of_x, expected = gradients(p, x)
    np.testing.assert_allclose(of_x, expected, rtol=1e-3, atol=1e-4)
    assert all(np.abs(g).max() > 0 for g in of_parameters.values())


def test_vectors_without_direction_have_finite_gradients():
    x, p = jnp.zeros((1, 2, 2, 2, 6)), kernels()
    grad = jax.grad(lambda x: run(appearance_preserving.AppearancePreserving(SMALL), p, x)[0].sum())(x)
    assert np.isfinite(grad).all()


@pytest.mark.parametrize(('contrastive', 'count'), [(True, 3 * 32 * 2 + 2), (False, 32 * 2)])
def test_its_parameters_are_three_reductions_and_one_weighting(contrastive, count):
    module = appearance_preserving.AppearancePreserving(config.Ap3d(contrastive=contrastive), dtype=jnp.bfloat16)
    x = jax.ShapeDtypeStruct((1, 4, 4, 2, 32), jnp.bfloat16)
    (before, after), v = jax.eval_shape(lambda x: module.init_with_output(jax.random.key(0), x), x)
    assert before.shape == after.shape == x.shape
    assert before.dtype == after.dtype == jnp.bfloat16
    assert sum(p.size for p in v['params'].values()) == count
    assert all(p.dtype == jnp.float32 for p in v['params'].values())


def test_a_reduction_that_does_not_divide_the_channels_is_refused():
    with pytest.raises(ValueError, match=r'ap3d\.reduction = 16 does not divide the 6 channels'):
        appearance_preserving.AppearancePreserving(config.Ap3d()).init(jax.random.key(0), clips())
