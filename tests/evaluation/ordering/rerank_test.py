"""Re-ranked distances against sets and dictionaries, edge cases, and that the score says so."""

import tracemalloc

import numpy as np
import pytest

from jaxreid.evaluation.ordering import ranking, rerank
from tests.oracles import rerank as oracle


def draw(q=7, g=31, people=6, d=5, spread=0.6, seed=0, dtype=np.float32):
    """Features that scatter around a few people's; Q and G are no multiples of anything."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(people, d))
    features = centres[rng.integers(0, people, q + g)] + spread * rng.normal(size=(q + g, d))
    return features[:q].astype(dtype), features[q:].astype(dtype)


def check(query, gallery, *, distance='euclidean', k1=8, k2=3, weight=0.3, block=rerank.BLOCK):
    settings = {'distance': distance, 'k1': k1, 'k2': k2, 'weight': weight}
    found = rerank.rerank(query, gallery, **settings, block=block)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, oracle.rerank(query, gallery, **settings), atol=1e-5)
    assert 0 <= found.min() <= found.max() <= 1
    return found


@pytest.mark.parametrize('distance', ['cosine', 'euclidean'])
@pytest.mark.parametrize(
    ('k1', 'k2', 'weight'), [(20, 6, 0.3), (8, 3, 0.3), (5, 1, 0.0), (7, 4, 0.5), (1, 1, 0.3), (3, 20, 0.3)]
)
def test_every_distance_is_that_of_sets_and_dictionaries(distance, k1, k2, weight):
    for seed in range(2):
        check(*draw(seed=seed), distance=distance, k1=k1, k2=k2, weight=weight)


def test_sets_do_get_expanded_here():
    """Otherwise the test above would not see how."""
    items = np.concatenate(draw())
    for k1 in (8, 20):
        near, _, _ = rerank._neighbours(items, 7, k1 + 1, distance='euclidean', coincide=0.0, block=512)
        assert rerank._expanded(near, k1).nnz > rerank._mutual(near).nnz + 20


@pytest.mark.parametrize('k1', [37, 38, 100])
def test_lists_longer_than_everything_end_there(k1):
    """38 items: all are neighbours of all."""
    check(*draw(), k1=k1, k2=6)
    check(*draw(), k1=k1, k2=100)


def test_two_items_are_enough():
    check(*draw(q=1, g=1))


@pytest.mark.parametrize('k1', [3, 6, 20])
def test_tracklets_that_are_both_query_and_gallery_are_two_items(k1):
    query, gallery = draw(seed=3)
    query = np.round(4 * query)  # whole numbers: copies are equally far from everything, to the last bit
    gallery = np.concatenate([np.round(4 * gallery), query])
    found = check(query, gallery, k1=k1)
    np.testing.assert_allclose(found[np.arange(7), 31 + np.arange(7)], found.min(axis=1), atol=0.05)


@pytest.mark.parametrize('block', [1, 5, 512])
def test_of_equal_distances_the_lower_index_is_nearer_in_every_block(block):
    rng = np.random.default_rng(4)
    features = rng.integers(0, 3, (40, 2)).astype(np.float32)  # nine places for forty items
    check(features[:9], features[9:], k1=6, k2=4, block=block)


def test_a_collapsed_model_has_one_distance():
    """Everything coincides: neighbours are oneself and the first items, and d is 0."""
    check(np.ones((4, 3), np.float32), np.ones((9, 3), np.float32), k1=3)
    check(np.ones((4, 3), np.float32), np.ones((9, 3), np.float32), k1=3, distance='cosine', weight=1.0)


@pytest.mark.parametrize('distance', ['cosine', 'euclidean'])
def test_weight_one_keeps_the_order_of_every_query(distance):
    query, gallery = draw(q=20, g=200, d=16, seed=5)
    found = rerank.rerank(query, gallery, distance=distance, weight=1.0)
    ((_, before),) = ranking.distance_blocks(query, gallery, distance=distance)
    np.testing.assert_array_equal(np.argsort(found, kind='stable'), np.argsort(before, kind='stable'))


@pytest.mark.parametrize('distance', ['cosine', 'euclidean'])
def test_blocks_change_nothing_and_lengths_nothing_of_the_cosine(distance):
    query, gallery = draw(seed=6)
    whole = rerank.rerank(query, gallery, distance=distance, k1=8)
    for block in (1, 7, 8):  # 7 queries: blocks that end with them, and that hold query and gallery
        np.testing.assert_allclose(
            rerank.rerank(query, gallery, distance=distance, k1=8, block=block), whole, atol=1e-6
        )
    if distance == 'cosine':
        longer = rerank.rerank(query * 3, gallery * 0.5, distance=distance, k1=8)
        np.testing.assert_allclose(longer, whole, atol=1e-5)


@pytest.mark.parametrize('distance', ['cosine', 'euclidean'])
@pytest.mark.parametrize('size', [1e25, 1e-25])
def test_features_of_absurd_sizes_are_re_ranked_as_those_of_common_sizes(distance, size):
    query, gallery = draw(seed=8)
    expected = rerank.rerank(query, gallery, distance=distance, k1=8)
    found = rerank.rerank(query * np.float32(size), gallery * np.float32(size), distance=distance, k1=8)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_features_are_copied_once_and_distances_held_by_blocks():
    """NumPy reports what it allocates: the copy, the result and one block, not squares or quotients of everything."""
    rng = np.random.default_rng(9)
    query, gallery = (rng.normal(size=(n, 512)).astype(np.float32) for n in (50, 2950))
    for distance in ('cosine', 'euclidean'):
        tracemalloc.start()
        rerank.rerank(query, gallery, distance=distance, k1=4, k2=1, block=64)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        features = 3000 * 512 * 4
        assert peak < 1.75 * features + 50 * 2950 * 4 + 2 * 64 * 3000 * 4, peak / features


@pytest.mark.parametrize('distance', ['cosine', 'euclidean'])
def test_the_device_finds_the_neighbours_that_the_host_finds(distance):
    rng = np.random.default_rng(7)
    features = rng.integers(0, 3, (50, 2)).astype(np.float32)  # nine places: ties and copies
    if distance == 'cosine':  # whose rounding may break ties on either side
        features = rng.normal(size=(50, 4)).astype(np.float32)
    found, expected = (
        rerank.rerank(features[:19], features[19:], distance=distance, k1=8, k2=3, block=16, device=device)
        for device in (True, False)
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    same = rerank.rerank(np.ones((3, 2)), np.ones((30, 2)), distance=distance, k1=8, k2=3, block=16, device=True)
    assert np.isfinite(same).all()


def test_half_and_double_precision_are_taken():
    query, gallery = draw(dtype=np.float64)
    check(query, gallery)
    assert rerank.rerank(query.astype(np.float16), gallery.astype(np.float16), distance='cosine').dtype == np.float32


def test_mutual_neighbours_bring_a_hard_match_before_a_nearer_stranger():
    """On a line: the query's people, each near the next, and a crowd of strangers who prefer one another."""
    people = [0.1, 0.21, 0.33, 0.46, 0.6]
    strangers = [-0.5, -0.511, -0.523, -0.536, -0.55, -0.565]
    query, gallery = np.array([[0.0]]), np.array([*people, *strangers])[:, None]
    d = check(query, gallery, k1=5, k2=1)[0]
    assert d[4] < d[5]


def test_bad_input_is_refused():
    query, gallery = draw()
    with pytest.raises(ValueError, match=r'expected \(Q, D\) and \(G, D\)'):
        rerank.rerank(query, gallery[:, :3], distance='cosine')
    with pytest.raises(ValueError, match='0 queries and 31 gallery items'):
        rerank.rerank(query[:0], gallery, distance='cosine')
    with pytest.raises(ValueError, match='between 0 and 1'):
        rerank.rerank(query, gallery, distance='cosine', weight=1.5)
    with pytest.raises(ValueError, match="'manhattan' is unknown"):
        rerank.rerank(query, gallery, distance='manhattan')
    gallery[3, 1] = np.nan
    with pytest.raises(ValueError, match=r'1 of 31 gallery features hold NaN or infinity, the first in row 3'):
        rerank.rerank(query, gallery, distance='cosine')
