import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.losses import distances
from tests.oracles import triplet as oracle


def loop(a, b, *, kind):
    return np.array([[oracle.distance(x, y, kind=kind) for y in np.float64(b)] for x in np.float64(a)])


@pytest.mark.parametrize('kind', ['euclidean', 'cosine'])
def test_every_pair_has_the_distance_of_its_definition(kind):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 7)).astype(np.float32), rng.normal(size=(3, 7)).astype(np.float32)
    found = getattr(distances, kind)(jnp.asarray(a), jnp.asarray(b))
    assert found.shape == (5, 3)
    np.testing.assert_allclose(found, loop(a, b, kind=kind), rtol=1e-5, atol=1e-6)


def test_an_offset_common_to_all_features_costs_no_digits():
    rng = np.random.default_rng(1)
    a = (rng.normal(size=(4, 9)) + 300).astype(np.float32)
    np.testing.assert_allclose(
        distances.euclidean(jnp.asarray(a), jnp.asarray(a[::-1])),
        loop(a, a[::-1], kind='euclidean'),
        rtol=1e-4,
        atol=2e-4,
    )


@pytest.mark.parametrize('kind', ['euclidean', 'cosine'])
@pytest.mark.parametrize('fill', [0.0, 3.0])
def test_coincident_points_have_finite_gradients(kind, fill):
    features = jnp.full((4, 6), fill)
    gradient = jax.grad(lambda x: getattr(distances, kind)(x, x).sum())(features)
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient, 0, atol=1e-3)


def test_coincident_points_keep_the_guard_as_their_distance():
    np.testing.assert_allclose(distances.euclidean(jnp.full((3, 5), 0.7), jnp.full((2, 5), 0.7)), 1e-6, rtol=1e-6)


def test_cosine_does_not_depend_on_lengths():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(4, 6)), rng.normal(size=(5, 6))
    scaled = a * rng.uniform(0.01, 100, size=(4, 1))
    np.testing.assert_allclose(
        distances.cosine(jnp.asarray(scaled), jnp.asarray(b)),
        distances.cosine(jnp.asarray(a), jnp.asarray(b)),
        atol=1e-5,
    )


@pytest.mark.parametrize('kind', ['euclidean', 'cosine'])
def test_gradients_are_those_of_torch(kind):
    torch = pytest.importorskip('torch')
    rng = np.random.default_rng(3)
    a, b, weight = rng.normal(size=(5, 7)), rng.normal(size=(3, 7)), rng.normal(size=(5, 3))
    x, y = torch.tensor(a, requires_grad=True), torch.tensor(b, requires_grad=True)
    if kind == 'cosine':
        expected = -torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(y).T
    else:
        expected = torch.cdist(x, y)
    (expected * torch.tensor(weight)).sum().backward()
    with jax.enable_x64(True):
        gradients = jax.grad(lambda a, b: (getattr(distances, kind)(a, b) * weight).sum(), argnums=(0, 1))(
            jnp.asarray(a), jnp.asarray(b)
        )
    np.testing.assert_allclose(gradients[0], x.grad.numpy(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(gradients[1], y.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('kind', ['euclidean', 'cosine'])
def test_half_precision_features_give_float32_distances_and_float64_stays(kind):
    half = jnp.ones((2, 3), jnp.bfloat16)
    assert getattr(distances, kind)(half, half).dtype == jnp.float32
    with jax.enable_x64(True):
        double = jnp.ones((2, 3), jnp.float64)
        assert getattr(distances, kind)(double, double).dtype == jnp.float64
