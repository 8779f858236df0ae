"""Runs the rows of a published table and writes ours beside the paper's.

  python -m jaxreid.reproduce --list                                       every table and row
  python -m jaxreid.reproduce sta-table1 --dataset synthetic               all rows, one after the other
  python -m jaxreid.reproduce stmn-table1 --dataset mars --root /path/to/MARS --seeds 0,1,2
  python -m jaxreid.reproduce stmn-table1 --dataset mars --dry-run         commands and costs; opens no data set
  python -m jaxreid.reproduce claims --help                                what the papers claim, row against row

Every row and seed has a folder of its own under --workdir. The same command continues: finished rows are read, a row
that was stopped or killed goes on where it was. Rows that differ only in how they are tested share one training. After
every row <workdir>/TABLE-DATASET.md and .json are written anew.
"""

import argparse
import functools
import pathlib
from collections.abc import Callable, Sequence

import jax
from absl import flags

from jaxreid import command_line, config
from jaxreid.configs.recipes import small
from jaxreid.data.datasets import catalogue
from jaxreid.process import commands, exit_status, interrupt, metrics_log
from jaxreid.reproduce import costs as dry_run
from jaxreid.reproduce import one_run
from jaxreid.reproduce import table as report_table
from jaxreid.reproduce.published import paper, tables
from jaxreid.training import in_flight

Left = dict[pathlib.Path, one_run.Finished | str]  # by folder of a run: what it left, or why it failed
TRIALS = 5  # draws of queries where settings are chosen on held-out identities (STMN section 4.1)


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Options, and the settings `--config.x.y=v` that every row receives.

    Raises:
      flags.Error: anything else that is not known.
    """
    parser = commands.parser('reproduce', __doc__)
    parser.add_argument('table', nargs='?', help='as --list names it, e.g. stmn-table1')
    parser.add_argument('--preset', choices=tuple(small.SIZES), help='synthetic: its size; demo by default')
    parser.add_argument('--splits', help='which, of a data set that has several; all by default')
    parser.add_argument('--rows', help='variants, with commas between; all by default')
    return parsed(parser, argv)


def parsed(parser: argparse.ArgumentParser, argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """As `parse`, with what tables and claims have in common added to the parser."""
    parser.add_argument('--dataset', help='as data.dataset names it, where the system has a config for it: see --list')
    parser.add_argument('--root', help='folder of the data set')
    parser.add_argument('--workdir', type=pathlib.Path, help='default runs/reproduce/<dataset>[-<preset>]')
    parser.add_argument('--seeds', default='0', help='e.g. 0,1,2: mean and spread are reported')
    parser.add_argument('--list', action='store_true', help='print what there is to run, and stop')
    parser.add_argument('--dry-run', action='store_true', help='print commands and costs, and stop')
    parser.epilog = commands.as_started(
        '--config.section.field=value is passed on to every row; see python -m jaxreid.main --help.'
    )
    options, rest = parser.parse_known_args(argv)
    for argument in rest:
        if not (argument.startswith('--config.') and '=' in argument):
            raise flags.Error(f'unexpected argument {argument!r}; settings are written --config.section.field=value')
    return options, rest


def numbers(text: str, option: str) -> list[int]:
    """'0,1,2' -> [0, 1, 2]. Raises flags.Error: something else; names the option."""
    try:
        listed = [int(part) for part in text.split(',')]
    except ValueError:
        listed = []
    if not listed or min(listed) < 0 or len(set(listed)) != len(listed):
        raise flags.Error(f'{option}={text} is not a list of different numbers such as 0,1,2')
    return listed


def datasets(system: str) -> list[str]:
    """Published or rendered data sets that a system has a config for."""
    known = [one.name for one in catalogue.by_name().values() if one.num_ids]
    return [name for name in known if (command_line.CONFIGS / f'{system}_{name}.py').is_file()]


def plan(table: paper.Table, options: argparse.Namespace, overrides: list[str]) -> list[one_run.Run]:
    """The runs of all rows of a table, in order. Raises flags.Error, config.ConfigError: options that cannot be."""
    dataset = options.dataset
    seeds = numbers(options.seeds, '--seeds')
    if any(
        o.startswith(('--config.train.seed=', '--config.data.split=', '--config.data.part_trial=')) for o in overrides
    ):
        raise flags.Error('reproduce sets seed, split and draw of queries itself; use --seeds and --splits')
    facts = catalogue.find(dataset)
    if options.splits and facts.num_splits == 1:
        several = [one.name for one in catalogue.by_name().values() if one.num_splits > 1]
        raise flags.Error(f'--splits belongs to {" and ".join(several)}; {dataset} has one split')
    if options.preset and not facts.presets:
        raise flags.Error(f'--preset belongs to --dataset synthetic, not to {dataset}')
    splits = numbers(options.splits, '--splits') if options.splits else list(range(facts.num_splits))
    root = [f'--config.data.root={options.root}'] if options.root else []
    runs: list[one_run.Run] = []
    for index, row in enumerate(table.rows):
        variant = row.variant + (f',{options.preset}' if options.preset else '')
        stem = f'{table.system}_{dataset}'
        spec = f'configs/{stem}.py:{variant}'
        first = command_line.read_config(spec, root + overrides)
        trials = range(TRIALS if first.data.part == 'validation' and not facts.own_validation else 1)
        for seed in seeds:
            for split in splits:
                for trial in trials:
                    own = [f'--config.train.seed={seed}']
                    name = f'{stem}-{variant}-seed{seed}'
                    if facts.num_splits > 1:
                        own.append(f'--config.data.split={split}')
                        name += f'-split{split}'
                    if len(trials) > 1:
                        own.append(f'--config.data.part_trial={trial}')
                        name += f'-trial{trial}'
                    added = (*root, *overrides, *own)
                    experiment = command_line.read_config(spec, list(added))
                    runs.append(one_run.Run(index, spec, experiment, options.workdir / name, added))
    return runs


def chosen(table: paper.Table, runs: list[one_run.Run], names: str | None) -> list[one_run.Run]:
    """Those runs whose variants `--rows` names; all where it is not given.

    Raises:
      config.ConfigError: one is not a row of the table; names the nearest.
    """
    known = [row.variant for row in table.rows]
    wanted = names.split(',') if names else known
    for name in wanted:
        if name not in known:
            raise config.ConfigError(f'the table has no row {name!r}.{config.nearest(name, known)}')
    return [run for run in runs if table.rows[run.row].variant in wanted]


def reproduce(
    title: str,
    every: Sequence[one_run.Run],
    wanted: Sequence[tuple[str, one_run.Run]],
    write: Callable[[Left], tuple[str, pathlib.Path]],
    after: Callable[[one_run.Run, one_run.Finished], object] = lambda run, left: None,
) -> int:
    """Makes the labelled runs that are not finished, and the report of `every` run after each; 1 where one failed.

    `after` is called with each that has finished, before its report.
    """
    with interrupt.listen() as requests, requests.at_once():
        for _, run in wanted:
            command_line.check_root(run.experiment)
        command_line.parse_absl()
        command_line.set_up(every[0].experiment.train.compute_dtype)
        command_line.make_workdir(every[0].folder.parent)
        left: Left = {run.folder: done for run in every if (done := one_run.finished(run))}
        text, path = write(left)
        metrics_log.say(f'{title}: {len(every)} runs, {len(left)} of them finished')
        status = 0
        for number, (label, run) in enumerate(wanted, 1):
            status |= execute(run, f'[{number}/{len(wanted)}] {label}'.rstrip(), left)
            if isinstance(now := left[run.folder], dict):
                after(run, now)
            text, path = write(left)
        metrics_log.say(f'\n{text}\nwritten to {path} and {path.with_suffix(".json").name}')
        return status


def execute(run: one_run.Run, head: str, results: Left) -> int:
    """Runs one that is not among the results, and puts there what it left or why it failed; 1 where it failed."""
    head = f'{head} ({run.folder.name})'
    if run.folder in results:
        metrics_log.say(f'{head}: finished')
        return 0
    metrics_log.say(f'\n{head}\n{run.command()}')
    try:
        results[run.folder] = one_run.execute(run)
        return 0
    except in_flight.NonFiniteLoss as e:  # of this row only: the others can still be had
        exit_status.fail(f'{head}: {e}', 1)
        results[run.folder] = str(e)
        return 1
    finally:
        jax.clear_caches()  # programs of a row are of no use to the next, and a table has many


def list_tables(name: str | None) -> str:
    """Every table (or one) with its rows, variants and data sets."""
    lines = []
    for key in [name] if name else tables.TABLES:
        table = tables.find(key)
        lines += [f'{key}: {table.title}', f'  --dataset {", ".join(datasets(table.system))}']
        lines += [f'  {row.variant:<44}{row.label}' for row in table.rows] + ['']
    return '\n'.join(lines)


def place(options: argparse.Namespace, what: str, known: Sequence[str]) -> None:
    """Gives the options a workdir where they name none.

    Raises:
      flags.Error: the data set is not one of the known ones, that `what` can be run on.
    """
    if options.dataset not in known:
        raise flags.Error(f'--dataset {options.dataset}: {what} can be run on {", ".join(known)}')
    preset = f'-{options.preset}' if options.preset else ''
    options.workdir = options.workdir or pathlib.Path('runs') / 'reproduce' / f'{options.dataset}{preset}'


def run(argv: list[str]) -> int:
    """Parses and dispatches; returns the exit status."""
    options, overrides = parse(argv)
    if options.list:
        print(list_tables(options.table))
        return 0
    if not options.table:
        raise flags.Error('which table? --list names them all')
    table = tables.find(options.table)
    place(options, options.table, datasets(table.system))
    every = plan(table, options, overrides)
    wanted = [(table.rows[run.row].label, run) for run in chosen(table, every, options.rows)]
    if options.dry_run:
        command_line.set_up(every[0].experiment.train.compute_dtype)
        dry_run.show(table.title, wanted)
        return 0
    report = options.workdir / f'{options.table}-{options.dataset}'
    write = functools.partial(report_table.write, report, options.table, options.dataset, every)
    return reproduce(f'{table.title}, {options.dataset}', every, wanted, write)
