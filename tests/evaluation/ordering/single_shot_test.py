"""One gallery item per identity, against chances that are counted out."""

import numpy as np

from jaxreid.evaluation import protocols
from jaxreid.evaluation.ordering import ranking, single_shot
from tests.fixtures.ranked_rows import Rows
from tests.oracles import ranking as oracle


def draw(seed=0, *, q=6, g=80, num_ids=9):
    rng = np.random.default_rng(seed)
    ids = np.concatenate([rng.integers(-1, num_ids, g - 6), [1, 1, 1, 2, 2, 2]])
    cameras = rng.integers(0, 3, g)
    distances = rng.integers(0, 12, (q, g)).astype(float)  # many ties
    return distances, rng.integers(1, 4, q), rng.integers(0, 3, q), ids, cameras


def test_ranks_are_those_of_one_drawn_item_per_identity():
    drawn = draw()
    distances, query_ids, query_cameras, ids, cameras = drawn
    junk = ids == -1
    found = np.concatenate([single_shot.first_hits(*drawn, ignored=junk, seed=s) for s in range(400)], axis=1)
    for i in range(len(found)):
        expected = oracle.expected_single_shot_rank(
            distances[i].tolist(), ids.tolist(), cameras, query_ids[i], query_cameras[i], set(np.flatnonzero(junk))
        )
        error = found[i].std() / np.sqrt(found.shape[1])
        assert abs(found[i].mean() - expected) < 4 * error + 1e-9
    assert found.max() <= len(set(ids[~junk].tolist()))


def test_with_one_item_per_identity_nothing_is_left_to_chance():
    rng = np.random.default_rng(1)
    args = rng.normal(size=(5, 30)), rng.integers(0, 30, 5), np.zeros(5, int), rng.permutation(30), np.ones(30, int)
    found = single_shot.first_hits(*args)
    assert found.shape == (5, single_shot.REPEATS)
    np.testing.assert_array_equal(found, np.repeat(ranking.rank(*args, ap='step').first_hit[:, None], 10, axis=1))


def test_draws_depend_on_the_seed_and_not_on_blocks():
    drawn = draw(2)
    whole = single_shot.first_hits(*drawn, seed=3)
    parts = [
        single_shot.first_hits(*(x[rows] for x in drawn[:3]), *drawn[3:], seed=3, first_query=rows.start)
        for rows in (slice(0, 2), slice(2, 6))
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert (single_shot.first_hits(*drawn, seed=4) != whole).any()


def test_a_query_without_a_match_has_no_rank():
    distances, _, query_cameras, ids, cameras = draw(3)
    assert (single_shot.first_hits(distances, np.full(6, 77), query_cameras, ids, cameras) == 0).all()


def test_the_protocol_counts_every_draw():
    rng = np.random.default_rng(5)
    pid, camera, query = rng.integers(-1, 8, 120), rng.integers(1, 4, 120), np.arange(120) % 3 == 0
    query &= pid > 0
    embedding = np.eye(9)[pid + 1] + 0.7 * rng.normal(size=(120, 9))
    rule = protocols.Protocol('shot', ap='step', gallery='with_queries', cmc='single_shot', cmc_seed=2)
    rows = Rows(embedding, pid, camera, query, np.ones(120, bool))
    found = protocols.rank_queries(rows, rule)
    assert found.shots.shape == (query.sum(), single_shot.REPEATS)
    score = protocols.score(rows, rule)
    np.testing.assert_allclose(score['cmc']['1'], 100 * (found.shots == 1)[found.answered].mean())
    plain = protocols.score(rows, protocols.named('mars-paper'))
    assert score['mAP'] == plain['mAP']
    assert score['cmc']['1'] < plain['cmc']['1']  # fewer chances to hit


def test_nobody_of_the_own_camera_is_drawn_where_all_of_it_is_taken_out():
    """The own camera's items are nearest, and would come first: without them the match is alone with one stranger."""
    distances = np.array([[0.0, 0.1, 0.2, 0.3, 0.4]])
    args = distances, np.array([1]), np.array([7]), np.array([2, 3, 1, 1, 2]), np.array([7, 7, 7, 8, 8])
    np.testing.assert_array_equal(single_shot.first_hits(*args, left_out=args[2][:, None] == args[4]), 1)
    assert (single_shot.first_hits(*args) > 1).all()
