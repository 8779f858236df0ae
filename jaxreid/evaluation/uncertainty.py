"""How sure a score is: its 95 % interval, and a sentence where queries or people are few.

Percentile intervals of the bootstrap (Efron, 1979): queries are drawn with replacement, as many as there are; the
gallery stays. Queries of one person resemble each other, so that the true uncertainty is somewhat larger. They are too
narrow for small samples, and of no width where all queries are alike: six queries that are all right would give "100.0
to 100.0". A share of queries, such as rank-1, then has the exact interval of Clopper and Pearson (Biometrika, 1934).
"""

import math
from collections.abc import Sequence

import numpy as np

from jaxreid.evaluation import protocols

RESAMPLES = 2000
FEW_QUERIES = 50  # the interval of rank-1 of fewer is wider than about 25 points, or too narrow to be believed
# Queries of one person resemble each other, so that people are what is drawn. Intervals made of fewer than 20 to 30
# such groups hold the truth too rarely (Cameron, Gelbach and Miller, Review of Economics and Statistics, 2008).
FEW_PEOPLE = 20


def sentence(score: protocols.Score) -> str:
    """That the queries of a score, or the people they ask for, are few; '' where there are enough of both."""
    rule = score['protocol']
    queries = int(
        np.sum(rule['answered_queries']) + (rule['unanswerable'] == 'zero') * np.sum(rule['unanswered_queries'])
    )
    people = score.get('asked_people', FEW_PEOPLE)  # older results do not say
    few = [f'{queries} {"query" if queries == 1 else "queries"}'] * (queries < FEW_QUERIES)
    few += [f'{people} {"person" if people == 1 else "people"}'] * (people < FEW_PEOPLE)
    verb = 'is' if few and few[0].startswith('1 ') else 'are'
    return f'{" of ".join(few)} {verb} few: other people may well give quite other numbers.' if few else ''


def exact(successes: int, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """Ends of the interval of Clopper and Pearson of a share, 0 ... 1, from 1 trial on."""
    tail = (1 - level) / 2
    low = _share(successes, trials, tail) if successes else 0.0
    return low, _share(successes + 1, trials, 1 - tail) if successes < trials else 1.0


def _share(least: int, trials: int, chance: float) -> float:
    """The share of which so many trials give at least `least` successes with that chance."""
    ways = [math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) for k in range(trials + 1)]
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        yes, no = math.log(middle), math.log1p(-middle)
        reached = sum(math.exp(ways[k] + k * yes + (trials - k) * no) for k in range(least, trials + 1))
        low, high = (middle, high) if reached < chance else (low, middle)
    return middle


def resampled_means(values: np.ndarray, *, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Means of redrawn rows of `values` [Q, M]: [resamples, M]. The draws depend on Q and the seed alone."""
    rng = np.random.default_rng((seed, len(values)))
    means = [values[rng.integers(0, len(values), len(values))].mean(axis=0) for _ in range(resamples)]
    return np.stack(means)


def resampled_intervals(
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


def intervals(splits: Sequence[np.ndarray], *, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """[M, 2], ends of the 95 % intervals of the means of values in 0 ... 1; NaN where none can be given.

    Those of the bootstrap, but for values that are all 0 or 1: few of them, or all alike, have the exact interval. (It
    holds for a mean like mAP too, if wide: none lies below the share of ones, or above one less the share of zeros.)
    Queries that are all alike but neither, and those of several splits, have none.

    Args:
      splits, seed, resamples: as of `resampled_intervals`.
    """
    ends = resampled_intervals(splits, seed=seed, resamples=resamples)
    values = np.concatenate(splits)
    for column, of in enumerate(values.T):
        alike = of.min() == of.max()
        if len(splits) == 1 and np.isin(of, (0, 1)).all() and (alike or len(of) < FEW_QUERIES):
            ends[column] = exact(int(of.sum()), len(of))
        elif alike:
            ends[column] = np.nan
    return ends


def percent(ends: np.ndarray) -> list[list[float] | None]:
    """Ends [M, 2] as JSON has them, in percent; None where there is no interval."""
    return [None if np.isnan(low) else [100 * low, 100 * high] for low, high in ends.tolist()]


def chance_of_no_gain(differences: Sequence[np.ndarray], *, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """[M], two-sided p-value of `differences` between paired queries: twice the smaller share of means on either side
    of 0, at least 2 / (resamples + 1). Arguments as `resampled_intervals`."""
    means = np.mean([resampled_means(v, seed=seed + i, resamples=resamples) for i, v in enumerate(differences)], axis=0)
    below, above = (means <= 0).sum(axis=0), (means >= 0).sum(axis=0)
    return np.minimum(1, 2 * (np.minimum(below, above) + 1) / (resamples + 1))
