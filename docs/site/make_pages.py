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
    'python': (
        'From Python',
        'What `import jaxreid` offers: networks of clips, settings, training and scores.',
        'jaxreid/api/*.py',
    ),
    'data': ('Data', 'From a data set on a disk to batches on a device.', 'jaxreid/data/**/*.py'),
    'layers': ('Layers', 'The building blocks that systems share, as Flax modules.', 'jaxreid/layers/**/*.py'),
    'models': ('Models', 'The systems.', 'jaxreid/models/*.py'),
    'losses': ('Losses', 'Per-sample losses, and the objective that adds them up.', 'jaxreid/losses/*.py'),
    'training': (
        'Training',
        'Settings, the step, devices, checkpoints and the loop.',
        'jaxreid/*.py jaxreid/training/*.py jaxreid/clip_memory/*.py jaxreid/process/*.py jaxreid/plan/*.py',
    ),
    'evaluation': ('Evaluation', 'From features to numbers, intervals and the report.', 'jaxreid/evaluation/**/*.py'),
    'visualize': ('Pictures', 'Film strips, attention and memories.', 'jaxreid/visualize/*.py'),
    'weights': ('Weights', 'ImageNet, PyTorch in both directions, networks published.', 'jaxreid/weights/*.py'),
    'use': (
        'Use',
        'Tables of the papers, search, global ids, video and export.',
        'jaxreid/reproduce/**/*.py jaxreid/search/*.py jaxreid/global_ids/*.py jaxreid/vector_engine/*.py '
        'jaxreid/from_video/*.py jaxreid/export/*.py',
    ),
    'data_pipelines': ('Data pipelines', 'Commands that prepare data once.', 'data_pipelines/*.py'),
}


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


def _cell(text: str) -> str:
    return text.replace('|', '\\|').replace('<', '&lt;').replace('*', '\\*')


def settings_page() -> str:
    """Markdown of the page of settings, as `config.settings` has them."""
    parts = [
        '# Settings\n\nEvery setting with its default before a config file changes it, from `jaxreid/config.py`. '
        'On the command line: `--config.section.field=value`. `python -m jaxreid.main --config FILE --help` lists what '
        'a config file sets.\n\nA setting that affects the network changes its training and its test too, one that '
        'affects training the test too. One that affects nothing leaves the numbers as they are, but for rounding: a '
        'run continues and a finished row counts under another value.\n'
    ]
    for section, node in {'': config.Experiment, **config.sections()}.items():
        parts.append(f'\n## {section or "experiment"}\n\n{node.__doc__}\n')
        parts.append('| setting | default | unit | may be | meaning | affects |\n|---|---|---|---|---|---|')
        for path, one in config.settings().items():
            if one.section == section:
                cells = f'`{path}`', f'`{one.default!r}`', one.unit, one.allowed, one.meaning, one.affects
                parts.append(f'| {" | ".join(map(_cell, cells))} |')
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
