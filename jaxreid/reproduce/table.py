"""A reproduced table as Markdown and JSON: ours beside the paper's, row by row."""

import json
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxreid.process import whole
from jaxreid.reproduce.published import paper, tables

NAMES = {'mAP': 'mAP', 'rank1': 'R-1', 'rank5': 'R-5', 'rank10': 'R-10', 'rank20': 'R-20'}


def write(
    path: pathlib.Path, name: str, dataset: str, runs: Sequence[Any], results: Mapping[pathlib.Path, dict | str]
) -> tuple[str, pathlib.Path]:
    """Writes `<path>.md` and `<path>.json`, each whole or not at all.

    Args:
      path: without suffix.
      name: of the table.
      dataset: that the rows ran on.
      runs: `reproduce.Run`s of all rows.
      results: by folder of a run: what `reproduce.finished` reads, or why it failed. Others count as not run.

    Returns:
      The Markdown, and where it is.
    """
    found = collect(name, dataset, runs, results)
    text = markdown(found)
    files = path.with_name(path.name + '.md'), path.with_name(path.name + '.json')
    for file, content in zip(files, (text, json.dumps(found, indent=1) + '\n')):
        with whole.file(file) as out:
            out.write(content.encode())
    return text, files[0]


def collect(name: str, dataset: str, runs: Sequence[Any], results: Mapping[pathlib.Path, dict | str]) -> dict[str, Any]:
    """The table as plain values; see `write`."""
    table = tables.find(name)
    of_paper = paper_dataset(table, dataset)
    rows = []
    for index, row in enumerate(table.rows):
        mine = [run for run in runs if run.row == index]
        rows.append(
            {
                'label': row.label,
                'variant': mine[0].spec.partition(':')[2] if mine else row.variant,
                'command': mine[0].command() if mine else None,
                'paper': dict(row.paper.get(of_paper, {})) if of_paper else {},
                **_ours([results.get(run.folder) for run in mine]),
                'runs': [_one(run, results.get(run.folder)) for run in mine],
            }
        )
    return {
        'table': name,
        'title': table.title,
        'note': table.note,
        'dataset': dataset,
        'paper_dataset': of_paper,
        'config': runs[0].spec.partition(':')[0] if runs else None,
        'overrides': [o for o in runs[0].overrides if not _per_run(o)] if runs else [],
        'jax': jax.__version__,
        'device': f'{len(jax.devices())} x {jax.devices()[0].device_kind}',
        'rows': rows,
    }


def paper_dataset(table: paper.Table, dataset: str) -> str | None:
    """Whose figures stand beside ours: the same data set's, and beside the rendered benchmark the paper's first."""
    known = table.datasets()
    if dataset == 'synthetic':
        return known[0] if known else None
    return dataset if dataset in known else None


def _per_run(override: str) -> bool:
    return override.startswith(
        ('--config.data.root=', '--config.train.seed=', '--config.data.split=', '--config.data.part_trial=')
    )


def _scores(left: dict[str, Any]) -> dict[str, float]:
    row = left['row']
    return {'mAP': row['mAP']} | {f'rank{k}': value for k, value in row['cmc'].items()}


def _one(run: Any, left: dict | str | None) -> dict[str, Any]:
    made = {'folder': run.folder.name, 'command': run.command(), 'status': 'not run'}
    if isinstance(left, str):
        return made | {'status': 'failed', 'error': left}
    if left is None:
        return made
    row = left['row']
    kept = {'step': row['step'], 'scores': _scores(left), 'protocol': row['protocol']}
    return made | {'status': 'finished', 'checkpoint_of': left['checkpoint_of']} | kept


def _ours(lefts: Sequence[dict | str | None]) -> dict[str, Any]:
    """Status, mean and standard deviation (of the sample; None of a single run) of a row's runs."""
    done = [_scores(left) for left in lefts if isinstance(left, dict)]
    ours = {}
    for metric in done[0] if done else ():
        values = [scores[metric] for scores in done]
        spread = statistics.stdev(values) if len(values) > 1 else None
        ours[metric] = {'mean': statistics.mean(values), 'deviation': spread, 'values': values}
    if any(isinstance(left, str) for left in lefts):
        status = 'failed'
    elif not done:
        status = 'not run'
    else:
        status = 'finished' if len(done) == len(lefts) else f'{len(done)} of {len(lefts)} runs'
    return {'status': status, 'ours': ours}


def markdown(found: dict[str, Any]) -> str:
    """The text of a collected table."""
    papers = [metric for metric in paper.METRICS if any(metric in row['paper'] for row in found['rows'])]
    shown = [metric for metric in paper.METRICS if metric in ('mAP', 'rank1') or metric in papers]
    theirs = 'paper' if found['paper_dataset'] == found['dataset'] else f'paper, {found["paper_dataset"]}'
    head = ['row', 'variant', 'runs', 'steps']
    for metric in shown:
        head += [NAMES[metric], theirs] if metric in papers else [NAMES[metric]]
    lines = ['| ' + ' | '.join(head) + ' |', '|' + '---|' * len(head)]
    for row in found['rows']:
        done = [run for run in row['runs'] if run['status'] == 'finished']
        steps = '/'.join(str(step) for step in sorted({run['step'] for run in done}))
        status = str(len(done)) if row['status'] == 'finished' else row['status']
        cells = [row['label'], f'`{row["variant"]}`', status, steps or '–']
        for metric in shown:
            cells.append(_measured(row['ours'].get(metric)))
            if metric in papers:
                cells.append(_printed(row['paper'].get(metric)))
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join([f'# {found["title"]}', '', *_circumstances(found), '', *lines]) + '\n'


def _measured(value: dict[str, Any] | None) -> str:
    if value is None:
        return '–'
    return f'{value["mean"]:.1f}' + (f' ± {value["deviation"]:.1f}' if value['deviation'] is not None else '')


def _printed(value: Any) -> str:
    if value is None:
        return '–'
    return f'{value[0]:.1f} to {value[1]:.1f}' if isinstance(value, tuple | list) else f'{value:.1f}'


def _circumstances(found: dict[str, Any]) -> list[str]:
    """What a number of the table depends on."""
    lines = [f'Ours on {found["dataset"]}, percent; jax {found["jax"]}, {found["device"]}; `{found["config"]}`.']
    if found['dataset'] == 'synthetic':
        lines.append(
            'A network of reduced size on rendered pictures: the numbers say nothing about the data set beside it.'
        )
    if found['overrides']:
        lines.append('Changed in every row: ' + ' '.join(f'`{o}`' for o in found['overrides']) + '.')
    if any(len(row['runs']) > 1 for row in found['rows']):
        lines.append('Mean ± standard deviation over the runs (seeds, splits, draws of queries) of a row.')
    done = [run for row in found['rows'] for run in row['runs'] if run['status'] == 'finished']
    if done:
        p = done[0]['protocol']
        lines.append(
            f'Protocol `{p["name"]}`, {p["ap"]} AP, {p["answered_queries"]} queries answered, '
            f'{p["distance"]} distance; clips of each row are in the JSON file.'
        )
    return lines + ([found['note']] if found['note'] else [])
