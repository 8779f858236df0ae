"""What a report shows of rankings, counted one query, one pair, one item at a time."""

import math


def order(row):
    """Gallery items from the nearest on; of equals the earlier one."""
    return sorted(range(len(row)), key=lambda j: (row[j], j))


def mark(query_id, query_camera, item_id, item_camera, *, junk):
    """What an item is to a query."""
    if junk:
        return 'junk'
    if item_id == query_id:
        return 'same camera' if item_camera == query_camera else 'right'
    return 'distractor' if item_id == 0 else 'wrong'


def shown(row, query_id, query_camera, ids, cameras, *, junk, top, taken_out):
    """([(item, mark, rank)], number left off) of one query."""
    found, ranked, out, left_off = [], 0, 0, 0
    for j in order(row):
        kind = mark(query_id, query_camera, ids[j], cameras[j], junk=j in junk)
        if kind in ('junk', 'same camera'):
            out += 1
            if out > taken_out:
                left_off += 1
            else:
                found.append((j, kind, 0))
        else:
            ranked += 1
            found.append((j, kind, ranked))
            if ranked == top:
                return found, left_off
    # The list ended before `top`: what follows the last ranked item does not count.
    while found and found[-1][2] == 0:
        found.pop()
    last = order(row).index(found[-1][0]) if found else -1
    out = [
        j
        for j in order(row)[: last + 1]
        if mark(query_id, query_camera, ids[j], cameras[j], junk=j in junk) in ('junk', 'same camera')
    ]
    return found, max(0, len(out) - taken_out)


def average_precision(row, query_id, query_camera, ids, cameras, *, junk, only_camera):
    """(step AP, whether the first is a match, number of matches) with one camera's items as the gallery."""
    rank, hits, total, first, matches = 0, 0, 0.0, False, 0
    for j in order(row):
        if cameras[j] != only_camera:
            continue
        kind = mark(query_id, query_camera, ids[j], cameras[j], junk=j in junk)
        if kind in ('junk', 'same camera'):
            continue
        rank += 1
        if kind == 'right':
            matches += 1
            hits += 1
            total += hits / rank
            first = first or rank == 1
    return (total / matches if matches else 0.0), first, matches


def pairs(distances, query_ids, query_cameras, ids, cameras, *, junk):
    """Similarities of the genuine and of the impostor pairs, per query."""
    genuine, impostor = [], []
    for i, row in enumerate(distances):
        genuine.append([])
        impostor.append([])
        for j, d in enumerate(row):
            kind = mark(query_ids[i], query_cameras[i], ids[j], cameras[j], junk=j in junk)
            if kind == 'right':
                genuine[-1].append(-float(d))
            elif kind in ('wrong', 'distractor'):
                impostor[-1].append(-float(d))
    return genuine, impostor


def share_accepted(similarities, threshold):
    """Share of similarities that reach the threshold."""
    flat = [s for row in similarities for s in row]
    return sum(s >= threshold for s in flat) / len(flat)


def search(genuine, impostor, threshold):
    """(false-alarm rate, detected rate) of an open-set search at a threshold."""
    best = [max(row, default=-math.inf) for row in impostor]
    strangers = [b for b in best if b > -math.inf]
    alarms = sum(b >= threshold for b in strangers) / len(strangers)
    known = [(max(row), b) for row, b in zip(genuine, best) if row]
    return alarms, sum(g >= threshold and g > b for g, b in known) / len(known)


def enlarged(values, height, width):
    """A map [h][w] at height x width: linear between centres, constant outside."""
    h, w = len(values), len(values[0])
    result = []
    for i in range(height):
        y = min(max((i + 0.5) * h / height - 0.5, 0), h - 1)
        y0 = int(y)
        y1 = min(y0 + 1, h - 1)
        row = []
        for j in range(width):
            x = min(max((j + 0.5) * w / width - 0.5, 0), w - 1)
            x0 = int(x)
            x1 = min(x0 + 1, w - 1)
            upper = values[y0][x0] * (1 - x + x0) + values[y0][x1] * (x - x0)
            lower = values[y1][x0] * (1 - x + x0) + values[y1][x1] * (x - x0)
            row.append(upper * (1 - y + y0) + lower * (y - y0))
        result.append(row)
    return result
