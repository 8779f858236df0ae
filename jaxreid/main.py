"""Trains, evaluates, extracts or summarises a person re-identification system.

  python -m jaxreid.main                                    the synthetic benchmark, rendered on first use
  python -m jaxreid.main --config configs/strf_mars.py --config.data.root=/path/to/MARS
  python -m jaxreid.main --config configs/strf_mars.py:table2_p3db --mode summary
  python -m jaxreid.main --config configs/strf_mars.py --config.data.root=... --mode eval --checkpoint runs/strf_mars

A config file may name variants after a colon; single settings change with --config.section.field=value.
--help lists the settings of the chosen file's system with their meaning, --helpfull all. The same --workdir continues
an interrupted run. Ctrl-C and SIGTERM save first.
"""

import pathlib
import sys
import textwrap

import jax
from absl import flags
from ml_collections import config_flags

from jaxreid import command_line, config, summary, train
from jaxreid.evaluation import evaluate
from jaxreid.reproduce import ten_splits as splits

DEFAULT_CONFIG = pathlib.Path(__file__).resolve().parents[1] / 'configs' / 'strf_synthetic.py'
MODES = ('train', 'eval', 'extract', 'summary')


def define_flags(argv: list[str]) -> flags.FlagValues:
    """The command line's flags, in a set of their own so that a process can parse more than once.

    Args:
      argv: config_flags reads the overrides `--config.x.y=v` from it while flags are defined.
    """
    v = flags.FlagValues()
    flags.DEFINE_enum(
        'mode', 'train', MODES, 'train (evaluates too), eval, extract (features), summary.', flag_values=v
    )
    flags.DEFINE_string(
        'workdir', None, 'For results; the same resumes. Default runs/<config>[-<variant>].', flag_values=v
    )
    flags.DEFINE_string(
        'checkpoint', None, 'eval, extract: workdir or checkpoint. Default: the workdir.', flag_values=v
    )
    flags.DEFINE_bool('distributed', False, 'Join a multi-process run on a cluster that JAX knows.', flag_values=v)
    flags.DEFINE_string('coordinator', None, 'Multi-process elsewhere: host:port of process 0.', flag_values=v)
    flags.DEFINE_integer('num_processes', None, 'Multi-process elsewhere: how many.', flag_values=v)
    flags.DEFINE_integer('process_id', None, 'Multi-process elsewhere: which one this is, from 0.', flag_values=v)
    flags.DEFINE_bool('help', False, 'Show this, with the settings of the system, and stop.', v, short_name='h')
    flags.DEFINE_bool('helpfull', False, 'Show this, with all settings, and stop.', flag_values=v)
    config_flags.DEFINE_config_file(
        'config',
        str(DEFAULT_CONFIG),
        'FILE.py or FILE.py:VARIANT with get_config(variant).',
        flag_values=v,
        sys_argv=argv,
    )
    return v


def check_flags(values: flags.FlagValues) -> None:
    """Refuses flags that would be ignored."""
    if values.checkpoint and values.mode not in ('eval', 'extract'):
        raise flags.Error(
            f'--checkpoint belongs to --mode eval and extract; --mode {values.mode} continues its --workdir'
        )
    cluster = (values.coordinator, values.num_processes, values.process_id)
    if any(v is not None for v in cluster) and None in cluster:
        raise flags.Error('--coordinator, --num_processes and --process_id belong together; one is missing')


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


def default_workdir(spec: str) -> pathlib.Path:
    """`configs/strf_mars.py:table2_p3db` -> `runs/strf_mars-table2_p3db`."""
    path, _, variant = spec.partition(':')
    return pathlib.Path('runs') / (pathlib.Path(path).stem + (f'-{variant}' if variant else ''))


def run(argv: list[str]) -> int:
    """Parses, dispatches, and turns expected errors into one message and an exit status."""
    return command_line.run(lambda: dispatch(argv))


def dispatch(argv: list[str]) -> int:
    """Does what the command line asks for."""
    try:
        values = define_flags(argv)
        rest = values(argv)
    except KeyError as e:  # config_flags raises it bare for unknown settings
        raise command_line.explain_key_error(e, argv) from e
    if values.help or values.helpfull:
        print(__doc__)
        print(values.get_help())
        print(settings_help(values.config, everything=values.helpfull))
        return 0
    if len(rest) > 1:
        raise flags.Error(f'unexpected argument {rest[1]!r}; options start with --')
    experiment = config.validate(values.config)
    spec = next((a.split('=', 1)[1] for a in argv if a.startswith('--config=')), None)
    spec = spec or next((argv[i + 1] for i, a in enumerate(argv[:-1]) if a == '--config'), str(DEFAULT_CONFIG))
    workdir = pathlib.Path(values.workdir or default_workdir(spec))
    check_flags(values)
    if values.mode != 'summary':
        command_line.check_root(experiment)
    command_line.parse_absl()
    if values.distributed or values.coordinator:
        jax.distributed.initialize(values.coordinator, values.num_processes, values.process_id)
    command_line.set_up(experiment.train.compute_dtype)
    command_line.make_workdir(workdir)
    all_splits = experiment.data.split == 'all'
    match values.mode:
        case 'train' if all_splits:
            splits.train(experiment, workdir)
        case 'train':
            train.train_and_evaluate(experiment, workdir)
        case 'eval' | 'extract':
            source = pathlib.Path(values.checkpoint or workdir)
            act = splits.from_checkpoints if all_splits else evaluate.run
            act(experiment, workdir, source, scored=values.mode == 'eval')
        case 'summary':
            summary.write(experiment, workdir)
    return 0


def main() -> None:
    """Entry point of `python -m jaxreid.main` and of the `jaxreid` command."""
    sys.exit(run(sys.argv))


if __name__ == '__main__':
    main()
