"""The data behind ranked lists, CMC, camera pairs and confusions, against loops."""

import numpy as np
import pytest

from jaxreid.evaluation.report import ranked_lists
from tests.oracles import rankings as oracle

CAMERAS = np.array([1, 2, 3, 5])


def problem(seed, *, queries=9, gallery=31, ties=False):
    """Distances, ids and cameras with junk, distractors and, if asked for, many equal distances."""
    rng = np.random.default_rng(seed)
    distances = rng.random((queries, gallery)).astype(np.float32)
    if ties:
        distances = np.round(distances * 3) / 3
    ids = rng.choice([-1, 0, 2, 3, 4, 7], gallery)
    return distances, rng.choice([2, 3, 4], queries), rng.choice(CAMERAS, queries), ids, rng.choice(CAMERAS, gallery)


@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize(('top', 'taken_out'), [(1, 0), (5, 2), (40, 3)])
def test_lists_are_those_of_a_walk_down_the_sorted_gallery(ties, top, taken_out):
    of = problem(top, ties=ties)
    distances, query_ids, query_cameras, ids, cameras = of
    junk = ids == -1
    lists = ranked_lists.nearest(*of, top=top, taken_out=taken_out, ignored=junk, distractor=0)
    assert lists.item.shape == (len(distances), top + taken_out)
    for i, row in enumerate(distances):
        expected, left_off = oracle.shown(
            row, query_ids[i], query_cameras[i], ids, cameras, junk=set(np.flatnonzero(junk)), top=top,
            taken_out=taken_out,
        )  # fmt: skip
        n = len(expected)
        found = [
            (int(j), ranked_lists.MARKS[m], int(r))
            for j, m, r in zip(lists.item[i, :n], lists.mark[i, :n], lists.rank[i, :n])
        ]
        assert found == expected
        assert (lists.item[i, n:] == ranked_lists.NOTHING).all()
        assert lists.left_off[i] == left_off
        np.testing.assert_array_equal(lists.distance[i, :n], row[[j for j, _, _ in expected]])


def test_a_query_with_nothing_ranked_has_an_empty_list():
    lists = ranked_lists.nearest(
        np.zeros((1, 2)), np.array([5]), np.array([1]), np.array([5, -1]), np.array([1, 2]), top=3,
        ignored=np.array([False, True]),
    )  # fmt: skip
    assert (lists.item == ranked_lists.NOTHING).all()
    assert not lists.rank.any()


def test_all_equal_distances_keep_the_order_of_the_gallery():
    lists = ranked_lists.nearest(
        np.zeros((1, 50)), np.array([5]), np.array([1]), np.arange(1, 51), np.full(50, 2), top=7, taken_out=0
    )
    assert lists.item[0].tolist() == list(range(7))


def test_blocks_joined_are_the_whole():
    distances, query_ids, query_cameras, ids, cameras = problem(3)
    whole = ranked_lists.nearest(distances, query_ids, query_cameras, ids, cameras, top=4)
    parts = [
        ranked_lists.nearest(distances[s], query_ids[s], query_cameras[s], ids, cameras, top=4)
        for s in (slice(0, 4), slice(4, 9))
    ]
    for a, b in zip(ranked_lists.join(parts), whole):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize('ties', [False, True])
def test_pairs_of_cameras_are_rankings_in_one_camera(ties):
    of = problem(5, queries=14, ties=ties)
    distances, query_ids, query_cameras, ids, cameras = of
    junk = ids == -1
    parts = [
        ranked_lists.camera_pairs(
            distances[s], query_ids[s], query_cameras[s], ids, cameras, cameras=CAMERAS, ap='step', ignored=junk
        )
        for s in (slice(0, 6), slice(6, 14))
    ]
    found = ranked_lists.add_pairs(parts)
    for a, first in enumerate(CAMERAS):
        for b, second in enumerate(CAMERAS):
            rows = [
                oracle.average_precision(
                    distances[i], query_ids[i], query_cameras[i], ids, cameras, junk=set(np.flatnonzero(junk)),
                    only_camera=second,
                )
                for i in np.flatnonzero(query_cameras == first)
            ]  # fmt: skip
            assert found.answered[a, b] == sum(n > 0 for _, _, n in rows)
            assert found.first[a, b] == sum(hit for _, hit, _ in rows)
            np.testing.assert_allclose(found.ap[a, b], sum(ap for ap, _, _ in rows), atol=1e-12)


def test_cameras_that_are_not_asked_for_do_not_count():
    of = problem(6, queries=14)
    some = ranked_lists.camera_pairs(*of, cameras=CAMERAS[1:3], ap='step')
    every = ranked_lists.camera_pairs(*of, cameras=CAMERAS, ap='step')
    for few, all_of_them in zip(some, every):
        np.testing.assert_allclose(few, all_of_them[1:3, 1:3])


def test_the_curve_counts_queries_up_to_each_rank():
    first_hit = np.array([1, 3, 0, 2, 1, 9, 5, 6])
    expected = [100 * sum(1 for h in first_hit if 0 < h <= k) / 8 for k in range(1, 6)]
    np.testing.assert_allclose(ranked_lists.cmc_curve(first_hit, 8, ranks=5), expected)


def test_the_histogram_holds_every_query_once():
    ap = np.array([0.0, 0.05, 0.1, 0.49, 1.0, 0.999])
    assert ranked_lists.ap_histogram(ap, bins=10).tolist() == [2, 1, 0, 0, 1, 0, 0, 0, 0, 2]


def test_confusions_count_both_directions_and_only_real_people():
    query_ids = np.array([1, 1, 2, 2, 3, 1])
    first_ids = np.array([2, 1, 1, 1, 0, 2])
    marks = np.array([1, 0, 1, 1, 2, 1])  # wrong, right, wrong, wrong, distractor, wrong
    assert ranked_lists.confusions(query_ids, first_ids, marks) == [
        {'ids': (1, 2), 'times': [2, 2], 'queries': [3, 2], 'examples': [0, 2]}
    ]


def test_confusions_come_most_often_first_then_by_identity():
    query_ids = np.array([5, 9, 1, 1, 4])
    first_ids = np.array([6, 2, 3, 3, 5])
    found = ranked_lists.confusions(query_ids, first_ids, np.ones(5, int))
    assert [(e['ids'], e['times']) for e in found] == [
        ((1, 3), [2, 0]), ((2, 9), [0, 1]), ((4, 5), [1, 0]), ((5, 6), [1, 0]),
    ]  # fmt: skip
    assert found[1]['queries'] == [0, 1]  # identity 2 is no query


def test_the_showcase_has_every_query_once_and_starts_with_worst_and_best():
    ap = np.random.default_rng(0).random(37)
    order = ranked_lists.showcase(ap)
    assert sorted(order) == list(range(37))
    assert order[0] == ap.argmin()
    assert order[1] == ap.argmax()
