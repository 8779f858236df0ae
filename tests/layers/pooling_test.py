import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.layers import batch_norm, pooling


def draw(shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def torch_pool(x, average, **kwargs):
    torch = pytest.importorskip('torch')
    pool = torch.nn.functional.avg_pool3d if average else torch.nn.functional.max_pool3d
    return pool(torch.tensor(x).movedim(-1, 1), **kwargs).movedim(1, -1).numpy()


@pytest.mark.parametrize('average', [True, False])
@pytest.mark.parametrize('extent', [1, 3, 5])
def test_same_pools_along_an_axis_as_pytorch_does(average, extent):
    x = draw((2, 7, 4, 3, 5))
    expected = torch_pool(x, average, kernel_size=(extent, 1, 1), stride=1, padding=(extent // 2, 0, 0))
    np.testing.assert_allclose(pooling.same(x, axis=1, extent=extent, average=average), expected, rtol=1e-5, atol=1e-6)


def test_padding_may_be_left_out_of_an_average():
    x = draw((2, 3, 6, 5, 4))
    expected = torch_pool(x, True, kernel_size=(1, 3, 3), stride=1, padding=(0, 1, 1), count_include_pad=False)
    y = x
    for axis in (2, 3):
        y = pooling.same(y, axis=axis, extent=3, average=True, counts_padding=False)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_an_even_window_reaches_one_further_up():
    x = jnp.arange(4.0).reshape(1, 4)
    np.testing.assert_array_equal(pooling.same(x, axis=1, extent=2, average=False), [[1, 2, 3, 3]])
    np.testing.assert_array_equal(pooling.same(x, axis=1, extent=2, average=True), [[0.5, 1.5, 2.5, 1.5]])


@pytest.mark.parametrize('average', [True, False])
@pytest.mark.parametrize(('t', 'extent'), [(8, 2), (7, 4), (3, 5), (4, 4)])
def test_strided_windows_cover_the_axis_and_the_last_may_be_short(average, t, extent):
    x = draw((2, t, 3))
    pooled = pooling.strided(x, axis=1, extent=extent, average=average)
    reduce = np.mean if average else np.max
    expected = [reduce(x[:, i : i + extent], axis=1) for i in range(0, t, extent)]
    np.testing.assert_allclose(pooled, np.stack(expected, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('hw', [(8, 6), (7, 5), (2, 1)])
def test_the_stem_pool_is_pytorchs_with_its_gradient(hw):
    torch = pytest.importorskip('torch')
    x = draw((2, 3, *hw, 4))
    y = pooling.stem_max(x, False)
    np.testing.assert_array_equal(y, torch_pool(x, False, kernel_size=(1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)))
    weight = draw(y.shape)
    x_torch = torch.tensor(x).requires_grad_()
    y_torch = torch.nn.functional.max_pool3d(x_torch.movedim(-1, 1), (1, 3, 3), (1, 2, 2), (0, 1, 1)).movedim(1, -1)
    (y_torch * torch.tensor(weight)).sum().backward()
    grad = jax.grad(lambda x: (pooling.stem_max(x, False) * weight).sum())(x)
    np.testing.assert_allclose(grad, x_torch.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(('dtype', 'padding'), [(jnp.float32, 1), (jnp.bfloat16, 1), (jnp.float32, 0)])
def test_of_equal_numbers_the_stem_pool_takes_the_first_of_the_first_row_that_has_it(dtype, padding):
    windows = {'extent': 3, 'stride': 2, 'low': padding, 'high': padding}

    def by_axes(x):  # a pass over each, of which each takes the first
        x = jax.nn.relu(x)
        for axis in (3, 2):
            x = pooling._over_slices(x, average=False, counts_padding=False, axis=axis, **windows)
        return x

    x = jnp.round(2 * draw((2, 3, 7, 6, 4))).astype(dtype)
    weight = jnp.asarray(draw(by_axes(x).shape), dtype)
    results, gradients = zip(
        *(
            jax.jit(jax.value_and_grad(lambda x, f=f: (f(x) * weight).astype(jnp.float32).sum()))(x)
            for f in (by_axes, lambda x: pooling.stem_max(x, True, padding))
        )
    )
    assert results[0] == results[1]
    np.testing.assert_array_equal(*gradients)


def test_compiled_gradients_of_maxima_are_those_of_the_formula():
    # With jnp.max in place of an arg-max, compiled gradients of whole channels were lost here.
    rng = np.random.default_rng(0)
    x, weight = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 3, 4, 2, 8), (2, 8)))
    layer = batch_norm.BatchNorm(train=True)
    v = layer.init(jax.random.key(0), x)

    def loss(x):
        y, _ = layer.apply(v, x, mutable=['batch_stats'])
        return (pooling.frames(jax.nn.relu(y), kind='max').mean(1) * weight).sum()

    np.testing.assert_allclose(jax.jit(jax.grad(loss))(x), jax.grad(loss)(x), rtol=1e-4, atol=1e-6)


def test_not_a_number_is_not_pooled_away():
    x = jnp.zeros((1, 1, 4, 4, 1)).at[0, 0, 1, 2, 0].set(jnp.nan)
    assert jnp.isnan(pooling.frames(x, kind='max')).all()
    assert jnp.isnan(pooling.stem_max(x, False)).sum() == 2
    assert jnp.isnan(pooling.same(x, axis=2, extent=3, average=False)).sum() == 3


def test_frames_are_pooled_to_one_feature_each():
    x = draw((2, 3, 4, 5, 6))
    np.testing.assert_array_equal(pooling.frames(jnp.asarray(x), kind='max'), x.max((2, 3)))
    np.testing.assert_allclose(pooling.frames(jnp.asarray(x), kind='avg'), x.mean((2, 3)), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match='Valid: max, avg'):
        pooling.frames(jnp.asarray(x), kind='median')
