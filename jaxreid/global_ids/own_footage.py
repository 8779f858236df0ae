"""How alike strangers are in this footage, from the footage alone: nobody in it has to be known.

Whoever is seen in two places at one time is two people. The similarities of such pairs say how alike strangers are
here, under these lamps and in the clothes of this season, which no test set of other places can say. And what the
tracklets of one camera have in common makes everybody there alike, and everybody elsewhere different: it is taken away,
and features are whitened by their own covariance.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxreid.evaluation.ordering import ranking
from jaxreid.global_ids import constraints, people
from jaxreid.search import calibration_file

RATE = 0.04  # of the pairs of strangers that may reach the threshold; of 300 pairs a smaller one is chance
FEWEST = 50  # pairs of strangers that a threshold is taken from: two of them are RATE
_FEW = 1.0  # tracklets in a camera that its mean is trusted half with: one alone is not all that the camera does
_RIDGE = 0.5  # added to the variances, of their mean: rows are few beside columns, and small variances are chance


def whitened(embedding: np.ndarray, distance: str, camera: Sequence[str]) -> np.ndarray:
    """[N, K] float64 of features [N, D], K the smaller of N and D: their principal components about the mean of their
    `camera` [N], each over the root of its variance and of a ridge. They are compared by cosine, whatever `distance`
    the features had.
    """
    x = embedding.astype(np.float64)
    if distance == 'cosine':
        x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), ranking.SHORTEST)
    x = x - x.mean(axis=0)
    for one in sorted(set(camera)):
        rows = np.array(camera) == one
        x[rows] -= x[rows].sum(axis=0) / (rows.sum() + _FEW)
    x = x - x.mean(axis=0)
    left, size, _ = np.linalg.svd(x, full_matrices=False)
    variance = size**2 / len(x)
    return left * size / np.sqrt(variance + _RIDGE * variance.mean() + np.finfo(float).tiny)


def check(cannot: np.ndarray) -> None:
    """Refuses footage that tells too few pairs apart, [N, N] bool. Raises ValueError: says what to do."""
    if (count := int(np.triu(cannot, 1).sum())) < FEWEST:
        raise ValueError(
            f'the times of this footage tell {count} pairs of strangers apart, and a threshold needs {FEWEST} of them. '
            'Give --calibration FILE, the report.calibration.json of the network, or --threshold, the least similarity '
            'of one person, such as 0.7'
        )


def calibrated(asked: people.Asked) -> tuple[people.Asked, calibration_file.Calibration]:
    """The same question by whitened features, with the threshold that RATE of the strangers reach; and how many reach
    others.

    Raises:
      ValueError: as `check`.
    """
    x = whitened(asked.embedding, asked.distance, asked.seen.camera)
    return as_they_are(dataclasses.replace(asked, embedding=x, distance='cosine'))


def as_they_are(asked: people.Asked) -> tuple[people.Asked, calibration_file.Calibration]:
    """As `calibrated`, of features that stay as they are."""
    cannot, _ = constraints.pairs(asked.seen, overlap=asked.overlap)
    check(cannot)
    strangers = np.sort(people.similarities(asked.embedding, asked.distance)[np.triu(cannot, 1)])
    threshold = np.unique(np.append(strangers, np.nextafter(strangers[-1], np.inf)))
    rate = 1 - np.searchsorted(strangers, threshold) / len(strangers)
    nothing = np.full(len(threshold), np.nan)  # how alike one person is nobody can say
    measured = calibration_file.Calibration(
        'this footage', asked.distance, '', len(strangers), threshold, rate, nothing
    )
    return dataclasses.replace(asked, threshold=calibration_file.at(measured, RATE)), measured
