"""Runs what the papers claim of their parts, row against row, and writes for each whether it is so.

  python -m jaxreid.reproduce claims --list                                       every claim and its rows
  python -m jaxreid.reproduce claims --dataset synthetic --seeds 0,1,2,3,4        all, on the rendered benchmark
  python -m jaxreid.reproduce claims --dataset synthetic --claims stmn-tm,strf-p3dc
  python -m jaxreid.reproduce claims --dataset mars --root /path/to/MARS --seeds 0,1,2,3,4
  python -m jaxreid.reproduce claims --dataset synthetic --dry-run                trainings and their cost

Every training has a folder of its own under --workdir, that of the tables; claims that share a row share its training.
The same command continues. Seed by seed all claims are run, and after every run <workdir>/claims-DATASET.md and .json
are written anew: both rows' mean and deviation, the paired difference with its 95 % interval, how much an oracle gains
on the row without the part, the share of it that the part takes, and a verdict.
On the rendered benchmark every claim has a preset, and rows are trained for a short time from a small trained C2D, but
for those of claims that compare whole trainings.
"""

import argparse
import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence, Set
from typing import Any, TypedDict, cast

import numpy as np
from absl import flags

from jaxreid import command_line
from jaxreid.configs.recipes import small
from jaxreid.data.datasets import catalogue
from jaxreid.data.synthetic import plan as plan_lib
from jaxreid.data.synthetic import render
from jaxreid.evaluation import feature_file, protocols, results, strata
from jaxreid.evaluation.references import ceilings
from jaxreid.process import atomic, commands, json_file, metrics_log
from jaxreid.reproduce import claims_page, one_run, runs
from jaxreid.reproduce import costs as dry_run
from jaxreid.reproduce.published import claims


@dataclasses.dataclass(frozen=True)
class Pair:
    """Both rows of a claim with one seed."""

    name: str
    seed: int
    row: one_run.Run
    against: one_run.Run


class View(TypedDict):
    """Scores of a network that an oracle helps, percent; `strata` are differences to the network by itself."""

    name: str
    mAP: float
    rank1: float
    look_alike_rank1: float | None
    strata: list[strata.Stratum]


class Ceilings(TypedDict):
    """What is kept in ceilings.json of a run.

    row: its result. asked: names of oracles. views: without an oracle, and with each that the data has a use for; none
    of a network that sees flow. skeletons: rank-1 inside look-alike groups of one who sees
    skeletons in order.
    """

    row: results.Result
    asked: list[str]
    views: list[View]
    skeletons: float | None


Results = Mapping[pathlib.Path, one_run.Finished | str]


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Options, and the settings that every row receives; as `runs.parse`."""
    parser = commands.parser('reproduce', __doc__, sub='claims')
    parser.add_argument('--claims', help='names, with commas between, run in this order; all by default')
    parser.add_argument(
        '--preset', choices=tuple(small.SIZES), help='synthetic: all claims on this one, not on their own'
    )
    return runs.parsed(parser, argv)


def datasets() -> list[str]:
    """That claims can be run on: of one split, with a config of a system that claims something."""
    systems = {claim.system for claim in claims.CLAIMS.values()}
    known = dict.fromkeys(name for system in sorted(systems) for name in runs.datasets(system))
    return [name for name in known if catalogue.find(name).num_splits == 1]


def found_on(dataset: str, names: str | None) -> dict[str, claims.Claim]:
    """The chosen claims as they are compared on a data set.

    On one that is not rendered all queries count, no oracle helps, and what would be the same comparison is made once.
    """
    chosen = claims.chosen(names)
    if catalogue.find(dataset).rendered:
        return chosen
    made: dict[str, claims.Claim] = {}
    for name, claim in chosen.items():
        metric = 'mAP' if claim.metric == 'look_alike_rank1' else claim.metric
        plain = dataclasses.replace(claim, rendered='', stratum=(), ceiling='', metric=metric, whole=False)
        same = (claim.system, claim.row, claim.against, metric)
        if dataset in runs.datasets(claim.system) and same not in [
            (one.system, one.row, one.against, one.metric) for one in made.values()
        ]:
            made[name] = plain
    return made


def plan(options: argparse.Namespace, overrides: list[str]) -> list[Pair]:
    """Both rows of all chosen claims, seed by seed; a training that several claims have is the same `Run`.

    Raises:
      flags.Error, config.ConfigError: options that cannot be.
    """
    if any(o.startswith(('--config.train.seed=', '--config.data.preset=')) for o in overrides):
        raise flags.Error('claims set seed and preset themselves; use --seeds and --preset')
    rendered = catalogue.find(options.dataset).rendered
    if options.preset and not rendered:
        raise flags.Error(f'--preset belongs to --dataset synthetic, not to {options.dataset}')
    made: dict[tuple[str, str, int, bool], one_run.Run] = {}

    def run(claim: claims.Claim, variant: str, seed: int) -> one_run.Run:
        if rendered:
            *added, preset = claim.rendered.split(',')
            variant = ','.join([variant, *added, options.preset or preset])
        key = claim.system, variant, seed, claim.whole
        if key not in made:
            made[key] = _run(options, overrides, *key)
        return made[key]

    return [
        Pair(name, seed, run(claim, claim.row, seed), run(claim, claim.against, seed))
        for seed in runs.numbers(options.seeds, '--seeds')
        for name, claim in found_on(options.dataset, options.claims).items()
    ]


def _run(
    options: argparse.Namespace, overrides: list[str], system: str, variant: str, seed: int, whole_training: bool
) -> one_run.Run:
    stem = f'{system}_{options.dataset}'
    spec = f'configs/{stem}.py:{variant}'
    added = [f'--config.data.root={options.root}'] if options.root else []
    if catalogue.find(options.dataset).rendered and not whole_training:
        experiment = command_line.read_config(spec, added)
        steps = claims.LONGER.get(experiment.data.preset, claims.STEPS)
        epochs = max(round(steps / (dry_run.steps_per_epoch(experiment) or steps)), 2)
        added += [
            '--config.backbone.init=rendered', f'--config.train.epochs={epochs}',
            '--config.train.eval_every_epochs=0', '--config.test.references=false',
            *([f'--config.optim.lr={claims.RATES[system]}'] if system in claims.RATES else []),
        ]  # fmt: skip
    added += [*overrides, f'--config.train.seed={seed}']
    folder = options.workdir / f'{stem}-{variant}-{"whole-" if whole_training else ""}seed{seed}'
    return one_run.Run(0, spec, command_line.read_config(spec, added), folder, tuple(added))


def trainings(pairs: Sequence[Pair]) -> list[one_run.Run]:
    """The runs of pairs, each once, in order."""
    return list({run.folder: run for pair in pairs for run in (pair.row, pair.against)}.values())


def value(claim: claims.Claim, run: one_run.Run, left: one_run.Finished) -> float | None:
    """What the metric of a claim is in a run; None where its result does not have it."""
    row = left['row']
    match claim.metric:
        case 'look_alike_rank1':
            return _inside_groups(run)
        case 'spatial_items' | 'temporal_items':
            used = row.get('used_items', {}).get(claim.metric)
            return used['used'] if used else None
        case _ if claim.stratum:
            return in_stratum(row.get('strata', []), claim)
    return row['mAP'] if claim.metric == 'mAP' else row['cmc']['1']


def in_stratum(found: Sequence[strata.Stratum], claim: claims.Claim) -> float | None:
    """Mean over the queries of a claim's stratum; None without any."""
    attribute, wanted = claim.stratum or ('', ())
    mine = [one for one in found if one['attribute'] == attribute and one['stratum'] in wanted]
    queries = sum(one['queries'] for one in mine)
    values = [one['queries'] * (one['mAP'] if claim.metric == 'mAP' else one['rank1']) for one in mine]
    return sum(values) / queries if queries else None


def _inside_groups(run: one_run.Run) -> float | None:
    """Rank-1 inside the look-alike groups of the rendered benchmark, percent."""
    found = feature_file.load(run.folder / 'features.npz')
    test = run.experiment.test
    rule, groups = protocols.named(test.protocols[0]), _description(run).groups['test']
    inside = protocols.look_alike_rank1(found, rule, groups, distance=test.distance)
    return _number(inside.rank1)


def _description(run: one_run.Run) -> plan_lib.Plan:
    data = run.experiment.data
    return plan_lib.read(render.ensure(data.root, data.preset))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def kept_ceilings(run: one_run.Run, left: one_run.Finished) -> Ceilings | None:
    """What oracles made of a finished run's network, where that was computed of this result."""
    file = run.folder / 'ceilings.json'
    kept = json_file.read(file, dict[str, Any], advice='remove it') if file.is_file() else {}
    return cast(Ceilings, kept) if kept.get('row') == left['row'] else None


def help_by_oracles(run: one_run.Run, left: one_run.Finished, oracles: Set[str]) -> None:
    """Computes what oracles make of a finished run's network, where it is not known yet; `kept_ceilings` has it."""
    kept = kept_ceilings(run, left)
    if kept and oracles <= set(kept['asked']):
        return
    oracles = oracles | set(kept['asked'] if kept else ())
    data = run.experiment.data
    trained = run.folder if left['trained'] else run.folder.parent / str(left['checkpoint_of'])
    metrics_log.say(f'what oracles gain on {trained.name}')
    views: list[View] = []
    if data.flow == 'off' and oracles != {claims.SKELETONS}:
        views = [
            View(
                name=one.name,
                mAP=one.map,
                rank1=one.rank1,
                look_alike_rank1=_number(one.look_alike_rank1),
                strata=one.strata,
            )
            for one in ceilings.ceilings(ceilings.load(render.ensure(data.root, data.preset), trained), only=oracles)
        ]
    bones = None
    if claims.SKELETONS in oracles and (description := _description(run)).groups['test']:
        bones = ceilings.skeletons(description, frames=run.experiment.test.frames)[claims.SKELETONS].accuracy
    made = Ceilings(row=left['row'], asked=sorted(oracles), views=views, skeletons=bones)
    atomic.write_json(run.folder / 'ceilings.json', made)


def ceiling(claim: claims.Claim, run: one_run.Run, left: one_run.Finished) -> float | None:
    """What the oracle of a claim gains on its row without the part, in the claim's metric and queries.

    None where there is no oracle for the claim, its data have no use for it, or it has not been asked yet.
    """
    helped = kept_ceilings(run, left)
    if not claim.ceiling or helped is None:
        return None
    if claim.ceiling == claims.SKELETONS:
        inside = _inside_groups(run)
        return None if inside is None or helped['skeletons'] is None else helped['skeletons'] - inside
    view = next((one for one in helped['views'] if one['name'] == claim.ceiling), None)
    if view is None:
        return None
    if claim.stratum:
        return in_stratum(view['strata'], claim)
    plain = helped['views'][0]
    return view['mAP'] - plain['mAP'] if claim.metric == 'mAP' else view['rank1'] - plain['rank1']


def of_seed(claim: claims.Claim, pair: Pair, left: Results) -> claims_page.Seed:
    """What is known of a pair."""
    row, against = left.get(pair.row.folder), left.get(pair.against.folder)
    failed = [
        f'{run.folder.name}: {why}' for run, why in ((pair.row, row), (pair.against, against)) if isinstance(why, str)
    ]
    return claims_page.Seed(
        seed=pair.seed,
        row=value(claim, pair.row, row) if isinstance(row, dict) else None,
        against=value(claim, pair.against, against) if isinstance(against, dict) else None,
        ceiling=ceiling(claim, pair.against, against) if isinstance(against, dict) else None,
        failed=failed,
    )


def write(options: argparse.Namespace, pairs: Sequence[Pair], left: Results) -> tuple[str, pathlib.Path]:
    """Writes the page and its JSON; returns the text and where it is."""
    entries = []
    for name, claim in found_on(options.dataset, options.claims).items():
        mine = [pair for pair in pairs if pair.name == name]
        data = mine[0].row.experiment.data
        where = f'{options.dataset}, {data.preset}' if claim.rendered else options.dataset
        values = [of_seed(claim, pair, left) for pair in mine]
        commands = mine[0].row.command(), mine[0].against.command()
        entries.append(claims_page.entry(name, claim, where, values, commands=commands))
    steps = sorted({one['row']['step'] for one in left.values() if isinstance(one, dict)})
    return claims_page.write(options.workdir / f'claims-{options.dataset}', options.dataset, entries, steps)


def listed(names: str | None) -> str:
    """Every claim with its rows and where it is looked at."""
    lines = [f'--dataset {", ".join(datasets())}', '']
    for name, claim in claims.chosen(names).items():
        lines += [f'{name}: {claim.says}', f'  {claim.system}: {claim.row} against {claim.against}']
        lines += [f'  synthetic: {claims_page.about(claim)}', '']
    return '\n'.join(lines)


def run(argv: list[str]) -> int:
    """Parses and dispatches; returns the exit status."""
    options, overrides = parse(argv)
    if options.list:
        print(listed(options.claims))
        return 0
    runs.place(options, 'claims', datasets())
    pairs = plan(options, overrides)
    every = trainings(pairs)
    if options.dry_run:
        command_line.set_up(every[0].experiment.train.compute_dtype)
        dry_run.show(f'{len(every)} runs', [(run.folder.name, run) for run in every])
        return 0
    asked = found_on(options.dataset, options.claims)
    oracles: dict[pathlib.Path, set[str]] = {}
    for pair in pairs:
        if by := asked[pair.name].ceiling:
            oracles.setdefault(pair.against.folder, set()).add(by)

    def after(run: one_run.Run, left: one_run.Finished) -> None:
        if run.folder in oracles:
            help_by_oracles(run, left, oracles[run.folder])

    title = f'{len(asked)} claims, {options.dataset}'
    write_page = functools.partial(write, options, pairs)
    return runs.reproduce(title, every, [('', run) for run in every], write_page, after)
