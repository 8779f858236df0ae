"""`data.split = all`: every split of a data set, one run each, and what papers give: mean and spread."""

import copy
import pathlib
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import cast

import jax

from jaxreid import command_line, config
from jaxreid.data.datasets import catalogue
from jaxreid.evaluation import evaluate, protocols, results
from jaxreid.process import metrics_log
from jaxreid.reproduce import one_run
from jaxreid.training import checkpoint

# Counts that differ between splits; what one split's row has them for is in its own folder.
_OF_ONE_SPLIT = ('answered_queries', 'unanswered_queries', 'gallery_size', 'queries_in_gallery', 'frames_seen')


def train(experiment: config.Experiment, workdir: pathlib.Path, *, recipe: str = '') -> list[results.Result]:
    """Trains and evaluates every split in `workdir`/split0 to split9; finished ones are read, stopped ones continue.

    A row per protocol, as `mean`; results.json in `workdir` has them in the end. `recipe`: as `loop` takes it.
    """
    results.read(workdir / 'results.json')  # before any work: a file of something else stops here
    rows = []
    splits = _names(experiment)
    for split in splits:
        folder = workdir / f'split{split}'
        run = one_run.Run(0, recipe, _of_split(experiment, split), folder, ())
        left = one_run.finished(run)
        metrics_log.say(f'\nsplit {split} of {len(splits)}: {folder}{", finished" if left else ""}')
        left = left or one_run.execute(run)
        rows.append(left['rows'])
        jax.clear_caches()  # programs of ten runs would stay in memory
    return _report(rows, workdir)


def from_checkpoints(
    experiment: config.Experiment, workdir: pathlib.Path, path: pathlib.Path, *, scored: bool
) -> list[results.Result]:
    """Extracts, and where asked scores, every split with the network that was trained on it.

    `path`: folder of `train`, whose splits each have a checkpoint; or one checkpoint of another data set for all.

    Raises:
      CheckpointError: one checkpoint, and of this data set: it was trained on people that other splits test.
    """
    splits = _names(experiment)
    own = [path / f'split{split}' for split in splits]
    if not any(folder.is_dir() for folder in own):
        own = [path] * len(own)
        _check_other_data(experiment, path)
    rows = []
    for split, source in zip(splits, own, strict=True):
        folder = workdir / f'split{split}'
        command_line.make_workdir(folder)
        metrics_log.say(f'\nsplit {split} of {len(splits)}: {folder}')
        rows.append(evaluate.run(_of_split(experiment, split), folder, source, scored=scored))
    return _report(rows, workdir) if scored else []


def _names(experiment: config.Experiment) -> tuple[str, ...]:
    return catalogue.find(experiment.data.dataset).split_names()[:-1]


def _of_split(experiment: config.Experiment, split: str) -> config.Experiment:
    made = copy.deepcopy(experiment)
    made.data.split = split
    return config.validate(made)


def _check_other_data(experiment: config.Experiment, path: pathlib.Path) -> None:
    folder, at = checkpoint.find(path)
    trained = config.from_dict(checkpoint.read_meta(folder, at)['config']).data
    names = [trained.dataset, *(name.partition(':')[0] for name in config.also_names(trained))]
    if experiment.data.dataset in names:
        raise checkpoint.CheckpointError(
            f'checkpoint {folder / str(at)} was trained on a split of {experiment.data.dataset} and has seen people of '
            'all the others. Give the folder of a run with --config.data.split=all, or --config.data.split='
            f'{trained.split}.'
        )


def mean(rows: Sequence[results.Result]) -> results.Result:
    """One row for the rows that one protocol has in every split.

    Returns:
      As a row of one split, but 'mAP', 'mINP' and 'cmc' are means and 'mAP_std', 'mINP_std' and 'cmc_std' sample
      standard deviations; 'splits' has every split's numbers. Of the protocol, what the splits have in common.
    """
    ranks = rows[0]['cmc']
    common = {
        k: v
        for k, v in rows[0]['protocol'].items()
        if k not in _OF_ONE_SPLIT and all(row['protocol'].get(k) == v for row in rows)
    }

    def over_splits(reduce: Callable[[Iterable[float]], float]) -> tuple[float, float, dict[str, float]]:
        by_rank = {k: reduce([row['cmc'][k] for row in rows]) for k in ranks}
        return reduce([row['mAP'] for row in rows]), reduce([row['mINP'] for row in rows]), by_rank

    means, spreads = over_splits(statistics.mean), over_splits(statistics.stdev)
    return {
        'protocol': cast(protocols.Description, common),
        'mAP': means[0],
        'mINP': means[1],
        'mAP_std': spreads[0],
        'mINP_std': spreads[1],
        'cmc': means[2],
        'cmc_std': spreads[2],
        'step': max(row['step'] for row in rows),
        'selected': rows[0]['selected'],
        'trained_on': _of_all([row['trained_on'] for row in rows]),
        'tested_on': _of_all([row['tested_on'] for row in rows]),
        'splits': [
            results.SplitScore(
                tested_on=row['tested_on'], step=row['step'], mAP=row['mAP'], mINP=row['mINP'], cmc=row['cmc']
            )
            for row in rows
        ],
    }


def _of_all(texts: Sequence[str]) -> str:
    """'NAME split 0', ... 'NAME split 9' -> 'NAME split all'."""
    if len(set(texts)) == 1:
        return texts[0]
    return texts[0].replace('split 0', 'split all', 1)


def table(row: results.Result) -> str:
    """Every split's numbers, and their mean and standard deviation."""
    ranks = list(row['cmc'])
    lines = [f'{row["tested_on"]}, {row["protocol"]["name"]}; trained on {row["trained_on"]}; {row["selected"]}']
    lines.append(f'{"split":<6}' + ''.join(f'{name:>8}' for name in ('mAP', *(f'R-{k}' for k in ranks), 'mINP')))
    listed = [(str(i), one['mAP'], one['cmc'], one['mINP']) for i, one in enumerate(row['splits'])]
    listed.append(('mean', row['mAP'], row['cmc'], row['mINP']))
    listed.append(('+-', row['mAP_std'], row['cmc_std'], row['mINP_std']))
    for name, m_ap, cmc, m_inp in listed:
        lines.append(f'{name:<6}' + ''.join(f'{x:8.2f}' for x in (m_ap, *(cmc[k] for k in ranks), m_inp)))
    return '\n'.join(lines)


def _report(rows: Sequence[Sequence[results.Result]], workdir: pathlib.Path) -> list[results.Result]:
    """Prints and writes the means of the rows [split][protocol]."""
    means = [mean(of_protocol) for of_protocol in zip(*rows, strict=True)]
    for row in means:
        metrics_log.say('\n' + table(row))
    if jax.process_index() == 0:
        results.append(workdir / 'results.json', means)
    metrics_log.say(f'\nresults   {workdir / "results.json"}')
    return means
