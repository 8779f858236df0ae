"""What the commands have in common: settings from arguments, set-up of the process, errors as one message."""

import ast
import dataclasses
import importlib.util
import json
import logging
import os
import pathlib
import re
import sys
import tempfile
import textwrap
from collections.abc import Callable, Sequence

import jax
from absl import flags
from absl import logging as absl_logging

import jaxreid
from jaxreid import config, configs
from jaxreid.data.datasets import catalogue
from jaxreid.process import cache, exit_status, freed_memory

CONFIGS = pathlib.Path(configs.__path__[0])  # those that jaxreid brings
DEFAULT_CONFIG = 'strf_synthetic'
_PARSERS: dict[type, flags.ArgumentParser] = {
    bool: flags.BooleanParser(), int: flags.IntegerParser(), float: flags.FloatParser(), str: flags.ArgumentParser()
}  # fmt: skip


def run(act: Callable[[], int]) -> int:
    """Runs a command that parses its arguments: as `exit_status.run`, and 2 for arguments that cannot be."""

    def explained() -> int:
        try:
            return act()
        except SystemExit as e:  # of argparse, which has said what is wrong, or helped
            return int(e.code or 0)
        except flags.Error as e:
            return exit_status.fail(f'{e}\nTry --help.', 2)

    return exit_status.run(explained)


def config_path(file: str) -> pathlib.Path:
    """The config file that is meant: a path, or the name of one that jaxreid brings, also as configs/NAME.py.

    Raises:
      ConfigError: there is none; names the nearest.
    """
    path = pathlib.Path(file)
    if path.suffix == '.py' and path.is_file():
        return path
    stem = path.stem if path.suffix == '.py' else path.name
    if stem and path.parent in (pathlib.Path(), pathlib.Path('configs')) and (CONFIGS / f'{stem}.py').is_file():
        return CONFIGS / f'{stem}.py'
    known = sorted(one.stem for one in CONFIGS.glob('*_*.py') if one.stem != '__init__')
    raise config.ConfigError(
        f'there is no config file {file!r}: it is neither a .py file here nor the name of one that jaxreid brings.'
        + config.nearest(stem, known)
    )


def read_config_file(spec: str) -> config.Experiment:
    """Settings of `FILE` or `FILE:VARIANT`, see `config_path`; not validated.

    Raises:
      ConfigError: no such file or variant, or a file that cannot be run or gives no settings.
    """
    file, _, variant = spec.partition(':')
    path = config_path(file)
    # In our package wherever it lies, so that `from .recipes import strf` works in a copy of one of our files.
    module_spec = importlib.util.spec_from_file_location(f'{configs.__name__}.{path.stem}', path)
    assert module_spec  # since the path ends in .py
    assert module_spec.loader
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
        made = module.get_config(*filter(None, [variant]))
    except config.ConfigError:
        raise
    except (Exception, SystemExit, GeneratorExit) as e:  # whatever a person's file may raise
        said = ' '.join(str(e).split())
        raise config.ConfigError(f'{path} cannot be read as a config file: {type(e).__name__}: {said}') from e
    if not isinstance(made, config.Experiment):
        raise config.ConfigError(f'get_config of {path} gives {type(made).__name__}, expected a config.Experiment')
    for name, kind in config.sections().items():
        if not isinstance(node := vars(made).get(name), kind):
            raise config.ConfigError(f'{path}: config.{name} is {node!r:.60}, expected a {kind.__name__} section')
        if strange := vars(node).keys() - {field.name for field in dataclasses.fields(kind)}:
            raise config.ConfigError(f'{path}: {config.unknown_field(f"{name}.{min(strange)}")}')
    if strange := vars(made).keys() - {'system', *config.sections()}:
        raise config.ConfigError(f'{path}: {config.unknown_field(min(strange))}')
    return made


def unchecked_config(spec: str, changes: Sequence[str] = ()) -> config.Experiment:
    """Settings of a config file, see `read_config_file`, with changes '--config.section.field=value'; not validated.

    The value may also be the next of `changes`; a setting that is true or false needs none (--noconfig... says false).

    Raises:
      ConfigError, flags.Error: no such file, variant or setting, or a value of another type.
    """
    experiment, rest = read_config_file(spec), list(changes)
    while rest:
        argument = rest.pop(0)
        option, equals, text = argument.partition('=')
        named = re.fullmatch(r'--?(no)?config\.(.+)', option)
        if named is None:
            if argument.startswith('-'):
                raise flags.UnrecognizedFlagError(option.lstrip('-'))
            raise flags.Error(f'unexpected argument {argument!r}; options start with --')
        if (one := config.settings().get(named[2])) is None:
            raise config.unknown_field(named[2])
        if not equals and one.kind is bool:
            text = 'false' if named[1] else 'true'
        elif not equals:
            if not rest:
                raise flags.Error(f'Missing value for flag {argument}')
            text = rest.pop(0)
        try:
            config.apply(experiment, {one.path: _value(one, text)})
        except (ValueError, TypeError) as e:
            raise flags.Error(f'flag {argument}: {e}') from e
    return experiment


def _value(one: config.Setting, text: str) -> object:
    """What a text says of a setting. Of tuples (1, 2), or 1, 2, or one entry alone."""
    if not one.is_tuple:
        return _PARSERS[one.kind].parse(text)
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def read_config(spec: str, changes: Sequence[str] = ()) -> config.Experiment:
    """`unchecked_config`, validated: settings as every command reads them."""
    return config.validate(unchecked_config(spec, changes))


def settings_text(experiment: config.Experiment, recipe: str = '') -> str:
    """Settings as TOML for people: first those that differ from the recipe, then all that matter to the system.

    Args:
      experiment: validated settings.
      recipe: see `read_config_file`; '': the defaults are.
    """
    usual, values = (
        config.flatten(of) for of in (read_config_file(recipe) if recipe else config.Experiment(), experiment)
    )
    changed = [path for path in config.settings() if values[path] != usual[path]]
    start = recipe or 'the defaults'
    lines = [
        f'# Settings of a run of jaxreid {jaxreid.__version__}, for people: a checkpoint carries its own.',
        f'# {len(changed) or "None"} of them differ{"s" * (len(changed) == 1)} from {start}{":" * bool(changed)}',
        *(f'#   {path} = {_toml(values[path])}, there {_toml(usual[path])}' for path in changed),
    ]
    section = None
    for path, one in config.settings().items():
        if one.section and one.section not in config.sections_of(experiment):
            continue
        if one.section != section:
            section = one.section
            lines += ['', *([f'[{section}]  # {config.sections()[section].__doc__}'] if section else [])]
        said = one.meaning + f' [{one.unit}]' * bool(one.unit)
        lines.append(
            f'{one.name} = {_toml(values[path])}'.ljust(32) + f'  # {textwrap.shorten(said, 90, placeholder=" ...")}'
        )
    return '\n'.join(lines) + '\n'


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).encode(errors='backslashreplace').decode()  # names are of any bytes


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


def default_workdir(spec: str) -> pathlib.Path:
    """`configs/strf_mars.py:table2_p3db` -> `runs/strf_mars-table2_p3db`."""
    path, _, variant = spec.partition(':')
    return pathlib.Path('runs') / (pathlib.Path(path).stem + (f'-{variant}' if variant else ''))


def make_workdir(workdir: pathlib.Path) -> None:
    """Creates the workdir and makes sure that it can be written to."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=workdir).close()
    except OSError as e:
        raise OSError(f'cannot write to the workdir {workdir}: {e}; choose another --workdir') from e


def set_up(compute_dtype: str) -> None:
    """Process-wide settings: 64-bit numbers where asked for, one heap, JAX's compilation cache."""
    if compute_dtype == 'float64':
        jax.config.update('jax_enable_x64', True)
    freed_memory.one_heap()
    # Orbax logs its own defaults, and tracebacks of errors that it raises as well.
    absl_logging.set_verbosity(absl_logging.FATAL)
    logging.getLogger('asyncio').setLevel(logging.CRITICAL)
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
