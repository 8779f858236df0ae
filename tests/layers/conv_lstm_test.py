import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from jaxreid.layers import conv_lstm
from tests.oracles import star as oracle

HIDDEN = 3


def clips(seed=0):
    return np.random.default_rng(seed).normal(size=(2, 4, 3, 2, 5))


def random_params(dtype, seed=1):
    rng = np.random.default_rng(seed)
    shapes = {'kernel': (3, 3, 5 + HIDDEN, 4 * HIDDEN), 'bias': (4 * HIDDEN,)}
    return {k: jnp.asarray(rng.normal(size=s) / 3, dtype) for k, s in shapes.items()}


@functools.partial(jax.jit, static_argnums=0)
def apply(module, params, x):
    return module.apply({'params': params}, x)


def test_values_are_those_of_the_loops_and_gradients_those_of_differences():
    with jax.enable_x64(True):
        module, params = conv_lstm.ConvLstm(HIDDEN, jnp.float64), random_params(np.float64)
        x = jnp.asarray(clips())
        p = jax.tree.map(np.asarray, params)
        y = apply(module, params, x)
        assert y.dtype == np.float64
        np.testing.assert_allclose(y, [oracle.conv_lstm(clip, p) for clip in clips()], rtol=1e-10)
        check_grads(
            functools.partial(apply, module), (params, x), order=1, modes=['rev'], eps=1e-6, atol=1e-6, rtol=1e-6
        )


def test_a_single_frame_is_the_first_of_many():
    module, params, x = conv_lstm.ConvLstm(HIDDEN), random_params(np.float32), jnp.asarray(clips(), jnp.float32)
    np.testing.assert_allclose(apply(module, params, x[:, :1]), apply(module, params, x)[:, :1], rtol=1e-5, atol=1e-6)


def test_later_frames_do_not_reach_earlier_ones():
    module, params, x = conv_lstm.ConvLstm(HIDDEN), random_params(np.float32), jnp.asarray(clips(), jnp.float32)
    a, b = apply(module, params, x), apply(module, params, x.at[:, 2].add(1.0))
    np.testing.assert_array_equal(a[:, :2], b[:, :2])
    assert np.abs(a[:, 2:] - b[:, 2:]).min(axis=(2, 3, 4)).max() > 0


def test_parameters_are_those_of_the_specification():
    x = jax.ShapeDtypeStruct((1, 2, 8, 4, 2048), jnp.float32)
    shapes = jax.eval_shape(conv_lstm.ConvLstm(256).init, jax.random.key(0), x)
    assert sum(a.size for a in jax.tree.leaves(shapes)) == 21_234_688


def test_bfloat16_keeps_parameters_and_states_in_float32():
    module, x = conv_lstm.ConvLstm(HIDDEN, jnp.bfloat16), jnp.asarray(clips(), jnp.bfloat16)
    params = module.init(jax.random.key(0), x)['params']
    assert {a.dtype for a in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}
    y = apply(module, params, x)
    assert y.dtype == jnp.float32
    exact = apply(conv_lstm.ConvLstm(HIDDEN), params, jnp.asarray(clips(), jnp.float32))
    np.testing.assert_allclose(y, exact, atol=0.03)
