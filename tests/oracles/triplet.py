"""Batch-hard triplet loss as loops over plain numbers."""

import math

import numpy as np


def distance(x, y, *, kind):
    if kind == 'cosine':
        return -float(np.dot(x, y)) / (math.sqrt(float(np.dot(x, x))) * math.sqrt(float(np.dot(y, y))))
    return math.sqrt(max(float(np.sum((x - y) ** 2)), 1e-12))


def batch_hard(features, labels, *, kind, margin):
    """Mean over anchors that have a negative; margin None is the soft form. Also the list of per-anchor losses."""
    features = np.asarray(features, np.float64)
    losses = []
    for a in range(len(features)):
        positives = [
            distance(features[a], features[b], kind=kind)
            for b in range(len(features))
            if b != a and labels[b] == labels[a]
        ]
        negatives = [
            distance(features[a], features[b], kind=kind) for b in range(len(features)) if labels[b] != labels[a]
        ]
        if not negatives:
            continue
        farthest = max(positives) if positives else {'cosine': -1.0, 'euclidean': 0.0}[kind]
        gap = farthest - min(negatives)
        losses.append(math.log1p(math.exp(gap)) if margin is None else max(margin + gap, 0.0))
    return sum(losses) / max(len(losses), 1), losses
