"""Few people of one's own, trained on from a random start and from a network of other people, at equal steps.

    python -m benchmarks.finetune

Renders `demo` (and trains the network that is started from, once), takes some of its training people and tracklets as
own people in a manifest, and trains every start with the same settings and seeds. A quarter of an hour on a core.
"""

import argparse
import csv
import pathlib
import tempfile
from collections.abc import Iterator

from benchmarks import mars_size
from configs import finetune_manifest
from jaxreid import command_line, config, loop
from jaxreid.data import source
from jaxreid.data.tracklets import tracklet
from jaxreid.reproduce import paired

# Start -> what differs from configs/finetune_manifest.py:c2d_small.
STARTS = {
    'random': {'backbone.init': 'random'},
    'other people': {},
    'other people, stages 0 to 2 frozen': {'optim.frozen_stages': (0, 1, 2)},
}


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
    parser.add_argument('--epochs', type=int, default=30)
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--preset', default='demo')
    options = parser.parse_args()
    command_line.parse_absl()
    command_line.set_up('float32')
    dataset = source.read(config.Data(dataset='synthetic', preset=options.preset))
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in STARTS}
    steps = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        rows = list(own(dataset, people=options.people, tracklets=options.tracklets))
        with open(folder / 'own.csv', 'w', newline='') as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        for seed in range(options.seeds):
            for start, changes in STARTS.items():
                e = finetune_manifest.get_config('c2d_small')
                config.apply(e, {
                    'data.root': str(folder / 'own.csv'), 'data.frames_root': str(dataset.root), 'train.seed': seed,
                    'train.epochs': options.epochs, 'train.eval_every_epochs': 0, 'test.clips': 'even', **changes,
                })  # fmt: skip
                row = loop.train_and_evaluate(config.validate(e), folder / f'{start}-{seed}')[0]
                scores[start].append({'mAP': row['mAP'], 'rank1': row['cmc']['1']})
                steps = row['step']
    made = []
    for start, of in scores.items():
        one = {'start': start, 'people': options.people, 'tracklets': options.tracklets, 'steps': steps}
        for metric in ('rank1', 'mAP'):
            values, base = ([round(seed[metric], 2) for seed in found] for found in (of, scores['random']))
            more = paired.compare(values, base)
            one |= {
                metric: values,
                f'{metric} more than random': more.mean,
                'interval of that, ' + metric: more.interval,
            }
        made.append(one)
        print(one)
    print(mars_size.write('finetune', made))


if __name__ == '__main__':
    main()
