"""Query expansion and database-side augmentation: an item is replaced by a weighted mean of itself and its nearest.

Average query expansion: Chum et al., Total Recall, ICCV 2007; database-side augmentation: Arandjelovic and Zisserman,
CVPR 2012; weights cosine^alpha: Radenovic et al., TPAMI 2019. Ids and cameras are not looked at.
"""

import numpy as np

from jaxreid.evaluation.ordering import ranking


def expand(
    items: np.ndarray,
    gallery: np.ndarray,
    *,
    count: int,
    power: float = 0.0,
    distance: str,
    block: int = ranking.BLOCK,
) -> np.ndarray:
    """Each item's mean with its nearest gallery items.

    Memory: the result, and distances of `block` items at a time.

    Args:
      items: [N, D] float: the queries, or the gallery itself, where an item is its own nearest and counts twice.
      gallery: [G, D] float.
      count: neighbours; all where the gallery is smaller.
      power: neighbours weigh max(cosine, 0)^power, the item 1; 0: all weigh the same.
      distance: 'cosine' or 'euclidean', by which neighbours are sought. With 'cosine' rows of length 1 are averaged.

    Returns:
      [N, D], at least float32. Of equal distances the lower index counts as nearer.
    """
    if count < 1 or not 0 <= power < np.inf:
        raise ValueError(
            f'count = {count}, power = {power}; expected at least one neighbour and a power of at least 0.'
        )
    dtype = np.promote_types(np.promote_types(items.dtype, gallery.dtype), np.float32)
    items, gallery = items.astype(dtype, copy=False), gallery.astype(dtype, copy=False)
    items, gallery, exponent = ranking.in_range(items, gallery, distance=distance)
    size, sizes = ranking.lengths(items)[:, None], ranking.lengths(gallery)
    result = np.empty((len(items), items.shape[1]), dtype)
    for rows, distances in ranking.distance_blocks(items, gallery, distance=distance, block=block):
        for i, near in zip(range(rows.start, rows.stop), ranking.nearest(distances, count)):
            item, others = items[i], gallery[near]
            weights = np.maximum(others @ item / (sizes[near] * size[i]), 0) ** power
            if distance == 'cosine':
                item, others = item / size[i], others / sizes[near, None]
            result[i] = (item + weights @ others) / (1 + weights.sum())
    return np.ldexp(result, exponent, out=result) if exponent else result
