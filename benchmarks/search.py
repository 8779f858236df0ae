"""Search in a gallery of a million features on disk, beside NumPy and faiss: time, memory, and the same answers.

    pip install faiss-cpu
    python -m benchmarks.search /folder/with/9/GB

Writes the gallery there and removes it. Every way runs in a process of its own, one after the other. faiss holds the
whole gallery in memory, since its flat index has no other form.
"""

import argparse
import importlib.metadata
import pathlib
import resource
import shutil
import time

import numpy as np

from benchmarks import mars_size, ranking

DIM, TOP, BLOCK = 2048, 10, 16384
SHARD = 100_000


def queries(count):
    return np.random.default_rng((1, 0)).standard_normal((count, DIM), dtype=np.float32)


def write(folder, rows, conn):
    """The gallery, as `python -m jaxreid.search add` leaves it."""
    from jaxreid.search import feature_rows, gallery, tracklets

    for shard, start in enumerate(range(0, rows, SHARD)):
        count = min(SHARD, rows - start)
        made = np.random.default_rng((0, shard)).standard_normal((count, DIM), dtype=np.float32)
        gallery.append(
            folder,
            tracklets.Tracklets(
                where='random', features=feature_rows.Rows.of(made), name=[f't{start + i}' for i in range(count)],
                person=[''] * count, camera=['1'] * count, time=[''] * count, frames=[0] * count, made={},
                film=lambda row: [],
            ),
        )  # fmt: skip
    conn.send(None)


def measured(what, held, act, conn):
    """Sends a row and the answers."""
    wall, cpu = time.perf_counter(), time.process_time()
    answers = act()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    conn.send(({'what': what, 'load_s': held, 'wall_s': wall, 'cpu_s': cpu, 'peak_gib': peak}, answers))


def ours(folder, count, conn):
    from jaxreid.search import gallery, nearest

    start = time.perf_counter()
    held = gallery.open_folder(folder)
    asked = queries(count)
    nearest.top(asked, held.features.__class__.of(asked), count=TOP, distance='cosine')  # starts the device
    loaded = time.perf_counter() - start
    measured(
        'jaxreid.search, gallery on disk', loaded,
        lambda: nearest.top(asked, held.features, count=TOP, distance='cosine')[0], conn,
    )  # fmt: skip


def shards(folder):
    for path in sorted(folder.glob('shard-*/embedding.npy')):
        array = np.load(path, mmap_mode='r')
        for start in range(0, len(array), BLOCK):
            yield np.array(array[start : start + BLOCK])


def brute_force(folder, count, conn):
    def act():
        asked = queries(count).astype(np.float64)
        scores = []
        for block in shards(folder):
            block = block.astype(np.float64)
            scores.append(asked @ block.T / np.linalg.norm(block, axis=1))
        return np.argsort(-np.concatenate(scores, axis=1), axis=1, kind='stable')[:, :TOP]

    measured('NumPy, float64, full sort', 0.0, act, conn)


def faiss_flat(folder, count, rows, conn):
    import faiss

    start = time.perf_counter()
    held, at = np.empty((rows, DIM), np.float32), 0
    for block in shards(folder):
        held[at : at + len(block)] = block / np.linalg.norm(block, axis=1, keepdims=True)
        at += len(block)
    loaded = time.perf_counter() - start
    asked = queries(count)
    measured(
        'faiss flat, gallery in memory', loaded,
        lambda: faiss.knn(asked, held, TOP, metric=faiss.METRIC_INNER_PRODUCT)[1], conn,
    )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=pathlib.Path, help='to write the gallery into, 9 GB')
    parser.add_argument('--rows', type=int, default=1_000_000)
    parser.add_argument('--queries', type=int, default=100)
    options = parser.parse_args()
    folder = options.folder / 'jaxreid-search-benchmark'
    try:
        ranking.alone(write, folder, options.rows)
        ways = {
            'ours': (ours, folder, options.queries),
            'numpy': (brute_force, folder, options.queries),
            'faiss': (faiss_flat, folder, options.queries, options.rows),
        }
        timed = {name: ranking.alone(*way) for name, way in ways.items()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    exact = timed['numpy'][1]
    rows = []
    for row, answers in timed.values():
        same = [int((a == b).all()) for a, b in zip(answers, exact, strict=True)]
        rows.append(row | {'rows': options.rows, 'queries': options.queries, 'lists_equal_to_numpy': sum(same)})
        print(
            f'{row["what"]:<34}{row["load_s"]:8.1f} s to load{row["wall_s"]:8.1f} s{row["cpu_s"]:8.1f} s CPU'
            f'{row["peak_gib"]:7.2f} GiB  {sum(same)} of {len(same)} lists as NumPy'
        )
    rows[-1]['faiss'] = importlib.metadata.version('faiss-cpu')
    print(mars_size.write('search', rows))


if __name__ == '__main__':
    main()
