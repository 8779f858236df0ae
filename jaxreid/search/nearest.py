"""The nearest of a gallery of any size, exactly: blocks on the device, the last word in float64 on the host.

The device ranks in float32, whose rounding depends on where in a block a row stands. So it is asked for more rows than
are wanted, these are compared again in float64, one row at a time, and where rounding could have kept a row out the
gallery is gone through once more for that query. What comes out is the order of a float64 comparison with every row;
equal rows come in the order of the gallery.
"""

import functools
import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from jaxreid.evaluation.ordering import ranking
from jaxreid.search import feature_rows

NOBODY = -1
DISTANCES = ranking.DISTANCES
_BLOCK_BYTES = 1 << 27  # of gallery features on the device at a time
_QUERIES = 256  # compared with a block at a time
_MORE = 16  # rows asked of the device beyond those wanted, at least


def top(
    queries: np.ndarray,
    gallery: feature_rows.Rows,
    *,
    count: int,
    distance: str,
    allowed: Callable[[int, int], np.ndarray] | None = None,
    block_rows: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """The `count` rows of the gallery that are most similar to each query.

    Args:
      queries: [Q, D] float.
      gallery: N rows.
      count: rows wanted; fewer come where fewer are allowed.
      distance: 'cosine': the similarity is the cosine. 'euclidean': it is minus the distance.
      allowed: (start, stop) -> bool [Q, stop - start] or [1, stop - start], which rows may answer which query.
      block_rows: gallery rows on the device at a time; 0: as many as 128 MiB hold.

    Returns:
      Rows [Q, count] int64, most similar first, equals in the order of the gallery, NOBODY behind the end; and their
      similarities [Q, count] float64, -inf there.

    Raises:
      ValueError: dimensions differ, something is not finite, or `distance` is unknown.
    """
    if distance not in DISTANCES:
        raise ValueError(f'distance {distance!r} is unknown; expected one of {DISTANCES}')
    if queries.shape[1] != gallery.dim:
        raise ValueError(f'queries have {queries.shape[1]} dimensions, the gallery {gallery.dim}')
    if not np.isfinite(queries).all():
        raise ValueError(f'query {int(np.argmin(np.isfinite(queries).all(1)))} holds NaN or infinity')
    block_rows = block_rows or min(_power_of_two(len(gallery)), _power_of_two(_BLOCK_BYTES // (8 * gallery.dim)))
    wanted = count + max(count, _MORE)
    blocks = _Blocks(queries, gallery, distance, allowed, max(block_rows, _power_of_two(wanted)))
    candidates, scores, widest = blocks.best(wanted)
    index = np.full((len(queries), count), NOBODY)
    similarity = np.full((len(queries), count), -np.inf)
    unsure, limits = [], []
    for i, query in enumerate(queries):
        known = candidates[i][np.isfinite(scores[i])]
        exact = exact_similarity(query, gallery.take(known), distance)
        index[i], similarity[i] = _merged(index[i], similarity[i], known, exact)
        if len(known) == wanted:  # there are more
            last = _score(similarity[i, -1], query, distance)
            error = _rounding(query, widest, distance)
            if last <= scores[i, -1] + error:
                unsure.append(i)
                limits.append(last - error)
    for start in range(0, len(unsure), _QUERIES):
        chosen = np.array(unsure[start : start + _QUERIES])
        index[chosen], similarity[chosen] = NOBODY, -np.inf
        for first, block, score in blocks.scores(chosen):
            for i, row, limit in zip(chosen, score, limits[start : start + _QUERIES], strict=True):
                near = np.flatnonzero(row >= limit)
                exact = exact_similarity(queries[i], block[near], distance)
                index[i], similarity[i] = _merged(index[i], similarity[i], first + near, exact)
    return index, similarity


def exact_similarity(query: np.ndarray, rows: np.ndarray, distance: str) -> np.ndarray:
    """[n] float64, of the rows [n, D] to `query` [D]; equal rows give equal numbers."""
    a, b = query.astype(np.float64), rows.astype(np.float64)
    if distance == 'euclidean':
        return -np.sqrt(np.square(b - a).sum(axis=1))
    return (b * a).sum(axis=1) / (_lengths(b) * _lengths(a))


def _lengths(x):
    """[...], of float64 vectors [..., D], at least `ranking.SHORTEST`; equal vectors give equal numbers."""
    return np.maximum(np.sqrt(np.square(x).sum(axis=-1)), ranking.SHORTEST)


def _merged(index, similarity, more_index, more_similarity):
    """The best of both, as many as the first has."""
    index, similarity = np.append(index, more_index), np.append(similarity, more_similarity)
    order = np.lexsort((np.where(index == NOBODY, np.iinfo(np.int64).max, index), -similarity))
    return tuple(x[order[: len(x) - len(more_index)]] for x in (index, similarity))


def _score(similarity: float, query: np.ndarray, distance: str) -> float:
    """A similarity in the units of the device: the cosine, or 2qg - g² = q² - d²."""
    return similarity if distance == 'cosine' else float(np.square(query.astype(np.float64)).sum() - similarity**2)


def _rounding(query: np.ndarray, widest: float, distance: str) -> float:
    """How far the device's float32 score of a pair may be off.

    Errors of an inner product grow as the root of its length with all but certainty (Higham and Mary, "A new approach
    to probabilistic rounding error analysis", 2019): lambda = 8, and the same again for what is done with the product.
    """
    unit = 16 * math.sqrt(len(query)) * 2.0**-24
    return unit if distance == 'cosine' else unit * (math.sqrt(np.square(query, dtype=np.float64).sum()) + widest) ** 2


def _power_of_two(number: int) -> int:
    return 1 << max(number - 1, 0).bit_length()


class _Blocks:
    """The gallery on its way through the device; shapes are few, so that little is compiled."""

    def __init__(self, queries, gallery, distance, allowed, rows):
        self._gallery, self._distance, self._allowed, self._rows = gallery, distance, allowed, rows
        self._queries = queries.astype(np.float32)
        if distance == 'cosine':
            exact = queries.astype(np.float64)
            self._queries = (exact / _lengths(exact)[:, None]).astype(np.float32)

    def _read(self, label) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        """(start, length, block padded to [rows, D], allowed [Q or 1, rows])."""
        starts = range(0, len(self._gallery), self._rows)
        for start in tqdm.tqdm(starts, desc=label, unit='block', leave=False, disable=len(starts) < 4):
            stop = min(start + self._rows, len(self._gallery))
            allowed = np.ones((1, stop - start), bool) if self._allowed is None else self._allowed(start, stop)
            block = self._gallery.read(start, stop)
            if (short := self._rows - len(block)) > 0:
                block, allowed = np.pad(block, ((0, short), (0, 0))), np.pad(allowed, ((0, 0), (0, short)))
            yield start, stop - start, block, allowed

    def _part(self, chosen):
        """Some queries, padded to a power of two so that numbers of queries share a program."""
        part = self._queries[chosen]
        return np.pad(part, ((0, min(_QUERIES, _power_of_two(len(part))) - len(part)), (0, 0)))

    def best(self, wanted):
        """Rows and scores [Q, wanted] in float32, and the length of the longest row of the gallery."""
        parts = [np.arange(len(self._queries))[s : s + _QUERIES] for s in range(0, len(self._queries), _QUERIES)]
        queries = [jnp.asarray(self._part(part)) for part in parts]
        state = [
            (jnp.full((len(q), wanted), -jnp.inf, q.dtype), jnp.zeros((len(q), wanted), jnp.int32)) for q in queries
        ]
        widest = 0.0
        for start, _, block, allowed in self._read('search'):
            on_device = jnp.asarray(block, jnp.float32)
            jax.block_until_ready(state)  # one block waits while the device works on another, and no more
            widest = max(widest, float(_longest(on_device)))
            for k, part in enumerate(parts):
                mask = (
                    allowed if len(allowed) == 1 else np.pad(allowed[part], ((0, len(queries[k]) - len(part)), (0, 0)))
                )
                state[k] = _step(*state[k], queries[k], on_device, start, mask, distance=self._distance)
            if not math.isfinite(widest):
                row = start + int(np.argmin(np.isfinite(np.square(block, dtype=np.float32)).all(axis=1)))
                raise ValueError(
                    f'row {row} of the gallery holds NaN, infinity or numbers above 1e19; extract it again'
                )
        cut = [(np.asarray(i)[: len(p)], np.asarray(s)[: len(p)]) for p, (s, i) in zip(parts, state, strict=True)]
        none = np.zeros((0, wanted))
        index, scores = (np.concatenate([none, *x]) for x in zip(*cut)) if cut else (none, none)
        return index.astype(np.int64), scores.astype(np.float64), float(widest)

    def scores(self, chosen):
        """(first row, rows, scores [chosen, n] of the chosen queries) of every block; -inf where not allowed."""
        queries = jnp.asarray(self._part(chosen))
        for start, length, block, allowed in self._read('ties'):
            scores = np.asarray(_scores(queries, jnp.asarray(block, jnp.float32), distance=self._distance))
            mask = allowed if len(allowed) == 1 else allowed[chosen]
            yield start, block, np.where(mask, scores[: len(chosen)], -np.inf)[:, :length]


@jax.jit
def _longest(block):
    squares = jnp.sum(block * block, axis=1)
    return jnp.sqrt(jnp.where(jnp.isfinite(squares).all(), squares[jnp.argmax(squares)], jnp.inf))


@functools.partial(jax.jit, static_argnames='distance')
def _scores(queries, block, *, distance):
    """[Q, n], larger for nearer rows: the cosine of normalised queries, or 2qg - g²."""
    # Accelerators multiply float32 in bfloat16 or TF32 unless told otherwise.
    products = jnp.einsum('qd,nd->qn', queries, block, precision=jax.lax.Precision.HIGHEST)
    squares = jnp.sum(block * block, axis=1)[None]
    if distance == 'euclidean':
        return 2 * products - squares
    return products / jnp.sqrt(jnp.where(squares > ranking.SHORTEST**2, squares, ranking.SHORTEST**2))


@functools.partial(jax.jit, static_argnames='distance', donate_argnums=(0, 1))
def _step(best, index, queries, block, start, allowed, *, distance):
    """The best so far and those of a block, merged: `best` [Q, k] float32, `index` [Q, k] int32."""
    scores = jnp.where(allowed, _scores(queries, block, distance=distance), -jnp.inf)
    near, at = jax.lax.top_k(scores, best.shape[1])
    best, order = jax.lax.top_k(jnp.concatenate([best, near], axis=1), best.shape[1])
    return best, jnp.take_along_axis(jnp.concatenate([index, at + start], axis=1), order, axis=1)
