"""When and where somebody can have been: nobody is in two places at once, and ways between cameras take time."""

import csv
import itertools
import math
import pathlib
import types
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxreid.from_video import csv_text

COLUMNS = ('from', 'to', 'minimum', 'maximum')
_EXPECTED = 'expected a CSV file with the columns from, to (cameras), minimum, maximum (seconds, may be empty)'
_ENOUGH = 5  # walks between two cameras that limits are learnt from, at least


class Seen(NamedTuple):
    """Where and when N tracklets were seen."""

    camera: Sequence[str]
    first: np.ndarray  # [N] float64 seconds; NaN where unknown
    last: np.ndarray  # [N] float64 seconds, not before `first`


class Limits(NamedTuple):
    """How long somebody needs from one camera to the next, in seconds."""

    minimum: float
    maximum: float


Topology = Mapping[tuple[str, str], Limits]  # (from, to); what is not in it has no limits


def pairs(
    seen: Seen, *, overlap: Collection[frozenset[str]] = (), topology: Topology = types.MappingProxyType({})
) -> tuple[np.ndarray, np.ndarray]:
    """What times say about every pair of tracklets: [N, N] bool each, symmetric.

    Args:
      seen: where and when.
      overlap: pairs of cameras that see one place: their times say nothing.
      topology: limits of ways. A pair that is seen later than the maximum is not comparable: whoever it shows was seen
        elsewhere in between, or it is two people. The minimum holds for every pair.

    Returns:
      cannot: both at once in cameras that do not overlap, or sooner in the second than the way takes.
      comparable: similarity says something about the pair.
    """
    cameras = list(dict.fromkeys(seen.camera))
    code = np.array([cameras.index(camera) for camera in seen.camera], int)
    minimum, maximum = np.zeros((len(cameras),) * 2), np.full((len(cameras),) * 2, math.inf)
    free = np.zeros((len(cameras),) * 2, bool)
    for a, first in enumerate(cameras):
        for b, second in enumerate(cameras):
            minimum[a, b], maximum[a, b] = topology.get((first, second), Limits(0.0, math.inf))
            free[a, b] = a != b and frozenset((first, second)) in overlap
    way = code[:, None], code[None]
    unknown = np.isnan(seen.first)
    free = free[way] | unknown[:, None] | unknown[None] | np.eye(len(code), dtype=bool)
    wait = seen.first[None] - seen.last[:, None]  # from the end of the row's to the beginning of the column's
    later = wait > 0
    possible, soon = later & (wait >= minimum[way]), later & (wait <= maximum[way])
    return ~(possible | possible.T | free), soon | soon.T | free


def read(path: str, cameras: Sequence[str]) -> dict[tuple[str, str], Limits]:
    """Limits from a CSV file. A line holds for the way back too, where that has none of its own.

    Raises:
      ValueError: it is none, or names cameras that there are not; names the line.
      OSError: it cannot be read.
    """
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f'there is no topology {path}; {_EXPECTED}')
    given: dict[tuple[str, str], Limits] = {}
    try:
        table = csv.DictReader(pathlib.Path(path).read_text(encoding='utf-8-sig').splitlines(), strict=True)
        rows = list(table)
    except (csv.Error, UnicodeDecodeError) as e:
        raise ValueError(f'{path} cannot be read ({e}); {_EXPECTED}') from e
    if not set(COLUMNS) <= set(table.fieldnames or ()):
        raise ValueError(f'{path} has the columns {", ".join(table.fieldnames or ()) or "none"}; {_EXPECTED}')
    for line, row in enumerate(rows, start=2):
        where = f'{path} line {line}'
        way = ((row['from'] or '').strip(), (row['to'] or '').strip())
        for camera in way:
            if camera not in cameras:
                raise ValueError(f'{where}: there is no camera {camera!r}; there are {", ".join(cameras)}')
        limits = Limits(_seconds(where, row['minimum'], 0.0), _seconds(where, row['maximum'], math.inf))
        if limits.minimum > limits.maximum:
            raise ValueError(f'{where}: the minimum, {limits.minimum:g}, is above the maximum, {limits.maximum:g}')
        if way in given:
            raise ValueError(f'{where}: the way from {way[0]} to {way[1]} was given before')
        given[way] = limits
    return {(b, a): limits for (a, b), limits in given.items()} | given


def text(limits: Topology) -> str:
    """Limits as the text of a CSV file that `read` takes."""
    return csv_text.of([
        {'from': a, 'to': b, 'minimum': f'{one.minimum:g}', 'maximum': f'{one.maximum:g}'.replace('inf', '')}
        for (a, b), one in limits.items()
    ])  # fmt: skip


def _seconds(where, text, empty):
    try:
        value = float(text) if (text or '').strip() else empty
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise ValueError(f'{where}: {text!r} is no number of seconds')
    return value


def learnt(seen: Seen, label: np.ndarray) -> dict[tuple[str, str], Limits]:
    """Limits from people who were found without them: of every two cameras that at least 5 walks lead between, half of
    the 5th percentile of their times and twice the 95th.
    """
    walks: dict[tuple[str, str], list[float]] = {}
    for number in np.unique(label):
        rows = np.flatnonzero((label == number) & ~np.isnan(seen.first))
        rows = rows[np.lexsort((rows, seen.first[rows]))]
        for a, b in itertools.pairwise(rows.tolist()):
            wait = float(seen.first[b] - seen.last[a])
            if seen.camera[a] != seen.camera[b] and wait > 0:
                walks.setdefault((seen.camera[a], seen.camera[b]), []).append(wait)
    return {
        way: Limits(float(np.percentile(waits, 5)) / 2, float(np.percentile(waits, 95)) * 2)
        for way, waits in sorted(walks.items())
        if len(waits) >= _ENOUGH
    }
