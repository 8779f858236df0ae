"""The largest batch that fits: between one that was compiled and fits, and one that was compiled and does not."""

import math
from collections.abc import Callable
from typing import NamedTuple

COMPILES = 4  # of other batches than the asked one; each takes as long as that


class Batch(NamedTuple):
    """A batch that was compiled. needed: bytes on each device."""

    clips: int
    needed: float
    fits: bool


class DoesNotFit(ValueError):
    """The compiler refuses a step for its memory."""

    def __init__(self, message: str, needed: float):
        super().__init__(message)
        self.needed = needed  # bytes on each device

    def __reduce__(self):  # on its way out of a child process
        return type(self), (*self.args, self.needed)


def edge(
    known: Batch, grows: float, compiled: Callable[[int], Batch], *, unit: int, limit: float
) -> tuple[Batch | None, Batch | None]:
    """The largest batch that fits and the smallest that does not, of those compiled; None: no such was found.

    Memory grows nearly in line with the batch, so that lines through the last two find the edge in a few compiles.

    Args:
      known: one that has been compiled.
      grows: bytes on each device by which it is thought to grow with as many clips again.
      compiled: compiles a batch of so many clips.
      unit: clips by which a batch can grow.
      limit: bytes of each device.
    """
    fits, over = (known, None) if known.fits else (None, known)
    last, slope = known, max(grows / known.clips, 1.0)
    for _ in range(COMPILES):
        least, most = (fits.clips if fits else 0) + unit, over.clips - unit if over else math.inf
        if least > most:
            break
        guess = (last.clips + (limit - last.needed) / slope) // unit * unit
        new = compiled(int(min(max(guess, least), most)))
        slope = max((new.needed - last.needed) / (new.clips - last.clips), 1.0)
        fits, over = (new, over) if new.fits else (fits, new)
        last = new
    return fits, over


def words(fits: Batch | None, over: Batch | None) -> str:
    """What `edge` found."""
    if fits is None:
        assert over is not None
        return f'none was found that fits; the smallest that was compiled, of {over.clips} clips, needs {_gib(over)}'
    if over is None:
        return f'{fits.clips} clips fit: {_gib(fits)}, compiled; larger ones were not tried'
    return f'{fits.clips} clips fit: {_gib(fits)}; {over.clips} do not: {_gib(over)}; both compiled'


def _gib(batch: Batch) -> str:
    return f'{batch.needed / 2**30:.2f} GiB'
