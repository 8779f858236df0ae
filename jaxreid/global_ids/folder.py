"""The folder of global ids: what it remembers for `add`, and the tables that it writes.

`state.json` and the features that it names are all that there is; everything else is written from them anew, so that
whatever stops a run, the next one finds a whole folder.
"""

import csv
import io
import json
import pathlib
from typing import TypedDict

import numpy as np

from jaxreid.global_ids import inputs
from jaxreid.process import array_file, json_file, whole
from jaxreid.search import feature_rows, tracklets

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
    """What a folder is. overlap: pairs of cameras. following: the first id that nobody had yet."""

    version: int
    made: tracklets.Made
    distance: str
    threshold: float
    overlap: list[list[str]]
    following: int
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


def keep(out: pathlib.Path, source: inputs.Source) -> tuple[Kept, list[Sighting], np.ndarray]:
    """Writes an input's features and copies of its tables; what the state says of it."""
    features = source.held.features.take(np.array(source.rows, int)).astype(np.float32)
    whole.write(out / FEATURES / source.camera / f'{source.name}.npy', array_file.with_digest(features))
    tables = []
    for table in source.tables:
        place = f'{source.camera}/{source.name}{table.path.suffix}'
        whole.write(out / SOURCES / place, table.path.read_bytes())
        tables.append([table.kind, place])
    seen = [
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
    return Kept(camera=source.camera, name=source.name, tables=tables, rows=len(seen)), seen, features


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
        film=lambda row: [str(out / file) for file in seen[row]['film']],
    )


def write_tables(out: pathlib.Path, state: State) -> list[pathlib.Path]:
    """Writes every input's tables with common ids: `out`/CAMERA/NAME with the suffix that the input has."""
    written = []
    for one in state['sources']:
        mine = [s for s in state['sightings'] if (s['camera'], s['source']) == (one['camera'], one['name'])]
        for column, (kind, place) in enumerate(one['tables']):
            person = {s['track'][column]: s['person'] for s in mine}
            _TABLES[kind](out / SOURCES / place, out / place, person)
            written.append(out / place)
    return written


def _boxes(source, target, person):
    """Lines keep what follows the id; tracks without a crop in the image are left out."""
    lines = []
    for text in source.read_text(encoding='utf-8', errors='replace').splitlines():
        frame, _, rest = text.strip().partition(',')
        number, _, rest = rest.partition(',')
        if number and (track := str(int(float(number)))) in person:
            lines.append(f'{frame},{person[track]},{rest}')
    whole.write(target, '\n'.join(lines) + '\n')


def _manifest(source, target, person):
    text = source.read_text(encoding='utf-8-sig')
    if source.suffix.lower() != '.csv':
        rows = [json_file.parse(line, dict, where=str(source)) for line in text.splitlines() if line.strip()]
        kept = [row | {'pid': person[str(row['tracklet'])]} for row in rows if str(row['tracklet']) in person]
        whole.write(target, ''.join(f'{json.dumps(row, ensure_ascii=False)}\n' for row in kept))
        return
    table = csv.DictReader(io.StringIO(text))
    made = io.StringIO(newline='')
    writer = csv.DictWriter(made, fieldnames=list(table.fieldnames or ()), lineterminator='\n', extrasaction='ignore')
    writer.writeheader()
    writer.writerows(row | {'pid': person[row['tracklet']]} for row in table if row['tracklet'] in person)
    whole.write(target, made.getvalue())


def _features(source, target, person):
    arrays = array_file.npz(source)
    names = arrays['name'] if 'name' in arrays else np.array([f'row {i}' for i in range(len(arrays['pid']))])
    arrays['pid'] = np.array([person.get(name, -1) for name in names.tolist()])  # -1: of another camera, never ranked
    with whole.file(target) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


_TABLES = {'mot': _boxes, 'manifest': _manifest, 'features': _features}


def table(rows: list[dict[str, object]]) -> str:
    """Rows with the same keys as CSV text."""
    text = io.StringIO(newline='')
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
