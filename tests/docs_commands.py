"""The commands in README.md and docs/, and the parsers that they have to satisfy."""

import argparse
import ast
import dataclasses
import functools
import importlib
import importlib.util
import pathlib
import re
import shlex
import sys
import tomllib

from absl import flags

from jaxreid import command_line, main, published, reproduce

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
SHELLS = ('sh', 'bash', 'shell', 'console')
# Words that begin a command of an indented block, which says no language.
PROGRAMS = (
    'python', 'python3', 'pip', 'pytest', 'ruff', 'mypy', 'mkdocs', 'jupyter', 'sbatch', 'srun', 'gcloud', 'kubectl',
    'helm', 'docker', 'curl', 'bash', 'git', 'export', 'cd',
)  # fmt: skip
_MARKER = re.compile(r'\s*<!-- needs: (.+?) -->\s*$')
_PLACES = ('/path/to/', 'gs://', 's3://')


@dataclasses.dataclass(frozen=True)
class Command:
    """One command: where it stands, its words, and what it needs that CI lacks ('' for nothing)."""

    page: str
    line: int
    words: tuple[str, ...]
    needs: str
    script: str = ''  # what it reads from its standard input

    def __str__(self):
        return f'{self.page}:{self.line} {shlex.join(self.words)}'


def blocks(text: str):
    """(language, first line's number, lines, marker) of every fenced or indented block; '' where none is said."""
    lines = text.split('\n')
    marker, i = '', 0
    while i < len(lines):
        line = lines[i]
        fence = re.match(r'(\s*)```\s*(\w*)', line)
        if fence:
            end = next(j for j in range(i + 1, len(lines)) if lines[j].strip() == '```')
            yield fence[2], i + 2, [x[len(fence[1]) :] for x in lines[i + 1 : end]], marker
            marker, i = '', end + 1
        elif line.startswith('    ') and (i == 0 or not lines[i - 1].strip() or lines[i - 1].startswith('#')):
            end = next(
                (j for j in range(i, len(lines)) if lines[j].strip() and not lines[j].startswith('    ')), len(lines)
            )
            held = [x[4:] for x in lines[i:end]]
            if not any(x.startswith('```') for x in held):
                yield '', i + 1, held, marker
                marker, i = '', end
            else:
                i += 1
        else:
            found = _MARKER.match(line)
            marker = found[1] if found else (marker if not line.strip() else '')
            i += 1


def commands(page: pathlib.Path, text: str | None = None) -> list[Command]:
    """Every command of a page, in order.

    Raises:
      ValueError: a command stands in a block of another language.
    """
    name = page.relative_to(ROOT).as_posix()
    found = []
    for language, first, lines, marker in blocks(page.read_text() if text is None else text):
        if language in SHELLS or not language:
            found += _of_block(name, first, lines, marker, said=bool(language))
        elif any(line.startswith('python -m ') for line in lines):
            raise ValueError(f'{name}:{first}: a command in a block of {language}; make it ```sh')
    return found


def _of_block(name, first, lines, marker, *, said):
    found = []
    i = 0
    while i < len(lines):
        at, line = first + i, lines[i].rstrip()
        while line.endswith('\\'):
            i += 1
            line = line[:-1] + lines[i].strip()
        i += 1
        if not line.strip() or line.startswith('#'):
            continue
        if not said and line.split()[0] not in PROGRAMS:
            continue
        heredoc = re.search(r"<<\s*'?(\w+)'?\s*$", line)
        script = ''
        if heredoc:
            end = next(j for j in range(i, len(lines)) if lines[j].strip() == heredoc[1])
            script = '\n'.join(lines[i:end])
            line, i = line[: heredoc.start()], end + 1
        for words in _split(line):
            needs = marker or _evident(words)
            found.append(Command(name, at, tuple(words), needs, script))
            found += [
                Command(name, at, tuple(inner), needs)
                for word in words
                if word.startswith('--command=')
                for inner in _split(word.partition('=')[2])
            ]
    return found


def _evident(words):
    """What a command shows that it needs."""
    if any(place in word for word in words for place in _PLACES):
        return 'a data set or a bucket'
    return 'an idle machine' if any(word.startswith('benchmarks.') for word in words) else ''


def _split(line):
    """Words of each command of a line; && and a final & lie between commands; comments are left out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars='&;')
    lexer.whitespace_split = True
    parts: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set('&;'):
            parts.append([])
        else:
            parts[-1].append(word)
    return [[w for i, w in enumerate(p) if not (re.fullmatch(r'[A-Z_]+=.*', w) and i == 0)] for p in parts if p]


class Parsed(BaseException):
    """Raised where a command has understood its arguments and would begin to work."""


def check(command: Command, monkeypatch) -> None:
    """Raises, or fails the test, where a command would be refused for its arguments."""
    words = command.words
    match words[0]:
        case 'python' | 'python3':
            _check_python(command, monkeypatch)
        case 'pip':
            assert words[1] == 'install', command
            extras = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['optional-dependencies']
            for wanted in re.findall(r'\[(.+?)\]', ' '.join(words)):
                assert set(wanted.split(',')) <= set(extras), f'{command}: no such extra'
        case 'srun':
            check(dataclasses.replace(command, words=words[1:]), monkeypatch)
        case '.' | 'cd' | 'ruff' | 'mypy' | 'mkdocs' | 'jupyter':
            pass
        case 'sbatch' | 'gcloud' | 'kubectl' | 'helm' | 'docker' | 'curl' | 'bash':
            assert command.needs, f'{command}: nobody here runs this; say what it needs, <!-- needs: ... -->'
        case _:
            raise AssertionError(f'{command}: what is this? tests/docs_commands.py knows nothing of {words[0]}')


def _check_python(command, monkeypatch):
    match command.words[1:]:
        case ('-c', code):
            ast.parse(code)
        case ('-',):
            assert command.script
            ast.parse(command.script)
        case ('-m', 'venv' | 'pytest', *_):
            pass
        case (path, *_) if path.endswith('.py'):
            pass  # tests/docs_runners.txt says who writes and runs it
        case ('-m', module, *arguments):
            assert importlib.util.find_spec(module), f'{command}: no module {module}'
            check_arguments(module, arguments, monkeypatch)
        case _:
            raise AssertionError(f'{command}: neither -m nor -c')


def check_arguments(module: str, arguments: list[str], monkeypatch) -> None:
    """Lets a command's own parser read its arguments, from the root of the repository, and stops it there."""

    def stop(*_):
        raise Parsed

    with monkeypatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(sys, 'argv', [module, *arguments])
        match module:
            case 'jaxreid.main':
                patch.setattr(command_line, 'parse_absl', stop)
                _expect(lambda: main.dispatch(sys.argv))
            case 'jaxreid.reproduce':
                options, overrides = reproduce.parse(arguments)
                if options.list:
                    return
                table = published.find(options.table)
                assert options.dataset in published.DATASETS[table.system]
                options.workdir = options.workdir or pathlib.Path('runs')
                options.rows, first = options.rows, options.rows or table.rows[0].variant
                reproduce.chosen(table, reproduce.plan(one_row(table, first), options, overrides), first)
            case 'data_pipelines.optical_flow':
                importlib.import_module(module)
                configured = [a for i, a in enumerate(arguments) if _of_config(arguments, i)]
                main.define_flags(['x', *configured])(['x', *configured])
                for word in set(arguments) - set(configured):
                    name, _, value = word.removeprefix('--').partition('=')
                    flags.FLAGS[name].parser.parse(value)
            case 'jaxreid.data.synthetic_sheet':
                assert 2 <= len(arguments) <= 3
            case _ if 'parse_args' not in source(module):
                assert not arguments, f'{module} takes no arguments'
            case _:
                parse = argparse.ArgumentParser.parse_args
                patch.setattr(argparse.ArgumentParser, 'parse_args', lambda *a, **k: stop(parse(*a, **k)))
                _expect(functools.partial(_enter, module))


def source(module):
    """Text of the file that `python -m module` runs."""
    path = ROOT / module.replace('.', '/')
    return (path / '__main__.py' if path.is_dir() else path.with_suffix('.py')).read_text()


def one_row(table, variants):
    """The table with the named rows alone: plans are quick, and other tests plan whole tables."""
    kept = [row for row in table.rows if row.variant in variants.split(',')]
    return dataclasses.replace(table, rows=tuple(kept or table.rows[:1]))


def _of_config(arguments, i):
    return arguments[i].startswith('--config') or (i > 0 and arguments[i - 1] == '--config')


def _expect(act):
    """Runs until the arguments are understood, or to the end for --help."""
    try:
        act()
    except Parsed:
        return
    except SystemExit as e:
        if e.code not in (0, None):
            raise AssertionError(f'exit status {e.code}') from e


def _enter(module):
    """Does what `python -m module` does: its block under `if __name__ == '__main__'`."""
    found = importlib.import_module(module)
    if hasattr(found, '__path__'):
        found = importlib.import_module(f'{module}.__main__')
    tree = ast.parse(source(module))
    (guarded,) = [n for n in tree.body if isinstance(n, ast.If) and '__main__' in ast.unparse(n.test)]
    exec(compile(ast.Module(guarded.body, []), found.__file__, 'exec'), vars(found))


def inline(page: pathlib.Path) -> list[str]:
    """Commands within sentences and tables, `python -m ...`."""
    outside = re.sub(r'(?ms)^\s*```.*?^\s*```\s*$', '', page.read_text())
    return [c.replace('\n', ' ') for c in re.findall(r'`(python -m [^`]+)`', outside)]
