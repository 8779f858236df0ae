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
import collections
import dataclasses
import datetime
import math
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxreid import command_line
from jaxreid.from_video import csv_text
from jaxreid.global_ids import (
    constraints,
    corrections,
    folder,
    identity_scores,
    inputs,
    own_footage,
    page,
    people,
    tables,
)
from jaxreid.process import atomic, commands, exit_status
from jaxreid.search import calibration_file, sources

_RATE = '1%'  # false-accept rate where a calibration is given and no threshold


def run(options: argparse.Namespace) -> None:
    """Reads, finds the people, writes everything."""
    given = [inputs.named(text) for text in options.inputs]
    inputs.check_cameras(given)
    start = _by_camera(options.start, given, '--start', datetime.datetime.fromisoformat, '2026-11-21T14:00:00')
    truths = _by_camera(options.truth, given, '--truth', pathlib.Path, 'gt.txt')
    out = pathlib.Path(options.out).expanduser()
    folder.prepare(out, adding=options.adding)
    with atomic.alone(out, doing='giving ids in'):
        state, features = folder.read(out) if options.adding else (_begun(options, out, given), None)
        calibration = folder.calibration(out)
        opened = _opened(options, given, start, out, state)
        state['made'], state['distance'] = inputs.agreed(opened, state['made'], state['distance'], features)
        if calibration is not None:
            calibration_file.check_belongs(calibration, state['made'] | {'distance': state['distance']})
        inputs.check_clocks({one['camera']: one['clock'] for one in state['sightings']}, opened)
        if truths:
            identity_scores.check(opened, truths)
        for source in opened:
            state['sightings'] += folder.sightings(out, source)
        own = state.get('own', False)
        if own:
            overlap = [frozenset(pair) for pair in state['overlap']]
            own_footage.check(constraints.pairs(folder.seen(state), overlap=overlap)[0])
        parts = [] if features is None else [features]
        for source in opened:
            kept, rows = folder.keep(out, source)
            state['sources'].append(kept)
            parts.append(rows)
        keys = [one['key'] for one in state['sightings']]
        corrected = corrections.kept(out / folder.CORRECTIONS, options.corrections, keys)
        features = np.concatenate(parts)
        asked = folder.asked(state, features, corrected)
        if own:
            asked, calibration = own_footage.calibrated(asked)
            state['threshold'] = asked.threshold
        asked = dataclasses.replace(asked, topology=_topology(out, asked, learn=options.topology == 'learnt'))
        found = people.find(asked)
        for one, person in zip(state['sightings'], found.person, strict=True):
            one['person'] = person
        state['following'] = max(state['following'], *(person + 1 for person in found.person))
        atomic.write_json(out / folder.STATE, state)
        scores = identity_scores.of_inputs(opened, truths, asked, found.person, folder.films(out, state), own=own)
        if scores:
            atomic.write_json(out / folder.SCORES, scores)
        _write(out, state, features, asked, found, calibration, identity_scores.lines(scores), options.budget_mb)


def _begun(options, out, given):
    """The state before anything was read; files that say how are copied."""
    threshold, own = math.nan, not (options.calibration or options.threshold)
    if options.calibration:
        calibration = calibration_file.read(options.calibration)
        threshold = calibration_file.threshold(options.threshold or _RATE, calibration)
        atomic.write(out / folder.CALIBRATION, pathlib.Path(options.calibration).read_bytes())
    elif options.threshold:
        threshold = calibration_file.threshold(options.threshold, None)
    cameras = [one.camera for one in given]
    overlap = [text.split(',') for text in options.overlap]
    for pair in overlap:
        if len(pair) != 2 or set(pair) - set(cameras) or pair[0] == pair[1]:
            raise ValueError(f'--overlap {",".join(pair)}: expected two of the cameras {", ".join(cameras)}, as A,B')
    if options.topology not in ('', 'learnt'):
        limits = constraints.read(options.topology, cameras)
        atomic.write(out / folder.TOPOLOGY, constraints.text(limits))
    return folder.State(
        version=1, made={}, distance='', threshold=threshold, overlap=overlap, following=1, own=own, sources=[],
        sightings=[],
    )  # fmt: skip


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


def _topology(out, asked, *, learn):
    """Limits that the folder keeps, or learns now."""
    if learn:
        limits = constraints.learnt(asked.seen, np.array(people.find(asked).person))
        if limits:
            atomic.write(out / folder.TOPOLOGY, constraints.text(limits))
        else:
            print('no two cameras have walks enough to learn travel times from', file=sys.stderr)
    if not (out / folder.TOPOLOGY).is_file():
        return {}
    return constraints.read(str(out / folder.TOPOLOGY), sorted(set(asked.seen.camera)))


def _write(out, state, features, asked, found, calibration, said, budget_mb):
    """Tables with common ids, people, tracklets, the page; and what to know on the terminal."""
    weakest: dict[int, float] = {}
    for join in found.joins:
        weakest.setdefault(found.person[join.first], join.similarity)
    rows = tables.people(state, weakest, calibration)
    atomic.write(out / folder.PEOPLE, csv_text.of(rows))
    similarity = people.similarities(asked.embedding, asked.distance)
    atomic.write(out / folder.TRACKLETS, csv_text.of(tables.tracklets(state, similarity)))
    written = tables.write_inputs(out, state)
    moments = page.Moments(*([one[key] for one in state['sightings']] for key in ('clock', 'first', 'last')))
    text = page.render(
        folder.as_tracklets(out, state, features), moments, found.joins, found.apart,
        calibration=calibration, threshold=asked.threshold, scores=said, budget_mb=budget_mb,
    )  # fmt: skip
    atomic.write(out / folder.PAGE, text)
    cameras = collections.Counter(one for one, _ in set(zip(found.person, asked.seen.camera, strict=True)))
    several = sum(count > 1 for count in cameras.values())
    print(
        f'{len(rows)} people in {len(found.person)} tracklets of {len(set(asked.seen.camera))} cameras, '
        f'{several} of them seen by several cameras'
    )
    rate = page.rate(calibration, asked.threshold)
    print(f'joined from a similarity of {asked.threshold:.3f} on' + f'; {rate}' * bool(rate))
    for line in said:
        print(line)
    for path in (out / folder.PEOPLE, out / folder.TRACKLETS, out / folder.PAGE, *written):
        print(f'written    {path}')


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
        how = 'report.calibration.json of the network, instead of what this footage says of strangers'
        parser.add_argument('--calibration', default='', help=how)
        least = f'least similarity instead, or with --calibration a false-accept rate ({_RATE}%)'
        parser.add_argument('--threshold', default='', help=least)
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
