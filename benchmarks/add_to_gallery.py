"""What it costs to add 500 tracklets to galleries of several sizes: CPU time and memory of a process that does it.

python -m benchmarks.add_to_gallery FOLDER [--sizes 10000 100000 1000000]

Random features of 64 numbers, in shards of 100,000; FOLDER needs 0.5 GB and is left empty.
"""

import argparse
import json
import pathlib
import resource
import shutil
import subprocess
import sys
import time

import numpy as np

from jaxreid.search import feature_rows, gallery, tracklets

WIDTH, SHARD, ADDED = 64, 100_000, 500


def some(first, count):
    """Random tracklets whose names begin with a number."""
    values = np.random.default_rng(first).standard_normal((count, WIDTH)).astype(np.float32)
    names = [f'tracklet {first + i:07}' for i in range(count)]
    return tracklets.Tracklets(
        where='new', features=feature_rows.Rows.of(values), name=names, person=[''] * count, camera=['door'] * count,
        time=['2026-11-21T14:05:00'] * count, frames=[30] * count, made={'network': 'ab12'},
        film=lambda row: [f'tracklets/{names[row]}/{frame:04}.jpg' for frame in (0, 7, 15, 22, 29)],
    )  # fmt: skip


def used():
    """CPU seconds and the most memory of this process so far, in MiB."""
    now = resource.getrusage(resource.RUSAGE_SELF)
    status = pathlib.Path('/proc/self/status').read_text()  # ru_maxrss knows of the process that started this one
    return now.ru_utime + now.ru_stime, int(status.partition('VmHWM:')[2].split()[0]) / 1024


def add(folder, size):
    """Adds and prints what that took, beyond what the process had taken before."""
    new = some(size, ADDED)
    before, begun = used(), time.monotonic()
    gallery.append(folder, new)
    seconds, memory = (now - was for now, was in zip(used(), before))
    print(json.dumps({'cpu': seconds, 'memory': memory, 'wall': time.monotonic() - begun}))


def main():
    """Parses, builds, measures, prints a table."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.add_to_gallery', description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=pathlib.Path)
    parser.add_argument('--sizes', type=int, nargs='+', default=[10_000, 100_000, 1_000_000])
    parser.add_argument('--add-to', type=int, help=argparse.SUPPRESS)  # in a process of its own
    options = parser.parse_args()
    if options.add_to is not None:
        add(options.folder, options.add_to)
        return
    print(f'{"tracklets":>10} {"CPU s":>8} {"MiB more":>9} {"wall s":>8}')
    for size in options.sizes:
        folder = options.folder / f'gallery-{size}'
        for first in range(0, size, SHARD):
            gallery.append(folder, some(first, min(SHARD, size - first)))
        worker = [sys.executable, '-m', 'benchmarks.add_to_gallery', str(folder), '--add-to', str(size)]
        found = json.loads(subprocess.run(worker, check=True, capture_output=True, text=True).stdout)
        print(f'{size:>10,} {found["cpu"]:>8.2f} {found["memory"]:>9.0f} {found["wall"]:>8.2f}', flush=True)
        shutil.rmtree(folder)


if __name__ == '__main__':
    main()
