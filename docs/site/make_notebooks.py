"""Executes the notebooks and keeps their outputs, and writes how each is opened.

    python docs/site/make_notebooks.py                      all four
    python docs/site/make_notebooks.py protocols            one of them
    python docs/site/make_notebooks.py --opening            no execution: only the cells that say how it is opened

Where the repository is published stands in mkdocs.yml, as `repo_url`. The cells `opening` and `install` of every
notebook are made from it. What is trained goes into build/notebooks and is used again by the next execution.
Kept outputs hold nothing of the machine: no progress, no times, no folders.
"""

import argparse
import os
import pathlib
import re

import nbclient
import nbformat
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'notebooks'
NAMES = ('quick_start', 'protocols', 'attention_and_memories', 'own_tracklets')  # in the order of their runs
ABSOLUTE = r'(?:file://|(?<![\w.:/<~-])/)(?:home|root|tmp|work|usr|opt|var|mnt|build|private|Users)\b'
_TIMES = r' ?\([^()\n]*\b\d+(?:\.\d+)? (?:s|ms|min|h)\)|^time  .*\n'  # '(indexed in 1.1 s)', 'time  59 s: data 0 s'
_GITHUB = 'https://github.com/'
_INSTALL = """\
import importlib.util

if not importlib.util.find_spec('jaxreid'):  # as on Colab
    # On a GPU it is 'jaxreid[cuda] @ ...', on a TPU 'jaxreid[tpu] @ ...'.
    %pip install --quiet 'jaxreid @ git+{address}'"""
_HERE = "In a checkout: `pip install -e '.[notebooks]' && jupyter lab notebooks/`."


def repository() -> str:
    """Address of the repository, '' where it is published nowhere yet."""
    return (yaml.safe_load((ROOT / 'mkdocs.yml').read_text()).get('repo_url') or '').rstrip('/')


def opening(name: str, address: str) -> dict[str, str]:
    """The text of the cells that say how a notebook is opened, by the cell's id.

    Args:
      name: of the notebook.
      address: of the repository, or ''.
    """
    upload = 'On Colab: *File, Upload notebook*'
    if address.startswith(_GITHUB):
        link = (
            f'https://colab.research.google.com/github/{address.removeprefix(_GITHUB)}/blob/main/notebooks/{name}.ipynb'
        )
        text = f'[Open in Colab]({link}), and choose a runtime there. {_HERE}'
    elif address:
        text = f'{_HERE} {upload}, and choose a runtime.'
    else:
        text = f'{_HERE} {upload}, choose a runtime, and write the address of your copy of the repository below.'
    return {'opening': text, 'install': _INSTALL.format(address=address or 'https://ADDRESS/OF/YOUR/COPY')}


def with_opening(notebook: nbformat.NotebookNode, name: str, address: str) -> None:
    """Writes `opening` into a notebook."""
    for cell in notebook.cells:
        cell.source = opening(name, address).get(cell.id, cell.source)


def with_parameters(notebook: nbformat.NotebookNode, code: str) -> None:
    """Puts a cell of code behind the one that is tagged `parameters`, as papermill does."""
    (at,) = (i for i, cell in enumerate(notebook.cells) if 'parameters' in cell.metadata.get('tags', ()))
    notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(code))


def execute(notebook: nbformat.NotebookNode, folder: pathlib.Path, *, timeout: int) -> None:
    """Runs a notebook from its first cell to its last, in a folder, with the jaxreid of this checkout.

    Raises:
      nbclient.exceptions.CellExecutionError: a cell fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {'PYTHONPATH': str(ROOT), 'JPY_PARENT_PID': '0'}
    where = {'metadata': {'path': str(folder)}}
    nbclient.NotebookClient(notebook, timeout=timeout, resources=where, record_timing=False).execute(env=environment)


def clean(notebook: nbformat.NotebookNode, folder: pathlib.Path) -> None:
    """Takes out of the outputs what differs from one execution to the next, or is of this machine.

    Raises:
      ValueError: a path of this machine is left.
    """
    own = {
        f'{folder}/': '',
        os.environ.get('JAXREID_CACHE', '~/.cache/jaxreid'): '~/.cache/jaxreid',
        str(pathlib.Path.home()): '~',
    }
    notebook.metadata.language_info = nbformat.from_dict({'name': 'python'})
    for cell in notebook.cells:
        cell.metadata.pop('execution', None)
        if cell.cell_type != 'code':
            continue
        # Progress, warnings and what a program says while it works go to the second stream.
        kept: list[nbformat.NotebookNode] = []
        for one in cell.outputs:
            if kept and 'name' in one and kept[-1].get('name') == one.name:
                kept[-1].text += one.text
            elif one.get('name') != 'stderr':
                kept.append(one)
        cell.outputs = kept
        for output in cell.outputs:
            for holder, key in ((output, 'text'), (output.get('data', {}), 'text/plain')):
                if key in holder:
                    for path, shown in own.items():
                        holder[key] = holder[key].replace(path, shown)
                    holder[key] = re.sub(_TIMES, '', holder[key], flags=re.MULTILINE)
                    if re.search(ABSOLUTE, holder[key]):
                        raise ValueError(f'cell {cell.id} shows a path of this machine: {holder[key]}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', metavar='NAME', help=', '.join(NAMES))
    parser.add_argument('--opening', action='store_true', help='execute nothing')
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f'no notebook is called {", ".join(sorted(unknown))}; there are {", ".join(NAMES)}')
    for name in options.names or NAMES:
        path, folder = FOLDER / f'{name}.ipynb', ROOT / 'build' / 'notebooks'
        notebook = nbformat.read(path, as_version=4)
        with_opening(notebook, name, repository())
        if not options.opening:
            execute(notebook, folder, timeout=3600)
            clean(notebook, folder)
        nbformat.write(notebook, path)
        print(f'{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB')


if __name__ == '__main__':
    main()
