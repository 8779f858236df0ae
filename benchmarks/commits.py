"""How long a training step takes at one commit beside another, in turns on one machine.

    python -m benchmarks.commits 4760412 [fa57116] [--systems c2d strf] [--starts 5] [--pairs 2] [--clips 4]

Both commits are checked out into folders of their own, and each runs in a process of its own: `jax_train` of its own
`benchmarks.contender`, from weights of one seed. In a pair each makes a step that does not count and then one that
does; who begins alternates. Both processes are started anew several times: a process keeps the luck with which its
memory was laid out, and that has been a sixth of its time. Printed and kept is the geometric mean of the later commit's
time over the earlier one's, with a 95 % interval over the starts (Student's t of the logarithms).
"""

import argparse
import contextlib
import dataclasses
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks import contender, mars_size
from jaxreid.reproduce import paired

ROOT = pathlib.Path(__file__).parents[1]
# Runs in the folder of a commit. What the network prints goes to the errors: the answers have the output to themselves.
WORKER = """
import json, os, pathlib, sys, time
sys.path.insert(0, os.getcwd())
from benchmarks import contender
answers = os.fdopen(os.dup(1), 'w', buffering=1)
os.dup2(2, 1)
work, weights = contender.Work(**json.loads(sys.argv[1])), pathlib.Path(sys.argv[2])
contender.draw_weights(work, weights)
with contender.jax_train(work, weights) as act:
    print(json.dumps({'loss': act()}), file=answers)
    for _ in sys.stdin:
        act()
        wall, cpu = time.perf_counter(), time.process_time()
        act()
        print(json.dumps({'wall': time.perf_counter() - wall, 'cpu': time.process_time() - cpu}), file=answers)
"""


@contextlib.contextmanager
def checked_out(commit: str, folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """The files of a commit in `folder`, without a trace in the repository afterwards."""
    subprocess.run(['git', 'worktree', 'add', '-q', '--detach', folder, commit], cwd=ROOT, check=True)
    try:
        yield folder
    finally:
        subprocess.run(['git', 'worktree', 'remove', '--force', folder], cwd=ROOT, check=True)


@contextlib.contextmanager
def started(tree: pathlib.Path, work: contender.Work) -> Iterator[subprocess.Popen]:
    """The worker in `tree`, before its first answer."""
    arguments = [sys.executable, '-c', WORKER, json.dumps(dataclasses.asdict(work)), str(tree / 'weights.npz')]
    environment = os.environ | {'JAX_COMPILATION_CACHE_DIR': str(tree / 'compiled')}
    with subprocess.Popen(
        arguments, cwd=tree, env=environment, text=True, bufsize=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def answer(process: subprocess.Popen) -> dict[str, float]:
    """The next line of a worker."""
    line = process.stdout.readline()
    if not line:
        sys.exit(f'the step of a commit ended with status {process.wait()}; what it said stands above')
    return json.loads(line)


def ratio(before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]) -> list[float]:
    """Geometric mean of after / before, seconds of [starts][pairs], and the ends of its 95 % interval over starts."""
    found = paired.compare(np.log(after).mean(1), np.log(before).mean(1))
    return [round(math.exp(x), 3) for x in (found.mean, *found.interval)]


def compare(trees: Sequence[pathlib.Path], work: contender.Work, *, starts: int, pairs: int) -> dict:
    """A row: losses of the first step, CPU and wall seconds of every counted step, ratios with intervals."""
    row: dict = {'system': work.system}
    times: dict[str, tuple[list, list]] = {'cpu': ([], []), 'wall': ([], [])}
    for start in range(starts):
        order = (0, 1) if start % 2 == 0 else (1, 0)
        with contextlib.ExitStack() as stack:
            processes = {place: stack.enter_context(started(trees[place], work)) for place in order}
            row['loss'] = [answer(processes[place])['loss'] for place in (0, 1)]
            for one in times.values():
                for place in order:
                    one[place].append([])
            for pair in range(pairs):
                for place in order if pair % 2 == 0 else order[::-1]:
                    processes[place].stdin.write('step\n')
                    for key, seconds in answer(processes[place]).items():
                        times[key][place][-1].append(round(seconds, 3))
    return row | {key: {'seconds': both, 'after_over_before': ratio(*both)} for key, both in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('before')
    parser.add_argument('after', nargs='?', default='HEAD')
    parser.add_argument('--systems', nargs='+', choices=('c2d', 'strf'), default=['strf', 'c2d'])
    parser.add_argument('--starts', type=int, default=5)
    parser.add_argument('--pairs', type=int, default=2, help='of each start')
    parser.add_argument('--clips', type=int, default=4, help='of 4 frames')
    parser.add_argument('--toy', action='store_true', help='a narrow network on small frames, to try the command')
    options = parser.parse_args()
    if options.starts < 2:
        parser.error('--starts must be at least 2: the interval comes from what differs between them')
    rows = []
    with (
        tempfile.TemporaryDirectory() as name,
        checked_out(options.before, pathlib.Path(name) / 'before') as before,
        checked_out(options.after, pathlib.Path(name) / 'after') as after,
    ):
        for system in options.systems:
            work = contender.Work(system=system, clips=options.clips, **(contender.TOY if options.toy else {}))
            row = compare((before, after), work, starts=options.starts, pairs=options.pairs)
            rows.append({'before': options.before, 'after': options.after} | row)
            for key in ('cpu', 'wall'):
                mean, low, high = rows[-1][key]['after_over_before']
                print(f'{system} {key} after / before {mean} ({low} to {high})', flush=True)
    if not options.toy:
        print(mars_size.write('commits', rows))


if __name__ == '__main__':
    main()
