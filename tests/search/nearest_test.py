"""Exact search against a sort of all pairs, with ties, near ties, filters and blocks of all sizes."""

import numpy as np
import pytest

from jaxreid.search import feature_rows, nearest
from tests.oracles import nearest as oracle


def found(queries, gallery, **how):
    index, similarity = nearest.top(queries, feature_rows.Rows.of(gallery), **how)
    return [[(int(j), float(s)) for j, s in zip(*row) if j != nearest.NOBODY] for row in zip(index, similarity)]


def check(queries, gallery, *, allowed=None, block_rows=0, **how):
    mask = None if allowed is None else lambda start, stop: allowed[:, start:stop]
    ours = found(queries, gallery, allowed=mask, block_rows=block_rows, **how)
    wanted = oracle.top(queries.tolist(), gallery.tolist(), allowed=allowed, **how)
    assert [[j for j, _ in row] for row in ours] == [[j for j, _ in row] for row in wanted]
    for mine, theirs in zip(ours, wanted, strict=True):
        np.testing.assert_allclose([s for _, s in mine], [s for _, s in theirs], atol=2e-7)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize('distance', nearest.DISTANCES)
@pytest.mark.parametrize(('gallery', 'count', 'block_rows'), [(300, 4, 64), (300, 40, 0), (5, 4, 0), (3, 7, 0)])
def test_the_nearest_are_those_of_a_full_sort(distance, gallery, count, block_rows):
    check(normal(5, 6), normal(gallery, 6, seed=1), count=count, distance=distance, block_rows=block_rows)


@pytest.mark.parametrize('distance', nearest.DISTANCES)
def test_equal_rows_come_in_the_order_of_the_gallery(distance):
    few = normal(3, 7)
    places = np.random.default_rng(0).integers(0, 3, 400)
    check(normal(4, 7, seed=2), few[places], count=5, distance=distance, block_rows=64)
    check(normal(2, 7, seed=2), np.repeat(few[:1], 200, 0), count=6, distance=distance, block_rows=64)
    check(normal(2, 7, seed=2), np.zeros((90, 7), np.float32), count=3, distance=distance, block_rows=64)


@pytest.mark.parametrize('distance', nearest.DISTANCES)
def test_what_float32_cannot_tell_apart_is_ordered_by_the_exact_similarity(distance):
    # More rows than the device is asked for lie within its rounding of each other.
    gallery = 10 + 3e-6 * normal(300, 6, seed=3)
    check(10 + normal(3, 6, seed=4), gallery, count=5, distance=distance, block_rows=128)


def test_a_filter_leaves_its_rows_alone_for_every_query():
    allowed = np.random.default_rng(5).random((4, 150)) < 0.3
    allowed[1] = False
    allowed[2, 3:] = False
    check(normal(4, 6), normal(150, 6, seed=1), count=6, distance='cosine', allowed=allowed, block_rows=64)
    check(normal(4, 6), np.ones((150, 6), np.float32), count=6, distance='cosine', allowed=allowed, block_rows=64)


def test_many_queries_are_taken_in_turns():
    check(normal(600, 3), normal(20, 3, seed=1), count=2, distance='cosine')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'queries': np.ones((2, 5))}, 'queries have 5 dimensions, the gallery 6'),
        ({'queries': np.array([[0] * 6, [np.nan] * 6])}, 'query 1 holds NaN'),
        ({'gallery': np.where(np.arange(300)[:, None] == 222, np.inf, normal(300, 6))}, 'row 222 of the gallery'),
        ({'distance': 'manhattan'}, "distance 'manhattan' is unknown"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, message):
    how = {'queries': normal(2, 6), 'gallery': normal(300, 6), 'distance': 'cosine'} | change
    with pytest.raises(ValueError, match=message):
        found(how['queries'], how['gallery'], count=3, distance=how['distance'], block_rows=64)


def test_rows_in_files_are_read_across_their_ends(tmp_path):
    whole = normal(20, 3)
    paths = []
    for number, (start, stop) in enumerate([(0, 7), (7, 7), (7, 8), (8, 20)]):
        paths.append(tmp_path / f'{number}.npy')
        np.save(paths[-1], whole[start:stop])
    stored = feature_rows.Rows.files(paths, [7, 0, 1, 12], dim=3)
    assert len(stored) == 20
    for start, stop in [(0, 20), (5, 9), (7, 8), (19, 40), (20, 30)]:
        np.testing.assert_array_equal(stored.read(start, stop), whole[start:stop])
    order = np.array([19, 0, 7, 7, 6, 8])
    np.testing.assert_array_equal(stored.take(order), whole[order])
    assert stored.take(order[:0]).shape == (0, 3)
