"""The page on the papers' claims as Markdown and JSON: rows, paired difference, ceiling, verdict."""

import pathlib
import statistics
from collections.abc import Sequence
from typing import TypedDict

import jax

from jaxreid.process import atomic
from jaxreid.reproduce import paired
from jaxreid.reproduce import table as report_table
from jaxreid.reproduce.published import claims

METRICS: dict[claims.Metric, str] = {
    'mAP': 'mAP',
    'rank1': 'rank-1',
    'look_alike_rank1': 'rank-1 among look-alikes',
    'spatial_items': 'spatial items read',
    'temporal_items': 'temporal items read',
}
HEAD = (
    'claim', 'where', 'measure', 'row', 'against', 'seeds', 'row', 'against', 'difference, 95 %', 'ceiling', 'share',
    'verdict',
)  # fmt: skip


class Seed(TypedDict):
    """Both rows of a claim with one seed; None where a run is not finished or its result lacks the metric."""

    seed: int
    row: float | None
    against: float | None
    ceiling: float | None
    failed: list[str]  # runs and why


class Entry(TypedDict):
    """A claim as the JSON file holds it; numbers in percent or percentage points, of memories in items.

    Rows, difference and ceiling are of the seeds that both rows have. `interval`: ends of the 95 % interval of the
    difference. `share`: of the ceiling.
    """

    name: str
    says: str
    expected: claims.Expected
    row: str
    against: str
    commands: tuple[str, str]  # of the first seed
    where: str
    metric: claims.Metric
    stratum: str
    seeds: list[Seed]
    row_values: report_table.Measured | None
    against_values: report_table.Measured | None
    difference: float | None
    interval: tuple[float, float] | None
    ceiling_by: str
    ceiling: float | None
    share: float | None
    verdict: paired.Verdict


class Page(TypedDict):
    """All claims, and what they were measured with."""

    dataset: str
    jax: str
    device: str
    steps: list[int]  # of the trainings
    claims: list[Entry]


def about(claim: claims.Claim) -> str:
    """Where, by what and against which ceiling a claim is measured on the rendered benchmark."""
    ceiling = f'; ceiling: {claim.ceiling}' if claim.ceiling else ''
    return f'{claim.rendered}; {METRICS[claim.metric]}{_queries(claim)}{ceiling}; expected: {claim.expected}'


def _queries(claim: claims.Claim) -> str:
    return f' of queries with {claim.stratum[0]} {", ".join(claim.stratum[1])}' if claim.stratum else ''


def entry(name: str, claim: claims.Claim, where: str, seeds: Sequence[Seed], *, commands: tuple[str, str]) -> Entry:
    """A claim from what its seeds gave."""
    both = [(s['row'], s['against']) for s in seeds if s['row'] is not None and s['against'] is not None]
    ours, theirs = [one for one, _ in both], [other for _, other in both]
    compared = paired.compare(ours, theirs)
    helped = [c for s in seeds if (c := s['ceiling']) is not None and None not in (s['row'], s['against'])]
    ceiling = statistics.fmean(helped) if helped else None
    gain = compared.mean if claim.expected == 'gain' else None
    return Entry(
        name=name,
        says=claim.says,
        expected=claim.expected,
        row=claim.row,
        against=claim.against,
        commands=commands,
        where=where,
        metric=claim.metric,
        stratum=_queries(claim).strip(),
        seeds=list(seeds),
        row_values=report_table.measured(ours) if ours else None,
        against_values=report_table.measured(theirs) if theirs else None,
        difference=compared.mean,
        interval=compared.interval,
        ceiling_by=claim.ceiling,
        ceiling=ceiling,
        share=paired.share(gain, ceiling),
        verdict=compared.verdict,
    )


def write(path: pathlib.Path, dataset: str, entries: Sequence[Entry], steps: list[int]) -> tuple[str, pathlib.Path]:
    """Writes `<path>.md` and `<path>.json`, each whole or not at all; returns the Markdown, and where it is."""
    page = Page(
        dataset=dataset,
        jax=jax.__version__,
        device=f'{len(jax.devices())} x {jax.devices()[0].device_kind}',
        steps=steps,
        claims=list(entries),
    )
    text = markdown(page)
    return text, atomic.write_page(path, text, page)


def markdown(page: Page) -> str:
    """The text of a page."""
    steps = ' to '.join(str(step) for step in sorted({*page['steps'][:1], *page['steps'][-1:]}))
    lines = [
        '# What the papers claim, row against row',
        '',
        f'Ours on {page["dataset"]}, percent; jax {page["jax"]}, {page["device"]}; trainings of {steps or "no"} steps.',
    ]
    if page['dataset'] == 'synthetic':
        lines.append('Networks of reduced size on rendered pictures: the numbers say nothing about real footage.')
    lines += [
        "Mean ± standard deviation over seeds; the difference is paired by seed, with its 95 % interval (Student's t).",
        'The ceiling is what an oracle gains on the row without the part. *gain*: the interval lies above 0; *loss*:',
        'below; *no difference shown*: else.',
        '',
        '| ' + ' | '.join(HEAD) + ' |',
        '|' + '---|' * len(HEAD),
    ]
    lines += [_line(one) for one in page['claims']]
    lines += ['', '| claim | what is said | expected | ceiling by | difference by seed |', '|---|---|---|---|---|']
    lines += [
        f'| {one["name"]} | {one["says"]} | {one["expected"]} | {one["ceiling_by"] or "–"} | {_by_seed(one)} |'
        for one in page['claims']
    ]
    failed = sorted({why for one in page['claims'] for seed in one['seeds'] for why in seed['failed']})
    if failed:
        lines += ['', 'Failed:', '', *(f'- {why}' for why in failed)]
    return '\n'.join(lines) + '\n'


def _line(one: Entry) -> str:
    done = sum(s['row'] is not None and s['against'] is not None for s in one['seeds'])
    ends = f', {one["interval"][0]:+.1f} to {one["interval"][1]:+.1f}' if one['interval'] else ''
    cells = [
        one['name'],
        one['where'],
        f'{METRICS[one["metric"]]} {one["stratum"]}'.strip(),
        f'`{one["row"]}`',
        f'`{one["against"]}`',
        str(done) if done == len(one['seeds']) else f'{done} of {len(one["seeds"])}',
        report_table.measured_text(one['row_values']),
        report_table.measured_text(one['against_values']),
        '–' if one['difference'] is None else f'{one["difference"]:+.1f}{ends}',
        '–' if one['ceiling'] is None else f'{one["ceiling"]:+.1f}',
        '–' if one['share'] is None else f'{one["share"]:.0%}',
        one['verdict'],
    ]
    return '| ' + ' | '.join(cells) + ' |'


def _by_seed(one: Entry) -> str:
    found = [
        f'{s["seed"]}: {s["row"] - s["against"]:+.1f}'
        for s in one['seeds']
        if s['row'] is not None and s['against'] is not None
    ]
    return ', '.join(found) or '–'
