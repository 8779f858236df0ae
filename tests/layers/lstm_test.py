"""The LSTM against PyTorch's, forward and gradient, and against the recurrence written out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid import sharding
from jaxreid.layers import lstm

B, T, D, H = 8, 5, 3, 4


@pytest.fixture(scope='module')
def case():
    module = lstm.Lstm(H)
    x = jax.random.normal(jax.random.key(0), (B, T, D))
    variables = jax.jit(module.init)(jax.random.key(1), x)
    return module, x, variables['params']


def test_states_and_gradients_equal_pytorch(case):
    torch = pytest.importorskip('torch')
    module, x, params = case
    upstream = jax.random.normal(jax.random.key(2), (B, T, H))

    @jax.jit
    def ours(params, x):
        states, back = jax.vjp(lambda p, x: module.apply({'params': p}, x), params, x)
        return states, back(upstream)

    states, (params_grad, x_grad) = ours(params, x)
    oracle = torch.nn.LSTM(D, H, batch_first=True)
    with torch.no_grad():
        for name, value in params.items():
            getattr(oracle, f'{name}_l0').copy_(torch.tensor(np.array(value)))
    inputs = torch.tensor(np.array(x), requires_grad=True)
    expected, _ = oracle(inputs)
    expected.backward(torch.tensor(np.array(upstream)))
    np.testing.assert_allclose(states, expected.detach(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(x_grad, inputs.grad, rtol=1e-4, atol=1e-6)
    for name in ('weight_ih', 'weight_hh', 'bias_ih', 'bias_hh'):
        expected_grad = getattr(oracle, f'{name}_l0').grad
        np.testing.assert_allclose(params_grad[name], expected_grad, rtol=1e-4, atol=1e-5, err_msg=name)


def test_parameters_are_pytorchs_and_start_within_one_over_the_root_of_the_width(case):
    _, _, params = case
    assert {k: v.shape for k, v in params.items()} == {
        'weight_ih': (4 * H, D),
        'weight_hh': (4 * H, H),
        'bias_ih': (4 * H,),
        'bias_hh': (4 * H,),
    }
    values = np.concatenate([np.ravel(v) for v in params.values()])
    assert np.abs(values).max() <= H**-0.5
    assert values.min() < -0.4
    assert values.max() > 0.4


def test_a_state_knows_the_frames_before_it_only(case):
    module, x, params = case
    changed = x.at[:, 3:].add(1)
    run = jax.jit(functools.partial(module.apply, {'params': params}))
    np.testing.assert_array_equal(run(x)[:, :3], run(changed)[:, :3])
    assert np.abs(run(x)[:, 3:] - run(changed)[:, 3:]).min() > 0


def test_bfloat16_products_leave_the_state_float32(case):
    _, x, params = case
    exact = lstm.Lstm(H).apply({'params': params}, x)
    states = lstm.Lstm(H, dtype=jnp.bfloat16).apply({'params': params}, x.astype(jnp.bfloat16))
    assert states.dtype == jnp.float32
    np.testing.assert_allclose(states, exact, atol=0.02)


def test_eight_devices_equal_one(case):
    module, x, params = case
    mesh = sharding.make_mesh()
    specs = {'in_specs': (sharding.COPIED, sharding.SPLIT), 'out_specs': sharding.SPLIT}
    many = jax.jit(jax.shard_map(lambda p, x: module.apply({'params': p}, x), mesh=mesh, **specs))
    np.testing.assert_allclose(many(params, x), module.apply({'params': params}, x), rtol=1e-5, atol=1e-6)
