"""Progress bars that estimate what is left only where that can be known."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import jax
import tqdm

T = TypeVar('T')


def compiling_first(items: Iterable[T], *, total: int, label: str, unit: str = 'batch') -> Iterator[T]:
    """The items, with a bar on the first process that is there at once and whose estimate leaves out the first of them.

    The first compiles the program that goes over all.
    """

    def bar(done: int) -> tqdm.tqdm:
        return tqdm.tqdm(total=total, initial=done, desc=label, unit=unit, leave=False, disable=jax.process_index() > 0)

    shown = bar(0)
    try:
        for number, item in enumerate(items):
            yield item
            if number == 0:
                shown.close()
                shown = bar(1)
            else:
                shown.update()
    finally:
        shown.close()
