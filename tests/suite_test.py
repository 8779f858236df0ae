"""The suite itself: what its files share has a home of its own."""

import ast
import pathlib

TESTS = pathlib.Path(__file__).resolve().parent


def imported(path):
    """Dotted names of what a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def test_a_file_of_tests_imports_fixtures_and_oracles_but_no_other_tests():
    rooms = ('tests.fixtures.', 'tests.oracles.')
    command = 'tests.reliability.'  # python -m tests.reliability, whose files are no tests
    found = {path: [n for n in imported(path) if n.startswith('tests.')] for path in TESTS.rglob('*.py')}
    assert sum(map(len, found.values())) > 100
    wrong = [(path, name) for path, names in found.items() for name in names if not name.startswith(rooms)]
    assert [
        (path, name) for path, name in wrong if not (path.parent.name == 'reliability' and name.startswith(command))
    ] == []
