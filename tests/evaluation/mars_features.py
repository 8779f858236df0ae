"""Synthetic features on the real MARS metadata, tuned to score like a method of 2020."""

import numpy as np
import scipy.io


def draw(shared, *, noise=1.05, d=128, seed=0):
    """Arrays of a feature file: 12,180 rows in the order of the official table."""
    table = scipy.io.loadmat(shared / 'protocols/mars/tracks_test_info.mat')['track_test_info'].astype(np.int64)
    rows = scipy.io.loadmat(shared / 'protocols/mars/query_IDX.mat')['query_IDX'].astype(np.int64).ravel() - 1
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
