"""A reproduced table as Markdown and JSON: ours beside the paper's, row by row."""

import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import jax

from jaxreid.evaluation import protocols
from jaxreid.process import atomic
from jaxreid.reproduce import one_run
from jaxreid.reproduce.published import paper, tables

NAMES = {'mAP': 'mAP', 'rank1': 'R-1', 'rank5': 'R-5', 'rank10': 'R-10', 'rank20': 'R-20'}


Left = one_run.Finished | str | None  # of a run: its results, why it failed, or nothing yet


class Measured(TypedDict):
    """A metric over the runs of a row, percent; the deviation is the sample's, None of a single run."""

    mean: float
    deviation: float | None
    values: list[float]


class RunEntry(TypedDict):
    """One run of a row; the last four where it is finished."""

    folder: str
    command: str
    status: str
    error: NotRequired[str]
    checkpoint_of: NotRequired[str | None]
    step: NotRequired[int]
    scores: NotRequired[dict[str, float]]
    protocol: NotRequired[protocols.Description]


class RowEntry(TypedDict):
    """A row: the paper's figures and ours, by metric."""

    label: str
    variant: str
    command: str | None
    paper: dict[str, paper.Value]
    status: str
    ours: dict[str, Measured]
    runs: list[RunEntry]


class Report(TypedDict):
    """A table as its JSON file holds it."""

    table: str
    title: str
    note: str
    dataset: str
    paper_dataset: str | None
    config: str | None
    overrides: list[str]
    jax: str
    device: str
    rows: list[RowEntry]


def write(
    path: pathlib.Path,
    name: str,
    dataset: str,
    runs: Sequence[one_run.Run],
    results: Mapping[pathlib.Path, one_run.Finished | str],
) -> tuple[str, pathlib.Path]:
    """Writes `<path>.md` and `<path>.json`, each whole or not at all; returns the Markdown, and where it is.

    `path` is without suffix. `results`, by folder of a run: what `one_run.finished` reads, or why it failed; others
    count as not run.
    """
    report = collect(name, dataset, runs, results)
    text = markdown(report)
    return text, atomic.write_page(path, text, report)


def collect(
    name: str, dataset: str, runs: Sequence[one_run.Run], results: Mapping[pathlib.Path, one_run.Finished | str]
) -> Report:
    """The table as plain values; see `write`."""
    table = tables.find(name)
    of_paper = paper_dataset(table, dataset)
    rows: list[RowEntry] = []
    for index, row in enumerate(table.rows):
        mine = [run for run in runs if run.row == index]
        lefts = [results.get(run.folder) for run in mine]
        rows.append(
            {
                'label': row.label,
                'variant': mine[0].spec.partition(':')[2] if mine else row.variant,
                'command': mine[0].command() if mine else None,
                'paper': dict(row.paper.get(of_paper, {})) if of_paper else {},
                'status': _status(lefts),
                'ours': _ours(lefts),
                'runs': [_one(run, left) for run, left in zip(mine, lefts, strict=True)],
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


def _scores(left: one_run.Finished) -> dict[str, float]:
    row = left['row']
    return {'mAP': row['mAP']} | {f'rank{k}': value for k, value in row['cmc'].items()}


def _one(run: one_run.Run, left: Left) -> RunEntry:
    made: RunEntry = {'folder': run.folder.name, 'command': run.command(), 'status': 'not run'}
    if isinstance(left, str):
        return {**made, 'status': 'failed', 'error': left}
    if left is None:
        return made
    return {
        **made,
        'status': 'finished',
        'checkpoint_of': left['checkpoint_of'],
        'step': left['row']['step'],
        'scores': _scores(left),
        'protocol': left['row']['protocol'],
    }


def _ours(lefts: Sequence[Left]) -> dict[str, Measured]:
    done = [_scores(left) for left in lefts if isinstance(left, dict)]
    ours: dict[str, Measured] = {}
    for metric in done[0] if done else ():
        ours[metric] = measured([scores[metric] for scores in done])
    return ours


def measured(values: Sequence[float]) -> Measured:
    """Mean and deviation of what the runs of a row gave."""
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {'mean': statistics.mean(values), 'deviation': spread, 'values': list(values)}


def _status(lefts: Sequence[Left]) -> str:
    done = sum(isinstance(left, dict) for left in lefts)
    if any(isinstance(left, str) for left in lefts):
        return 'failed'
    if not done:
        return 'not run'
    return 'finished' if done == len(lefts) else f'{done} of {len(lefts)} runs'


def markdown(report: Report) -> str:
    """The text of a collected table."""
    papers = [metric for metric in paper.METRICS if any(metric in row['paper'] for row in report['rows'])]
    shown = [metric for metric in paper.METRICS if metric in ('mAP', 'rank1') or metric in papers]
    theirs = 'paper' if report['paper_dataset'] == report['dataset'] else f'paper, {report["paper_dataset"]}'
    head = ['row', 'variant', 'runs', 'steps']
    for metric in shown:
        head += [NAMES[metric], theirs] if metric in papers else [NAMES[metric]]
    lines = ['| ' + ' | '.join(head) + ' |', '|' + '---|' * len(head)]
    for row in report['rows']:
        done = [run for run in row['runs'] if run['status'] == 'finished']
        steps = '/'.join(str(step) for step in sorted({run['step'] for run in done}))
        status = str(len(done)) if row['status'] == 'finished' else row['status']
        cells = [row['label'], f'`{row["variant"]}`', status, steps or '–']
        for metric in shown:
            cells.append(measured_text(row['ours'].get(metric)))
            if metric in papers:
                cells.append(_printed(row['paper'].get(metric)))
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join([f'# {report["title"]}', '', *_circumstances(report), '', *lines]) + '\n'


def measured_text(value: Measured | None) -> str:
    """Mean and, of several runs, deviation; a dash where there is none."""
    if value is None:
        return '–'
    return f'{value["mean"]:.1f}' + (f' ± {value["deviation"]:.1f}' if value['deviation'] is not None else '')


def _printed(value: paper.Value | None) -> str:
    if value is None:
        return '–'
    return f'{value[0]:.1f} to {value[1]:.1f}' if isinstance(value, tuple | list) else f'{value:.1f}'


def _circumstances(report: Report) -> list[str]:
    """What a number of the table depends on."""
    lines = [f'Ours on {report["dataset"]}, percent; jax {report["jax"]}, {report["device"]}; `{report["config"]}`.']
    if report['dataset'] == 'synthetic':
        lines.append(
            'A network of reduced size on rendered pictures: the numbers say nothing about the data set beside it.'
        )
    if report['overrides']:
        lines.append('Changed in every row: ' + ' '.join(f'`{o}`' for o in report['overrides']) + '.')
    if any(len(row['runs']) > 1 for row in report['rows']):
        lines.append('Mean ± standard deviation over the runs (seeds, splits, draws of queries) of a row.')
    done = [run for row in report['rows'] for run in row['runs'] if run['status'] == 'finished']
    if done:
        p = done[0]['protocol']
        lines.append(
            f'Protocol `{p["name"]}`, {p["ap"]} AP, {p["answered_queries"]} queries answered, '
            f'{p["distance"]} distance; clips of each row are in the JSON file.'
        )
    return lines + ([report['note']] if report['note'] else [])
