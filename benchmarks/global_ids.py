"""How right ids over all cameras are in the rendered town, beside colours alone and no re-identification.

    python -m benchmarks.global_ids runs/strf_rendered
    python -m benchmarks.global_ids runs/strf_rendered --calibration report.calibration.json --seeds 0

Draws towns with true boxes (each about a minute on a free core), and gives their people ids with `jaxreid.global_ids`.
Says at the end how much more the IDF1 is than that of every baseline, with a 95 % interval over the towns.
"""

import argparse
import json
import pathlib
import tempfile

from benchmarks import mars_size
from jaxreid.data.synthetic import town
from jaxreid.global_ids import __main__ as global_ids
from jaxreid.reproduce import paired


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint')
    parser.add_argument('--calibration', default='')
    parser.add_argument('--people', type=int, default=30)
    parser.add_argument('--cameras', type=int, default=5)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='of the towns')
    parser.add_argument('--topology', choices=('', 'learnt'), default='')
    options = parser.parse_args()
    rows = []
    for seed in options.seeds:
        for kind, one in _scores(options, seed).items():
            rows.append({'town': seed, 'ids': kind, **{key: round(value, 3) for key, value in one[''].items()}})
            print(rows[-1], flush=True)
    idf1 = {kind: [row['idf1'] for row in rows if row['ids'] == kind] for kind in (row['ids'] for row in rows)}
    for kind, theirs in idf1.items():
        if kind != 'global ids':
            lead = paired.compare(idf1['global ids'], theirs)
            interval = lead.interval and [round(end, 3) for end in lead.interval]
            rows.append({'lead over': kind, 'idf1': round(lead.mean, 3), 'interval': interval})
            print(rows[-1], flush=True)
    print(mars_size.write('global_ids_calibrated' if options.calibration else 'global_ids', rows))


def _scores(options, seed):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        drawn = town.Town(people=options.people, cameras=options.cameras, seed=seed)
        names = town.write(folder / 'town', drawn)
        tracks = [f'{one}={folder}/town/{one}.txt@{folder}/town/{one}.avi' for one in names]
        truths = [f'--truth={one}={folder}/town/{one}.gt.txt' for one in names]
        how = [f'--checkpoint={options.checkpoint}', f'--calibration={options.calibration}']
        how += [f'--topology={options.topology}'] * bool(options.topology)
        assert global_ids.main([*tracks, str(folder / 'ids'), *how, *truths]) == 0
        return json.loads((folder / 'ids' / 'scores.json').read_text())


if __name__ == '__main__':
    main()
