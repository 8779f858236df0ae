"""AP and CMC by walking down a fully sorted list, one query at a time."""

import itertools


def query(
    distances,
    query_id,
    query_camera,
    gallery_ids,
    gallery_cameras,
    *,
    ap,
    ignored=(),
    cut=None,
    same_camera='drop_matches',
    itself=(),
):
    """(average precision, rank of the first hit, number of matches) of one query; (0, 0, n) without hits."""
    everything = sorted(range(len(distances)), key=lambda j: (distances[j], j))
    matches = {
        j
        for j in everything
        if gallery_ids[j] == query_id
        and j not in ignored
        and (same_camera == 'keep' or gallery_cameras[j] != query_camera)
        and j not in itself
    }
    rank, hits, total, first, before = 0, 0, 0.0, 0, 1.0
    for place, j in enumerate(everything, start=1):
        if cut is not None and place > cut:
            break
        if j in ignored:
            continue
        if same_camera == 'drop_matches' and gallery_ids[j] == query_id and gallery_cameras[j] == query_camera:
            continue
        if (same_camera == 'drop' and gallery_cameras[j] == query_camera) or j in itself:
            continue
        rank += 1
        if j in matches:
            hits += 1
            first = first or rank
            total += hits / rank if ap == 'step' else (before + hits / rank) / 2
        before = hits / rank
    return (total / len(matches) if matches else 0.0), first, len(matches)


def look_alikes(distances, ids, cameras, queries, gallery, groups):
    """(hits, chances) of the queries with a match and a rival. `distances` [N, N]; `queries` and `gallery` are rows."""
    hits, chances = [], []
    for q in queries:
        for group in groups:
            if ids[q] not in group:
                continue
            eligible = [j for j in gallery if ids[j] in group and not (ids[j] == ids[q] and cameras[j] == cameras[q])]
            members = {ids[j] for j in eligible}
            if ids[q] not in members or len(members) < 2:
                continue
            best = min(eligible, key=lambda j: (distances[q][j], j))
            hits.append(ids[best] == ids[q])
            chances.append(1 / len(members))
    return hits, chances


def pr_area(distances, relevant):
    """Area under the precision-recall curve whose points are the different distances, joined by lines."""
    points = [(0.0, 1.0)]
    for limit in sorted(set(distances)):
        listed = [r for d, r in zip(distances, relevant) if d <= limit]
        points.append((sum(listed) / sum(relevant), sum(listed) / len(listed)))
    return sum((r1 - r0) * (p0 + p1) / 2 for (r0, p0), (r1, p1) in itertools.pairwise(points))


def expected_single_shot_rank(distances, ids, cameras, query_id, query_camera, ignored=()):
    """Mean rank of the match where one item of every id is drawn: 1 + the chance of each other id to come before it."""
    matches = [
        j for j, i in enumerate(ids) if i == query_id and cameras[j] != query_camera and j not in ignored
    ]  # fmt: skip
    others = {i: [j for j in range(len(ids)) if ids[j] == i and j not in ignored] for i in ids if i != query_id}
    before = [
        sum((distances[j], j) < (distances[m], m) for j in items) / len(items)
        for m in matches
        for items in others.values()
        if items
    ]
    return 1 + sum(before) / len(matches)
