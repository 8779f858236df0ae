"""What the commands have in common: config files and their variants, the process' settings, messages."""

import pathlib

import jax
import pytest
from absl import flags

from jaxreid import command_line, config

OWN = """
from jaxreid.configs import strf_synthetic

def get_config(variant='tiny'):
    made = strf_synthetic.get_config('tiny')
    made.optim.lr = {'tiny': 0.25, 'fast': 0.5}[variant]
    return made
"""


CHANGED = 'from jaxreid import config\ndef get_config():\n    made = config.Experiment()\n    made.{}\n    return made'


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_config_is_a_file_or_the_name_of_one_that_jaxreid_brings(here):
    brought = command_line.CONFIGS / 'strf_mars.py'
    for file in ('strf_mars', 'strf_mars.py', 'configs/strf_mars.py'):
        assert command_line.config_path(file) == brought
    for file in ('elsewhere/strf_mars.py', 'strf_mras', ''):
        with pytest.raises(config.ConfigError, match='there is no config file'):
            command_line.config_path(file)
    with pytest.raises(config.ConfigError, match="Did you mean 'strf_mars'"):
        command_line.config_path('strf_mras')
    (here / 'strf_mars.py').write_text(OWN)
    assert command_line.config_path('strf_mars.py') == pathlib.Path('strf_mars.py')
    assert command_line.config_path('strf_mars') == brought


def test_a_file_of_ones_own_gives_the_settings_of_its_variant(here):
    (here / 'own.py').write_text(OWN)
    assert command_line.read_config('own.py').optim.lr == 0.25
    changed = command_line.read_config('own.py:fast', ['--config.backbone.width=8'])
    assert (changed.optim.lr, changed.backbone.width) == (0.5, 8)
    (here / 'own.py').write_text(OWN.replace('from jaxreid.configs import', 'from . import'))  # a copy of one of ours
    assert command_line.read_config('own.py').optim.lr == 0.25


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        ('def get_config():\n    return {}', 'get_config of own.py gives dict, expected a config.Experiment'),
        ('def get_config():\n    return 1 / 0', 'own.py cannot be read as a config file: ZeroDivisionError'),
        ('x = 1', "own.py cannot be read as a config file: AttributeError: .*'get_config'"),
        ('def get_config(): pass', 'get_config of own.py gives NoneType'),
        ('get_config = 3', 'TypeError: .*not callable'),
        ('def get_config(needed): pass', 'TypeError: .*needed'),
        ('import nothing_there', 'ModuleNotFoundError'),
        ('def f(): f()\nf()', 'RecursionError'),
        ('import sys; sys.exit(3)', 'own.py cannot be read as a config file: SystemExit: 3'),
        ('raise GeneratorExit', 'GeneratorExit'),
        ('raise ValueError("a\\nb")', 'ValueError: a b$'),
        ('x = "\0"', 'SyntaxError'),
        ('def get_config(:', 'SyntaxError'),
        (CHANGED.format('data = None'), r'own\.py: config\.data is None, expected a Data section'),
        (CHANGED.format('data = config.Test()'), r'own\.py: config\.data is Test\(.*, expected a Data section'),
        (CHANGED.format('__dict__.pop("data")'), r'own\.py: config\.data is None, expected a Data section'),
        (CHANGED.format('optim.lrr = 3'), r"own\.py: unknown setting config\.optim\.lrr\. Did you mean 'optim\.lr'"),
        (CHANGED.format('train_ = 3'), r'own\.py: unknown setting config\.train_'),
    ],
)
def test_a_file_that_gives_no_settings_is_named(here, text, problem):
    (here / 'own.py').write_text(text)
    with pytest.raises(config.ConfigError, match=problem):
        command_line.read_config('own.py')


def test_what_is_left_of_the_arguments_is_refused():
    with pytest.raises(flags.Error, match="unexpected argument 'eval'; options start with --"):
        command_line.unchecked_config('strf_synthetic:tiny', ['--config.backbone.width=8', 'eval'])


def test_an_error_is_told_by_its_root(capsys):
    def act():
        command_line.unchecked_config('strf_synthetic:tiny', ['--config.optim.lr=fast'])

    assert command_line.run(act) == 2
    said = capsys.readouterr().err
    assert 'could not convert string to float' in said
    assert said.endswith('\nTry --help.\n')


def test_arguments_that_argparse_refused_or_explained_give_its_status():
    for given, expected in ((2, 2), (0, 0), (None, 0)):

        def act(status=given):
            raise SystemExit(status)

        assert command_line.run(act) == expected


def test_a_real_data_set_needs_a_root_or_records():
    e = command_line.read_config('strf_mars')
    with pytest.raises(config.ConfigError, match='so the mars data set cannot be found'):
        command_line.check_root(e)
    for changes in (['--config.data.root=/data'], ['--config.data.records=/data', '--config.data.store=records']):
        command_line.check_root(command_line.read_config('strf_mars', changes))
    command_line.check_root(command_line.read_config('strf_synthetic'))


def test_the_workdir_is_named_after_the_file_and_its_variant():
    assert command_line.default_workdir('configs/strf_mars.py:table2_p3db') == pathlib.Path(
        'runs/strf_mars-table2_p3db'
    )
    assert command_line.default_workdir('strf_mars') == pathlib.Path('runs/strf_mars')


def test_the_process_has_64_bits_where_asked_and_its_compilation_cache_where_the_user_has_none(monkeypatch, tmp_path):
    monkeypatch.setenv('JAXREID_CACHE', str(tmp_path / 'cache'))
    changed = {}
    monkeypatch.setattr(jax.config, 'update', changed.__setitem__)
    monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', '/of/the/user')
    command_line.set_up('float32')
    assert not changed
    monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR')
    command_line.set_up('float64')
    assert changed.pop('jax_enable_x64') is True
    assert changed.pop('jax_compilation_cache_dir') == str(tmp_path / 'cache' / 'xla')
    assert list(changed) == ['jax_persistent_cache_min_compile_time_secs']
    assert (tmp_path / 'cache').is_dir()
