"""The `jaxreid` command: every program is in it, and options have one style."""

import ast
import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest

import jaxreid
from jaxreid.process import commands

ROOT = pathlib.Path(__file__).resolve().parents[2]
NO_COMMANDS = {'jaxreid/data/synthetic/render.py'}  # starts itself, as the processes that render


def test_every_program_is_a_command_and_every_command_a_program():
    files = [path for folder in ('jaxreid', 'data_pipelines') for path in (ROOT / folder).rglob('*.py')]
    runnable = {path for path in files if "if __name__ == '__main__':" in path.read_text()}
    named = set()
    for one in commands.COMMANDS.values():
        path = pathlib.Path(importlib.util.find_spec(one.module).origin)
        named.add(path.with_name('__main__.py') if path.name == '__init__.py' else path)
    behind = {path for path in runnable if (path.parent / '__main__.py') in named}  # what a __main__ hands over to
    assert {path.relative_to(ROOT).as_posix() for path in runnable - named - behind} == NO_COMMANDS
    assert named <= runnable


@pytest.mark.parametrize(('arguments', 'status'), [(['--help'], 0), (['help'], 0), ([], 2), (['--version'], 0)])
def test_the_overview_names_every_command(arguments, status, capsys):
    with pytest.raises(SystemExit) as stopped:
        commands.run(arguments)
    assert stopped.value.code == status
    shown = capsys.readouterr().out
    assert jaxreid.__version__ in shown
    assert arguments == ['--version'] or all(f'\n  {name} ' in shown for name in commands.COMMANDS)


def test_a_wrong_command_names_the_nearest(capsys):
    with pytest.raises(SystemExit) as stopped:
        commands.run(['extrct'])
    assert stopped.value.code == 2
    assert "Did you mean 'extract'?" in capsys.readouterr().err


def test_options_are_written_with_dashes_or_underscores_and_never_abbreviated(capsys):
    parser = commands.parser('manifest', None)
    parser.add_argument('--test-share', type=float)
    parser.add_argument('--beam', default='')
    for written in ('--test-share=0.5', '--test_share=0.5'):
        assert parser.parse_args([written, '--beam=--a_b=c_d']).test_share == 0.5
    options, rest = parser.parse_known_args(['--test_share', '0.2', '--config.data.flow_folder=a_b', '--beam', 'x_y'])
    assert (options.test_share, options.beam, rest) == (0.2, 'x_y', ['--config.data.flow_folder=a_b'])
    with pytest.raises(SystemExit):
        parser.parse_args(['--test=0.5'])
    assert 'usage: python -m data_pipelines.manifest ' in capsys.readouterr().err


def test_a_command_shows_itself_as_it_was_started():
    program = 'from jaxreid.process import commands; commands.run(["verify", "--help"])'
    shown = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert shown.startswith('usage: jaxreid verify ')
    assert '\n  jaxreid verify mars /path/to/MARS --json mars.json\n' in shown
    module = [sys.executable, '-m', 'data_pipelines.verify', '--help']
    shown = subprocess.run(module, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert shown.startswith('usage: python -m data_pipelines.verify ')
    assert '\n  python -m data_pipelines.verify mars /path/to/MARS --json mars.json\n' in shown


def texts(path):
    """Text of a file of code that is no docstring, with what stands beside it in one string."""
    tree = ast.parse(path.read_text())
    said = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


def test_commands_in_messages_work_in_a_checkout_and_where_jaxreid_is_installed():
    files = [path for folder in ('jaxreid', 'data_pipelines', 'configs') for path in (ROOT / folder).rglob('*.py')]
    named = {
        module.rstrip('.')
        for path in files
        for text in texts(path)
        for module in re.findall(r'python -m ([\w.]+)', text)
    }
    assert {'jaxreid.main', 'jaxreid.data_pipelines.build', 'jaxreid.data_pipelines.manifest'} <= named
    programs = {one.module.removeprefix('jaxreid.') for one in commands.COMMANDS.values()}
    for module in named:
        assert module.removeprefix('jaxreid.') in programs, module
        assert module.startswith('jaxreid.'), f'where it is installed the module is jaxreid.{module}'


def test_other_commands_in_a_text_are_shown_as_this_one_was_started(monkeypatch):
    text = (
        'See `python -m jaxreid.search`.\n  python -m jaxreid.main --config a --mode eval --checkpoint b\npython -m pip'
    )
    assert commands.as_started(text) == text
    monkeypatch.setattr(commands, '_started', 'summary')
    shown = 'See `jaxreid search`.\n  jaxreid eval --config a --checkpoint b\npython -m pip'
    assert commands.as_started(text) == shown
    assert commands.as_started('python -m jaxreid.main') == 'jaxreid train'
    assert commands.as_started('python -m jaxreid.reproduce.parameters') == 'jaxreid parameters'
    assert commands.program('summary') == 'jaxreid summary'


def test_no_line_of_a_help_lost_its_backslash():
    for folder in ('jaxreid', 'data_pipelines'):
        for path in (ROOT / folder).rglob('*.py'):
            doc = ast.get_docstring(ast.parse(path.read_text())) or ''
            assert max(map(len, doc.split('\n'))) <= 120, path  # two lines in one


PARTS = [
    ['search', 'add'],
    ['search', 'same'],
    ['engine', 'export'],
    ['engine', 'search'],
    ['engine', 'recall'],
    ['reproduce', 'claims'],
]


@pytest.mark.slow
@pytest.mark.parametrize('words', [*([name] for name in commands.COMMANDS), *PARTS], ids=' '.join)
def test_every_command_helps_and_exits_with_0(words):
    program = f'from jaxreid.process import commands; commands.run({[*words, "--help"]})'
    ended = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f'usage: jaxreid {" ".join(words)} ')
    assert ended.stderr == ''
    assert 'python -m jaxreid' not in ended.stdout
    assert not re.search(r'\S {5,}--', re.sub('^ *--[^ ]+ .*', '', ended.stdout, flags=re.MULTILINE))  # lost backslash
