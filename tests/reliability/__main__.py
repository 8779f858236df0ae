"""Tries to break what jaxreid keeps: kills, flipped bits, full disks. A table says what was tried and what failed.

  python -m tests.reliability                    everything: about ten minutes of one core
  python -m tests.reliability kills --number 40  processes killed in training, saving, adding, building
  python -m tests.reliability flips              single bits of checkpoints, galleries, records, features, exports
  python -m tests.reliability fuzz               changed files of every kind in every reader

The seed is printed, and the same one draws the same again.
"""

import argparse
import importlib
import os
import pathlib
import sys
import tempfile
import warnings

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('XLA_FLAGS', '--xla_force_host_platform_device_count=1 --xla_backend_optimization_level=0')
os.environ.setdefault('TQDM_DISABLE', '1')
warnings.filterwarnings('ignore', 'os.fork')  # children are forked before JAX has started anything

KINDS = {
    'kills': 40,
    'flips': 200,
    'faults': 0,
    'fuzz': 10_000,
}  # and how many are drawn of each; of faults each is tried once


def main():
    """Parses, tries, prints; 1 where something failed."""
    parser = argparse.ArgumentParser(prog='python -m tests.reliability', description=__doc__.splitlines()[0])
    parser.add_argument('kinds', nargs='*', metavar='KIND', help=f'of {", ".join(KINDS)} (all)')
    parser.add_argument('--number', type=int, help='of kills, or of flips of each kind of file')
    parser.add_argument('--seed', type=int, default=0)
    options = parser.parse_args()
    if unknown := set(options.kinds) - KINDS.keys():
        parser.error(f'there is no {", ".join(sorted(unknown))}; choose of {", ".join(KINDS)}')
    failed, lines = 0, []
    for kind in options.kinds or KINDS:
        module = importlib.import_module(f'tests.reliability.{kind}')
        with tempfile.TemporaryDirectory(prefix='reliability-') as work:
            for row in module.rows(pathlib.Path(work), number=options.number or KINDS[kind], seed=options.seed):
                failed += len(row.failed)
                lines.append(f'{kind:<7} {row.what:<34} {row.tried:>6} {row.outcome:<42} {len(row.failed):>6}')
                print(lines[-1], flush=True)
                for problem in row.failed:
                    print(f'        FAILED: {problem}', flush=True)
    print(
        f'\n{"":<7} {"what":<34} {"tried":>6} {"outcome":<42} {"failed":>6}', *lines, f'seed {options.seed}', sep='\n'
    )
    return int(failed > 0)


if __name__ == '__main__':
    sys.exit(main())
