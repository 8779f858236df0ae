"""The data sets that there are: the modules of this folder, and of those in it, that define `FACTS`."""

import functools
import importlib
import pkgutil

from jaxreid.data import datasets
from jaxreid.data.datasets import facts


@functools.cache
def by_name() -> dict[str, facts.Facts]:
    """Name -> facts, in the order of the modules."""
    names = [module.name for module in pkgutil.walk_packages(datasets.__path__, f'{datasets.__name__}.')]
    records = [getattr(importlib.import_module(name), 'FACTS', None) for name in names]
    return {one.name: one for one in records if one}


def find(name: str) -> facts.Facts:
    """The facts of a data set. Raises ValueError: there is none of that name."""
    if name not in by_name():
        raise ValueError(f'unknown data set {name!r}; expected one of {", ".join(by_name())}')
    return by_name()[name]
