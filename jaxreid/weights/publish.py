"""Makes one folder of a finished training, to share: arrays, settings, scores, hash, licence and a model card.

  python -m jaxreid.weights.publish runs/strf_mars strf_mars --license cc-by-nc-4.0
  python -m jaxreid.weights.publish runs/seed0 runs/seed1 runs/seed2 strf_mars      scores with their spread over seeds

The arrays are those of the first workdir's last step; the others are trainings with the same settings and other seeds.
Paths and names of people are left out. `jaxreid.load('strf_mars')`, --checkpoint strf_mars and
--config.backbone.weights=strf_mars read the folder, and hf:OWNER/NAME once it lies on the Hugging Face hub.
"""

import json
import os
import pathlib
import statistics
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import jax
import jinja2
from absl import logging
from flax import traverse_util

import jaxreid
from jaxreid import command_line, config
from jaxreid.data.datasets import catalogue
from jaxreid.evaluation import network as network_lib
from jaxreid.evaluation import results
from jaxreid.process import atomic, commands, exit_status
from jaxreid.training import checkpoint, hub, published, schedule
from jaxreid.weights import state_file

CARD, SETTINGS = 'README.md', 'settings.toml'
TASK = 'image-feature-extraction'  # the hub's word for networks that give features
KEPT = ('labels', 'steps_per_epoch', 'versions', 'imported')  # of what stands beside a checkpoint
UNSAID = 'not stated'


class Run(NamedTuple):
    """A finished training: where, its settings, what stands beside its last checkpoint, and its last results."""

    workdir: pathlib.Path
    experiment: config.Experiment
    meta: checkpoint.Meta
    step: int
    rows: list[results.Result]


def finished(workdir: pathlib.Path) -> Run:
    """What a training left when it ended.

    Raises:
      state_file.WeightsError: it has not ended, or has not been tested.
      checkpoint.CheckpointError: there is no checkpoint, or it is damaged.
    """
    folder, step = checkpoint.find(workdir)
    meta = checkpoint.read_meta(folder, step)
    experiment = config.from_dict(meta['config'])
    last = schedule.Schedule(experiment.train, meta['steps_per_epoch']).last_step if 'steps_per_epoch' in meta else step
    if step < last:
        raise state_file.WeightsError(
            f'{workdir} is trained to step {step} of {last} and is not published; the command that began it ends it'
        )
    file = workdir / 'results.json'
    rows = [row for row in results.read(file) if (row['step'], row['selected']) == (step, 'last step')]
    if not rows:
        raise state_file.WeightsError(
            f'{file} has no result of the last step, {step}: name a workdir whose training or --mode eval has ended'
        )
    return Run(workdir, experiment, meta, step, rows)


def scores(runs: Sequence[Run]) -> list[published.Scored]:
    """The results of the first run that all have, each with its spread over the seeds.

    Raises:
      state_file.WeightsError: runs differ in more than their seed, share one, or have no result in common.
    """
    first, *others = runs
    for other in others:
        changed = config.changed(first.experiment, other.experiment, 'test')
        same_seed = changed.pop('train.seed', None) is None
        if changed or same_seed:
            listed = '\n  '.join(changed.values()) or f'the seed, {first.experiment.train.seed}, is the same'
            raise state_file.WeightsError(f'{other.workdir} is no other seed of {first.workdir}:\n  {listed}')
    seeds = [run.experiment.train.seed for run in runs]
    if len(set(seeds)) < len(seeds):
        raise state_file.WeightsError(f'two workdirs have the same seed (seeds {seeds}); name each training once')
    by_test = [{_test(row): row for row in run.rows} for run in runs]
    made: list[published.Scored] = []
    for test, row in by_test[0].items():
        if all(test in rows for rows in by_test):
            same = [rows[test] for rows in by_test]
            values = {'mAP': [one['mAP'] for one in same], 'rank1': [one['cmc']['1'] for one in same]}
            spread = {name: _over(seeds, of) for name, of in values.items()}
            made.append({'result': cast(dict[str, Any], row), 'over_seeds': spread})
    if not made:
        raise state_file.WeightsError('the workdirs have no result in common: test all on the same data, by one rule')
    return made


def _test(row: results.Result) -> str:
    return json.dumps([row['protocol'], row.get('tested_on')], sort_keys=True)


def _over(seeds: list[int], values: list[float]) -> published.OverSeeds:
    std = statistics.stdev(values) if len(values) > 1 else None
    return {'seeds': seeds, 'values': values, 'mean': statistics.fmean(values), 'std': std}


def without_paths(experiment: config.Experiment) -> config.Experiment:
    """The settings without folders of the machine; of a manifest and its folder the names stay."""
    made = config.from_dict(config.to_dict(experiment))
    data = made.data

    def short(dataset: str, root: str) -> str:
        titled = root and catalogue.find(dataset).title
        return '/'.join(os.path.abspath(root).split(os.sep)[-2:]) if titled else ''

    data.root = short(data.dataset, data.root or data.records)
    data.frames_root = data.flow_folder = data.records = ''
    entries = [entry.partition('=') for entry in data.also]
    data.also = tuple(f'{name}={short(name.partition(":")[0], root)}' for name, _, root in entries)
    if not hub.NAME.fullmatch(made.backbone.weights):
        made.backbone.weights = pathlib.Path(made.backbone.weights).name
    return made


def publish(
    workdirs: Sequence[pathlib.Path], out: pathlib.Path, *, license: str = 'unknown', data_terms: str = UNSAID
) -> published.Published:
    """Writes the folder `out`, whole or not at all.

    Args:
      workdirs: of finished trainings; the first one's arrays are written.
      out: a folder that is not there yet, or empty; its name is the network's.
      license: of the arrays, as the hub calls it.
      data_terms: of what they were trained on, in words.

    Raises:
      state_file.WeightsError: a training has not ended, or they are not seeds of one.
      checkpoint.CheckpointError: a checkpoint is missing or damaged.
      OSError: something is at `out`, which is never overwritten, or it cannot be written.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise FileExistsError(f'{out} is there already and is not overwritten; name a new folder')
    runs = [finished(workdir) for workdir in workdirs]
    first = runs[0]
    scored = scores(runs)
    kept: dict[str, Any] = {key: first.meta[key] for key in KEPT if key in first.meta}  # type: ignore[literal-required]
    if first.meta.get('pid_names'):
        kept['labels'] = {f'unknown {label}': label for label in first.meta['labels'].values()}
    experiment = without_paths(first.experiment)
    said = published.Published(
        name=out.resolve().name,
        step=first.step,
        checkpoint={'config': config.to_dict(experiment), **kept},
        sha256='',
        license=license,
        data_terms=data_terms,
        scores=scored,
        versions={'jaxreid': jaxreid.__version__, 'jax': jax.__version__},
    )
    arrays = traverse_util.flatten_dict(checkpoint.read_arrays(*checkpoint.find(first.workdir)), sep='/')
    with atomic.folder(out) as folder:
        published.write(folder, arrays, said)
        atomic.write(folder / SETTINGS, command_line.settings_text(experiment))
        said = published.read(folder)
        atomic.write(folder / CARD, card(said, experiment, sum(x.size for k, x in arrays.items() if k[:6] == 'params')))
        network_lib.Network.load(folder)  # whoever gets the folder can load it
    return said


def card(said: published.Published, experiment: config.Experiment, parameters: int) -> str:
    """The model card: front matter that the hub reads, and a text for people."""
    rows = [one['result'] for one in said['scores']]
    measured = [
        {
            'task': {'type': TASK, 'name': 'Video person re-identification'},
            'dataset': {'type': row['protocol']['dataset'], 'name': row.get('tested_on', row['protocol']['dataset'])},
            'metrics': [
                {'type': kind, 'value': round(value, 2), 'name': f'{kind} ({row["protocol"]["name"]})'}
                for kind, value in (('mAP', row['mAP']), ('rank-1', row['cmc']['1']))
            ],
        }
        for row in rows
    ]
    front = {
        'license': said['license'],
        'library_name': 'jaxreid',
        'pipeline_tag': TASK,
        'tags': ['person-re-identification', 'video', 'jax', experiment.system],
        'model-index': [{'name': said['name'], 'results': measured}],
    }
    template = pathlib.Path(__file__).with_name('card.md.jinja').read_text()
    return jinja2.Template(template, keep_trailing_newline=True).render(
        front=[f'{key}: {json.dumps(value)}' for key, value in front.items()],  # JSON is YAML
        said=said,
        experiment=experiment,
        parameters=parameters,
        table=results.table(cast(list[results.Result], rows)),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m jaxreid.weights.publish WORKDIR [WORKDIR ...] OUT`."""
    parser = commands.parser('publish', __doc__)
    parser.add_argument('workdirs', nargs='+', type=pathlib.Path, metavar='WORKDIR', help='of a finished training')
    parser.add_argument('out', type=pathlib.Path, metavar='OUT', help='new folder; its name is the name of the network')
    parser.add_argument(
        '--license', default='unknown', help='of the weights, as the hub calls it: apache-2.0 (%(default)s)'
    )
    parser.add_argument('--data-terms', default=UNSAID, help='of the data trained on, in words (%(default)s)')
    options = parser.parse_args(argv)
    logging.set_verbosity(logging.FATAL)  # Orbax logs errors that it raises too

    def act() -> None:
        said = publish(options.workdirs, options.out, license=options.license, data_terms=options.data_terms)
        score = said['scores'][0]
        seeds = len(score['over_seeds']['mAP']['seeds'])
        print(f'{options.out}: step {said["step"]}, mAP {score["result"]["mAP"]:.2f}, {seeds} seed{"s"[: seeds > 1]}')
        print(f'read {options.out / CARD} first; then share it: hf upload OWNER/NAME {options.out}')
        if 'unknown' in said['license'] or said['data_terms'] == UNSAID:
            print('note: say the licence of the weights with --license, and the terms of the data with --data-terms')

    return exit_status.run(act)


if __name__ == '__main__':
    sys.exit(main())
