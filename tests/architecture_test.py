"""The rooms of ARCHITECTURE.md are those that there are, and every import runs with their order."""

import ast
import graphlib
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
TEXT = (ROOT / 'ARCHITECTURE.md').read_text()
ROOMS = re.findall(r'^\| `([\w/.]+)` \|', TEXT, re.MULTILINE)
FOLDERS = ('jaxreid', 'data_pipelines', 'configs')
BESIDE = ('jaxreid.configs', 'jaxreid.data_pipelines')  # stand beside it in a checkout, see jaxreid/__init__.py
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob('*.py')) if path.name != '__init__.py']


def room(path):
    """The room of a file: its folder, and the file itself in the root of the package."""
    inside = path.relative_to(ROOT)
    return (inside if inside.parent == pathlib.Path('jaxreid') else inside.parent).as_posix()


def imported(path, text):
    """Our files that a file imports, wherever in it: within functions too."""
    modules = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ''
            if node.level:  # jaxreid.configs in an installed jaxreid is configs in a checkout
                assert path.is_relative_to(ROOT / 'configs') or path.is_relative_to(ROOT / 'data_pipelines'), path
                module = '.'.join((*path.relative_to(ROOT).parts[: -node.level], *filter(None, [module])))
            modules |= {f'{module}.{alias.name}' for alias in node.names} | {module}
    modules = {module.removeprefix('jaxreid.') if module.startswith(BESIDE) else module for module in modules}
    places = [(ROOT / module.replace('.', '/')).with_suffix('.py') for module in modules if module.startswith(FOLDERS)]
    return {place for place in places if place.exists() and place != path}


IMPORTS = {path: imported(path, path.read_text()) for path in FILES}


def test_every_room_is_in_the_document_once():
    assert len(ROOMS) == len(set(ROOMS))
    assert set(ROOMS) == {room(path) for path in FILES}


def against(imports):
    """Imports of rooms that stand further down."""
    place = {name: i for i, name in enumerate(ROOMS)}
    return [
        f'{path.relative_to(ROOT)} ({room(path)}) imports {other.relative_to(ROOT)} ({room(other)})'
        for path, others in imports.items()
        for other in others
        if place[room(other)] > place[room(path)]
    ]


def test_no_file_imports_from_a_room_further_down():
    assert against(IMPORTS) == []


def test_no_files_import_each_other_in_a_circle():
    graphlib.TopologicalSorter(IMPORTS).prepare()  # a circle of folders would run against their order


def test_an_import_against_the_order_and_a_circle_are_found():
    low, high = ROOT / 'jaxreid' / 'config.py', ROOT / 'jaxreid' / 'models' / 'build.py'
    for text in ('def f():\n    from jaxreid.models import build\n', 'import jaxreid.models.build\n'):
        wrong = imported(low, text)
        assert wrong == {high}
        assert against({low: wrong}) == [
            'jaxreid/config.py (jaxreid/config.py) imports jaxreid/models/build.py (jaxreid/models)'
        ]
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(IMPORTS | {low: {high}}).prepare()


def test_the_root_of_the_package_is_small_and_no_folder_is_a_heap():
    assert len([path for path in (ROOT / 'jaxreid').iterdir() if path.is_file()]) <= 8
    for folder in {path.parent for path in FILES if not path.is_relative_to(ROOT / 'configs')}:
        files = [path.name for path in folder.glob('*.py') if path.name != '__init__.py']  # which are empty
        assert len(files) <= 16, f'{folder}: {sorted(files)}'


def test_the_files_that_the_document_names_exist():
    named = re.findall(r'`([\w/]+\.py)`', TEXT)
    assert len(named) > 10
    for name in named:
        assert any(path.as_posix().endswith(f'/{name}') for path in FILES) or (ROOT / name).exists(), name


def test_packages_do_nothing_when_they_are_imported():
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob('__init__.py'):
            # The Python API, which api_test imports; and what imports it first, so that Ctrl-C is no traceback.
            if path.parent not in (ROOT / 'jaxreid', ROOT / 'data_pipelines'):
                assert not ast.parse(path.read_text()).body, path
