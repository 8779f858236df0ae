import numpy as np
import pytest

from jaxreid.evaluation.ordering import ranking
from tests.oracles import ranking as oracle

AP_RULES = ['step', 'trapezoid']


def draw(seed, *, q=23, g=61, num_ids=6, cameras=3):
    """Queries and gallery with ids -1 ... num_ids; some queries have no match."""
    rng = np.random.default_rng(seed)
    query_ids = rng.integers(1, num_ids + 2, q)
    return (
        rng.normal(size=(q, g)),
        query_ids,
        rng.integers(0, cameras, q),
        rng.integers(-1, num_ids + 1, g),
        rng.integers(0, cameras, g),
    )


def rank_features(queries, gallery, query_ids, query_cameras, *of_gallery, distance, block=ranking.BLOCK):
    """Ranks a block of queries after the other by the distances of features."""
    return ranking.join(
        ranking.rank(distances, query_ids[rows], query_cameras[rows], *of_gallery, ap='step')
        for rows, distances in ranking.distance_blocks(queries, gallery, distance=distance, block=block)
    )


def check(drawn, *, ap, ignored=None, cut=None, whole_camera=False):
    distances, query_ids, query_cameras, gallery_ids, gallery_cameras = drawn
    out = query_cameras[:, None] == gallery_cameras if whole_camera else None
    found = ranking.rank(*drawn, ap=ap, ignored=ignored, cut=cut, left_out=out)
    left_out = set() if ignored is None else set(np.flatnonzero(ignored).tolist())
    for i in range(len(query_ids)):
        average_precision, first, matches = oracle.query(
            distances[i].tolist(),
            query_ids[i],
            query_cameras[i],
            gallery_ids,
            gallery_cameras,
            ap=ap,
            ignored=left_out,
            cut=cut,
            same_camera='drop' if whole_camera else 'drop_matches',
        )
        np.testing.assert_allclose(found.ap[i], average_precision, rtol=1e-12)
        assert found.first_hit[i] == first
        assert found.answered[i] == (matches > 0)
    return found


DISTANCES = {
    'real': lambda d: d,
    'float32': lambda d: d.astype(np.float32),
    'quantised': lambda d: np.round(2 * d).astype(np.float32),
    'all_equal': lambda d: np.full_like(d, 0.25),
    'integers': lambda d: np.round(3 * d).astype(np.int64) + 2**60,
}


@pytest.mark.parametrize('ap', AP_RULES)
@pytest.mark.parametrize('kind', list(DISTANCES))
@pytest.mark.parametrize('junk', [False, True])
def test_every_query_is_scored_as_by_walking_down_the_sorted_list(ap, kind, junk):
    for seed in range(3):
        distances, *rest = draw(seed)
        found = check((DISTANCES[kind](distances), *rest), ap=ap, ignored=rest[2] == -1 if junk else None)
        assert found.answered.any()
        assert not found.answered.all()


@pytest.mark.parametrize('ap', AP_RULES)
@pytest.mark.parametrize('kind', ['real', 'quantised'])
@pytest.mark.parametrize(('junk', 'cut'), [(False, None), (True, None), (True, 9)])
def test_the_whole_own_camera_may_be_taken_out(ap, kind, junk, cut):
    distances, *rest = draw(5)
    ignored = rest[2] == -1 if junk else None
    check((DISTANCES[kind](distances), *rest), ap=ap, whole_camera=True, ignored=ignored, cut=cut)


@pytest.mark.parametrize('ap', AP_RULES)
@pytest.mark.parametrize('cut', [1, 7, 20, 61, 1000])
def test_matches_behind_the_cut_are_missed_and_dropped_items_take_places(ap, cut):
    drawn = draw(6)
    found = check(drawn, ap=ap, ignored=drawn[3] == -1, cut=cut)
    if cut == 1:
        assert (found.answered & (found.first_hit == 0)).any()


@pytest.mark.parametrize(
    ('matches', 'step', 'trapezoid'),
    [
        ([1, 0, 0], 1, 1),
        ([0, 1, 0], 1 / 2, (0 + 1 / 2) / 2),
        ([1, 0, 1, 0], (1 + 2 / 3) / 2, (1 + (1 / 2 + 2 / 3) / 2) / 2),
        ([0, 1, 1, 0, 1], (1 / 2 + 2 / 3 + 3 / 5) / 3, ((0 + 1 / 2) + (1 / 2 + 2 / 3) + (2 / 4 + 3 / 5)) / 2 / 3),
    ],
)
def test_lists_scored_by_hand(matches, step, trapezoid):
    n = len(matches)
    args = (np.arange(n)[None, :], np.array([5]), np.array([0]), np.where(matches, 5, 9), np.ones(n, int))
    for ap, expected in (('step', step), ('trapezoid', trapezoid)):
        found = ranking.rank(*args, ap=ap)
        np.testing.assert_allclose(found.ap, expected)
        assert found.first_hit == 1 + matches.index(1)


def test_same_camera_copies_and_junk_in_front_do_not_move_a_match():
    args = (np.arange(4.0)[None, :], np.array([5]), np.array([0]), np.array([5, -1, 5, 5]), np.array([0, 1, 0, 1]))
    found = ranking.rank(*args, ap='step', ignored=args[3] == -1)
    assert found.ap == 1
    assert found.first_hit == 1


def test_a_collapsed_model_scores_as_the_order_of_the_gallery_not_perfectly():
    """All distances equal: counting ties in the query's favour would give 1."""
    args = (np.zeros((1, 10)), np.array([1]), np.array([0]), np.array([2] * 9 + [1]), np.ones(10, int))
    np.testing.assert_allclose(ranking.rank(*args, ap='step').ap, 1 / 10)


@pytest.mark.parametrize('ap', AP_RULES)
def test_a_monotone_transform_of_the_distances_changes_nothing(ap):
    distances, *rest = draw(7)
    before, after = ranking.rank(distances, *rest, ap=ap), ranking.rank(np.exp(3 * distances) - 9, *rest, ap=ap)
    for one, other in zip(before, after):
        np.testing.assert_array_equal(one, other)


def test_integers_keep_all_their_digits():
    args = (np.array([[2**60 + 1, 2**60]]), np.array([1]), np.array([0]), np.array([1, 2]), np.array([1, 1]))
    assert ranking.rank(*args, ap='step').first_hit == 2


@pytest.mark.parametrize('distance', ['cosine', 'euclidean'])
@pytest.mark.parametrize('block', [1, 7, 100])
def test_features_are_ranked_as_by_their_distances_whatever_the_block(distance, block):
    rng = np.random.default_rng(8)
    _, *rest = draw(8)
    queries, gallery = rng.normal(size=(23, 5)), rng.normal(size=(61, 5))
    if distance == 'cosine':

        def between(x, y):
            return -np.dot(x, y) / np.linalg.norm(x) / np.linalg.norm(y)
    else:

        def between(x, y):
            return np.sqrt(((x - y) ** 2).sum())

    slow = np.array([[between(x, y) for y in gallery] for x in queries])
    expected = ranking.rank(slow, *rest, ap='step')
    found = rank_features(queries, gallery, *rest, distance=distance, block=block)
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize('distance', ['cosine', 'euclidean'])
def test_blocks_of_distances_have_the_features_precision(distance):
    rng = np.random.default_rng(9)
    queries, gallery = rng.normal(size=(5, 8)) + 50, rng.normal(size=(6, 8)) + 50
    exact = np.concatenate([block for _, block in ranking.distance_blocks(queries, gallery, distance=distance)])
    narrow = queries.astype(np.float32), gallery.astype(np.float32)
    blocks = [b for _, b in ranking.distance_blocks(*narrow, distance=distance, block=2)]
    assert [b.shape for b in blocks] == [(2, 6), (2, 6), (1, 6)]
    assert all(b.dtype == np.float32 for b in blocks)
    np.testing.assert_allclose(np.concatenate(blocks), exact, rtol=1e-5, atol=1e-5)
    half = ranking.distance_blocks(queries.astype(np.float16), gallery.astype(np.float16), distance=distance)
    assert next(half)[1].dtype == np.float32


def test_a_feature_is_at_no_distance_from_itself_however_its_squares_are_rounded():
    features = np.random.default_rng(0).normal(size=(300, 33)).astype(np.float32)
    for rows, distances in ranking.distance_blocks(features, features, distance='euclidean'):
        own = distances[np.arange(rows.stop - rows.start), np.arange(rows.start, rows.stop)]
        assert (own >= 0).all()
        assert own.max() < 0.01


def test_a_feature_of_zeros_has_finite_distances():
    for distance in ('cosine', 'euclidean'):
        blocks = ranking.distance_blocks(np.zeros((2, 3)), np.zeros((4, 3)), distance=distance)
        assert all(np.isfinite(b).all() for _, b in blocks)


SIZES = {
    'large': lambda x: x * np.asarray(1e25, x.dtype),
    'small': lambda x: x * np.asarray(1e-25, x.dtype),
    'largest': lambda x: x * np.asarray(1e37 if x.dtype == np.float32 else 1e300, x.dtype),
}


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('size', list(SIZES))
@pytest.mark.parametrize('distance', ['cosine', 'euclidean'])
def test_features_of_absurd_sizes_are_ranked_as_those_of_common_sizes(distance, size, dtype):
    """Their squares overflow, or vanish, and with them every difference between distances."""
    rng = np.random.default_rng(11)
    _, *rest = draw(11)
    features = [rng.normal(size=shape).astype(dtype) for shape in ((23, 5), (61, 5))]
    expected = rank_features(*features, *rest, distance=distance)
    found = rank_features(*map(SIZES[size], features), *rest, distance=distance)
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one, other)


def test_sizes_of_rows_are_nothing_to_the_cosine_however_they_differ():
    rng = np.random.default_rng(12)
    queries, gallery = (rng.normal(size=(n, 5)).astype(np.float32) for n in (7, 9))
    exponents = rng.integers(-100, 100, (9, 1))
    ((_, expected),) = ranking.distance_blocks(queries, gallery, distance='cosine')
    ((_, found),) = ranking.distance_blocks(queries, np.ldexp(gallery, exponents), distance='cosine')
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_euclidean_distances_of_absurd_sizes_are_as_long_as_they_are():
    rng = np.random.default_rng(13)
    queries, gallery = (rng.normal(size=(n, 5)).astype(np.float32) for n in (7, 5000))  # several shifted pieces
    ((_, expected),) = ranking.distance_blocks(queries, gallery, distance='euclidean')
    for exponent in (-90, 90):
        ((_, found),) = ranking.distance_blocks(
            np.ldexp(queries, exponent), np.ldexp(gallery, exponent), distance='euclidean'
        )
        np.testing.assert_allclose(found, np.ldexp(expected, exponent), rtol=1e-5)


def test_a_distance_that_no_number_holds_is_not_ranked():
    huge = np.array([[3e38], [-3e38]], np.float32)
    with pytest.raises(ValueError, match='is inf, which cannot be ranked'):
        rank_features(huge, huge, *[np.arange(2)] * 4, distance='euclidean')


def test_bad_input_is_refused():
    distances, *rest = draw(10)
    with pytest.raises(ValueError, match='there are 22 query ids'):
        ranking.rank(distances, rest[0][1:], *rest[1:], ap='step')
    with pytest.raises(ValueError, match="'rectangle' is unknown"):
        ranking.rank(distances, *rest, ap='rectangle')
    distances[3, 7] = np.nan
    with pytest.raises(ValueError, match='query 3 to gallery item 7 is nan'):
        ranking.rank(distances, *rest, ap='step')
    with pytest.raises(ValueError, match="'manhattan' is unknown"):
        next(ranking.distance_blocks(np.ones((1, 2)), np.ones((1, 2)), distance='manhattan'))


@pytest.mark.parametrize('kind', list(DISTANCES))
def test_the_area_under_the_curve_takes_equal_distances_as_one_point(kind):
    for seed in range(3):
        distances, query_ids, query_cameras, ids, cameras = draw(seed)
        distances = DISTANCES[kind](distances)
        found = ranking.rank(
            distances, query_ids, query_cameras, ids, cameras, ap='sklearn_pr', ignored=ids == -1
        )  # fmt: skip
        for i, query_id in enumerate(query_ids):
            kept = [
                j for j in range(61) if ids[j] != -1 and not (ids[j] == query_id and cameras[j] == query_cameras[i])
            ]
            relevant = [ids[j] == query_id for j in kept]
            if any(relevant):
                expected = oracle.pr_area(distances[i, kept].tolist(), relevant)
                np.testing.assert_allclose(found.ap[i], expected, rtol=1e-12)


def test_the_area_under_the_curve_is_that_of_scikit_learn():
    metrics = pytest.importorskip('sklearn.metrics')
    distances, query_ids, query_cameras, ids, cameras = draw(4)
    distances = np.round(2 * distances)
    found = ranking.rank(distances, query_ids, query_cameras, ids, cameras, ap='sklearn_pr')
    for i, query_id in enumerate(query_ids):
        kept = (ids != query_id) | (cameras != query_cameras[i])
        if found.answered[i]:
            precision, recall, _ = metrics.precision_recall_curve((ids == query_id)[kept], -distances[i, kept])
            np.testing.assert_allclose(found.ap[i], metrics.auc(recall, precision), rtol=1e-12)


def test_inp_is_the_share_of_matches_in_the_list_that_ends_with_the_last():
    args = (np.arange(6.0)[None, :], np.array([5]), np.array([0]), np.array([9, 5, 9, 5, 9, 9]), np.ones(6, int))
    assert ranking.rank(*args, ap='step').inp == 2 / 4
    assert ranking.rank(*args, ap='step', cut=4).inp == 2 / 4
    assert ranking.rank(*args, ap='step', cut=3).inp == 0


@pytest.mark.parametrize('kind', list(DISTANCES))
@pytest.mark.parametrize('size', [5, 63, 200, 511])
def test_the_nearest_are_the_first_of_a_stable_sort(kind, size):
    distances = DISTANCES[kind](np.random.default_rng(11).normal(size=(20, size)))
    for count in (1, 3, 7):
        found = np.stack(list(ranking.nearest(distances, count)))
        np.testing.assert_array_equal(found, np.argsort(distances, axis=1, kind='stable')[:, :count])
