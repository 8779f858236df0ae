import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.losses import cross_entropy


@pytest.mark.parametrize('smoothing', [0.0, 0.1, 1.0])
def test_it_is_the_sum_over_the_smoothed_target(smoothing):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(6, 5)) * 3, np.array([0, 4, 2, 2, 1, 3])
    expected = []
    for row, label in zip(logits, labels):
        log_probs = row - np.log(sum(np.exp(v) for v in row))
        target = [smoothing / 5 + (1 - smoothing) * (i == label) for i in range(5)]
        expected.append(-sum(t * p for t, p in zip(target, log_probs)))
    found = cross_entropy.cross_entropy(jnp.asarray(logits), jnp.asarray(labels), smoothing=smoothing)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize('smoothing', [0.0, 0.3])
def test_value_and_gradient_are_those_of_torch(smoothing):
    torch = pytest.importorskip('torch')
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(4, 7)), np.array([6, 0, 3, 3])
    x = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(x, torch.tensor(labels), label_smoothing=smoothing)
    expected.backward()
    with jax.enable_x64(True):
        value, gradient = jax.value_and_grad(
            lambda x: cross_entropy.cross_entropy(x, jnp.asarray(labels), smoothing=smoothing).mean()
        )(jnp.asarray(logits))
    np.testing.assert_allclose(value, expected.item(), rtol=1e-12)
    np.testing.assert_allclose(gradient, x.grad.numpy(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize('smoothing', [0.0, 0.2])
def test_uniform_logits_give_the_log_of_the_number_of_classes(smoothing):
    found = cross_entropy.cross_entropy(jnp.full((3, 11), 2.5), jnp.array([0, 5, 10]), smoothing=smoothing)
    np.testing.assert_allclose(found, np.log(11), rtol=1e-6)


def test_half_precision_logits_are_summed_in_float32():
    found = cross_entropy.cross_entropy(jnp.zeros((2, 1000), jnp.bfloat16), jnp.array([0, 999]), smoothing=0.0)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, np.log(1000), rtol=1e-6)


def test_large_logits_stay_finite():
    found = cross_entropy.cross_entropy(jnp.array([[1e4, -1e4]]), jnp.array([1]), smoothing=0.0)
    np.testing.assert_allclose(found, 2e4, rtol=1e-6)
