"""The tables of global ids: the inputs' own files with common ids, a line per person, a line per tracklet."""

import csv
import io
import json
import pathlib
from collections.abc import Mapping

import numpy as np

from jaxreid.from_video import coco_file
from jaxreid.global_ids import folder, inputs
from jaxreid.process import array_file, atomic, json_file
from jaxreid.search import calibration_file


def people(
    state: folder.State, weakest: Mapping[int, float], calibration: calibration_file.Calibration | None
) -> list[dict[str, object]]:
    """A row per person. `weakest`: similarity of a person's weakest join, of whom has any."""
    rows: list[dict[str, object]] = []
    of: dict[int, list[folder.Sighting]] = {}
    for one in sorted(state['sightings'], key=lambda one: one['first']):
        of.setdefault(one['person'], []).append(one)
    for person, own in sorted(of.items()):
        final = max(own, key=lambda one: one['last'])
        alike = weakest.get(person)
        rate = '' if calibration is None or alike is None else calibration_file.false_accept_rate(calibration, alike)
        rows.append({
            'person': person,
            'first_seen': inputs.moment_text(own[0]['clock'], own[0]['first']),
            'last_seen': inputs.moment_text(final['clock'], final['last']),
            'cameras': ' '.join(dict.fromkeys(one['camera'] for one in own)), 'tracklets': len(own),
            'weakest_join': '' if alike is None else f'{alike:.4f}',
            'false_accept_rate': rate if rate == '' else f'{rate:.2g}',
        })  # fmt: skip
    return rows


def tracklets(state: folder.State, similarity: np.ndarray) -> list[dict[str, object]]:
    """A row per tracklet, those of a person together. `similarity`: [N, N] of all pairs."""
    seen = state['sightings']
    person = np.array([one['person'] for one in seen])
    rows: list[dict[str, object]] = []
    for i in sorted(range(len(seen)), key=lambda i: (seen[i]['person'], seen[i]['first'], i)):
        one = seen[i]
        others = np.flatnonzero((person == one['person']) & (np.arange(len(seen)) != i))
        rows.append({
            'person': one['person'], 'tracklet': one['key'], 'camera': one['camera'],
            'first_seen': inputs.moment_text(one['clock'], one['first']),
            'last_seen': inputs.moment_text(one['clock'], one['last']),
            'frames': one['frames'], 'similarity': f'{similarity[i, others].mean():.4f}' if len(others) else '',
        })  # fmt: skip
    return rows


def write_inputs(out: pathlib.Path, state: folder.State) -> list[pathlib.Path]:
    """Writes every input's tables with common ids: `out`/CAMERA/NAME with the suffix that the input has."""
    written = []
    for one in state['sources']:
        mine = [s for s in state['sightings'] if (s['camera'], s['source']) == (one['camera'], one['name'])]
        for column, (kind, place) in enumerate(one['tables']):
            person = {s['track'][column]: s['person'] for s in mine}
            _TABLES[kind](out / folder.SOURCES / place, out / place, person)
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
    atomic.write(target, '\n'.join(lines) + '\n')


def _coco(source, target, person):
    held = json_file.read(source, coco_file.File)
    kept = [one for one in held['annotations'] if str(coco_file.track(one)) in person]
    for one in kept:
        one['track_id' if 'track_id' in one else 'instance_id'] = person[str(coco_file.track(one))]
    atomic.write(target, json.dumps({**held, 'annotations': kept}))


def _manifest(source, target, person):
    held = source.read_text(encoding='utf-8-sig')
    if source.suffix.lower() != '.csv':
        rows = [json_file.parse(line, dict, where=str(source)) for line in held.splitlines() if line.strip()]
        kept = [row | {'pid': person[str(row['tracklet'])]} for row in rows if str(row['tracklet']) in person]
        atomic.write(target, ''.join(f'{json.dumps(row, ensure_ascii=False)}\n' for row in kept))
        return
    table = csv.DictReader(io.StringIO(held))
    made = io.StringIO(newline='')
    writer = csv.DictWriter(made, fieldnames=list(table.fieldnames or ()), lineterminator='\n', extrasaction='ignore')
    writer.writeheader()
    writer.writerows(row | {'pid': person[row['tracklet']]} for row in table if row['tracklet'] in person)
    atomic.write(target, made.getvalue())


def _features(source, target, person):
    arrays = array_file.npz(source)
    names = arrays['name'] if 'name' in arrays else np.array([f'row {i}' for i in range(len(arrays['pid']))])
    arrays['pid'] = np.array([person.get(name, -1) for name in names.tolist()])  # -1: of another camera, never ranked
    with atomic.file(target) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


_TABLES = {'mot': _boxes, 'coco': _coco, 'manifest': _manifest, 'features': _features}
