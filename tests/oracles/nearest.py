"""The nearest of a gallery by comparing every pair in float64 and sorting everything."""

import math


def similarity(a, b, distance):
    """Cosine, or minus the Euclidean distance, of two lists of numbers."""
    if distance == 'euclidean':
        return -math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b)))
    lengths = [max(math.sqrt(sum(x * x for x in v)), 1e-6) for v in (a, b)]
    return sum(x * y for x, y in zip(a, b)) / lengths[0] / lengths[1]


def top(queries, gallery, *, count, distance, allowed=None):
    """Per query a list of (row, similarity), most similar first, equals by row."""
    lists = []
    for i, query in enumerate(queries):
        rows = [j for j in range(len(gallery)) if allowed is None or allowed[i][j]]
        scored = [(round(-similarity(query, gallery[j], distance), 13), j) for j in rows]
        lists.append([(j, -s) for s, j in sorted(scored)[:count]])
    return lists
