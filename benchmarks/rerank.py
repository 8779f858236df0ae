"""k-reciprocal re-ranking at the size of MARS, beside the dense form of the published algorithm on fewer items, and for
a gallery of 100,000, as query expansion.

    python -m benchmarks.rerank

Needs no data set.
"""

import argparse
import functools
import resource

import numpy as np

from benchmarks import mars_size, ranking
from jaxreid.evaluation.ordering import expansion, rerank


def dense(query, gallery, *, k1=20, k2=6, weight=0.3):
    """The algorithm of Zhong et al. (CVPR 2017) with [N, N] arrays and a loop over items, written from the paper."""
    items = np.concatenate([query, gallery])
    items = items / np.linalg.norm(items, axis=1, keepdims=True)
    n, q = len(items), len(query)
    d = np.maximum(1 - items @ items.T, 0)
    d /= d.max(axis=1, keepdims=True)
    placed = d.copy()
    np.fill_diagonal(placed, -1)
    order = np.argsort(placed, axis=1, kind='stable')

    def mutual(i, k):
        near = order[i, : k + 1]
        return near[(order[near, : k + 1] == i).any(axis=1)]

    codes = np.zeros((n, n), np.float32)
    for i in range(n):
        own = mutual(i, k1)
        members = own
        for j in own:
            more = mutual(j, round(k1 / 2))
            if 3 * len(np.intersect1d(more, own)) > 2 * len(more):
                members = np.union1d(members, more)
        near = np.exp(-d[i, members])
        codes[i, members] = near / near.sum()
    codes = np.stack([codes[order[i, :k2]].mean(axis=0) for i in range(n)])
    users = [np.flatnonzero(codes[:, m]) for m in range(n)]
    result = np.empty((q, n - q), np.float32)
    for i in range(q):
        overlap = np.zeros(n, np.float32)
        for m in np.flatnonzero(codes[i]):
            overlap[users[m]] += np.minimum(codes[i, m], codes[users[m], m])
        result[i] = (1 - weight) * (1 - overlap[q:] / (2 - overlap[q:])) + weight * d[i, q:]
    return result


def measured(what, queries, gallery, d, conn):
    """One row, in a process of its own for its peak memory."""
    embedding, _, _, query, _ = mars_size.draw(queries=queries, gallery=gallery, d=d)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    items = embedding[query]
    match what:
        case 're-ranking':
            act = functools.partial(rerank.rerank, items, embedding, distance='cosine')
        case 'query expansion':
            act = functools.partial(expansion.expand, items, embedding, count=5, distance='cosine')
        case 'gallery augmentation':
            items = embedding
            act = functools.partial(expansion.expand, items, embedding, count=5, distance='cosine')
    _, wall, cpu = ranking.timed(act)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    conn.send({'what': f'{what}, {len(items):,} x {gallery:,}, {d}-d', 'wall_s': wall, 'cpu_s': cpu,
               'peak_gib': peak / 2**20, 'features_gib': held / 2**20})  # fmt: skip


def beside_dense(queries=300, gallery=1700, d=256):
    """Rows of both forms on fewer items, equal to 1e-5."""
    embedding, _, _, query, _ = mars_size.draw(queries=queries, gallery=gallery, d=d)
    args = embedding[query], embedding[~query]
    expected, *slow = ranking.timed(lambda: dense(*args))
    ours, *fast = ranking.timed(lambda: rerank.rerank(*args, distance='cosine'))
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    rows = []
    for what, (wall, cpu) in (('dense form with loops', slow), ('jaxreid.evaluation.ordering.rerank', fast)):
        what = f'{what}, {gallery:,} items, {d}-d'
        rows.append({'what': what, 'wall_s': wall, 'cpu_s': cpu, 'times_faster': slow[0] / wall})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--small', action='store_true', help='fewer items only')
    options = parser.parse_args()
    rows = beside_dense()
    if not options.small:
        rows.append(ranking.alone(measured, 're-ranking', 1980, 11310, 2048))
        for what in ('re-ranking', 'query expansion', 'gallery augmentation'):
            rows.append(ranking.alone(measured, what, 2000, 100_000, 256))
    print(ranking.table(rows))
    print(mars_size.write('rerank', rows))


if __name__ == '__main__':
    main()
