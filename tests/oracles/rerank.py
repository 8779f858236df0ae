"""k-reciprocal re-ranking (CVPR 2017) with sets and dictionaries, one item at a time."""

import math

import numpy as np


def original_distances(items, *, distance):
    """[N][N] of floats, each row over its maximum."""
    n = len(items)
    d = [[0.0] * n for _ in range(n)]
    for i in range(n):
        for j in range(n):
            a, b = np.asarray(items[i], np.float64), np.asarray(items[j], np.float64)
            if distance == 'cosine':
                d[i][j] = max(0.0, 1 - float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)))
            else:
                d[i][j] = float(((a - b) ** 2).sum())
        farthest = max(d[i])
        d[i] = [x / farthest if farthest > 0 else 0.0 for x in d[i]]
    return d


def rerank(query, gallery, *, distance, k1, k2, weight):
    """[Q, G]; the item itself heads its own list, then the lower index among equals."""
    items = [*query, *gallery]
    n, q = len(items), len(query)
    d = original_distances(items, distance=distance)
    ranks = [sorted(range(n), key=lambda j: (j != i, d[i][j], j)) for i in range(n)]

    def reciprocal(i, k):
        return {j for j in ranks[i][: k + 1] if i in ranks[j][: k + 1]}

    half = round(k1 / 2)
    codes = []
    for i in range(n):
        nucleus = reciprocal(i, k1)
        members = set(nucleus)
        for j in nucleus:
            candidates = reciprocal(j, half)
            if len(candidates & nucleus) > 2 / 3 * len(candidates):
                members |= candidates
        weights = {j: math.exp(-d[i][j]) for j in members}
        total = sum(weights.values())
        codes.append({j: w / total for j, w in weights.items()})

    averaged = []
    for i in range(n):
        near = ranks[i][:k2]
        code = {}
        for j in near:
            for m, w in codes[j].items():
                code[m] = code.get(m, 0) + w / len(near)
        averaged.append(code)

    result = np.zeros((q, n - q))
    for i in range(q):
        for j in range(q, n):
            a, b = averaged[i], averaged[j]
            smaller = sum(min(a.get(m, 0), b.get(m, 0)) for m in a.keys() | b.keys())
            larger = sum(max(a.get(m, 0), b.get(m, 0)) for m in a.keys() | b.keys())
            result[i, j - q] = (1 - weight) * (1 - smaller / larger) + weight * d[i][j]
    return result
