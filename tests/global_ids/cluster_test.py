"""Clusters are those of slow loops, and of SciPy where nothing is forbidden."""

import numpy as np
import pytest
from scipy.cluster import hierarchy
from scipy.spatial import distance

from jaxreid.global_ids import cluster
from tests.oracles import constrained_clustering


def drawn(n, seed, *, forbidden=0.0, silent=0.0, together=0):
    """Similarities of noisy people, and constraints at random."""
    rng = np.random.default_rng(seed)
    people = rng.normal(size=(max(n // 4, 1), 5))
    x = people[rng.integers(len(people), size=n)] + 0.6 * rng.normal(size=(n, 5))
    x /= np.linalg.norm(x, axis=1, keepdims=True)

    def symmetric(share):
        chosen = np.triu(rng.random((n, n)) < share, 1)
        return chosen | chosen.T

    start = np.arange(n)
    for _ in range(together):
        a, b = rng.integers(n, size=2)
        start[start == start[a]] = start[b]
    return {
        'similarity': x @ x.T,
        'threshold': 0.4,
        'cannot': symmetric(forbidden),
        'comparable': ~symmetric(silent),
        'start': start,
    }


def groups(label):
    return sorted(np.flatnonzero(label == number).tolist() for number in np.unique(label))


@pytest.mark.parametrize('seed', range(12))
@pytest.mark.parametrize('n', [1, 2, 7, 26])
def test_clusters_are_those_of_slow_loops(n, seed):
    given = drawn(n, seed, forbidden=0.1 * (seed % 3), silent=0.15 * (seed % 4), together=seed % 5)
    found = cluster.cluster(**given)
    assert groups(found.label) == constrained_clustering.clusters(*(given[k] for k in (
        'similarity', 'threshold', 'cannot', 'comparable', 'start')))  # fmt: skip
    firsts = [int(np.flatnonzero(found.label == number)[0]) for number in range(found.label.max() + 1)]
    assert firsts == sorted(firsts)
    assert len(found.joins) == len(np.unique(given['start'])) - len(firsts)


@pytest.mark.parametrize('seed', range(5))
def test_without_constraints_they_are_scipys_average_linkage(seed):
    given = drawn(40, seed)
    tree = hierarchy.linkage(distance.squareform(1 - given['similarity'], checks=False), 'average')
    wanted = hierarchy.fcluster(tree, 1 - given['threshold'], 'distance')
    found = cluster.cluster(**given)
    assert groups(found.label) == groups(wanted)
    heights = tree[: len(found.joins), 2]
    np.testing.assert_allclose([1 - join.similarity for join in found.joins], heights, atol=1e-12)


def test_pairs_that_cannot_be_one_stay_apart_whatever_lies_between_them():
    similarity = np.ones((4, 4))
    cannot = np.zeros((4, 4), bool)
    cannot[0, 3] = cannot[3, 0] = True
    free = {'comparable': np.ones((4, 4), bool), 'threshold': 0.5}
    found = cluster.cluster(similarity, cannot=cannot, start=np.arange(4), **free)
    assert found.label.tolist() == [0, 0, 0, 1]  # of equals, the lowest rows come first
    found = cluster.cluster(similarity, cannot=cannot, start=np.array([5, 1, 2, 5]), **free)
    assert found.label[0] == found.label[3]  # a start is never undone


def test_the_rows_order_changes_no_cluster():
    given = drawn(30, 3, forbidden=0.1, silent=0.1)
    order = np.random.default_rng(0).permutation(30)
    turned = {k: v[np.ix_(order, order)] for k, v in given.items() if np.ndim(v) == 2}
    first = cluster.cluster(**given).label
    second = cluster.cluster(**turned, threshold=0.4, start=np.arange(30)).label
    assert groups(first) == sorted(sorted(order[group].tolist()) for group in groups(second))


def test_joins_and_what_nearly_joined_name_their_most_alike_rows():
    similarity = np.array([[1, 0.9, 0.5, 0.1], [0.9, 1, 0.3, 0.2], [0.5, 0.3, 1, 0.0], [0.1, 0.2, 0.0, 1]])
    everything = np.ones((4, 4), bool)
    found = cluster.cluster(similarity, threshold=0.39, cannot=~everything, comparable=everything, start=np.arange(4))
    assert [tuple(join) for join in found.joins] == [(0, 1, 0.9), (0, 2, pytest.approx(0.4))]
    assert [tuple(join) for join in found.apart] == [(1, 3, pytest.approx(0.1))]


def test_nobody_is_nobody():
    none = np.zeros((0, 0))
    found = cluster.cluster(
        none, threshold=0.5, cannot=none.astype(bool), comparable=none.astype(bool), start=np.zeros(0, int)
    )
    assert (found.label.tolist(), found.joins, found.apart) == ([], [], [])
