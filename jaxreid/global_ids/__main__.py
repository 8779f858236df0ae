"""One id for everybody over all cameras, from the tracks of each camera alone.

  python -m jaxreid.global_ids door=tracklets/door yard=tracklets/yard ids --checkpoint runs/strf_mars \\
      --calibration report.calibration.json
  python -m jaxreid.global_ids door=door.txt@door.mp4 yard=yard.txt@yard.mp4 ids --checkpoint runs/strf_mars \\
      --threshold 0.7 --topology ways.csv
  python -m jaxreid.global_ids add ids door=evening/door --checkpoint runs/strf_mars     ids that are there stay

CAMERA=TRACKS is a file in the format of MOTChallenge with its video (CAMERA=TRACKS@VIDEO), a folder that
jaxreid.from_video made, a manifest (.csv, .jsonl) or a feature file (.npz). OUT receives the same files with common
ids; people.csv and tracklets.csv; and people.html, a page that shows the doubtful joins first. docs/global_ids.md.
"""

import argparse
import dataclasses
import datetime
import math
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxreid import command_line
from jaxreid.from_video import mot_file
from jaxreid.global_ids import constraints, corrections, folder, identity_scores, inputs, page, people
from jaxreid.process import commands, exit_status, whole
from jaxreid.search import calibration_file, nearest, sources, tracklets

_RATE = '0.1%'  # false-accept rate where a calibration is given and no threshold
_CLOCKS = {'date': 'dates', 'seconds': 'seconds from the beginning of a video', '': 'no times'}


def run(options: argparse.Namespace) -> None:
    """Reads, finds the people, writes everything."""
    given = [inputs.named(text) for text in options.inputs]
    inputs.check_cameras(given)
    start = _by_camera(options.start, given, '--start', datetime.datetime.fromisoformat, '2026-11-21T14:00:00')
    truths = _by_camera(options.truth, given, '--truth', pathlib.Path, 'gt.txt')
    out = pathlib.Path(options.out).expanduser()
    folder.prepare(out, adding=options.adding)
    with whole.alone(out, doing='giving ids in'):
        state, features = folder.read(out) if options.adding else _begun(options, out)
        calibration = None
        if (out / folder.CALIBRATION).is_file():
            calibration = calibration_file.read(str(out / folder.CALIBRATION))
        opened = _opened(options, given, start, out, state)
        _check(opened, state, features, calibration)
        if truths:
            _check_truths(opened, truths)
        for source in opened:
            kept, seen, rows = folder.keep(out, source)
            state['sources'].append(kept)
            state['sightings'] += seen
            features = np.concatenate([features, rows]) if len(features) else rows
        asked = _asked(options, out, state, features)
        found = people.find(asked)
        for one, person in zip(state['sightings'], found.person, strict=True):
            one['person'] = person
        state['following'] = max(state['following'], *(person + 1 for person in found.person))
        whole.write_json(out / folder.STATE, state)
        said = _scores(out, opened, truths, state, asked) if truths else []
        _write(out, state, asked, found, calibration, said, options.budget_mb)


def _begun(options, out):
    """The state before anything was read; files that say how are copied."""
    if options.calibration:
        calibration = calibration_file.read(options.calibration)
        threshold = calibration_file.threshold(options.threshold or _RATE, calibration)
        whole.write(out / folder.CALIBRATION, pathlib.Path(options.calibration).read_bytes())
    elif not options.threshold:
        raise ValueError(
            'give --calibration FILE, the report.calibration.json of the network, or --threshold, the least similarity '
            'of one person, such as 0.7'
        )
    else:
        threshold = calibration_file.threshold(options.threshold, None)
    cameras = [inputs.named(text).camera for text in options.inputs]
    overlap = [text.split(',') for text in options.overlap]
    for pair in overlap:
        if len(pair) != 2 or set(pair) - set(cameras) or pair[0] == pair[1]:
            raise ValueError(f'--overlap {",".join(pair)}: expected two of the cameras {", ".join(cameras)}, as A,B')
    if options.topology not in ('', 'learnt'):
        _write_topology(out, constraints.read(options.topology, cameras))
    state = folder.State(
        version=1, made={}, distance='', threshold=threshold, overlap=overlap, following=1, sources=[], sightings=[]
    )
    return state, np.zeros((0, 0), np.float32)


def _by_camera(texts, given, option, kind, example):
    """CAMERA=VALUE of an option that may be repeated."""
    made = {}
    for text in texts:
        camera, equals, value = text.partition('=')
        if not equals or camera not in [one.camera for one in given]:
            cameras = ', '.join(one.camera for one in given)
            raise ValueError(f'{option} {text}: expected CAMERA={example}, of the cameras {cameras}')
        try:
            made[camera] = kind(value)
        except ValueError:
            raise ValueError(f'{option} {text}: {value!r} is not such as {example}') from None
    return made


def _opened(options, given, start, out, state):
    network = sources.network_loader(options.checkpoint)
    there = {(one['camera'], one['name']) for one in state['sources']}
    opened = []
    for one in given:
        name = one.tracks.resolve().stem
        if (one.camera, name) in there:
            raise ValueError(
                f'{out} holds {name} of camera {one.camera} already; give another file, or rename this one'
            )
        crops = out / folder.CROPS / one.camera / name
        opened.append(inputs.open_source(one, network, crops=crops, start=start.get(one.camera), rate=options.fps))
    return opened


def _check(opened, state, features, calibration):
    """All that does not fit, before anything is extracted."""
    dim = features.shape[1] if len(features) else None
    for source in opened:
        tracklets.check_made('the ids that are there', dim, state['made'], source.held)
        state['made'] = source.held.made | state['made']
    state['distance'] = state['distance'] or state['made'].get('distance', 'cosine')
    if state['distance'] not in nearest.DISTANCES:
        raise ValueError(f'distance {state["distance"]!r} is unknown; expected one of {", ".join(nearest.DISTANCES)}')
    if calibration is not None:
        calibration_file.check_belongs(calibration, state['made'] | {'distance': state['distance']})
    clocks = {source.camera: source.clock for source in opened}
    clocks |= {one['camera']: one['clock'] for one in state['sightings']}
    if len(set(clocks.values()) - {''}) > 1:
        one, other = (next(camera for camera, clock in clocks.items() if clock == kind) for kind in ('date', 'seconds'))
        raise ValueError(
            f'camera {one} has dates and camera {other} seconds; say when the others begin: '
            f'--start {other}=2026-11-21T14:00:00'
        )
    for source in opened:
        if not source.clock:
            print(
                f'{source.camera}: no times, or of several kinds, so nothing keeps its tracklets apart', file=sys.stderr
            )


def _asked(options, out, state, features):
    """All that people are found from; topology and corrections are kept in the folder."""
    seen = state['sightings']
    keys = [one['key'] for one in seen]
    if options.corrections:
        given = corrections.read(options.corrections, keys)
        earlier = corrections.read(out / folder.CORRECTIONS, keys) if (out / folder.CORRECTIONS).is_file() else []
        rows = [
            {'join': one.join, 'first': keys[one.first], 'second': keys[one.second]}
            for one in dict.fromkeys([*earlier, *given])
        ]
        if rows:
            text = folder.table(rows)
            corrections.check(f'{options.corrections} with earlier corrections', [*earlier, *given], keys)
            whole.write(out / folder.CORRECTIONS, text)
    corrected = corrections.read(out / folder.CORRECTIONS, keys) if (out / folder.CORRECTIONS).is_file() else []
    first, last = ([one[end] if one['clock'] else math.nan for one in seen] for end in ('first', 'last'))
    asked = people.Asked(
        features,
        constraints.Seen([one['camera'] for one in seen], np.array(first), np.array(last)),
        state['distance'],
        state['threshold'],
        [one['person'] for one in seen],
        following=state['following'],
        corrected=corrected,
        overlap=[frozenset(pair) for pair in state['overlap']],
    )
    if options.topology == 'learnt':
        before = people.find(asked)
        _write_topology(out, constraints.learnt(asked.seen, np.array(before.person)))
    if (out / folder.TOPOLOGY).is_file():
        limits = constraints.read(str(out / folder.TOPOLOGY), sorted(set(asked.seen.camera)))
        asked = dataclasses.replace(asked, topology=limits)
    return asked


def _write_topology(out, limits):
    rows: list[dict[str, object]] = [
        {'from': a, 'to': b, 'minimum': f'{one.minimum:g}', 'maximum': f'{one.maximum:g}'.replace('inf', '')}
        for (a, b), one in limits.items()
    ]
    if not rows:
        print('no two cameras have walks enough to learn travel times from', file=sys.stderr)
        return
    whole.write(out / folder.TOPOLOGY, folder.table(rows))


def _check_truths(opened, truths):
    identity_scores.evaluator()
    for source in opened:
        if source.camera in truths and source.tables[0].kind != 'mot':
            raise ValueError(
                f'--truth {source.camera}={truths[source.camera]} needs boxes, which {source.tables[0].path} has not'
            )
        if source.camera in truths and not truths[source.camera].is_file():
            raise FileNotFoundError(f'--truth {source.camera}: there is no file {truths[source.camera]}')


def _scores(out, opened, truths, state, asked):
    """Lines that say how right the ids are, beside ids without re-identification; writes them as JSON."""
    truth, tracks = {}, {}
    rows_of: dict[str, dict[int, int]] = {}  # camera -> track -> row
    row = len(state['sightings']) - sum(len(source.rows) for source in opened)
    owner: list[int | None] = [None] * len(state['sightings'])
    for source in opened:
        camera, first = source.camera, row
        row += len(source.rows)
        if camera not in truths:
            continue
        truth[camera], _ = mot_file.read(truths[camera])
        tracks[camera], _ = mot_file.read(source.tables[0].path)
        rows_of[camera] = {int(float(track[0])): first + i for i, track in enumerate(source.track)}
        for track, who in identity_scores.owners(truth[camera], tracks[camera]).items():
            if track in rows_of[camera]:
                owner[rows_of[camera][track]] = who
    person = [one['person'] for one in state['sightings']]
    films = [[str(out / file) for file in one['film']] for one in state['sightings']]
    by_row = {'global ids': person, 'no re-identification': list(range(len(person)))}
    if all(films):
        by_row['colours alone'] = identity_scores.by_colours(films, asked, owner)
    found = {}
    for name, ids in by_row.items():
        given = {
            camera: identity_scores.relabelled(tracks[camera], {track: ids[i] for track, i in places.items()})
            for camera, places in rows_of.items()
        }
        found[name] = identity_scores.score(truth, given)
    whole.write_json(out / folder.SCORES, found)
    return [
        f'{name}, over all cameras: IDF1 {one[""]["idf1"]:.3f}, IDP {one[""]["idp"]:.3f}, IDR {one[""]["idr"]:.3f}'
        for name, one in found.items()
    ]


def _write(out, state, asked, found, calibration, said, budget_mb):
    """Tables with common ids, people, tracklets, the page; and what to know on the terminal."""
    seen = state['sightings']
    of = folder.as_tracklets(out, state, asked.embedding)
    moments = page.Moments(*([one[key] for one in seen] for key in ('clock', 'first', 'last')))
    weakest: dict[int, float] = {}
    for join in found.joins:
        weakest.setdefault(seen[join.first]['person'], join.similarity)
    similarity = people.similarities(asked.embedding, asked.distance)
    whole.write(out / folder.PEOPLE, folder.table(_people(seen, weakest, calibration)))
    rows = []
    for i in sorted(range(len(seen)), key=lambda i: (seen[i]['person'], seen[i]['first'], i)):
        one = seen[i]
        others = [j for j in range(len(seen)) if j != i and seen[j]['person'] == one['person']]
        rows.append({
            'person': one['person'], 'tracklet': one['key'], 'camera': one['camera'],
            'first_seen': of.time[i], 'last_seen': inputs.moment_text(one['clock'], one['last']),
            'frames': one['frames'], 'similarity': f'{similarity[i, others].mean():.4f}' if others else '',
        })  # fmt: skip
    whole.write(out / folder.TRACKLETS, folder.table(rows))
    tables = folder.write_tables(out, state)
    text = page.render(
        of, moments, found.joins, found.apart,
        calibration=calibration, threshold=asked.threshold, scores=said, budget_mb=budget_mb,
    )  # fmt: skip
    whole.write(out / folder.PAGE, text)
    cameras: dict[int, set[str]] = {}
    for one in seen:
        cameras.setdefault(one['person'], set()).add(one['camera'])
    several = sum(len(one) > 1 for one in cameras.values())
    print(
        f'{len(cameras)} people in {len(seen)} tracklets of {len(set(asked.seen.camera))} cameras, '
        f'{several} of them seen by several cameras'
    )
    for line in said:
        print(line)
    for path in (out / folder.PEOPLE, out / folder.TRACKLETS, out / folder.PAGE, *tables):
        print(f'written    {path}')


def _people(seen, weakest, calibration):
    rows: list[dict[str, object]] = []
    for person in sorted({one['person'] for one in seen}):
        own = sorted((one for one in seen if one['person'] == person), key=lambda one: one['first'])
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


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    adding = argv[:1] == ['add']
    parser = commands.parser('global-ids', __doc__, sub='add' * adding)
    tracks: dict[str, Any] = {
        'metavar': 'CAMERA=TRACKS',
        'help': 'tracks of one camera: CAMERA=TRACKS or CAMERA=TRACKS@VIDEO',
    }
    if adding:
        parser.add_argument('out', metavar='OUT', help='folder with global ids')
        parser.add_argument('inputs', nargs='*', **tracks)
    else:
        parser.add_argument('inputs', nargs='+', **tracks)
        parser.add_argument('out', metavar='OUT', help='folder to make')
        parser.add_argument('--calibration', default='', help='report.calibration.json of the network')
        parser.add_argument(
            '--threshold', default='', help=f'least similarity, or with --calibration a false-accept rate ({_RATE}%)'
        )
        parser.add_argument(
            '--topology',
            default='',
            metavar='CSV',
            help='travel times: from,to,minimum,maximum in seconds; or "learnt"',
        )
        parser.add_argument(
            '--overlap',
            action='append',
            default=[],
            metavar='A,B',
            help='two cameras that see one place; may be repeated',
        )
    parser.add_argument('--checkpoint', default='', help='workdir or checkpoint of the network, for images')
    parser.add_argument('--corrections', default='', metavar='CSV', help='join (must or cannot), first, second')
    when = 'date and time of second 0 of a camera, CAMERA=2026-11-21T14:00:00; may be repeated'
    parser.add_argument('--start', action='append', default=[], help=when)
    parser.add_argument('--fps', type=float, default=25.0, help='of tracklets that do not say when they end (25)')
    truth = 'true boxes with ids that are common to all cameras, CAMERA=GT; may be repeated'
    parser.add_argument('--truth', action='append', default=[], help=truth)
    parser.add_argument('--budget-mb', type=float, default=24.0, help='MiB of pictures in the page (24)')
    options = parser.parse_args(argv[1:] if adding else argv)
    options.adding = adding
    if adding:
        options.topology = ''
    return options


def main(argv: Sequence[str]) -> int:
    """Parses, acts; expected errors become one message and an exit status."""
    options = parse(argv)

    def act() -> int:
        command_line.set_up('float32')
        run(options)
        return 0

    return exit_status.run(act)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
