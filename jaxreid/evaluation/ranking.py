"""Average precision and first hit of ranked galleries, in NumPy (spec section 9).

Ranks are those of a full stable sort (equal distances: the gallery's order decides), but only candidates no farther
than a query's farthest match are sorted.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

BLOCK = 256  # queries whose distances are held at once
SHORTEST = 1e-6  # features shorter than this are divided by this instead of their length, as in `jaxreid.distances`


class Ranked(NamedTuple):
    """What every score is made of, one entry per query."""

    ap: np.ndarray  # [Q] float64, average precision in 0 ... 1; 0 where not answered
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
    drop_same_camera: bool = True,
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
        `compute_AP.m`).
      drop_same_camera: take gallery items of the query's identity and camera out of its ranking (with them goes the
        query's own copy); otherwise they are matches.
      ignored: [G] bool, items taken out of every ranking.
      cut: matches behind this place of the list count as missed. Items that are taken out occupy places here (and
        nowhere else), as in STE-NVAN's `util/cmc.py`.

    Raises:
      ValueError: if shapes do not fit, a distance is not finite, or `ap` is unknown.
    """
    if ap not in ('step', 'trapezoid'):
        raise ValueError(f"AP rule {ap!r} is unknown, expected 'step' or 'trapezoid'.")
    q, g = distances.shape
    lengths = len(query_ids), len(query_cameras), len(gallery_ids), len(gallery_cameras)
    if lengths != (q, q, g, g):
        raise ValueError(
            f'Distances are {q} x {g} (queries x gallery), but there are {lengths[0]} query ids, {lengths[1]} query '
            f'cameras, {lengths[2]} gallery ids and {lengths[3]} gallery cameras.'
        )
    if not np.isfinite(distances).all():
        row, column = np.argwhere(~np.isfinite(distances))[0]
        raise ValueError(f'The distance of query {row} to gallery item {column} is {distances[row, column]}.')
    if ignored is None:
        ignored = np.zeros(g, bool)

    result = Ranked(np.zeros(q), np.zeros(q, np.int64), np.zeros(q, bool))
    for i, row in enumerate(distances):
        match = (gallery_ids == query_ids[i]) & ~ignored
        removed = ignored
        if drop_same_camera:
            same_camera = match & (gallery_cameras == query_cameras[i])
            match &= ~same_camera
            removed = ignored | same_camera
        num_matches = np.count_nonzero(match)
        if not num_matches:
            continue
        result.answered[i] = True
        candidates = np.flatnonzero(row <= row[match].max())
        order = candidates[np.argsort(row[candidates], kind='stable')][:cut]
        ranks = np.flatnonzero(match[order[~removed[order]]]) + 1  # of the matches
        if len(ranks):
            result.first_hit[i] = ranks[0]
            result.ap[i] = _precisions(ranks, ap).sum() / num_matches
    return result


def _precisions(ranks: np.ndarray, ap: str) -> np.ndarray:
    """What each match adds to the sum, for matches at these ascending ranks (from 1)."""
    hits = np.arange(1, len(ranks) + 1)
    precision = hits / ranks
    if ap == 'step':
        return precision
    before = np.where(ranks == 1, 1.0, (hits - 1) / np.maximum(ranks - 1, 1))
    return (before + precision) / 2


def rank_features(
    queries: np.ndarray,
    gallery: np.ndarray,
    query_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_ids: np.ndarray,
    gallery_cameras: np.ndarray,
    *,
    distance: str,
    ap: str,
    drop_same_camera: bool = True,
    ignored: np.ndarray | None = None,
    cut: int | None = None,
    block: int = BLOCK,
) -> Ranked:
    """`rank` from features `queries` [Q, D] and `gallery` [G, D]; holds the distances of `block` queries at a time."""
    return join(
        rank(
            distances,
            query_ids[rows],
            query_cameras[rows],
            gallery_ids,
            gallery_cameras,
            ap=ap,
            drop_same_camera=drop_same_camera,
            ignored=ignored,
            cut=cut,
        )
        for rows, distances in distance_blocks(queries, gallery, distance=distance, block=block)
    )


def join(parts: Iterable[Ranked]) -> Ranked:
    """Results of consecutive blocks of queries as one."""
    ap, first_hit, answered = zip(*parts)
    return Ranked(np.concatenate(ap), np.concatenate(first_hit), np.concatenate(answered))


def blocks(length: int, *, block: int = BLOCK) -> Iterator[slice]:
    """Consecutive slices of at most `block` that cover `length`."""
    return (slice(start, min(start + block, length)) for start in range(0, length, block))


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
    queries, gallery = queries.astype(dtype), gallery.astype(dtype)
    match distance:
        case 'cosine':
            queries, gallery = _normalised(queries), _normalised(gallery)
            for rows in blocks(len(queries), block=block):
                yield rows, -(queries[rows] @ gallery.T)
        case 'euclidean':
            # A common shift changes no distance and keeps |q|² + |g|² - 2qg from cancelling.
            centre = gallery.mean(axis=0, keepdims=True)
            queries, gallery = queries - centre, gallery - centre
            squares = np.square(gallery).sum(axis=1)
            for rows in blocks(len(queries), block=block):
                squared = np.square(queries[rows]).sum(axis=1)[:, None] + squares - 2 * (queries[rows] @ gallery.T)
                yield rows, np.sqrt(np.maximum(squared, 0))
        case unknown:
            raise ValueError(f"Distance {unknown!r} is unknown, expected 'cosine' or 'euclidean'.")


def _normalised(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.asarray(SHORTEST, x.dtype))
