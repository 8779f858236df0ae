"""Few people of one's own, trained on from a random start and from a network of other people, at equal steps.

    python -m benchmarks.finetune

Renders `demo` (and trains the network that is started from, once), takes some of its training people and tracklets as
own people in a manifest, and trains every start with the same settings and seeds. Some minutes on a core.
"""

import argparse
import csv
import pathlib
from collections.abc import Iterator
from typing import Any

import jax

from benchmarks import mars_size
from configs import finetune_manifest
from jaxreid import command_line, config, training_loop
from jaxreid.data import source
from jaxreid.data.tracklets import tracklet
from jaxreid.evaluation import evaluate, results
from jaxreid.reproduce import paired
from jaxreid.weights import rendered

# Start -> what differs from configs/finetune_manifest.py:c2d_small.
STARTS = {
    'random': {'backbone.init': 'random'},
    'other people': {},
    'other people, stages 0 to 2 frozen': {'optim.frozen_stages': (0, 1, 2)},
}
AS_IT_IS = 'other people, not trained on'


def own(dataset: tracklet.Dataset, *, people: int, tracklets: int) -> Iterator[dict[str, str]]:
    """Rows of a manifest: the first people who are trained on with their first tracklets, and the whole test split."""
    of: dict[int, list[tracklet.Tracklet]] = {}
    for one in dataset.train:
        of.setdefault(one.pid, []).append(one)
    chosen = [pid for pid, ones in sorted(of.items()) if len(ones) >= tracklets][:people]
    assert len(chosen) == people, f'{len(chosen)} people have {tracklets} tracklets'
    roles = [(one, 'train') for pid in chosen for one in of[pid][:tracklets]]
    for one, query, gallery in zip(dataset.test, dataset.query, dataset.gallery, strict=True):
        roles.append((one, '+'.join(['query'] * bool(query) + ['gallery'] * bool(gallery))))
    for one, role in roles:
        yield {
            'tracklet': one.name, 'pid': str(one.pid), 'camera': str(one.camera), 'role': role,
            'frames': '|'.join(one.frames),
        }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--people', type=int, default=20)
    parser.add_argument('--tracklets', type=int, default=6)
    parser.add_argument('--epochs', type=int, default=8)
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument(
        '--workdir', type=pathlib.Path, default=pathlib.Path('runs/finetune'), help='keeps what is ended'
    )
    options = parser.parse_args()
    command_line.parse_absl()
    command_line.set_up('float32')
    dataset = source.read(config.Data(dataset='synthetic', preset='demo'))
    rows = list(own(dataset, people=options.people, tracklets=options.tracklets))
    options.workdir.mkdir(parents=True, exist_ok=True)
    with open(options.workdir / 'own.csv', 'w', newline='') as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    scores: dict[str, list[results.Result]] = {start: [] for start in STARTS}
    for seed in range(options.seeds):
        for start, changes in STARTS.items():
            e = finetune_manifest.get_config('c2d_small')
            config.apply(e, {
                'data.root': str(options.workdir / 'own.csv'), 'data.frames_root': str(dataset.root),
                'train.seed': seed, 'train.epochs': options.epochs, 'train.eval_every_epochs': 0, 'test.clips': 'even',
                **changes,
            })  # fmt: skip
            folder = options.workdir / f'{start}-{options.epochs}-{seed}'.replace(' ', '_')
            kept = results.read(folder / 'results.json')  # of what an earlier command ended
            scores[start].append((kept or training_loop.train_and_evaluate(config.validate(e), folder))[0])
        scores[AS_IT_IS] = [untrained(options.workdir, dataset)] * (seed + 1)
        made = [table_row(start, of, scores['random'], rows) for start, of in scores.items()]
        print(mars_size.write('finetune', made))


def untrained(workdir: pathlib.Path, dataset: tracklet.Dataset) -> results.Result:
    """The score of the network that is started from."""
    e = finetune_manifest.get_config('c2d_small')
    config.apply(e, {
        'data.root': str(workdir / 'own.csv'), 'data.frames_root': str(dataset.root), 'test.clips': 'even',
    })  # fmt: skip
    folder = workdir / 'as_it_is'
    folder.mkdir(exist_ok=True)
    kept = results.read(folder / 'results.json')
    return {**(kept or evaluate.run(e, folder, rendered.folder(e), scored=True))[0], 'step': 0}


def table_row(
    start: str, found: list[results.Result], base: list[results.Result], rows: list[dict[str, str]]
) -> dict[str, Any]:
    """Scores by seed, percent, and how much more they are than those of `base`, seed by seed with a 95 % interval."""
    trained = [row for row in rows if row['role'] == 'train']
    made: dict[str, Any] = {
        'start': start,
        'people': len({row['pid'] for row in trained}),
        'tracklets': len(trained),
        'steps': found[0]['step'],
        'versions': {'jax': jax.__version__},
    }
    for name, pick in (('rank1', lambda one: one['cmc']['1']), ('mAP', lambda one: one['mAP'])):
        ours, theirs = ([round(pick(one), 2) for one in of] for of in (found, base))
        more = paired.compare(ours, theirs)
        made |= {name: ours, f'{name}_more': more.mean, f'{name}_interval': more.interval}
    return made


if __name__ == '__main__':
    main()
