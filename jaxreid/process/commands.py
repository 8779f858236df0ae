"""Every command: its name after `jaxreid`, the module that `python -m` runs, and one style of options and help.

`jaxreid score FEATURES.npz` and `python -m jaxreid.evaluation.score FEATURES.npz` are one program. Imports nothing
heavy: `jaxreid --help` answers at once.
"""

import argparse
import difflib
import os
import re
import runpy
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import jaxreid


class Command(NamedTuple):
    """module: as `python -m` takes it in a checkout. meaning: in a line. arguments: that the name stands for."""

    module: str
    meaning: str
    arguments: tuple[str, ...] = ()


COMMANDS = {
    'train': Command('jaxreid.main', 'train a network, evaluate it, or go on with a run', ('--mode=train',)),
    'eval': Command('jaxreid.main', 'score the network of a checkpoint', ('--mode=eval',)),
    'extract': Command('jaxreid.main', 'write the features of a test split', ('--mode=extract',)),
    'summary': Command('jaxreid.main', 'count parameters and operations; needs no data', ('--mode=summary',)),
    'plan': Command('jaxreid.plan', 'compile for TPUs or GPUs that are not here: does it fit, how fast at best'),
    'score': Command('jaxreid.evaluation.score', 'score features, of any framework, under every published rule'),
    'report': Command('jaxreid.evaluation.report', 'write a page that shows why queries failed'),
    'search': Command('jaxreid.search', 'find a person in a gallery of tracklets'),
    'same': Command('jaxreid.search', 'say whether two images or tracklets show one person', ('same',)),
    'global-ids': Command('jaxreid.global_ids', 'give everybody one id over all cameras'),
    'video': Command('jaxreid.from_video', 'cut person tracklets out of a video'),
    'manifest': Command('data_pipelines.manifest', 'list your own tracklets, so that they can be trained on'),
    'verify': Command('data_pipelines.verify', "compare a data set's folder with what was published"),
    'build': Command('data_pipelines.build', 'turn a data set into records'),
    'flow': Command('data_pipelines.optical_flow', 'compute the optical flow of a data set, once'),
    'clip-memory': Command('jaxreid.clip_memory', "make TF-CLIP's memory of the training identities, once"),
    'reproduce': Command('jaxreid.reproduce', 'run the rows of a published table, or what the papers claim'),
    'parameters': Command('jaxreid.reproduce.parameters', 'set sizes and scores of the rows of a table side by side'),
    'export': Command('jaxreid.export', 'write a network as a program that runs without jaxreid'),
    'import-torch': Command('jaxreid.weights.import_torch', 'make a checkpoint of a PyTorch file'),
    'export-torch': Command('jaxreid.weights.export_torch', 'write a checkpoint as PyTorch tensors'),
    'publish': Command('jaxreid.weights.publish', 'make a folder of a finished training, to share it'),
    'engine': Command('jaxreid.vector_engine', 'put a gallery into Milvus and search it there'),
    'ceilings': Command('jaxreid.evaluation.references.ceilings', 'say what a preset of the rendered benchmark allows'),
    'pools': Command('jaxreid.evaluation.references.stripe_pools', 'score other poolings of the last maps of an STA'),
    'sheet': Command('jaxreid.data.synthetic.sheet', 'draw people of the rendered benchmark'),
}

_started = ''  # the command's name where `jaxreid` started it


class Parser(argparse.ArgumentParser):
    """argparse as all commands use it: `--test-share` may be written `--test_share`, and options are not abbreviated.

    Settings `--config.section.field` are left as they are.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault('formatter_class', argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **{'allow_abbrev': False, **kwargs})

    def parse_known_args(self, args=None, namespace=None):
        args = sys.argv[1:] if args is None else args
        return super().parse_known_args([_dashed(argument) for argument in args], namespace)


def parser(name: str, doc: str | None, *, sub: str = '', add_help: bool = True) -> Parser:
    """The parser of a command, which shows the command as it was started.

    `name` is of COMMANDS, `doc` the docstring of its module, `sub` of a command that has several, e.g. 'add'.
    """
    return Parser(prog=f'{program(name)} {sub}'.strip(), description=as_started(doc or ''), add_help=add_help)


def positive(text: str) -> int:
    """A whole number from 1 on, as `type` of an argument."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f'{text} is below 1')
    return value


def not_negative(text: str) -> int:
    """A whole number from 0 on, as `type` of an argument."""
    if (value := int(text)) < 0:
        raise argparse.ArgumentTypeError(f'{text} is below 0')
    return value


def program(name: str) -> str:
    """How a command was started."""
    return f'jaxreid {_started}' if _started else as_started(f'python -m {COMMANDS[name].module}')


def as_started(text: str) -> str:
    """A text whose commands `python -m ...` are written in the way in which this one was started.

    What stands beside jaxreid in a checkout lies inside an installed one.
    """
    if not _started:
        inside = os.path.isdir(os.path.join(jaxreid.__path__[0], 'data_pipelines'))
        return re.sub('(?<=python -m )(?=data_pipelines)', 'jaxreid.', text) if inside else text
    names = {
        one.module.removeprefix('jaxreid.'): name for name, one in reversed(COMMANDS.items())
    }  # of several the first
    text = re.sub(r'python -m (?:jaxreid[.]main)(.*) --mode[ =](\w+)', r'jaxreid \2\1', text)

    def shown(match: re.Match[str]) -> str:
        name = names.get(match[1].removeprefix('jaxreid.'))
        return f'jaxreid {name}' if name else match[0]

    return re.sub(r'python -m ([\w.]*\w)', shown, text)


def _dashed(argument: str) -> str:
    option, equals, value = argument.partition('=')
    return option.replace('_', '-') + equals + value if re.match('--(?!config[.=]|config$)', option) else argument


def overview() -> str:
    """What `jaxreid --help` shows."""
    width = max(map(len, COMMANDS))
    return '\n'.join(
        [
            f'jaxreid {jaxreid.__version__}: {jaxreid.__doc__}'.split('\n')[0],
            '',
            'usage: jaxreid COMMAND [OPTIONS]      jaxreid COMMAND --help says more',
            '',
            *(f'  {name:<{width}}  {one.meaning}' for name, one in COMMANDS.items()),
            '',
            'jaxreid train                                     trains a small network on a benchmark that it renders',
            'jaxreid train --config strf_mars --config.data.root=/path/to/MARS     trains a published one',
        ]
    )


def run(argv: Sequence[str]) -> None:
    """Runs a command as `python -m` does. Raises SystemExit: at its end, with its status."""
    global _started
    if not argv or argv[0] in ('-h', '--help', 'help'):
        print(overview())
        sys.exit(0 if argv else 2)
    if argv[0] == '--version':
        print(jaxreid.__version__)
        sys.exit(0)
    name, *arguments = argv
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f'Did you mean {close[0]!r}?' if close else 'jaxreid --help lists them.'
        print(f'jaxreid: there is no command {name!r}. {hint}', file=sys.stderr)
        sys.exit(2)
    _started = name
    # Not by the name in a checkout: a folder of the person's own might be called so.
    where = COMMANDS[name].module
    sys.argv = [f'jaxreid {name}', *COMMANDS[name].arguments, *arguments]
    runpy.run_module(where if where.startswith('jaxreid') else f'jaxreid.{where}', run_name='__main__', alter_sys=True)


def main() -> None:
    """Entry point of the `jaxreid` command."""
    run(sys.argv[1:])
