"""CMC with one gallery item per identity, drawn anew for every query and repetition.

The rule of CUHK03 and of evaluators descended from it: `eval_cuhk03` of KaiyangZhou/deep-person-reid and
`cmc(single_gallery_shot=True)` of Cysu/open-reid, on which DukeMTMC-VideoReID's baseline is built. Distractors, who
share id 0, are one identity there and here.
"""

import numpy as np

from jaxreid.evaluation.ordering import ranking

REPEATS = 10  # as in both evaluators


def first_hits(
    distances: np.ndarray,
    query_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_ids: np.ndarray,
    gallery_cameras: np.ndarray,
    *,
    left_out: np.ndarray | None = None,
    ignored: np.ndarray | None = None,
    seed: int = 0,
    first_query: int = 0,
) -> np.ndarray:
    """Rank of the one match among the drawn items.

    Args:
      distances, query_ids, query_cameras, gallery_ids, gallery_cameras, left_out, ignored: as `ranking.rank`.
      seed: of the draws.
      first_query: number of the first row of `distances` among all queries. A query's draws depend on its number and
        the seed only, not on how queries are split into blocks.

    Returns:
      [Q, REPEATS] int64 from 1; 0 where the query has no match.
    """
    order = np.argsort(gallery_ids, kind='stable')
    if ignored is not None:
        order = order[~ignored[order]]
    listed, of_ids = order, np.unique(gallery_ids[order], return_index=True, return_counts=True)
    result = np.zeros((len(distances), REPEATS), np.int64)
    for i, own in enumerate(ranking.own_items(query_ids, gallery_ids, ignored)):
        own = own[gallery_cameras[own] != query_cameras[i]]
        if left_out is not None:
            own = own[~left_out[i, own]]
        if not len(own):
            continue
        if left_out is not None:
            listed = order[~left_out[i, order]]
            of_ids = np.unique(gallery_ids[listed], return_index=True, return_counts=True)
        ids, starts, counts = of_ids
        draws = np.random.default_rng((seed, first_query + i)).random((REPEATS, len(ids)))
        mine = np.searchsorted(ids, query_ids[i])
        drawn = listed[starts + (draws * counts).astype(np.int64)]  # [REPEATS, identities]
        match = own[(draws[:, mine] * len(own)).astype(np.int64)][:, None]
        drawn[:, mine] = match[:, 0]
        at, best = distances[i, drawn], distances[i, match]
        result[i] = 1 + ((at < best) | ((at == best) & (drawn < match))).sum(axis=1)
    return result
