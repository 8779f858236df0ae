"""What the parsers of the commands' arguments have in common. Imports nothing heavy."""

import argparse
from typing import Any


def parser(prog: str, doc: str | None, **rest: Any) -> argparse.ArgumentParser:
    """A parser whose help shows the docstring of a command's module as it is written."""
    return argparse.ArgumentParser(prog, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, **rest)


def positive(text: str) -> int:
    """A whole number from 1 on, as `type` of an argument."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f'{text} is below 1')
    return value
