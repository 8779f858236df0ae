"""Average linkage with constraints as slow loops over members."""

import itertools


def clusters(similarity, threshold, cannot, comparable, start):
    """Sets of rows; every mean is taken anew from the members."""
    groups = {}
    for row, number in enumerate(start):
        groups.setdefault(number, []).append(row)
    groups = sorted(groups.values())
    while True:
        best = None
        for a, b in itertools.combinations(range(len(groups)), 2):
            pairs = [(i, j) for i in groups[a] for j in groups[b]]
            if any(cannot[i][j] for i, j in pairs):
                continue
            values = [similarity[i][j] for i, j in pairs if comparable[i][j]]
            if not values:
                continue
            mean = sum(values) / len(values)
            if mean >= threshold and (best is None or mean > best[0] + 1e-12):
                best = mean, a, b
        if best is None:
            return [sorted(group) for group in groups]
        _, a, b = best
        groups[a] = sorted(groups[a] + groups[b])
        del groups[b]
        groups.sort()
