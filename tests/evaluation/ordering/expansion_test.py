"""Expanded queries against the mean taken by hand."""

import numpy as np
import pytest

from jaxreid.evaluation.ordering import expansion


def slow(items, gallery, count, power, distance):
    result = []
    for x in items.astype(float):

        def cosine(y, x=x):
            return x @ y / np.linalg.norm(x) / np.linalg.norm(y)

        rows = gallery.astype(float)
        to = [-cosine(y) if distance == 'cosine' else np.linalg.norm(x - y) for y in rows]
        near = sorted(range(len(rows)), key=lambda j: (to[j], j))[:count]
        weights = [max(cosine(rows[j]), 0) ** power for j in near]
        if distance == 'cosine':
            x, rows = x / np.linalg.norm(x), rows / np.linalg.norm(rows, axis=1, keepdims=True)
        total = x + sum(w * rows[j] for w, j in zip(weights, near))
        result.append(total / (1 + sum(weights)))
    return np.array(result)


@pytest.mark.parametrize('distance', ['cosine', 'euclidean'])
@pytest.mark.parametrize(('count', 'power'), [(1, 0.0), (3, 0.0), (5, 3.0), (100, 1.0)])
def test_an_item_becomes_the_weighted_mean_with_its_nearest(distance, count, power):
    rng = np.random.default_rng(0)
    items, gallery = rng.normal(size=(11, 4)) + 0.5, rng.normal(size=(30, 4)) + 0.5
    for block in (3, 256):
        found = expansion.expand(items, gallery, count=count, power=power, distance=distance, block=block)
        np.testing.assert_allclose(found, slow(items, gallery, count, power, distance), rtol=1e-9)


def test_expansion_pulls_scattered_items_to_their_people():
    rng = np.random.default_rng(1)
    people = np.repeat(rng.normal(size=(8, 16)), 10, axis=0)
    gallery = people + 0.5 * rng.normal(size=people.shape)
    found = expansion.expand(gallery, gallery, count=5, distance='euclidean')
    assert np.linalg.norm(found - people, axis=1).mean() < 0.7 * np.linalg.norm(gallery - people, axis=1).mean()


def test_features_of_zeros_stay_finite_and_bad_settings_are_refused():
    assert np.isfinite(
        expansion.expand(np.zeros((2, 3)), np.zeros((4, 3)), count=2, power=1.0, distance='cosine')
    ).all()
    for wrong in ({'count': 0}, {'count': 1, 'power': -1.0}, {'count': 1, 'power': np.nan}):
        with pytest.raises(ValueError, match='at least'):
            expansion.expand(np.ones((2, 3)), np.ones((4, 3)), distance='cosine', **wrong)


@pytest.mark.parametrize('distance', ['cosine', 'euclidean'])
@pytest.mark.parametrize('exponent', [-90, 90])
def test_features_of_absurd_sizes_are_expanded_as_those_of_common_sizes(distance, exponent):
    rng = np.random.default_rng(2)
    items, gallery = rng.normal(size=(11, 4)).astype(np.float32), rng.normal(size=(30, 4)).astype(np.float32)
    expected = expansion.expand(items, gallery, count=3, power=2.0, distance=distance)
    found = expansion.expand(
        np.ldexp(items, exponent), np.ldexp(gallery, exponent), count=3, power=2.0, distance=distance
    )
    np.testing.assert_allclose(found, expected if distance == 'cosine' else np.ldexp(expected, exponent), rtol=1e-6)
