import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.losses import distances, triplet
from tests.oracles import triplet as oracle

KINDS = ['euclidean', 'cosine']
MARGINS = [0.3, 0.0, None]
LABELS = np.array([3, 1, 3, 0, 1, 3, 7, 0])  # uneven, unsorted, 7 is alone


@functools.partial(jax.jit, static_argnames=('kind', 'margin'))
def jitted(features, labels, *, kind, margin):
    return triplet.batch_hard(
        getattr(distances, kind)(features, features),
        labels,
        labels,
        jnp.arange(len(labels)),
        margin=margin,
        no_positive={'cosine': -1.0, 'euclidean': 0.0}[kind],
    )


def batch_hard(features, labels, *, kind, margin):
    return jitted(jnp.asarray(features), jnp.asarray(labels), kind=kind, margin=margin)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('margin', MARGINS)
def test_every_anchor_has_the_loss_of_the_loop(kind, margin):
    features = np.random.default_rng(0).normal(size=(8, 5))
    loss, valid = batch_hard(features, LABELS, kind=kind, margin=margin)
    assert valid.all()
    np.testing.assert_allclose(
        loss, oracle.batch_hard(features, LABELS, kind=kind, margin=margin)[1], rtol=1e-4, atol=1e-6
    )


def test_a_batch_solved_by_eye():
    """On a line: 0 and 1 are one person, 1.5 and 4 another. m = 1."""
    loss, _ = batch_hard([[0.0], [1.0], [1.5], [4.0]], [0, 0, 1, 1], kind='euclidean', margin=1.0)
    np.testing.assert_allclose(loss, [1 + 1 - 1.5, 1 + 1 - 0.5, 1 + 2.5 - 0.5, 1 + 2.5 - 3], rtol=1e-5)


@pytest.mark.parametrize('kind', KINDS)
def test_coincident_features_give_the_margin_or_log_two(kind):
    features = np.tile(np.random.default_rng(1).normal(size=(1, 6)) + 20, (8, 1))
    np.testing.assert_allclose(batch_hard(features, LABELS, kind=kind, margin=0.3)[0][:6], 0.3, atol=1e-5)
    np.testing.assert_allclose(batch_hard(features, LABELS, kind=kind, margin=None)[0], math.log(2), atol=1e-5)


@pytest.mark.parametrize('kind', KINDS)
def test_a_lone_identity_has_the_distance_to_itself_as_its_positive(kind):
    features = np.random.default_rng(2).normal(size=(8, 5))
    loss, valid = batch_hard(features, LABELS, kind=kind, margin=5.0)
    nearest = min(oracle.distance(features[6], x, kind=kind) for i, x in enumerate(features) if i != 6)
    assert valid[6]
    np.testing.assert_allclose(loss[6], 5 + {'cosine': -1, 'euclidean': 0}[kind] - nearest, rtol=1e-5)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('margin', MARGINS)
def test_anchors_without_a_negative_are_dropped_with_zero_gradient(kind, margin):
    features = jnp.asarray(np.random.default_rng(3).normal(size=(4, 5)))
    loss, valid = batch_hard(features, [2, 2, 2, 2], kind=kind, margin=margin)
    assert not valid.any()
    assert not loss.any()
    gradient = jax.grad(lambda x: batch_hard(x, [2, 2, 2, 2], kind=kind, margin=margin)[0].sum())(features)
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize('margin', [0.3, None])
def test_gradients_are_finite_where_all_features_coincide_and_where_an_identity_is_alone(margin):
    for features in (np.ones((8, 3)), np.zeros((8, 3)), np.random.default_rng(4).normal(size=(8, 3))):
        for kind in KINDS:
            gradient = jax.grad(lambda x, kind=kind: batch_hard(x, LABELS, kind=kind, margin=margin)[0].sum())(
                jnp.asarray(features)
            )
            assert np.isfinite(gradient).all()


def test_cosine_triplet_does_not_depend_on_lengths():
    rng = np.random.default_rng(5)
    features = rng.normal(size=(8, 5))
    scaled = features * rng.uniform(0.1, 10, size=(8, 1))
    np.testing.assert_allclose(
        batch_hard(scaled, LABELS, kind='cosine', margin=0.3)[0],
        batch_hard(features, LABELS, kind='cosine', margin=0.3)[0],
        atol=1e-5,
    )


@pytest.mark.parametrize('margin', MARGINS)
def test_permuting_the_samples_permutes_the_losses(margin):
    rng = np.random.default_rng(6)
    features, order = rng.normal(size=(8, 5)), rng.permutation(8)
    np.testing.assert_allclose(
        batch_hard(features[order], LABELS[order], kind='euclidean', margin=margin)[0],
        batch_hard(features, LABELS, kind='euclidean', margin=margin)[0][order],
        rtol=1e-5,
        atol=1e-6,
    )


def test_some_rows_of_the_batch_as_anchors_give_their_part_of_the_losses():
    features = jnp.asarray(np.random.default_rng(7).normal(size=(8, 5)))
    whole, _ = batch_hard(features, LABELS, kind='euclidean', margin=0.3)
    rows = jnp.array([4, 6])
    part, valid = triplet.batch_hard(
        distances.euclidean(features[rows], features),
        jnp.asarray(LABELS)[rows],
        jnp.asarray(LABELS),
        rows,
        margin=0.3,
        no_positive=0.0,
    )
    assert valid.all()
    np.testing.assert_allclose(part, whole[rows], rtol=1e-5, atol=1e-6)


def test_the_soft_form_does_not_overflow():
    loss, _ = batch_hard([[0.0], [3e4], [1.0], [2.0]], [0, 0, 1, 1], kind='euclidean', margin=None)
    np.testing.assert_allclose(loss[0], 3e4 - 1, rtol=1e-3)


@pytest.mark.parametrize('margin', [0.3, None])
def test_value_and_gradient_are_those_of_torch(margin):
    torch = pytest.importorskip('torch')
    features = np.random.default_rng(8).normal(size=(8, 5))
    x = torch.tensor(features, requires_grad=True)
    pairs = torch.cdist(x, x)
    same = torch.tensor(LABELS[:, None] == LABELS[None, :])
    positive = torch.where(same & ~torch.eye(8, dtype=torch.bool), pairs, -1.0).amax(1).clamp(min=0)
    gap = positive - torch.where(same, torch.inf, pairs).amin(1)
    expected = (torch.nn.functional.softplus(gap) if margin is None else torch.relu(margin + gap)).mean()
    expected.backward()
    with jax.enable_x64(True):
        value, gradient = jax.value_and_grad(
            lambda x: batch_hard(x, LABELS, kind='euclidean', margin=margin)[0].mean()
        )(jnp.asarray(features))
    np.testing.assert_allclose(value, expected.item(), rtol=1e-10)
    np.testing.assert_allclose(gradient, x.grad.numpy(), rtol=1e-8, atol=1e-12)
