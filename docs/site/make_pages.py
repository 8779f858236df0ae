"""Makes the pages that stand in the code: settings, and the API reference. `python docs/site/make_pages.py`.

They are files, docs/settings.md and docs/api/*.md, which git ignores: whatever builds the site finds them.
"""

import ast
import pathlib
import re
import sys

from jaxreid import config

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = ROOT / 'docs'

# Page -> its title, its first sentence, and where its modules are.
PAGES = {
    'data': ('Data', 'From a data set on a disk to batches on a device.', 'jaxreid/data/**/*.py'),
    'layers': ('Layers', 'The building blocks that systems share, as Flax modules.', 'jaxreid/layers/**/*.py'),
    'models': ('Models', 'The systems.', 'jaxreid/models/*.py'),
    'losses': ('Losses', 'Per-sample losses, and the objective that adds them up.', 'jaxreid/losses/*.py'),
    'training': (
        'Training',
        'Settings, the step, devices, checkpoints and the loop.',
        'jaxreid/*.py jaxreid/training/*.py jaxreid/process/*.py',
    ),
    'evaluation': ('Evaluation', 'From features to numbers, intervals and the report.', 'jaxreid/evaluation/**/*.py'),
    'visualize': ('Pictures', 'Film strips, attention and memories.', 'jaxreid/visualize/*.py'),
    'weights': ('Weights', 'ImageNet, and PyTorch in both directions.', 'jaxreid/weights/*.py'),
    'use': (
        'Use',
        'Tables of the papers, search, video and export.',
        'jaxreid/reproduce/**/*.py jaxreid/search/*.py jaxreid/vector_engine/*.py jaxreid/from_video/*.py '
        'jaxreid/export/*.py',
    ),
    'data_pipelines': ('Data pipelines', 'Commands that prepare data once.', 'data_pipelines/*.py'),
}
FIELD = re.compile(r'^    (\w+): .*$')


def modules(page: str) -> list[str]:
    """Dotted names of the modules on a page of the reference, sorted."""
    paths = {path for pattern in PAGES[page][2].split() for path in ROOT.glob(pattern)}
    return [
        '.'.join(path.relative_to(ROOT).with_suffix('').parts)
        for path in sorted(paths)
        if path.name not in ('__init__.py', '__main__.py')
    ]


def summary(module: str) -> str:
    """First sentence of a module's docstring."""
    tree = ast.parse((ROOT / (module.replace('.', '/') + '.py')).read_text())
    return re.split(r'(?<=\.)\s+(?=[A-Z`])|\n\n', ast.get_docstring(tree) or '')[0].replace('\n', ' ')


def reference_page(page: str) -> str:
    """Markdown of a page of the reference; mkdocstrings fills in each module."""
    title, first, _ = PAGES[page]
    names = modules(page)
    table = '\n'.join(f'| [`{name.partition(".")[2]}`][{name}] | {_cell(summary(name))} |' for name in names)
    return (
        f'# {title}\n\n{first}\n\n| module | |\n|---|---|\n{table}\n\n' + '\n\n'.join(f'::: {n}' for n in names) + '\n'
    )


def reference_index() -> str:
    """Markdown of the first page of the reference."""
    rows = '\n'.join(f'| [{t}]({page}.md) | {first} |' for page, (t, first, _) in PAGES.items())
    return (
        '# API reference\n\nMade from the docstrings. Letters of shapes: B clips, T frames, H W rows and columns, '
        'P = H W positions, C channels, D embedding, N tracklets, Q G query and gallery. Arrays are channels-last, '
        '`[B, T, H, W, C]`. [Settings](../settings.md) has every `--config.section.field`.\n\n'
        f'| | |\n|---|---|\n{rows}\n'
    )


def settings() -> list[tuple[str, str, list[tuple[str, str, str]]]]:
    """(section, what it is, [(field, default, comment)]) of every dataclass in jaxreid/config.py, from its source.

    A field's comment is what follows it on its lines, and the lines of comment right above it.
    """
    text = (ROOT / 'jaxreid' / 'config.py').read_text()
    lines = text.split('\n')
    # CONSTANTS, whose values stand where comments name them
    choices = {name: value for name, value in vars(config).items() if name.isupper() and isinstance(value, tuple)}
    classes = {n.name: n for n in ast.parse(text).body if isinstance(n, ast.ClassDef) and _fields(n)}
    top = classes['Experiment']
    names = {ast.unparse(f.annotation): f.target.id for f in _fields(top) if ast.unparse(f.annotation) in classes}
    sections = []
    for name, node in classes.items():
        if name not in names and node is not top:
            continue
        rows = []
        for field in _fields(node):
            if ast.unparse(field.annotation) in classes:
                continue
            above = []
            row = field.lineno - 2
            while lines[row].strip().startswith('#'):
                above.insert(0, lines[row].strip()[1:].strip())
                row -= 1
            own = [_comment(line) for line in lines[field.lineno - 1 : field.end_lineno]]
            said = ' '.join(part for part in above + own if part)
            for name_of, values in choices.items():
                said = re.sub(rf'\b{name_of}\b', ', '.join(map(str, values)), said)
            rows.append((field.target.id, ast.unparse(field.value), said))
        sections.append((names.get(name, ''), ast.get_docstring(node) or '', rows))
    return sections


def _fields(node: ast.ClassDef) -> list[ast.AnnAssign]:
    return [n for n in node.body if isinstance(n, ast.AnnAssign) and n.value is not None]


def _comment(line: str) -> str:
    code = re.sub(r"'[^']*'", lambda quoted: '_' * len(quoted[0]), line)
    return line[code.index('#') + 1 :].strip() if '#' in code else ''


def _cell(text: str) -> str:
    return text.replace('|', '\\|').replace('<', '&lt;').replace('*', '\\*')


def settings_page() -> str:
    """Markdown of the page of settings."""
    parts = [
        '# Settings\n\nEvery setting, its default before a config file changes it, its unit and what it may be, as '
        '`jaxreid/config.py` has them. On the command line: `--config.section.field=value`. '
        '`python -m jaxreid.main --config FILE --help` lists what a config file sets.\n'
    ]
    for section, what, rows in settings():
        parts.append(f'\n## {section or "experiment"}\n\n{what}\n\n| setting | default | |\n|---|---|---|')
        prefix = f'{section}.' if section else ''
        parts += [f'| `{prefix}{name}` | `{_cell(default)}` | {_cell(comment)} |' for name, default, comment in rows]
    return '\n'.join(parts) + '\n'


def pages() -> dict[str, str]:
    """Path in docs/ -> markdown of every page that is made."""
    reference = {f'api/{page}.md': reference_page(page) for page in PAGES}
    return {'settings.md': settings_page(), 'api/index.md': reference_index()} | reference


def main() -> None:
    """Writes the pages, and takes away those of the reference that are made no more."""
    made = pages()
    (DOCS / 'api').mkdir(exist_ok=True)
    for path in (DOCS / 'api').glob('*.md'):
        if path.relative_to(DOCS).as_posix() not in made:
            path.unlink()
    for path, text in made.items():
        (DOCS / path).write_text(text)
    print(f'{len(made)} pages made in {DOCS}', file=sys.stderr)


if __name__ == '__main__':
    main()
