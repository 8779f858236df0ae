"""CMC and mAP at the size of MARS beside the loop that most repositories run, and a gallery of 100,000.

    python -m benchmarks.ranking

Needs no data set. `load` in the written JSON says how busy the machine was; CPU seconds suffer less from that.
"""

import argparse
import functools
import multiprocessing
import resource
import statistics
import time

import numpy as np

from benchmarks import mars_size
from jaxreid.evaluation import protocols
from jaxreid.evaluation.ordering import ranking


def peer(distances, query_ids, query_cameras, gallery_ids, gallery_cameras, *, kind=None):
    """(mAP, rank-1) by a full argsort per query, written from the rule; no repository's code.

    `kind` of `np.argsort`: None, its default, is what most repositories write, and orders ties as it likes; 'stable'
    orders them by the gallery, as ours does.
    """
    precisions, hits = [], 0
    for i, row in enumerate(distances):
        order = np.argsort(row, kind=kind)
        same = gallery_ids[order] == query_ids[i]
        match = same[~(same & (gallery_cameras[order] == query_cameras[i]))]
        if match.any():
            ranks = np.flatnonzero(match) + 1
            precisions.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
            hits += ranks[0] == 1
    return float(np.mean(precisions)), hits / len(precisions)


def ours(*args):
    ranked = ranking.rank(*args, ap='step')
    return float(ranked.ap[ranked.answered].mean()), float((ranked.first_hit == 1)[ranked.answered].mean())


def timed(act):
    """Result, wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = act()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def given_distances(repeats):
    """Rows of all ways, timed in turns; the first is what the others are compared with."""
    embedding, pid, camera, query, _ = mars_size.draw(d=128)
    distances = np.concatenate([d for _, d in ranking.distance_blocks(embedding[query], embedding, distance='cosine')])
    args = distances, pid[query], camera[query], pid, camera
    runs = {
        'loop with full argsort': peer,
        'loop with full stable argsort': functools.partial(peer, kind='stable'),
        'jaxreid.evaluation.ordering.ranking': ours,
    }
    seen = {name: [] for name in runs}
    for _ in range(repeats):
        for name, act in runs.items():
            seen[name].append(timed(lambda act=act: act(*args)))
    rows = []
    for name, found in seen.items():
        wall, cpu = (statistics.median(run[i] for run in found) for i in (1, 2))
        rows.append({'what': f'{name}, distances given', 'wall_s': wall, 'cpu_s': cpu, 'mAP': 100 * found[0][0][0]})
    for found in seen.values():
        np.testing.assert_allclose(found[0][0], seen['jaxreid.evaluation.ordering.ranking'][0][0], rtol=1e-9)
    for row in rows:
        row['times_faster'] = rows[0]['wall_s'] / row['wall_s']
        row['times_less_cpu'] = rows[0]['cpu_s'] / row['cpu_s']
    return rows


def from_features(queries, gallery, d, conn):
    """One row, in a process of its own for its peak memory."""
    rows = mars_size.draw(queries=queries, gallery=gallery, d=d)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    score, wall, cpu = timed(lambda: protocols.score(rows, protocols.named('mars-paper')))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    conn.send({
        'what': f'from features, {queries:,} x {gallery:,}, {d}-d', 'wall_s': wall, 'cpu_s': cpu, 'mAP': score['mAP'],
        'peak_gib': peak / 2**20, 'features_gib': held / 2**20,
    })  # fmt: skip


def alone(act, *args):
    """What `act` sends, from a fresh process."""
    ours, theirs = multiprocessing.get_context('spawn').Pipe()
    process = multiprocessing.get_context('spawn').Process(target=act, args=(*args, theirs))
    process.start()
    theirs.close()
    row = ours.recv()
    process.join()
    return row


def table(rows):
    """Rows as text."""
    lines = [f'{"":<52}{"wall s":>9}{"CPU s":>9}{"peak GiB":>10}{"times":>8}']
    for row in rows:
        peak = f'{row["peak_gib"]:.2f}' if 'peak_gib' in row else ''
        times = f'{row["times_faster"]:.1f}' if 'times_faster' in row else ''
        lines.append(f'{row["what"]:<52}{row["wall_s"]:9.3f}{row["cpu_s"]:9.3f}{peak:>10}{times:>8}')
    return '\n'.join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--small', action='store_true', help='leave the gallery of 100,000 out')
    options = parser.parse_args()
    rows = given_distances(options.repeats)
    rows.append(alone(from_features, 1980, 11310, 2048))
    if not options.small:
        rows.append(alone(from_features, 2000, 100_000, 2048))
    print(table(rows))
    print(mars_size.write('ranking', rows))


if __name__ == '__main__':
    main()
