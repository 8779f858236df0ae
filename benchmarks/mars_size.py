"""Random features of the size and make-up of MARS' test set, and notes that make a measurement worth keeping.

    python -m benchmarks.mars_size /path/to/MARS/info features.npz

writes a feature file on the real metadata of MARS: whose table of rules is in docs/protocols.md.
"""

import argparse
import datetime
import pathlib
import platform
import subprocess
from typing import Any, NamedTuple

import numpy as np
import scipy.io

from jaxreid.process import atomic

RESULTS = pathlib.Path(__file__).parent / 'results'


class Drawn(NamedTuple):
    """N tracklets, as `protocols.score` takes them."""

    embedding: np.ndarray  # [N, d] float32
    pid: np.ndarray
    camera: np.ndarray
    query: np.ndarray
    gallery: np.ndarray


def draw(*, queries: int = 1980, gallery: int = 11310, d: int = 2048, noise: float = 0.9, seed: int = 0) -> Drawn:
    """A test set of features.

    MARS has 626 ids, 3,248 distractors and 8,062 other tracklets with the queries among them; `queries` and `gallery`
    scale that. `noise` 0.9 scores about as a method of 2020 does.
    """
    rng = np.random.default_rng(seed)
    ids, distractors = max(queries * 626 // 1980, 1), gallery * 3248 // 11310
    pid = np.concatenate([np.zeros(distractors, np.int64), rng.integers(1, ids + 1, gallery - distractors)])
    camera = rng.integers(1, 7, gallery)
    query = np.zeros(gallery, bool)
    query[distractors + rng.permutation(gallery - distractors)[:queries]] = True
    embedding = rng.standard_normal((gallery, d), dtype=np.float32)
    embedding *= (noise * rng.gamma(2.0, 0.5, (gallery, 1)) * (d / 128) ** 0.25).astype(np.float32)
    people = rng.standard_normal((ids + 1, d), dtype=np.float32)
    cameras = 0.5 * rng.standard_normal((7, d), dtype=np.float32)
    for i in range(gallery):  # row by row: a large gallery is not held twice
        embedding[i] += cameras[camera[i]] + (people[pid[i]] if pid[i] else rng.standard_normal(d, dtype=np.float32))
    return Drawn(embedding, pid, camera, query, np.ones(gallery, bool))


def on_metadata(info: pathlib.Path, *, noise: float = 0.6, d: int = 64, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays of a feature file on MARS' 12,180 test tracklets: made-up features, that score like a method of 2020.

    Args:
      info: folder of the official tables, with tracks_test_info.mat and query_IDX.mat.
      noise: how much features of one person differ.
      d: length of a feature.
      seed: of the features.
    """
    table = scipy.io.loadmat(info / 'tracks_test_info.mat')['track_test_info'].astype(np.int64)
    rows = scipy.io.loadmat(info / 'query_IDX.mat')['query_IDX'].astype(np.int64).ravel() - 1
    pid, camera = table[:, 2], table[:, 3]
    query = np.zeros(len(table), bool)
    query[rows] = True
    rng = np.random.default_rng(seed)
    people = rng.normal(size=(pid.max() + 1, d))
    person = np.where((pid > 0)[:, None], people[pid], rng.normal(size=(len(pid), d)))
    seen_by = 0.5 * rng.normal(size=(7, d))[camera]
    # Some tracklets are much harder than others, in every camera of a person alike or alone.
    hardness = noise * rng.gamma(2.0, 0.5, (len(pid), 1))
    embedding = person + seen_by + hardness * rng.normal(size=person.shape)
    return {
        'embedding': embedding.astype(np.float32),
        'pid': pid,
        'camera': camera,
        'query': query,
        'gallery': np.ones(len(pid), bool),
        'name': np.array([f'{i}C{c}T{n:05d}' for n, (i, c) in enumerate(zip(pid, camera))]),
        'frames': table[:, 1] - table[:, 0] + 1,
    }


def write(name: str, rows: list[dict[str, Any]]) -> pathlib.Path:
    """Keeps rows with date, machine, versions and commit in benchmarks/results/."""
    path = RESULTS / f'{name}.json'
    info = pathlib.Path('/proc/cpuinfo')
    models = (
        [x.split(':')[1].strip() for x in info.read_text().splitlines() if x.startswith('model name')]
        if info.exists()
        else []
    )
    commit = subprocess.run(['git', 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True, cwd=RESULTS.parent)
    made = {
        'date': datetime.date.today().isoformat(),
        'device': f'{len(models)} cores, {models[0]}' if models else platform.processor(),
        'load': pathlib.Path('/proc/loadavg').read_text().split()[0] if info.exists() else 'unknown',
        'versions': {'python': platform.python_version(), 'numpy': np.__version__},
        'commit': commit.stdout.strip() or 'unknown',
        'rows': rows,
    }
    atomic.write_json(path, made)
    return path


def main():
    parser = argparse.ArgumentParser(description='Writes a feature file on the real metadata of MARS.')
    parser.add_argument('info', type=pathlib.Path, help='folder with tracks_test_info.mat and query_IDX.mat')
    parser.add_argument('out', type=pathlib.Path, help='the feature file (.npz)')
    options = parser.parse_args()
    with atomic.file(options.out) as file:
        np.savez(file, **on_metadata(options.info))


if __name__ == '__main__':
    main()
