"""What rankings show: the nearest items of each query with their marks, CMC, AP, pairs of cameras, look-alikes.

All of it is data for figures; `sheet`, `svg` and `evaluation/report` draw it.
"""

from collections.abc import Iterable
from typing import NamedTuple, TypedDict

import numpy as np

from jaxreid.evaluation.ordering import ranking

RIGHT, WRONG, DISTRACTOR, SAME_CAMERA, JUNK, OUTFIT = range(6)
MARKS = ('right', 'wrong', 'distractor', 'same camera', 'junk', 'outfit')
NOTHING = -1  # in `Lists.item`, behind the end of a list


class Lists(NamedTuple):
    """The nearest gallery items of Q queries, nearest first, up to the `top`-th that is ranked."""

    item: np.ndarray  # [Q, L] int32, gallery columns; NOTHING behind the end
    mark: np.ndarray  # [Q, L] int8, index into MARKS; -1 behind the end
    rank: np.ndarray  # [Q, L] int32 from 1; 0 for items that the protocol takes out, and behind the end
    distance: np.ndarray  # [Q, L] float32
    left_off: np.ndarray  # [Q] int32, items taken out by the protocol, nearer than the last one shown, not shown


def nearest(
    distances: np.ndarray,
    query_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_ids: np.ndarray,
    gallery_cameras: np.ndarray,
    *,
    top: int,
    taken_out: int = 2,
    ignored: np.ndarray | None = None,
    left_out: np.ndarray | None = None,
    distractor: int = 0,
) -> Lists:
    """The first `top` ranked items of every query, and the items in between that the protocol takes out: those of the
    query's identity and camera, `ignored` ones, and those `left_out` for their outfit.

    Equal distances keep the gallery's order, as in `ranking.rank`; only the nearest candidates are sorted.

    Args:
      distances: [Q, G], smaller is closer.
      query_ids, query_cameras: [Q] int.
      gallery_ids, gallery_cameras: [G] int.
      top: ranked items per query.
      taken_out: at most so many items that the protocol takes out are in a list, the nearest.
      ignored: [G] bool, items taken out of every ranking: junk.
      left_out: [Q, G] bool, as `ranking.rank`.
      distractor: identity of people nobody asks for.

    Returns:
      Lists with L = top + taken_out.
    """
    q, g = distances.shape
    ignored = np.zeros(g, bool) if ignored is None else ignored
    length = top + taken_out
    lists = Lists(
        item=np.full((q, length), NOTHING, np.int32),
        mark=np.full((q, length), -1, np.int8),
        rank=np.zeros((q, length), np.int32),
        distance=np.zeros((q, length), np.float32),
        left_off=np.zeros(q, np.int32),
    )
    for i, row in enumerate(distances):
        same = gallery_ids == query_ids[i]
        own_camera = same & (gallery_cameras == query_cameras[i])
        by_outfit = np.zeros(g, bool) if left_out is None else left_out[i]
        removed = ignored | own_camera | by_outfit
        ranked = row[~removed]
        if not len(ranked):
            continue
        limit = np.partition(ranked, min(top, len(ranked)) - 1)[min(top, len(ranked)) - 1]
        candidates = np.flatnonzero(row <= limit)
        order = candidates[np.argsort(row[candidates], kind='stable')]
        places = np.cumsum(~removed[order])
        # What is taken out behind the last ranked item is of no interest, but for lists that end before `top`.
        order = order[: np.searchsorted(places, min(top, len(ranked))) + 1]
        out = removed[order]
        shown = ~out | (np.cumsum(out) <= taken_out)
        ranks = np.where(out, 0, np.cumsum(~out))
        marks = np.full(len(order), WRONG)
        marks[gallery_ids[order] == distractor] = DISTRACTOR
        marks[same[order]] = RIGHT
        marks[by_outfit[order]] = OUTFIT
        marks[own_camera[order]] = SAME_CAMERA
        marks[ignored[order]] = JUNK
        n = np.count_nonzero(shown)
        lists.item[i, :n] = order[shown]
        lists.mark[i, :n] = marks[shown]
        lists.rank[i, :n] = ranks[shown]
        lists.distance[i, :n] = row[order[shown]]
        lists.left_off[i] = len(order) - n
    return lists


def join(parts: Iterable[Lists]) -> Lists:
    """Lists of consecutive blocks of queries as one."""
    return Lists(*(np.concatenate(field) for field in zip(*parts)))


def cmc_curve(first_hit: np.ndarray, counted: int, *, ranks: int) -> np.ndarray:
    """Percent of `counted` queries that have a match up to each rank: [ranks] from the ranks [Q] of the first ones.

    A rank of 0 says that there is none.
    """
    hits = np.bincount(first_hit[(first_hit > 0) & (first_hit <= ranks)], minlength=ranks + 1)[1:]
    return 100 * np.cumsum(hits) / max(counted, 1)


def ap_histogram(ap: np.ndarray, *, bins: int) -> np.ndarray:
    """Number of queries in `bins` equal parts of 0 ... 1, the last one with its end."""
    return np.bincount(np.minimum((ap * bins).astype(int), bins - 1), minlength=bins)


class CameraPairs(NamedTuple):
    """Sums over the queries of each camera (rows) that have a match in each camera of the gallery (columns)."""

    answered: np.ndarray  # [C, C] int64, queries with a match there
    ap: np.ndarray  # [C, C] float64, sum of their AP where that camera is the whole gallery
    first: np.ndarray  # [C, C] int64, how many of them have a match first


def camera_pairs(
    distances: np.ndarray,
    query_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_ids: np.ndarray,
    gallery_cameras: np.ndarray,
    *,
    cameras: np.ndarray,
    ap: str,
    ignored: np.ndarray | None = None,
    left_out: np.ndarray | None = None,
) -> CameraPairs:
    """How well queries of one camera find their matches in one other, as if the gallery were that camera alone.

    Args:
      distances, query_ids, query_cameras, gallery_ids, gallery_cameras, ignored, left_out: as `nearest`.
      cameras: [C] int, sorted: rows and columns of the result; queries and items of others do not count.
      ap: as `ranking.rank`.

    Returns:
      Sums, to be added up over blocks of queries.
    """
    sums = CameraPairs(*(np.zeros((len(cameras),) * 2, dtype) for dtype in (np.int64, np.float64, np.int64)))
    known = np.isin(query_cameras, cameras)
    distances, query_ids, query_cameras = distances[known], query_ids[known], query_cameras[known]
    left_out = None if left_out is None else left_out[known]
    place = np.searchsorted(cameras, query_cameras)
    for column, camera in enumerate(cameras):
        inside = gallery_cameras == camera
        if not inside.any():
            continue
        ranked = ranking.rank(
            distances[:, inside],
            query_ids,
            query_cameras,
            gallery_ids[inside],
            gallery_cameras[inside],
            ap=ap,
            ignored=None if ignored is None else ignored[inside],
            left_out=None if left_out is None else left_out[:, inside],
        )
        np.add.at(sums.answered[:, column], place, ranked.answered)
        np.add.at(sums.ap[:, column], place, ranked.ap)
        np.add.at(sums.first[:, column], place, ranked.first_hit == 1)
    return sums


def add_pairs(parts: Iterable[CameraPairs]) -> CameraPairs:
    """Sums over blocks of queries."""
    return CameraPairs(*(np.sum(field, axis=0) for field in zip(*parts)))


class Confusion(TypedDict):
    """Two identities of which one takes the other's first place; lists have the smaller identity's value first.

    times: queries of the one that are answered by the other. queries: in all.
    examples: positions of a query of the one that is answered by the other, None without one: then the other side has
    one, whose first place is of this identity.
    """

    ids: tuple[int, int]
    times: list[int]
    queries: list[int]
    examples: list[int | None]


def confusions(query_ids: np.ndarray, first_ids: np.ndarray, marks: np.ndarray) -> list[Confusion]:
    """Pairs of identities that take each other's first place, most often first.

    Args:
      query_ids: [Q] int.
      first_ids: [Q] int, identity of each query's first ranked item.
      marks: [Q] int, that item's mark; only WRONG ones are confusions with someone.

    Returns:
      One per pair; pairs confused as often are in the order of their ids.
    """
    totals = dict(zip(*(x.tolist() for x in np.unique(query_ids, return_counts=True))))
    pairs: dict[tuple[int, int], Confusion] = {}
    for i in np.flatnonzero(marks == WRONG).tolist():
        a, b = int(query_ids[i]), int(first_ids[i])
        pair = min(a, b), max(a, b)
        entry = pairs.setdefault(
            pair,
            {'ids': pair, 'times': [0, 0], 'queries': [totals.get(k, 0) for k in pair], 'examples': [None, None]},
        )
        side = 0 if a == pair[0] else 1
        entry['times'][side] += 1
        if entry['examples'][side] is None:
            entry['examples'][side] = i
    return sorted(pairs.values(), key=lambda entry: (-sum(entry['times']), entry['ids']))


def showcase(ap: np.ndarray) -> np.ndarray:
    """[Q], the order in which queries are worth showing: the worst, the best, one of those in between, and so on.

    Those in between come in an order whose first n lie about evenly between worst and best, for every n.
    """
    by_ap = np.argsort(ap, kind='stable')
    n = len(by_ap)
    # The fractional parts of multiples of the golden ratio spread evenly at every number of them.
    spread = np.argsort((np.arange(n) * 0.6180339887498949) % 1, kind='stable')
    taken = np.stack([by_ap, by_ap[::-1], by_ap[spread]], axis=1).ravel()
    _, first = np.unique(taken, return_index=True)
    return taken[np.sort(first)]
