"""The folder of global ids: what it remembers for `add`, and the tables that it writes.

`state.json` and the features that it names are all that there is; everything else is written from them anew, so that
whatever stops a run, the next one finds a whole folder.
"""

import math
import pathlib
from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np

from jaxreid.global_ids import constraints, corrections, inputs, people
from jaxreid.process import array_file, atomic, json_file
from jaxreid.search import calibration_file, feature_rows, tracklets

STATE = 'state.json'
FEATURES, SOURCES, CROPS = 'features', 'sources', 'crops'
CALIBRATION, TOPOLOGY, CORRECTIONS = 'calibration.json', 'topology.csv', 'corrections.csv'
PEOPLE, TRACKLETS, PAGE, SCORES = 'people.csv', 'tracklets.csv', 'people.html', 'scores.json'
_ADVICE = 'make the ids anew, into another folder'
_OURS = {FEATURES, SOURCES, CROPS, CALIBRATION, TOPOLOGY, CORRECTIONS, '.lock'}  # before there is a state


class Sighting(TypedDict):
    """A tracklet. track: its name in each table of its source. film: a few files; the folder's own start there."""

    key: str
    camera: str
    source: str
    track: list[str]
    person: int
    clock: str
    first: float
    last: float
    frames: int
    film: list[str]


class Kept(TypedDict):
    """An input. tables: (kind, file below `sources`) each."""

    camera: str
    name: str
    tables: list[list[str]]
    rows: int


class State(TypedDict):
    """What a folder is. overlap: pairs of cameras. following: the first id that nobody had yet. own: the footage itself
    says how alike strangers are, and the threshold is that of the last run.
    """

    version: int
    made: tracklets.Made
    distance: str
    threshold: float
    overlap: list[list[str]]
    following: int
    own: NotRequired[bool]
    sources: list[Kept]
    sightings: list[Sighting]


def prepare(out: pathlib.Path, *, adding: bool) -> None:
    """Refuses a folder that another use was made of, or none to add to. Raises OSError: says so."""
    if adding:
        if not (out / STATE).is_file():
            raise FileNotFoundError(f'{out} holds no global ids; make them first, without `add`')
        return
    if (out / STATE).exists():
        raise FileExistsError(
            f'{out} holds global ids already; `global_ids add` adds to them, or choose another folder'
        )
    if out.exists() and (not out.is_dir() or {one.name for one in out.iterdir()} - _OURS):
        raise FileExistsError(f'{out} exists and holds something else; nothing is overwritten, choose another folder')
    out.mkdir(parents=True, exist_ok=True)


def read(out: pathlib.Path) -> tuple[State, np.ndarray]:
    """The state of a folder, and the features [N, D] of its sightings.

    Raises:
      ValueError: it is damaged; says where.
      OSError: it cannot be read.
    """
    state = json_file.read(out / STATE, State, what='the state of global ids', advice=_ADVICE)
    features = [array_file.checked(out / FEATURES / one['camera'] / f'{one["name"]}.npy') for one in state['sources']]
    if [len(one) for one in features] != [one['rows'] for one in state['sources']]:
        raise ValueError(f'{out}: features and {STATE} do not belong together; {_ADVICE}')
    return state, np.concatenate(features)


def calibration(out: pathlib.Path) -> calibration_file.Calibration | None:
    """What a folder's threshold was chosen by. Raises ValueError, OSError: as `calibration_file.read`."""
    place = out / CALIBRATION
    return calibration_file.read(str(place)) if place.is_file() else None


def sightings(out: pathlib.Path, source: inputs.Source) -> list[Sighting]:
    """What the state says of an input's tracklets; nothing is extracted for that."""
    return [
        Sighting(
            key=key,
            camera=source.camera,
            source=source.name,
            track=list(track),
            person=0,
            clock=source.clock,
            first=source.first[i] if source.clock else 0.0,
            last=source.last[i] if source.clock else 0.0,
            frames=int(source.held.frames[row]),
            film=[_inside(file, out) for file in source.held.film(row)],
        )
        for i, (key, track, row) in enumerate(zip(source.keys, source.track, source.rows, strict=True))
    ]


def keep(out: pathlib.Path, source: inputs.Source) -> tuple[Kept, np.ndarray]:
    """Writes an input's features, which it returns, and copies of its tables; what the state says of it."""
    features = source.held.features.take(np.array(source.rows, int)).astype(np.float32)
    atomic.write(out / FEATURES / source.camera / f'{source.name}.npy', array_file.with_digest(features))
    tables = []
    for table in source.tables:
        place = f'{source.camera}/{source.name}{table.path.suffix}'
        atomic.write(out / SOURCES / place, table.path.read_bytes())
        tables.append([table.kind, place])
    return Kept(camera=source.camera, name=source.name, tables=tables, rows=len(features)), features


def _inside(file, out):
    place = pathlib.Path(file)
    return place.relative_to(out).as_posix() if place.is_relative_to(out) else str(place.resolve())


def as_tracklets(out: pathlib.Path, state: State, features: np.ndarray) -> tracklets.Tracklets:
    """The sightings as what a search knows."""
    seen = state['sightings']
    return tracklets.Tracklets(
        where='global ids',
        features=feature_rows.Rows.of(features),
        name=[one['key'] for one in seen],
        person=[str(one['person']) for one in seen],
        camera=[one['camera'] for one in seen],
        time=[inputs.moment_text(one['clock'], one['first']) for one in seen],
        frames=[one['frames'] for one in seen],
        made=state['made'],
        film=films(out, state).__getitem__,
    )


def films(out: pathlib.Path, state: State) -> list[list[str]]:
    """[N], a few images of each sighting."""
    return [[str(out / file) for file in one['film']] for one in state['sightings']]


def seen(state: State) -> constraints.Seen:
    """Where and when the sightings were."""
    every = state['sightings']
    first, last = (np.array([one[end] if one['clock'] else math.nan for one in every]) for end in ('first', 'last'))
    return constraints.Seen([one['camera'] for one in every], first, last)


def asked(state: State, features: np.ndarray, corrected: Sequence[corrections.Correction]) -> people.Asked:
    """What people are found from, without travel times; features [N, D] of the sightings among it."""
    return people.Asked(
        features,
        seen(state),
        state['distance'],
        state['threshold'],
        [one['person'] for one in state['sightings']],
        following=state['following'],
        corrected=corrected,
        overlap=[frozenset(pair) for pair in state['overlap']],
    )
