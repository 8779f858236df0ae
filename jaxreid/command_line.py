"""What the commands have in common: settings from arguments, set-up of the process, errors as one message."""

import os
import pathlib
import sys
from collections.abc import Callable

import jax
from absl import flags, logging

from jaxreid import config
from jaxreid.data.datasets import catalogue
from jaxreid.process import cache, exit_status, freed_memory


def run(act: Callable[[], int]) -> int:
    """Runs a command with absl flags: as `exit_status.run`, and 2 for flags that cannot be."""

    def explained() -> int:
        try:
            return act()
        except flags.Error as e:
            return exit_status.fail(f'{explain_flag_error(e)}\nTry --help.', 2)

    return exit_status.run(explained)


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


def check_root(experiment: config.Experiment) -> None:
    """Stops early, and says what to do, where a real data set was not named."""
    facts = catalogue.find(experiment.data.dataset)
    if facts.rendered or experiment.data.root or experiment.data.records:
        return
    raise config.ConfigError(
        f'config.data.root is empty, so the {experiment.data.dataset} data set cannot be found.\n'
        'Add --config.data.root=/path/to/the/folder.\n'
        f'{facts.layout}\n'
        'To try jaxreid without a data set run python -m jaxreid.main (renders a synthetic one).'
    )


def make_workdir(workdir: pathlib.Path) -> None:
    """Creates the workdir and makes sure that it can be written to."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / f'.probe.{os.getpid()}'
        probe.touch()
        probe.unlink()
    except OSError as e:
        raise OSError(f'cannot write to the workdir {workdir}: {e}; choose another --workdir') from e


def set_up(compute_dtype: str) -> None:
    """Process-wide settings: 64-bit numbers where asked for, one heap, JAX's compilation cache.

    Args:
      compute_dtype: `train.compute_dtype` of the experiment.
    """
    if compute_dtype == 'float64':
        jax.config.update('jax_enable_x64', True)
    freed_memory.one_heap()
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


def parse_absl() -> None:
    """grain's worker processes refuse to start before absl's own flags are parsed."""
    flags.FLAGS([sys.argv[0]])
