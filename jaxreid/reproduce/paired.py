"""Two rows compared seed by seed: their paired difference with its interval, and what may be said of it."""

import math
import statistics
from collections.abc import Sequence
from typing import Literal, NamedTuple

from scipy import special

Verdict = Literal['gain', 'loss', 'no difference shown', 'one seed: no interval', 'not run']


class Paired(NamedTuple):
    """The differences of pairs, in their unit.

    mean: None without a pair. interval: ends of the 95 % interval of the mean, after Student's t; None of one pair.
    """

    mean: float | None
    interval: tuple[float, float] | None
    verdict: Verdict


def compare(ours: Sequence[float], theirs: Sequence[float]) -> Paired:
    """Ours minus theirs; pairs have the same place. Raises ValueError: they are not as many."""
    differences = [one - other for one, other in zip(ours, theirs, strict=True)]
    if not differences:
        return Paired(None, None, 'not run')
    mean, n = statistics.fmean(differences), len(differences)
    if n == 1:
        return Paired(mean, None, 'one seed: no interval')
    half = float(special.stdtrit(n - 1, 0.975)) * statistics.stdev(differences) / math.sqrt(n)
    low, high = mean - half, mean + half
    verdict: Verdict = 'gain' if low > 0 else 'loss' if high < 0 else 'no difference shown'
    return Paired(mean, (low, high), verdict)


def share(gain: float | None, ceiling: float | None) -> float | None:
    """Part of the ceiling that is taken; None where there is nothing to gain, or one of them is unknown."""
    return None if gain is None or ceiling is None or ceiling <= 0 else gain / ceiling
