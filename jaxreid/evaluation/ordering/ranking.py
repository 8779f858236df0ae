"""Average precision and first hit of ranked galleries, in NumPy (rules: docs/protocols.md).

Ranks are those of a full stable sort (equal distances: the gallery's order decides), but only distances no farther than
a query's farthest match are sorted, and only as numbers: a match's rank is what a binary search among them finds.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from jaxreid import config

BLOCK = 256  # queries whose distances are held at once
_FOLDS = 16  # pieces of a row of distances that are laid on top of each other in `nearest`
_SHIFTED = 4096  # gallery items of which a shifted copy is held at once
SHORTEST = 1e-6  # features `in_range` that are shorter are divided by this, not their length, as in `losses.distances`
_LARGEST = 1e30  # squared lengths below it leave room for sums of products in float32


AP_RULES = ('step', 'trapezoid', 'sklearn_pr')
DISTANCES = config.choices('test.distance')


class Ranked(NamedTuple):
    """What every score is made of, one entry per query."""

    ap: np.ndarray  # [Q] float64, average precision in 0 ... 1; 0 where not answered
    inp: np.ndarray  # [Q] float64, matches / rank of the last match; 0 where not answered or the last is behind the cut
    first_hit: np.ndarray  # [Q] int64, rank of the first match from 1; 0 where there is none (before the cut)
    answered: np.ndarray  # [Q] bool, whether the gallery holds a match at all


def rank(
    distances: np.ndarray,
    query_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_ids: np.ndarray,
    gallery_cameras: np.ndarray,
    *,
    ap: str,
    left_out: np.ndarray | None = None,
    ignored: np.ndarray | None = None,
    cut: int | None = None,
) -> Ranked:
    """Ranks the gallery for each query.

    Args:
      distances: [Q, G], smaller is closer; compared in the dtype given.
      query_ids: [Q] int.
      query_cameras: [Q] int.
      gallery_ids: [G] int.
      gallery_cameras: [G] int.
      ap: 'step': mean over the matches of (hits so far) / rank. 'trapezoid': mean over the matches of the average of
        the precision at the match and just before it, which is 1 before the first rank (official MARS evaluation,
        `compute_AP.m`). 'sklearn_pr': area under scikit-learn's precision-recall curve, points joined by lines: the
        trapezoid, but items at one distance are one point of the curve.
      left_out: [Q, G] bool, further items taken out of each query's ranking. Those of its identity in its camera always
        are, and with them the query's own copy.
      ignored: [G] bool, items taken out of every ranking.
      cut: matches behind this place of the list count as missed. Items that are taken out occupy places here (and
        nowhere else), as in STE-NVAN's `util/cmc.py`.

    Raises:
      ValueError: if shapes do not fit, a distance is not finite, or `ap` is unknown.
    """
    if ap not in AP_RULES:
        raise ValueError(f'AP rule {ap!r} is unknown, expected one of {AP_RULES}.')
    q, g = distances.shape
    lengths = len(query_ids), len(query_cameras), len(gallery_ids), len(gallery_cameras)
    if lengths != (q, q, g, g):
        raise ValueError(
            f'Distances are {q} x {g} (queries x gallery), but there are {lengths[0]} query ids, {lengths[1]} query '
            f'cameras, {lengths[2]} gallery ids and {lengths[3]} gallery cameras.'
        )
    if not np.isfinite(distances).all():
        row, column = np.argwhere(~np.isfinite(distances))[0]
        raise ValueError(
            f'The distance of query {row} to gallery item {column} is {distances[row, column]}, which cannot be '
            'ranked; features of absurd sizes and of networks that diverged give such distances.'
        )

    result = Ranked(np.zeros(q), np.zeros(q), np.zeros(q, np.int64), np.zeros(q, bool))
    everywhere = np.zeros(0, np.int64) if ignored is None else np.flatnonzero(ignored)
    for i, own in enumerate(own_items(query_ids, gallery_ids, ignored)):
        row, same = distances[i], gallery_cameras[own] == query_cameras[i]
        removed = np.concatenate([everywhere, own[same]])
        own = own[~same]
        if left_out is not None:
            own = own[~left_out[i, own]]
            removed = np.union1d(removed, np.flatnonzero(left_out[i]))
        if not len(own):
            continue
        result.answered[i] = True
        ranks, places, ties = _ranks(row, own, removed)
        seen = len(ranks) if cut is None else np.count_nonzero(places <= cut)  # places ascend
        if seen:
            result.first_hit[i] = ranks[0]
            result.ap[i] = _precisions(ranks, ap, *ties)[:seen].sum() / len(ranks)
        if seen == len(ranks):
            result.inp[i] = seen / ranks[-1]
    return result


def own_items(query_ids: np.ndarray, gallery_ids: np.ndarray, ignored: np.ndarray | None) -> Iterator[np.ndarray]:
    """For each query the gallery items of its identity that are not ignored, ascending."""
    order = np.argsort(gallery_ids, kind='stable')
    if ignored is not None:
        order = order[~ignored[order]]
    ids = gallery_ids[order]
    starts, stops = np.searchsorted(ids, query_ids, 'left'), np.searchsorted(ids, query_ids, 'right')
    return (order[start:stop] for start, stop in zip(starts, stops))


def _ranks(
    row: np.ndarray, matches: np.ndarray, removed: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Where the matches [M] of one query come, in ascending order, by its distances `row` [G] without the items
    `removed`.

    Returns ranks [M] from 1 among what is not removed, places [M] from 1 in the whole list, and how many items that are
    not removed are nearer than each match, and nearer or as near (2 x [M]).
    """
    own, out = row.take(matches), row.take(removed)
    own.sort()
    out.sort()
    listed = row.compress(row <= own[-1])  # twice as fast as an index of bools
    listed.sort()
    # Items nearer, and items nearer or as near, than each match: in the list, and of those the removed ones.
    left, right = listed.searchsorted(own, 'left'), listed.searchsorted(own, 'right')
    ties = left - out.searchsorted(own, 'left'), right - out.searchsorted(own, 'right')
    if (right - left).max() == 1:
        return ties[1], right, ties
    # Something is as far as a match: the gallery's order decides.
    candidates = np.flatnonzero(row <= own[-1])
    order = candidates[np.argsort(row[candidates], kind='stable')]
    places = np.flatnonzero(np.isin(order, matches)) + 1
    return places - np.isin(order, removed).cumsum()[places - 1], places, ties


def _precisions(ranks: np.ndarray, ap: str, nearer: np.ndarray, no_farther: np.ndarray) -> np.ndarray:
    """What each match adds to the sum, for matches at these ascending ranks (from 1)."""
    hits = np.arange(1, len(ranks) + 1)
    if ap == 'step':
        return hits / ranks
    before, hits_before = ranks - 1, hits - 1
    if ap == 'sklearn_pr':
        before, ranks = nearer, no_farther
        hits_before, hits = np.searchsorted(nearer, nearer, 'left'), np.searchsorted(nearer, nearer, 'right')
    return (np.where(before == 0, 1.0, hits_before / np.maximum(before, 1)) + hits / ranks) / 2


def join(parts: Iterable[Ranked]) -> Ranked:
    """Results of consecutive blocks of queries as one."""
    return Ranked(*(np.concatenate(field) for field in zip(*parts)))


def blocks(length: int, *, block: int = BLOCK) -> Iterator[slice]:
    """Consecutive slices of at most `block` that cover `length`."""
    return (slice(start, min(start + block, length)) for start in range(0, length, block))


def nearest(distances: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """For each row of `distances` [Q, G] its `count` nearest columns, nearest first, the lower index before equals."""
    count = min(count, distances.shape[1])
    # As many of the folded row as of the row are at most their `count`th, so that is a limit, and cheaper to find.
    width = distances.shape[1] // _FOLDS
    folded = distances
    if width >= _FOLDS * count // 4:
        folded = distances[:, :width].copy()
        for start in range(width, _FOLDS * width, width):
            np.minimum(folded, distances[:, start : start + width], out=folded)
    limits = np.partition(folded, count - 1, axis=1)[:, count - 1]
    for row, limit in zip(distances, limits):
        candidates = np.flatnonzero(row <= limit)  # at least `count`
        yield candidates[np.argsort(row[candidates], kind='stable')[:count]]


def distance_blocks(
    queries: np.ndarray, gallery: np.ndarray, *, distance: str, block: int = BLOCK
) -> Iterator[tuple[slice, np.ndarray]]:
    """Distances of `block` queries after the other to the whole gallery.

    Args:
      queries: [Q, D] float.
      gallery: [G, D] float.
      distance: 'cosine' (minus the cosine) or 'euclidean'.
      block: queries at a time.

    Yields:
      Rows of `queries` as a slice, and their distances [rows, G], at least float32.

    Raises:
      ValueError: if `distance` is unknown.
    """
    dtype = np.promote_types(np.promote_types(queries.dtype, gallery.dtype), np.float32)
    queries, gallery = queries.astype(dtype, copy=False), gallery.astype(dtype, copy=False)
    queries, gallery, exponent = in_range(queries, gallery, distance=distance)
    match distance:
        case 'cosine':
            # Products are divided by the lengths, since a large gallery should not be copied to be normalised.
            minus, one = -lengths(gallery), lengths(queries)[:, None]
            for rows in blocks(len(queries), block=block):
                products = (queries[rows] / one[rows]) @ gallery.T
                products /= minus
                yield rows, products
        case 'euclidean':
            # A common shift changes no distance and keeps |q|² + |g|² - 2qg from cancelling; nor is that copied whole.
            centre = gallery.mean(axis=0, keepdims=True)
            pieces = [*blocks(len(gallery), block=_SHIFTED)]
            squares = np.concatenate([_squares(gallery[some] - centre) for some in pieces])
            for rows in blocks(len(queries), block=block):
                shifted = queries[rows] - centre
                squared = np.empty((len(shifted), len(gallery)), dtype)
                for some in pieces:
                    squared[:, some] = shifted @ (gallery[some] - centre).T
                squared *= -2
                squared += squares
                squared += _squares(shifted)[:, None]
                distances = np.sqrt(np.maximum(squared, 0, out=squared), out=squared)
                with np.errstate(over='ignore'):  # `rank` names a distance that is infinite
                    yield rows, np.ldexp(distances, exponent, out=distances) if exponent else distances


def in_range(queries: np.ndarray, gallery: np.ndarray, *, distance: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Features whose squares neither overflow nor vanish: themselves, or themselves times powers of two.

    Args:
      queries: [Q, D] float, finite.
      gallery: [G, D] float, finite.
      distance: 'cosine', to which a row's length is nothing: each row has a power of its own. 'euclidean': one for all.

    Returns:
      The two, and k: Euclidean distances between them are 2^k times as long as it seems; 0 for the cosine.

    Raises:
      ValueError: if `distance` is unknown.
    """
    match distance:
        case 'cosine':
            return _rows_in_range(queries), _rows_in_range(gallery), 0
        case 'euclidean':
            squares = max(float(_squares(x).max(initial=0)) for x in (queries, gallery))
            if SHORTEST**2 < squares < _LARGEST:
                return queries, gallery, 0
            k = int(np.frexp(max(_largest(x).max(initial=0) for x in (queries, gallery)))[1])
            return np.ldexp(queries, -k), np.ldexp(gallery, -k), k
        case unknown:
            raise ValueError(f'Distance {unknown!r} is unknown, expected one of {DISTANCES}.')


def _rows_in_range(x):
    squares = _squares(x)
    powers = np.zeros(len(x), int)
    outside = np.flatnonzero((squares < SHORTEST**2) | ~(squares < _LARGEST))
    powers[outside] = np.frexp(_largest(x[outside]))[1]  # of zeros 0
    return np.ldexp(x, -powers[:, None]) if powers.any() else x


def _largest(x):
    """[N], the largest size of an entry of each row of `x` [N, D]."""
    return np.maximum(x.max(axis=1), -x.min(axis=1))


def _squares(x):
    """[N], squared lengths of the rows of `x` [N, D]; infinite where they overflow."""
    with np.errstate(over='ignore', under='ignore'):
        return np.einsum('nd,nd->n', x, x)


def lengths(x: np.ndarray) -> np.ndarray:
    """[N], of the rows of `x` [N, D], which are `in_range`; at least SHORTEST."""
    return np.maximum(np.sqrt(_squares(x)), np.asarray(SHORTEST, x.dtype))
