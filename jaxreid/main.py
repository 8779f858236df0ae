"""Trains, evaluates, extracts or summarises a person re-identification system.

  python -m jaxreid.main                                    the synthetic benchmark, rendered on first use
  python -m jaxreid.main --config configs/strf_mars.py --config.data.root=/path/to/MARS
  python -m jaxreid.main --config configs/strf_mars.py:table2_p3db --mode summary
  python -m jaxreid.main --config configs/strf_mars.py --config.data.root=... --mode eval --checkpoint runs/strf_mars

A config file may name variants after a colon; single settings change with --config.section.field=value (all settings,
units and defaults: jaxreid/config.py). The same --workdir continues an interrupted run. Ctrl-C and SIGTERM save first.
"""

import os
import pathlib
import sys

import jax
from absl import flags, logging
from ml_collections import config_flags

from jaxreid import cache, checkpoint, config, interrupt, summary, train
from jaxreid.data import source
from jaxreid.evaluation import from_checkpoint

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
    flags.DEFINE_bool('help', False, 'Show this and stop.', short_name='h', flag_values=v)
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


def settings_help(experiment: config.Experiment) -> str:
    """Every setting with its value in the chosen config file."""
    lines = [f'  --config.{name}={value!r}' for name, value in config.flatten(experiment).items()]
    return '\n'.join(['Settings, as the chosen config file has them (meaning and units: jaxreid/config.py):', *lines])


def default_workdir(spec: str) -> pathlib.Path:
    """`configs/strf_mars.py:table2_p3db` -> `runs/strf_mars-table2_p3db`."""
    path, _, variant = spec.partition(':')
    return pathlib.Path('runs') / (pathlib.Path(path).stem + (f'-{variant}' if variant else ''))


def check_root(experiment: config.Experiment) -> None:
    """Stops early, and says what to do, where a real data set was not named."""
    if experiment.data.dataset == 'synthetic' or experiment.data.root:
        return
    raise config.ConfigError(
        f'config.data.root is empty, so the {experiment.data.dataset} data set cannot be found.\n'
        'Add --config.data.root=/path/to/the/folder.\n'
        f'{source.layout(experiment.data.dataset)}\n'
        'To try jaxreid without a data set run python -m jaxreid.main (renders a synthetic one).'
    )


def run(argv: list[str]) -> int:
    """Parses, dispatches, and turns expected errors into one message and an exit status."""
    try:
        try:
            values = define_flags(argv)
            rest = values(argv)
        except KeyError as e:  # config_flags raises it bare for unknown settings
            raise explain_key_error(e, argv) from e
        if values.help:
            print(__doc__)
            print(values.get_help())
            print(settings_help(values.config))
            return 0
        if len(rest) > 1:
            raise flags.Error(f'unexpected argument {rest[1]!r}; options start with --')
        experiment = config.validate(values.config)
        spec = next((a.split('=', 1)[1] for a in argv if a.startswith('--config=')), None)
        spec = spec or next((argv[i + 1] for i, a in enumerate(argv[:-1]) if a == '--config'), str(DEFAULT_CONFIG))
        workdir = pathlib.Path(values.workdir or default_workdir(spec))
        check_flags(values)
        if values.mode != 'summary':
            check_root(experiment)
        set_up(experiment, values)
        match values.mode:
            case 'train':
                make_workdir(workdir)
                train.train_and_evaluate(experiment, workdir)
            case 'eval' | 'extract':
                make_workdir(workdir)
                source = pathlib.Path(values.checkpoint or workdir)
                from_checkpoint.run(experiment, workdir, source, scored=values.mode == 'eval')
            case 'summary':
                make_workdir(workdir)
                summary.write(experiment, workdir)
        return 0
    except interrupt.Interrupted as e:
        return fail(str(e), 128 + e.number)
    except KeyboardInterrupt:
        return fail('interrupted; run the same command again', 130)
    except flags.Error as e:
        return fail(f'{explain_flag_error(e)}\nTry --help.', 2)
    except (config.ConfigError, checkpoint.CheckpointError, train.NonFiniteLoss, ValueError, OSError) as e:
        if os.environ.get('JAXREID_TRACEBACK'):
            raise
        return fail(f'{e}', 1)


def fail(message: str, status: int) -> int:
    """Prints an error for people; `JAXREID_TRACEBACK=1` shows where it came from."""
    print(f'\njaxreid: {message}', file=sys.stderr)
    return status


def explain_flag_error(error: Exception) -> str:
    """config_flags puts a traceback into its messages; what a person needs is the error at its root."""
    root: BaseException = error
    while root.__cause__ or root.__context__:
        root = root.__cause__ or root.__context__ or root
    if isinstance(root, config.ConfigError):
        return str(root)
    text = str(error).split('Traceback')[0].strip()
    return text if str(root) in text else f'{text} {type(root).__name__}: {root}'


def explain_key_error(error: KeyError, argv: list[str]) -> Exception:
    """The unknown setting that made config_flags fail, with the nearest valid name."""
    known = config.flatten(config.Experiment())
    sections = {k.rpartition('.')[0] for k in known}
    for argument in argv:
        path = argument.removeprefix('--config.').split('=')[0]
        if argument.startswith('--config.') and path not in known and path not in sections:
            return config.unknown_field(path)
    return config.ConfigError(f'a config file could not be read: {error}')


def make_workdir(workdir: pathlib.Path) -> None:
    """Creates the workdir and makes sure that it can be written to."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / f'.probe.{os.getpid()}'
        probe.touch()
        probe.unlink()
    except OSError as e:
        raise OSError(f'cannot write to the workdir {workdir}: {e}; choose another --workdir') from e


def set_up(experiment: config.Experiment, values: flags.FlagValues) -> None:
    """Process-wide settings of JAX: processes, 64-bit numbers where asked for, the compilation cache."""
    flags.FLAGS([sys.argv[0]])  # grain's worker processes refuse to start before absl's own flags are parsed
    if values.distributed or values.coordinator:
        jax.distributed.initialize(values.coordinator, values.num_processes, values.process_id)
    if experiment.train.compute_dtype == 'float64':
        jax.config.update('jax_enable_x64', True)
    logging.set_verbosity(logging.ERROR)  # Orbax warns about its own defaults
    try:
        cache.folder().mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise OSError(
            f'cannot use the cache folder {cache.folder()}: {e}; set JAXREID_CACHE to a writable folder'
        ) from e
    if not os.environ.get('JAX_COMPILATION_CACHE_DIR'):
        jax.config.update('jax_compilation_cache_dir', str(cache.folder() / 'xla'))
        jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)


def main() -> None:
    """Entry point of `python -m jaxreid.main` and of the `jaxreid` command."""
    sys.exit(run(sys.argv))


if __name__ == '__main__':
    main()
