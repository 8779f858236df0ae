"""Recall and time of a vector engine beside our exact search, on features clustered like tracklets.

  python -m benchmarks.vector_engine [--tracklets 100000] [--dim 256] [--queries 200]     Milvus Lite
  python -m benchmarks.vector_engine --uri http://localhost:19530                         a server; it keeps `bench`

People are random directions, with eight tracklets each on average whose features lie around them (cosine 0.8 to each
other): behind a person's own tracklets come random ones, the hardest order for an index. Six cameras; the filter asks
for one.
"""

import argparse
import pathlib
import tempfile
import time

import jax
import numpy as np

from jaxreid.search import feature_rows, results, tracklets
from jaxreid.vector_engine import collection as vector_engine

TOP = 10
CAMERAS = 6


def people(tracklets_: int, dim: int, queries: int) -> tuple[tracklets.Tracklets, tracklets.Tracklets]:
    """A gallery and queries of the same people."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((tracklets_ // 8, dim), np.float32)

    def sample(count: int, name: str) -> tracklets.Tracklets:
        who = rng.integers(0, len(centres), count)
        features = centres[who] + 0.5 * rng.standard_normal((count, dim), np.float32)
        return tracklets.Tracklets(
            where=name,
            features=feature_rows.Rows.of(features),
            name=[f'{name}{i}' for i in range(count)],
            person=[str(one) for one in who],
            camera=[str(one) for one in rng.integers(0, CAMERAS, count)],
            time=[str(i) for i in range(count)],
            frames=[50] * count,
            made={},
            film=lambda row: [],
        )

    return sample(tracklets_, 'g'), sample(queries, 'q')


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--tracklets', type=int, default=100_000)
    parser.add_argument('--dim', type=int, default=256)
    parser.add_argument('--queries', type=int, default=200)
    parser.add_argument('--uri', default='', help='of a server; default: Milvus Lite, in a folder that is removed')
    options = parser.parse_args()
    gallery, queries = people(options.tracklets, options.dim, options.queries)
    print(f'{options.tracklets:,} tracklets, {options.dim} dimensions, {options.queries} queries, top {TOP}')
    print(f'index HNSW {vector_engine.INDEXES["hnsw"]}, cosine; jax {jax.__version__} on {jax.default_backend()}')
    with (
        tempfile.TemporaryDirectory() as folder,
        vector_engine.connect(options.uri or str(pathlib.Path(folder) / 'bench.db')) as client,
    ):
        start = time.perf_counter()
        vector_engine.export(client, 'bench', gallery)
        print(f'export with its index {time.perf_counter() - start:.1f} s')
        for words, filters in (('all cameras', results.Filters()), ('one camera', results.Filters(camera=('3',)))):
            start = time.perf_counter()
            exact = results.search(gallery, queries, top=TOP, distance='cosine', filters=filters)
            print(f'{words}: exact search {1e3 * (time.perf_counter() - start) / options.queries:.1f} ms a query')
            for ef in (50, 100, 200, 400):
                start = time.perf_counter()
                answered, answers = vector_engine.search(client, 'bench', queries, top=TOP, filters=filters, ef=ef)
                spent = 1e3 * (time.perf_counter() - start) / options.queries
                share = vector_engine.share_found(gallery, exact, answered, answers)
                print(f'  ef {ef:4}   recall {share:.4f}   {spent:6.1f} ms a query', flush=True)


if __name__ == '__main__':
    main()
