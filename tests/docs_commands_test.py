"""Every command of README.md and docs/ is one that its own parser takes, and a test runs it in small or it says what it
needs that CI lacks."""

import re
import shlex

import pytest

from tests.fixtures import docs_commands

COMMANDS = [command for page in docs_commands.PAGES for command in docs_commands.commands(page)]
# (pattern of commands, the test that runs them)
RUN = re.findall(
    r'^([^#\s].*)\n    (.+)$', (docs_commands.ROOT / 'tests' / 'docs_runners.txt').read_text(), flags=re.MULTILINE
)


def text(command):
    return shlex.join(command.words).replace("'", '')


@pytest.mark.parametrize('page', docs_commands.PAGES, ids=lambda page: page.name)
def test_no_line_that_looks_like_a_command_is_left_out(page):
    found = {command.line for command in COMMANDS if command.page == page.relative_to(docs_commands.ROOT).as_posix()}
    like = re.compile(rf'\s*({"|".join(docs_commands.PROGRAMS)}) [-a-z]')
    lines = enumerate(page.read_text().split('\n'), 1)
    assert [line for number, line in lines if re.match(like, line) and ' -' in line and number not in found] == []


def test_there_are_commands_on_the_pages():
    assert len(COMMANDS) > 80
    assert sum(not c.needs for c in COMMANDS) > 30


@pytest.mark.parametrize('page', docs_commands.PAGES, ids=lambda page: page.name)
def test_its_own_parser_takes_a_command(page, monkeypatch, capsys):
    for command in docs_commands.commands(page):
        try:
            docs_commands.check(command, monkeypatch)
        except BaseException as e:
            raise AssertionError(f'{command}\n{e}\n{capsys.readouterr().err}') from e


def test_every_command_that_needs_nothing_is_run_by_a_test():
    """Add who runs it to tests/docs_runners.txt, or say above its block what it needs: <!-- needs: a GPU -->."""
    free = [c for c in COMMANDS if not c.needs]
    assert [str(c) for c in free if not any(re.match(pattern, text(c)) for pattern, _ in RUN)] == []


def test_what_is_said_to_run_a_command_exists_and_has_one_to_run():
    for pattern, test in RUN:
        path, _, name = test.partition('::')
        source = (docs_commands.ROOT / path).read_text()
        assert (name in source) if path == '.ci/run' else re.search(rf'^def {name}\(', source, re.MULTILINE), test
        assert any(re.match(pattern, text(c)) for c in COMMANDS if not c.needs), f'no page has {pattern} any more'


@pytest.mark.parametrize('page', docs_commands.PAGES, ids=lambda page: page.name)
def test_commands_within_sentences_name_modules_and_options_that_exist(page):
    for command in docs_commands.inline(page):
        words = command.split()
        source = docs_commands.sources(words[2])
        for shared in re.findall(r'(\w+)\.arguments\(', source):  # benchmarks have options in common
            source += docs_commands.sources(f'{words[2].rpartition(".")[0]}.{shared}')
        for option in re.findall(r'(?<!\S)--[\w-]+', command):
            assert option in ('--help', '--config') or re.search(rf"['\"](--)?{option[2:]}['\"=]", source), command


def test_a_line_of_python_runs(monkeypatch, tmp_path):
    monkeypatch.setenv('JAXREID_CACHE', str(tmp_path))
    lines = [command for command in COMMANDS if command.words[:2] == ('python', '-c')]
    assert lines  # else this test has nothing to do, and goes
    for command in lines:
        code = command.words[2].replace("'/data/gait', 'gait'", f"'{tmp_path / 'made'}', 'tiny'")
        exec(compile(code, str(command), 'exec'), {})


GOOD = '```sh\npython -m jaxreid.main --config configs/strf_mars.py --config.data.root=/path/to/MARS\n```\n'


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('strf_mars', 'strf_earth', 'strf_earth'),
        ('data.root', 'data.rot', "did you mean 'config.data.root'|data.root"),
        ('jaxreid.main', 'jaxreid.mian', 'no module'),
        ('strf_mars.py', 'strf_mars.py:table2_p3dz', 'table2_p3d'),
        ('python -m jaxreid.main', 'kubectl apply', 'nobody here runs this'),
        ('python -m jaxreid.main --config configs/strf_mars.py', 'rm -r', 'what is this'),
        ('python -m jaxreid.main --config configs/strf_mars.py', 'python -m data_pipelines.verify venus', '2'),
        ('```sh', '```json', 'a command in a block of json'),
    ],
)
def test_a_wrong_command_is_found(old, new, message, monkeypatch):
    page = docs_commands.ROOT / 'docs' / 'made_up.md'
    docs_commands.check(docs_commands.commands(page, GOOD)[0], monkeypatch)

    def act():
        for command in docs_commands.commands(page, GOOD.replace(old, new).replace('/path/to/', '')):
            docs_commands.check(command, monkeypatch)

    with pytest.raises(BaseException, match=message):
        act()


def test_commands_are_found_wherever_they_stand():
    page = docs_commands.ROOT / 'docs' / 'made_up.md'
    found = docs_commands.commands(
        page,
        'Text.\n\n    python -m a \\\n        --b\n    other text\n\n- point\n\n'
        '<!-- needs: SLURM -->\n```sh\n# comment\nsrun x # y\nA=1 python -m c && pip install d\n```\n'
        '??? note\n\n    ```sh\n    python - <<END\n    e = 1\n    END\n    ```\n',
    )
    assert [(c.words, c.needs, c.script) for c in found] == [
        (('python', '-m', 'a', '--b'), '', ''),
        (('srun', 'x'), 'SLURM', ''),
        (('python', '-m', 'c'), 'SLURM', ''),
        (('pip', 'install', 'd'), 'SLURM', ''),
        (('python', '-'), '', 'e = 1'),
    ]
