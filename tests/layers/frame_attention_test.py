import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxreid.layers import batch_norm, frame_attention
from tests.oracles import star as oracle

NORM = functools.partial(batch_norm.BatchNorm, train=False)
C = 6  # channels; maps are 2 x 3 x 5 x 4
KINDS = {
    'lsta': (frame_attention.Lsta(2), oracle.lsta),
    'lsta shared': (frame_attention.Lsta(3, shared=True), oracle.lsta),
    'lsta plain': (frame_attention.Lsta(2, 'plain'), functools.partial(oracle.lsta, spatial='plain')),
    'lsta conv7': (frame_attention.Lsta(2, 'conv7'), functools.partial(oracle.lsta, spatial='conv7')),
    'lsta channels only': (frame_attention.Lsta(2, 'off'), functools.partial(oracle.lsta, spatial='off')),
    'cbam': (frame_attention.Cbam(2, NORM), oracle.cbam),
    'se': (frame_attention.SqueezeExcite(2), oracle.squeeze_excite),
    'holistic': (frame_attention.Holistic(2), oracle.holistic),
}
RUNNING = {'mean': np.array([0.3]), 'var': np.array([1.7])}  # of CBAM's norm
WITHOUT_POSITIONS = ('lsta channels only', 'se')


def maps(seed=0):
    return np.random.default_rng(seed).normal(size=(2, 3, 5, 4, C))


def random_params(module, x, seed=1):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)['params']
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), x.dtype), shapes)


@functools.partial(jax.jit, static_argnums=0)
def apply(module, params, x):
    stats = {'spatial': {'norm': {k: v.astype(x.dtype) for k, v in RUNNING.items()}}}
    with_norm = isinstance(module, frame_attention.Cbam)
    return module.apply({'params': params} | ({'batch_stats': stats} if with_norm else {}), x)


@pytest.mark.parametrize('gates', ['identity', 'sigmoid'])
@pytest.mark.parametrize('name', KINDS)
def test_values_are_those_of_the_loops_and_gradients_those_of_differences(name, gates):
    module, expected = KINDS[name]
    module = module.clone(gates=gates)
    if name != 'holistic':  # a distribution over positions either way
        expected = functools.partial(expected, identity=gates == 'identity')
    if name == 'cbam':
        expected = functools.partial(expected, norm=RUNNING)
    with jax.enable_x64(True):
        x = jnp.asarray(maps())
        params = random_params(module, x)
        y, weights = apply(module, params, x)
        assert y.dtype == np.float64
        assert (weights is None) == (name in WITHOUT_POSITIONS)
        p = jax.tree.map(np.asarray, params)
        np.testing.assert_allclose(y, [[expected(f, p) for f in clip] for clip in np.asarray(x)], rtol=1e-10)
        check_grads(
            functools.partial(apply, module), (params, x), order=1, modes=['rev'], eps=1e-6, atol=1e-6, rtol=1e-6
        )


def count(module, channels):
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 1, 4, 2, channels)))['params']
    return sum(a.size for a in jax.tree.leaves(shapes))


def test_lsta_has_the_parameters_of_the_specification():
    counts = [count(frame_attention.Lsta(16), c) for c in (256, 512, 1024, 2048)]
    assert counts == [8525, 33373, 132221, 526525]
    channel = count(frame_attention.Lsta(16, 'off'), 256)
    assert count(frame_attention.Lsta(16, shared=True), 256) - channel == 25  # 18 + 3 biases, 1x1: 3 + 1
    assert count(frame_attention.Lsta(16, 'conv7'), 256) - channel == 99
    assert count(frame_attention.Cbam(16, NORM), 256) - count(frame_attention.SqueezeExcite(16), 256) == 98 + 2


@pytest.mark.parametrize('name', ['lsta', 'cbam', 'se'])
def test_the_gates_of_the_papers_only_ever_weaken(name):
    module = KINDS[name][0].clone(gates='sigmoid')
    x = jnp.asarray(maps(), jnp.float32)
    y, weights = apply(module, random_params(module, x), x)
    assert (np.abs(y) < np.abs(x)).all()
    assert (y * x > 0).all()
    if weights is not None:
        assert weights.min() > 0
        assert weights.max() < 1


def test_lsta_of_zeros_scales_by_a_quarter_where_gates_are_sigmoids():
    module, x = KINDS['lsta'][0].clone(gates='sigmoid'), jnp.asarray(maps(), jnp.float32)
    params = jax.tree.map(jnp.zeros_like, random_params(module, x))
    np.testing.assert_allclose(apply(module, params, x)[0], x / 4, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('name', KINDS)
def test_every_gate_starts_as_the_identity_and_can_leave_it(name):
    module, x = KINDS[name][0], jnp.asarray(np.abs(maps()) * 5, jnp.float32)
    variables = module.init(jax.random.key(3), x)
    y, weights = module.apply(variables, x)
    np.testing.assert_allclose(y, x, rtol=1e-6)
    if weights is not None:
        np.testing.assert_allclose(weights, 1, rtol=1e-6)
    letter = module.clone(gates='sigmoid')
    assert float(jnp.abs(letter.apply(letter.init(jax.random.key(3), x), x)[0] / x - 1).max()) > 0.1
    gradient = jax.grad(lambda p: (module.apply(variables | {'params': p}, x)[0] ** 2).sum())(variables['params'])
    assert any(float(jnp.abs(g).max()) > 0 for g in jax.tree.leaves(gradient))
    with pytest.raises(ValueError, match=r"star\.gates = 'off' is not known"):
        module.clone(gates='off').init(jax.random.key(0), x)


@pytest.mark.parametrize('name', ['lsta channels only', 'se'])
def test_the_channel_gate_does_not_see_where_things_are(name):
    module, x = KINDS[name][0], jnp.asarray(maps(), jnp.float32)
    order = np.random.default_rng(2).permutation(20)

    def shuffled(x):
        return x.reshape(2, 3, 20, C)[:, :, order].reshape(x.shape)

    params = random_params(module, x)
    y = apply(module, params, x)[0]
    np.testing.assert_allclose(apply(module, params, shuffled(x))[0], shuffled(y), rtol=1e-5, atol=1e-6)


def test_a_frame_is_attended_by_itself():
    module, x = KINDS['lsta'][0], jnp.asarray(maps(), jnp.float32)
    params = random_params(module, x)
    y = apply(module, params, x)[0]
    np.testing.assert_allclose(apply(module, params, x[:, [2, 0, 1]])[0], y[:, [2, 0, 1]], rtol=1e-6)


def test_the_mean_weight_of_holistic_attention_is_one():
    module, x = KINDS['holistic'][0], jnp.asarray(maps(), jnp.float32)
    weights = apply(module, random_params(module, x), x)[1]
    np.testing.assert_allclose(weights.mean((2, 3)), 1, rtol=1e-5)


def test_bfloat16_maps_keep_their_dtype_and_their_gates_are_float32():
    module, x = KINDS['lsta'][0], jnp.asarray(maps(), jnp.bfloat16)
    params = jax.tree.map(lambda a: a.astype(jnp.float32), random_params(module, x))
    y, weights = apply(module, params, x)
    assert (y.dtype, weights.dtype) == (jnp.bfloat16, jnp.float32)
    exact = apply(module, params, x.astype(jnp.float32))[0]
    np.testing.assert_allclose(y.astype(jnp.float32), exact, atol=0.03, rtol=0.03)


def test_a_reduction_that_does_not_divide_the_channels_is_explained():
    with pytest.raises(ValueError, match=r'star\.attention_reduction = 4 does not divide the 6 channels'):
        frame_attention.Lsta(4).init(jax.random.key(0), maps())
