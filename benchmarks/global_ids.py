"""How right ids over all cameras are in the rendered town, beside colours alone and no re-identification.

    python -m benchmarks.global_ids runs/strf_synthetic
    python -m benchmarks.global_ids runs/strf_synthetic --calibration report.calibration.json

Draws the town with true boxes (about a minute on a free core), and gives its people ids with `jaxreid.global_ids`.
"""

import argparse
import json
import pathlib
import tempfile

from benchmarks import mars_size
from jaxreid.data.synthetic import town
from jaxreid.global_ids import __main__ as global_ids


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint')
    parser.add_argument('--calibration', default='')
    parser.add_argument('--people', type=int, default=30)
    parser.add_argument('--cameras', type=int, default=5)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--topology', choices=('', 'learnt'), default='')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        drawn = town.Town(people=options.people, cameras=options.cameras, seed=options.seed)
        names = town.write(folder / 'town', drawn)
        tracks = [f'{one}={folder}/town/{one}.txt@{folder}/town/{one}.avi' for one in names]
        truths = [f'--truth={one}={folder}/town/{one}.gt.txt' for one in names]
        how = [f'--checkpoint={options.checkpoint}', f'--calibration={options.calibration}']
        how += [f'--topology={options.topology}'] * bool(options.topology)
        assert global_ids.main([*tracks, str(folder / 'ids'), *how, *truths]) == 0
        found = json.loads((folder / 'ids' / 'scores.json').read_text())
    rows = [{'ids': kind, **{key: round(value, 3) for key, value in one[''].items()}} for kind, one in found.items()]
    for row in rows:
        print(row)
    print(mars_size.write('global_ids', rows))


if __name__ == '__main__':
    main()
