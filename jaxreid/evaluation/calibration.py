"""From similarities to a decision: are these two tracklets the same person, and is this person in the gallery at all?

Pairs are those that a protocol ranks: a query with an item of its identity (genuine) or of another (impostor).
Similarity is the cosine, or minus the Euclidean distance.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypedDict

import numpy as np

from jaxreid.evaluation.ordering import ranking

BINS = 1 << 14  # thresholds are places on this grid; the rates given for them are counts, not estimates
CURVE = 200  # places of the curve of rates that is kept
RATES = (0.1, 0.01, 0.001, 0.0001)  # false-accept rates that thresholds are given for


class Similarities(NamedTuple):
    """Counts of similarities on a grid of BINS equal parts of `low` ... `high`, and the best of each query."""

    low: float
    high: float
    genuine: np.ndarray  # [BINS] int64
    impostor: np.ndarray  # [BINS] int64
    best_genuine: np.ndarray  # [Q] float64, -inf without a match
    best_impostor: np.ndarray  # [Q] float64, -inf where no one else is ranked


class AcceptThreshold(TypedDict):
    """A threshold for pairs, and the rates measured there; `measurable`: there are pairs enough for one error."""

    wanted_false_accept_rate: float
    threshold: float
    false_accept_rate: float
    true_accept_rate: float
    measurable: bool


class AlarmThreshold(TypedDict):
    """A threshold for a search, and the rates measured there; `measurable`: there are queries enough for one alarm."""

    wanted_false_alarm_rate: float
    threshold: float
    false_alarm_rate: float
    detected_rate: float
    measurable: bool


class Verification(TypedDict):
    """Is a pair the same person? Without genuine or impostor pairs rates are None and there are no thresholds."""

    genuine_pairs: int
    impostor_pairs: int
    equal_error_rate: float | None
    equal_error_threshold: float | None
    thresholds: list[AcceptThreshold]
    curve: dict[str, list[float]] | None  # threshold, ascending, false_accept_rate, true_accept_rate


class OpenSearch(TypedDict):
    """The nearest of a gallery, or nobody."""

    queries_with_a_match: int
    queries_of_strangers: int
    thresholds: list[AlarmThreshold]


class Calibration(TypedDict):
    """What report.calibration.json holds beside its origin; rates are shares."""

    verification: Verification
    search: OpenSearch


def bounds(embedding: np.ndarray, distance: str) -> tuple[float, float]:
    """A range, `low` and `high`, that holds every similarity of the features [N, D] strictly inside."""
    if distance == 'cosine':
        return -1.001, 1.001
    embedding, _, exponent = ranking.in_range(embedding, embedding[:0], distance=distance)
    lengths = np.linalg.norm(embedding - embedding.mean(0, keepdims=True), axis=1)
    widest = math.ldexp(2 * float(lengths.max()) or 1e-6, exponent)
    return -1.001 * widest, 0.001 * widest


def collect(
    distances: np.ndarray,
    query_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_ids: np.ndarray,
    gallery_cameras: np.ndarray,
    *,
    low: float,
    high: float,
    ignored: np.ndarray | None = None,
    left_out: np.ndarray | None = None,
) -> Similarities:
    """Counts the similarities (minus the distances) of a block of queries on the grid from `low` to `high`, see
    `bounds`; the other arguments are those of `ranking.rank`.
    """
    ranked = np.ones(distances.shape, bool) if ignored is None else np.repeat(~ignored[None], len(distances), 0)
    same = query_ids[:, None] == gallery_ids[None]
    ranked &= ~(same & (query_cameras[:, None] == gallery_cameras[None]))
    if left_out is not None:
        ranked &= ~left_out
    similarity = -distances.astype(np.float64)
    place = np.clip((similarity - low) * (BINS / (high - low)), 0, BINS - 1).astype(np.int32)
    genuine, impostor = ranked & same, ranked & ~same
    return Similarities(
        low,
        high,
        np.bincount(place[genuine], minlength=BINS),
        np.bincount(place[impostor], minlength=BINS),
        np.where(genuine, similarity, -np.inf).max(axis=1),
        np.where(impostor, similarity, -np.inf).max(axis=1),
    )


def join(parts: Iterable[Similarities]) -> Similarities:
    """Similarities of consecutive blocks of queries as one."""
    low, high, genuine, impostor, best_genuine, best_impostor = zip(*parts)
    return Similarities(
        low[0],
        high[0],
        np.sum(genuine, axis=0),
        np.sum(impostor, axis=0),
        np.concatenate(best_genuine),
        np.concatenate(best_impostor),
    )


def thresholds(similarities: Similarities) -> np.ndarray:
    """[BINS + 1], the grid. A pair is accepted whose similarity reaches the threshold."""
    return np.linspace(similarities.low, similarities.high, BINS + 1)


def rates(similarities: Similarities) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the impostor and of the genuine pairs accepted at each of `thresholds`, [BINS + 1] each."""

    def accepted(counts):
        return np.append(np.cumsum(counts[::-1])[::-1], 0) / max(counts.sum(), 1)

    return accepted(similarities.impostor), accepted(similarities.genuine)


def calibrate(similarities: Similarities, *, wanted: Sequence[float] = RATES) -> Calibration:
    """Thresholds for verification (one pair) and for open-set search (the nearest of a gallery, or nobody).

    Args:
      similarities: similarities of all queries.
      wanted: false-accept rates, and false-alarm rates of a search.

    Returns:
      For each wanted rate the lowest threshold on the grid that does not exceed it; `curve`: the same for up to CURVE
      rates evenly spread from 1 to a single pair, and 0. False alarm: a query whose matches are taken out of the
      gallery is answered by someone; detected: a query is answered, by a match.
    """
    grid = thresholds(similarities)
    false, true = rates(similarities)
    verification: Verification = {
        'genuine_pairs': int(similarities.genuine.sum()),
        'impostor_pairs': int(similarities.impostor.sum()),
        'equal_error_rate': None,
        'equal_error_threshold': None,
        'thresholds': [],
        'curve': None,
    }
    impostor_pairs = verification['impostor_pairs']
    if verification['genuine_pairs'] and impostor_pairs:
        rate, at = _equal_error(grid, false, 1 - true)
        verification |= {'equal_error_rate': rate, 'equal_error_threshold': at}
        for limit in wanted:
            k = int(np.argmax(false <= limit))
            verification['thresholds'].append(
                {
                    'wanted_false_accept_rate': limit,
                    'threshold': float(grid[k]),
                    'false_accept_rate': float(false[k]),
                    'true_accept_rate': float(true[k]),
                    'measurable': bool(limit * impostor_pairs >= 1),
                }
            )
        wanted_rates = np.append(np.geomspace(1, 1 / impostor_pairs, CURVE), 0)
        places = np.unique(np.searchsorted(-false, -wanted_rates))
        verification['curve'] = {
            'threshold': grid[places].tolist(),
            'false_accept_rate': false[places].tolist(),
            'true_accept_rate': true[places].tolist(),
        }
    return {'verification': verification, 'search': _search(similarities, wanted)}


def _equal_error(grid, false_accept, false_reject):
    """Where the falling and the rising curve cross, on straight lines between the places of the grid."""
    k = int(np.argmax(false_accept <= false_reject))  # the last place accepts nobody: there is one
    before, after = (false_accept[j] - false_reject[j] for j in (k - 1, k))
    share = before / (before - after)
    return (
        float(false_accept[k - 1] + share * (false_accept[k] - false_accept[k - 1])),
        float(grid[k - 1] + share * (grid[k] - grid[k - 1])),
    )


def _search(similarities: Similarities, wanted: Sequence[float]) -> OpenSearch:
    strangers = np.sort(similarities.best_impostor[np.isfinite(similarities.best_impostor)])[::-1]
    known = np.isfinite(similarities.best_genuine)
    right = similarities.best_genuine[known] > similarities.best_impostor[known]
    rows: list[AlarmThreshold] = []
    for limit in wanted if len(strangers) and known.any() else ():
        allowed = int(limit * len(strangers) + 1e-9)
        at = np.nextafter(strangers[allowed], np.inf) if allowed < len(strangers) else strangers[-1]
        rows.append(
            {
                'wanted_false_alarm_rate': limit,
                'threshold': float(at),
                'false_alarm_rate': float((strangers >= at).mean()),
                'detected_rate': float((right & (similarities.best_genuine[known] >= at)).mean()),
                'measurable': bool(limit * len(strangers) >= 1),
            }
        )
    return {'queries_with_a_match': int(known.sum()), 'queries_of_strangers': len(strangers), 'thresholds': rows}


def histogram(similarities: Similarities, *, bins: int) -> dict[str, np.ndarray]:
    """Shares of the genuine and of the impostor pairs in about `bins` equal parts of the range that holds any: `edges`
    [n + 1], `genuine` and `impostor` [n], each summing to 1 (0 where there are no such pairs).
    """
    filled = np.flatnonzero(similarities.genuine + similarities.impostor)
    grid = thresholds(similarities)
    if not len(filled):
        return {
            'edges': np.array([similarities.low, similarities.high]),
            'genuine': np.zeros(1),
            'impostor': np.zeros(1),
        }
    width = -(-(filled[-1] + 1 - filled[0]) // bins)
    starts = np.arange(filled[0], filled[-1] + 1, width)
    edges = grid[np.minimum(np.append(starts, starts[-1] + width), BINS)]

    def shares(counts):
        return np.add.reduceat(counts[: starts[-1] + width], starts) / max(counts.sum(), 1)

    return {'edges': edges, 'genuine': shares(similarities.genuine), 'impostor': shares(similarities.impostor)}
