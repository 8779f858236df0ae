"""What somebody who looked at the page says: these two tracklets are one person, those two are not."""

import csv
import difflib
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from jaxreid.from_video import csv_text
from jaxreid.process import atomic

COLUMNS = ('join', 'first', 'second')
_EXPECTED = (
    'expected a CSV file with the columns join (must or cannot), first, second (tracklets, as tracklets.csv has them)'
)


class Correction(NamedTuple):
    """join: 'must' or 'cannot'. first, second: rows."""

    join: str
    first: int
    second: int


def read(path: str | pathlib.Path, keys: Sequence[str]) -> list[Correction]:
    """Corrections of a CSV file.

    Raises:
      ValueError: it is none, names tracklets that there are not, or contradicts itself; names the line.
      OSError: it cannot be read.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'there is no file of corrections {path}; {_EXPECTED}')
    try:
        table = csv.DictReader(path.read_text(encoding='utf-8-sig').splitlines(), strict=True)
        rows = list(table)
    except (csv.Error, UnicodeDecodeError) as e:
        raise ValueError(f'{path} cannot be read ({e}); {_EXPECTED}') from e
    if not set(COLUMNS) <= set(table.fieldnames or ()):
        raise ValueError(f'{path} has the columns {", ".join(table.fieldnames or ()) or "none"}; {_EXPECTED}')
    place = {key: row for row, key in enumerate(keys)}
    made = []
    for line, row in enumerate(rows, start=2):
        join, *both = ((row[column] or '').strip() for column in COLUMNS)
        if join not in ('must', 'cannot'):
            raise ValueError(f'{path} line {line}: join is {join!r}; expected must or cannot')
        for key in both:
            if key not in place:
                near = difflib.get_close_matches(key, keys, n=1)
                raise ValueError(
                    f'{path} line {line}: there is no tracklet {key!r}'
                    + (f'; did you mean {near[0]!r}?' if near else '; tracklets.csv lists them')
                )
        if both[0] == both[1]:
            raise ValueError(f'{path} line {line}: first and second are both {both[0]}')
        made.append(Correction(join, place[both[0]], place[both[1]]))
    check(str(path), made, keys)
    return made


def kept(place: pathlib.Path, given: str, keys: Sequence[str]) -> list[Correction]:
    """Those that a folder keeps in `place`, and those of the file `given`, '' none, which it keeps from now on.

    Raises:
      ValueError, OSError: as `read`; or they contradict each other, and what was kept is as it was.
    """
    earlier = read(place, keys) if place.is_file() else []
    both = list(dict.fromkeys([*earlier, *(read(given, keys) if given else [])]))
    if len(both) > len(earlier):
        check(f'{given} with earlier corrections', both, keys)
        rows = [{'join': one.join, 'first': keys[one.first], 'second': keys[one.second]} for one in both]
        atomic.write(place, csv_text.of(rows))
    return both


def check(where: str, given: Sequence[Correction], keys: Sequence[str]) -> None:
    """Refuses corrections that contradict each other. Raises ValueError: names the tracklets."""
    group = together(given, range(len(keys)))
    for one in given:
        if one.join == 'cannot' and group[one.first] == group[one.second]:
            raise ValueError(
                f'{where}: {keys[one.first]} and {keys[one.second]} cannot be one person, and other lines say that '
                'they must be; take one of these lines out'
            )


def together(corrections: Sequence[Correction], start: Sequence[int]) -> list[int]:
    """`start` [N], numbers of groups, after those that `must` be one have become one: the lower number stays."""
    group = list(start)
    for one in corrections:
        if one.join == 'must':
            low, high = sorted((group[one.first], group[one.second]))
            group = [low if number == high else number for number in group]
    return group
