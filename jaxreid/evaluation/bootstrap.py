"""How far a score would move with other queries: percentile intervals of the bootstrap (Efron, 1979).

Queries are drawn with replacement, as many as there are; the gallery stays. Queries of one person resemble each other,
so that the true uncertainty is somewhat larger.
"""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000


def resampled_means(values: np.ndarray, *, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Means of redrawn rows of `values` [Q, M]: [resamples, M]. The draws depend on Q and the seed alone."""
    rng = np.random.default_rng((seed, len(values)))
    means = [values[rng.integers(0, len(values), len(values))].mean(axis=0) for _ in range(resamples)]
    return np.stack(means)


def intervals(
    splits: Sequence[np.ndarray], *, seed: int, resamples: int = RESAMPLES, level: float = 0.95
) -> np.ndarray:
    """[M, 2], lower and upper end for the mean over splits of the mean over queries.

    Args:
      splits: [Q, M] of each split (of one, where there is one), one row per query; split i is redrawn with seed + i.
      seed: of the draws.
      resamples: how often.
      level: share of the resampled means between the ends.
    """
    drawn = [resampled_means(values, seed=seed + i, resamples=resamples) for i, values in enumerate(splits)]
    tails = (1 - level) / 2, (1 + level) / 2
    return np.quantile(np.mean(drawn, axis=0), tails, axis=0).T


def chance_of_no_gain(differences: Sequence[np.ndarray], *, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """[M], two-sided p-value of `differences` between paired queries: twice the smaller share of means on either side
    of 0, at least 2 / (resamples + 1). Arguments as `intervals`."""
    means = np.mean([resampled_means(v, seed=seed + i, resamples=resamples) for i, v in enumerate(differences)], axis=0)
    below, above = (means <= 0).sum(axis=0), (means >= 0).sum(axis=0)
    return np.minimum(1, 2 * (np.minimum(below, above) + 1) / (resamples + 1))
