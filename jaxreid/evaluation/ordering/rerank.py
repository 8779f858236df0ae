"""k-reciprocal re-ranking (Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017).

    paper           here
    N(p, k)         `_neighbours`: the nearest items, the item itself first
    R(p, k)         `_mutual`: neighbours that have p among their own
    R*(p, k)        `_expanded` (eq. 5)
    V               `_encode`: exp(-d) on R*, as weights (eqs. 7, 11)
    d_J, d*         `_jaccard` (eq. 10) and its mix with d (eq. 12)

d is the squared Euclidean distance or 1 - cosine, each row over its maximum. What the authors' code keeps as dense
[N, N] arrays over the N items of query and gallery is here a sparse matrix; distances exist for some rows at a time.
"""

import itertools

import numpy as np
import tqdm
from scipy import sparse

from jaxreid.evaluation.ordering import ranking

BLOCK = 512  # rows whose distances to all items are held at once


def rerank(
    query: np.ndarray,
    gallery: np.ndarray,
    *,
    distance: str,
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
    block: int = BLOCK,
    device: bool = False,
) -> np.ndarray:
    """Distances in which items count as close that have the same mutual neighbours.

    An item may be both query and gallery; it is then two items, each other's nearest. Of equal distances the lower
    index counts as nearer, queries before gallery. Lists longer than N end at N. Computed in the features' dtype, at
    least float32; the largest arrays are a copy of the features, the result, one of block * N, and sparse ones of about
    N * k1 * k2 entries.

    Args:
      query: [Q, D] float.
      gallery: [G, D] float.
      distance: 'cosine' or 'euclidean'.
      k1: neighbours of an item, itself not counted; half of them, 0.5 rounded to even, when sets are expanded.
      k2: neighbours, itself counted, whose encodings are averaged; 1: none.
      weight: lambda, of the original distance; 1 keeps each query's order.
      block: see `BLOCK`.
      device: let JAX's default device find the neighbours, which is nearly all of the work. The sets stay on the host.

    Returns:
      [Q, G] float32 in [0, 1].

    Raises:
      ValueError: shapes that do not fit, nothing to rank, features that are not finite, settings out of range.
    """
    _check(query, gallery, k1, k2, weight)
    dtype = np.promote_types(np.promote_types(query.dtype, gallery.dtype), np.float32)
    items = _prepared(query, gallery, dtype, distance)
    if device:
        from jaxreid.evaluation.ordering import rerank_device  # JAX is not imported by those who do not ask for it

        find = rerank_device.neighbours
    else:
        find = _neighbours
    # 1 - cosine of equal items may round to this.
    coincide = 8 * float(np.finfo(dtype).eps) if distance == 'cosine' else 0.0
    near, farthest, original = find(
        items, len(query), max(k1 + 1, k2), distance=distance, coincide=coincide, block=block
    )
    members = _expanded(near, k1)
    codes = _encode(items, members, farthest, distance)
    averaged = near[:, :k2]
    if averaged.shape[1] > 1:
        codes = (_links(averaged).astype(dtype) @ codes) / averaged.shape[1]
    return _mixed(codes, original, weight)


def _prepared(query, gallery, dtype, distance):
    """[N, D], the one copy that is made of the features: of length 1 for the cosine, else shifted."""
    items = np.empty((len(query) + len(gallery), query.shape[1]), dtype)
    items[: len(query)], items[len(query) :] = query, gallery
    match distance:
        case 'cosine':
            for rows in ranking.blocks(len(items)):
                some, _, _ = ranking.in_range(items[rows], items[:0], distance=distance)
                np.divide(some, ranking.lengths(some)[:, None], out=items[rows])
        case 'euclidean':
            items, _, _ = ranking.in_range(items, items[:0], distance=distance)
            # As in `ranking`, a shift against cancellation; by an item, not the mean, so that whole numbers stay whole
            # and their ties exact.
            items -= items[:1].copy()
        case unknown:
            raise ValueError(f'Distance {unknown!r} is unknown, expected one of {ranking.DISTANCES}.')
    return items


def _distances(items, rows, distance):
    """d of some rows to all items, not yet over its maximum: [rows, N]."""
    d = items[rows] @ items.T
    if distance == 'cosine':
        np.subtract(1, d, out=d)
    else:
        squares = np.einsum('nd,nd->n', items, items)
        d *= -2
        d += squares
        d += squares[rows, None]
    return np.maximum(d, 0, out=d)


def _neighbours(items, num_queries, count, *, distance, coincide, block):
    """Nearest items [N, count] int32, each row's maximum [N], and d of the queries to the gallery [Q, G] float32.

    A row whose maximum is at most `coincide` gets 1 for it: d of items that all coincide stays 0.
    """
    n = len(items)
    count = min(count, n)
    near = np.empty((n, count), np.int32)
    farthest = np.empty(n, items.dtype)
    original = np.empty((num_queries, n - num_queries), np.float32)
    for rows in tqdm.tqdm(ranking.blocks(n, block=block), desc='re-rank', unit='block', leave=False, delay=2):
        d = _distances(items, rows, distance)
        top = d.max(axis=1)
        farthest[rows] = np.where(top > coincide, top, 1)
        if rows.start < num_queries:
            some = slice(rows.start, min(rows.stop, num_queries))
            original[some] = d[: some.stop - some.start, num_queries:] / farthest[some, None]
        d[np.arange(len(d)), np.arange(rows.start, rows.stop)] = -1  # itself first, whatever coincides with it
        for i, row in enumerate(ranking.nearest(d, count), start=rows.start):
            near[i] = row
    return near, farthest, original


def _links(near):
    """[N, k] indices -> [N, N] with a one for each."""
    n, k = near.shape
    starts = np.arange(0, n * k + 1, k)
    return sparse.csr_array((np.ones(n * k, np.int32), near.ravel(), starts), shape=(n, n))


def _mutual(near):
    links = _links(near)
    return links.multiply(links.T).tocsr()


def _expanded(near, k1):
    """R*: to R of an item joins R of each member, over half the neighbours, that lies in it by more than 2/3."""
    mutual = _mutual(near[:, : k1 + 1])
    half = _mutual(near[:, : round(k1 / 2) + 1])
    shared = (mutual @ half.T).multiply(mutual).tocoo()  # |R(i) & R(j)| for the members j of R(i)
    sizes = half.sum(axis=1)
    joins = 3 * shared.data > 2 * sizes[shared.col]
    chosen = sparse.csr_array((np.ones(joins.sum(), np.int32), (shared.row[joins], shared.col[joins])), half.shape)
    members = (mutual + chosen @ half).tocsr()
    members.sort_indices()
    return members


def _encode(items, members, farthest, distance):
    """V before averaging: [N, N], rows sum to 1 over their members."""
    codes = np.empty(members.nnz, items.dtype)
    for i, (start, stop) in enumerate(itertools.pairwise(members.indptr)):  # no row is empty: oneself is a member
        others = items[members.indices[start:stop]]
        if distance == 'cosine':
            d = np.maximum(1 - others @ items[i], 0)
        else:
            d = np.square(others - items[i]).sum(axis=1)
        near = np.exp(-d / farthest[i])
        codes[start:stop] = near / near.sum()
    return sparse.csr_array((codes, members.indices, members.indptr), shape=members.shape)


def _mixed(codes, original, weight):
    """(1 - weight) d_J + weight d, written over d."""
    num_queries, num_gallery = original.shape
    mine, theirs = codes[:num_queries].tocsr(), codes[num_queries:].tocsc()
    for i in range(num_queries):
        own = slice(mine.indptr[i], mine.indptr[i + 1])
        starts, stops = theirs.indptr[mine.indices[own]], theirs.indptr[mine.indices[own] + 1]
        # Positions of all gallery entries in the columns that this query's code occupies.
        lengths = stops - starts
        at = np.repeat(stops - lengths.cumsum(), lengths) + np.arange(lengths.sum())
        smaller = np.minimum(theirs.data[at], np.repeat(mine.data[own], lengths))
        overlap = np.bincount(theirs.indices[at], smaller, num_gallery)  # sum of minima; the maxima sum to 2 - that
        original[i] = (1 - weight) * (1 - overlap / (2 - overlap)) + weight * original[i]
    return np.clip(original, 0, 1, out=original)


def _check(query, gallery, k1, k2, weight):
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
        raise ValueError(f'Queries are {query.shape} and gallery {gallery.shape}, expected (Q, D) and (G, D).')
    if not len(query) or not len(gallery):
        raise ValueError(f'There are {len(query)} queries and {len(gallery)} gallery items; re-ranking needs both.')
    for what, features in (('query', query), ('gallery', gallery)):
        bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
        if len(bad):
            raise ValueError(
                f'{len(bad)} of {len(features)} {what} features hold NaN or infinity, the first in row {bad[0]}.'
            )
    if k1 < 1 or k2 < 1 or not 0 <= weight <= 1:
        raise ValueError(
            f'k1 = {k1}, k2 = {k2}, weight = {weight}; expected k1 and k2 of at least 1 and a weight between 0 and 1.'
        )
