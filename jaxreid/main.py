"""Trains, evaluates, extracts or summarises a person re-identification system.

  python -m jaxreid.main                                    the synthetic benchmark, rendered on first use
  python -m jaxreid.main --config configs/strf_mars.py --config.data.root=/path/to/MARS
  python -m jaxreid.main --config configs/strf_mars.py:table2_p3db --mode summary
  python -m jaxreid.main --config configs/strf_mars.py --config.data.root=... --mode eval --checkpoint runs/strf_mars

A config file may name variants after a colon; single settings change with --config.section.field=value.
--help lists the settings of the chosen file's system with their meaning, --helpfull all. The same --workdir continues
an interrupted run. Ctrl-C and SIGTERM save first.
"""

import argparse
import contextlib
import pathlib
import sys
import textwrap
from collections.abc import Sequence

from absl import flags

from jaxreid import command_line, config, summary
from jaxreid.api import calls
from jaxreid.process import commands, peers

MODES = ('train', 'eval', 'extract', 'summary')


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Options, and the settings `--config.section.field=value`. Raises flags.Error: options that would be ignored."""
    parser = commands.parser('train', __doc__, add_help=False)
    add = parser.add_argument
    add(
        '--config',
        default=command_line.DEFAULT_CONFIG,
        metavar='NAME[:VARIANT]',
        help='a name of configs/, or FILE.py with get_config(variant) (%(default)s)',
    )
    add('--mode', choices=MODES, default='train', help='train evaluates too; extract writes features (train)')
    add('--workdir', type=pathlib.Path, help='for results; the same resumes. Default runs/<config>[-<variant>]')
    add('--checkpoint', type=pathlib.Path, help='eval, extract: workdir or checkpoint. Default: the workdir')
    add('--distributed', action='store_true', help='join a multi-process run on a cluster that JAX knows')
    add('--coordinator', metavar='HOST:PORT', help='multi-process elsewhere: of process 0')
    add('--num-processes', type=int, help='multi-process elsewhere: how many')
    add('--process-id', type=int, help='multi-process elsewhere: which one this is, from 0')
    add('-h', '--help', action='store_true', help='show this, with the settings of the system, and stop')
    add('--helpfull', action='store_true', help='show this, with all settings, and stop')
    options, settings = parser.parse_known_args(argv)
    if options.help or options.helpfull:
        print(parser.format_help())
    if options.checkpoint and options.mode not in ('eval', 'extract'):
        raise flags.Error(
            f'--checkpoint belongs to --mode eval and extract; --mode {options.mode} continues its --workdir'
        )
    cluster = (options.coordinator, options.num_processes, options.process_id)
    if any(v is not None for v in cluster) and None in cluster:
        raise flags.Error('--coordinator, --num-processes and --process-id belong together; one is missing')
    return options, settings  # fmt: skip


def settings_help(experiment: config.Experiment, *, everything: bool) -> str:
    """Settings with their values in the chosen config file and their meaning: all, or what matters to its system."""
    chosen = config.sections() if everything else config.sections_of(experiment)
    lines = ['Settings, with their values in the chosen config file' + ('' if everything else ' (all: --helpfull):')]
    values, section = config.flatten(experiment), ''
    for path, one in config.settings().items():
        if one.section and one.section not in chosen:
            continue
        if one.section != section:
            section = one.section
            lines += ['', f'{section}: {config.sections()[section].__doc__}']
        lines.append(f'  --config.{path}={values[path]!r}' + f'  [{one.unit}]' * bool(one.unit))
        said = one.meaning + f' ({one.allowed})' * bool(one.allowed)
        lines.append(textwrap.fill(said, 120, initial_indent=6 * ' ', subsequent_indent=6 * ' '))
    return '\n'.join(lines)


def run(argv: list[str]) -> int:
    """Parses, dispatches, and turns expected errors into one message and an exit status."""
    return command_line.run(lambda: dispatch(argv))


def dispatch(argv: list[str]) -> int:
    """Does what the command line asks for."""
    options, settings = parse(argv[1:])
    experiment = command_line.unchecked_config(options.config, settings)
    if options.help or options.helpfull:
        print(settings_help(experiment, everything=options.helpfull))
        return 0
    config.validate(experiment)
    workdir = options.workdir or command_line.default_workdir(options.config)
    several = options.distributed or options.coordinator
    cluster = options.coordinator, options.num_processes, options.process_id
    with peers.joined(*cluster) if several else contextlib.nullcontext():
        match options.mode:
            case 'train':
                calls.train(experiment, workdir, recipe=options.config)
            case 'eval' | 'extract':
                calls.evaluate(experiment, options.checkpoint or workdir, workdir, scored=options.mode == 'eval')
            case 'summary':
                command_line.set_up(experiment.train.compute_dtype)
                command_line.make_workdir(workdir)
                summary.write(experiment, workdir)
    return 0


def main() -> None:
    """Entry point of `python -m jaxreid.main`."""
    sys.exit(run(sys.argv))


if __name__ == '__main__':
    main()
