"""Average-linkage clustering in which some pairs never come together and some always are.

SciPy's `linkage` knows no pairs that must stay apart: a large distance for them is averaged away, and complete linkage,
which would keep it, breaks people up at their one dissimilar tracklet. So it is written out here; without constraints
the clusters are SciPy's, which a test compares. The sums that means are taken of add up when clusters join, so every
step is exact, and the most alike pair is found in one row per join. Memory and time grow with the square of N, in
practice: 5,000 tracklets take 0.7 GB.
"""

from typing import NamedTuple

import numpy as np


class Join(NamedTuple):
    """Two clusters that became one, or nearly did."""

    first: int  # the two rows of them that are most alike, the lower one first
    second: int
    similarity: float  # mean over the pairs of both that can be compared


class Clusters(NamedTuple):
    """label: [N] int, numbered from 0 in the order of their first rows. joins: as they were made. apart: the pairs of
    clusters that are left, could have joined and were not alike enough, most alike first.
    """

    label: np.ndarray
    joins: list[Join]
    apart: list[Join]


def cluster(
    similarity: np.ndarray,
    *,
    threshold: float,
    cannot: np.ndarray,
    comparable: np.ndarray,
    start: np.ndarray,
    shown: int = 20,
) -> Clusters:
    """Joins the two clusters that are most alike, in the mean, until none are as alike as `threshold`.

    The outcome is a function of the arguments: of equal pairs the one with the lowest first rows joins first.

    Args:
      similarity: [N, N] float64, symmetric; larger is more alike.
      threshold: least mean similarity of a join.
      cannot: [N, N] bool, symmetric: never in one cluster, unless `start` says so.
      comparable: [N, N] bool, symmetric: says something. A mean is over these pairs alone; clusters without one do not
        join.
      start: [N] int, rows of one number are one cluster from the beginning.
      shown: how many of `Clusters.apart` are given.
    """
    n = len(similarity)
    _, first_row, group = np.unique(start, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first_row, kind='stable'), kind='stable')[group]  # clusters in the order of rows
    members = [np.flatnonzero(place == number).tolist() for number in range(len(first_row))]
    total = _summed(np.where(comparable, similarity, 0.0), members)
    count = _summed(comparable.astype(np.float64), members)
    barred = _summed(cannot.astype(np.float64), members) > 0
    mean = _means(total, count, barred)
    np.fill_diagonal(mean, -np.inf)
    best = mean.argmax(axis=1) if n else np.zeros(0, int)
    joins = []
    while len(members):
        i = int(np.argmax(mean[np.arange(len(members)), best]))
        if not (mean[i, best[i]] >= threshold and mean[i, best[i]] > -np.inf):
            break
        i, j = sorted((i, int(best[i])))
        joins.append(_join(similarity, comparable, members[i], members[j], float(mean[i, j])))
        members[i], members[j] = sorted(members[i] + members[j]), []
        for sums in (total, count, barred):
            sums[i] += sums[j]
            sums[:, i] = sums[i]
        mean[i] = np.where([bool(one) for one in members], _means(total[i], count[i], barred[i]), -np.inf)
        mean[i, i], mean[j], mean[:, j] = -np.inf, -np.inf, -np.inf
        mean[:, i] = mean[i]
        stale = np.flatnonzero((best == i) | (best == j))
        best[stale] = mean[stale].argmax(axis=1)
        nearer = mean[:, i] > mean[np.arange(len(best)), best]
        tied = (mean[:, i] == mean[np.arange(len(best)), best]) & (i < best)
        best[nearer | tied] = i
        best[[i, j]] = mean[[i, j]].argmax(axis=1)
    left = sorted((one for one in members if one), key=lambda one: one[0])
    label = np.zeros(n, int)
    for number, rows in enumerate(left):
        label[rows] = number
    upper = np.triu(mean, 1)
    near = [(a, b) for a, b in np.argwhere(np.isfinite(mean) & np.triu(np.ones_like(mean, bool), 1)).tolist()]
    near.sort(key=lambda pair: (-upper[pair], pair))
    apart = [_join(similarity, comparable, members[a], members[b], float(mean[a, b])) for a, b in near[:shown]]
    return Clusters(label, joins, apart)


def _summed(matrix, members):
    """Sums over the pairs of two groups, in the order of rows: the same bits every time."""
    order = np.concatenate([np.array(one, int) for one in members]) if members else np.zeros(0, int)
    if not len(order):
        return matrix
    starts = np.cumsum([0, *(len(one) for one in members[:-1])])
    return np.add.reduceat(np.add.reduceat(matrix[np.ix_(order, order)], starts, axis=0), starts, axis=1)


def _means(total, count, barred):
    return np.where((count > 0) & ~barred, total / np.maximum(count, 1), -np.inf)


def _join(similarity, comparable, first, second, mean):
    pairs = np.where(comparable[np.ix_(first, second)], similarity[np.ix_(first, second)], -np.inf)
    a, b = np.unravel_index(int(pairs.argmax()), pairs.shape)
    low, high = sorted((first[int(a)], second[int(b)]))
    return Join(low, high, mean)
