"""Who is this, where else were they seen, how sure? The most similar tracklets of a gallery for every query.

  python -m jaxreid.search GALLERY QUERY --top 5 --html answers.html
  python -m jaxreid.search shop.npz visitors.csv --checkpoint runs/strf_mars --calibration report.calibration.json
  python -m jaxreid.search same A B                                          do two of these show one person?
  python -m jaxreid.search add GALLERY NEW [NEW ...]                         a gallery that grows (docs/search.md)
  python -m jaxreid.search watch GALLERY rtsp://door OUT --checkpoint C      who is this, as people leave a live video

GALLERY, QUERY and NEW are feature files (.npz, --mode extract), manifests (.csv, .jsonl) or folders of tracklets (one
folder of images each; both need --checkpoint), or galleries made with `add`. Of a manifest or feature file the
tracklets marked gallery, or query, are taken, and all where none is. Call a folder named `add` ./add.
"""

import argparse
import datetime
import json
import pathlib
import sys
from collections.abc import Sequence

from jaxreid import command_line
from jaxreid.process import atomic, commands, exit_status
from jaxreid.search import calibration_file, gallery, nearest, page, results, sources, tracklets, watch

_SHOWN = 20  # queries in the terminal
_TOP = 10  # answers per query


def search(options: argparse.Namespace) -> None:
    """Answers on the terminal, and in the files asked for."""
    read = options.gallery, options.query, options.checkpoint, options.calibration
    for path, ours in ((options.html, page.is_page), (options.json, results.is_json)):
        results.check_output(path, ours, read)
    if options.html and options.json and pathlib.Path(options.html).resolve() == pathlib.Path(options.json).resolve():
        raise ValueError(f'--html and --json are both {options.html}; choose two files')
    if options.rates and not options.calibration:
        raise ValueError('--rates needs --calibration FILE, which holds them')
    held, asked, distance, calibration = _compared(options)
    threshold = calibration_file.threshold(options.threshold, calibration) if options.threshold else None
    answers = results.search(
        held,
        asked,
        top=min(_TOP, len(held)) if options.top is None else options.top,
        distance=distance,
        filters=results.Filters.of(options),
        calibration=calibration,
        threshold=threshold,
    )
    if options.json:
        _write(options.json, json.dumps(results.to_json(held, asked, answers), indent=1))
    if options.html:
        when = datetime.datetime.now(datetime.UTC).strftime('%Y-%m-%d %H:%M UTC')
        _write(options.html, page.render(held, asked, answers, budget_mb=options.budget_mb, when=when))
    # Last, since what reads the terminal may stop listening.
    print(results.table(held, asked, answers, shown=_SHOWN, rates=options.rates))
    for path in filter(None, (options.json, options.html)):
        print(f'written    {path}')


def _compared(options):
    """Gallery and queries that can be compared, by what distance, and its calibration or None."""
    calibration = calibration_file.read(options.calibration) if options.calibration else None
    network = sources.network_loader(options.checkpoint)
    how = {'frames_root': options.frames_root, 'each': options.each}
    held = sources.open_any(options.gallery, 'gallery', network, **how)
    asked = sources.open_any(options.query, 'query', network, **how)
    tracklets.check_comparable(held, asked)
    known = held.made | asked.made
    distance = options.distance or known.get('distance', 'cosine')
    if calibration is not None:
        calibration_file.check_belongs(calibration, known | {'distance': distance})
        if not calibration.network:
            print(
                f'{options.calibration} does not say which network it is of; make sure that it is this one',
                file=sys.stderr,
            )
    for one in (held, asked):
        if 'network' not in one.made:
            print(
                f'{one.where} does not say which network made its features; make sure that it is the same',
                file=sys.stderr,
            )
    return held, asked, distance, calibration


def same(options: argparse.Namespace) -> None:
    """Says whether two tracklets show one person."""
    held, asked, distance, calibration = _compared(options)
    for path, one in ((options.gallery, held), (options.query, asked)):
        if len(one) != 1:
            raise ValueError(f'{path} holds {len(one)} tracklets; expected one: an image, or the folder of a tracklet')
    rows = held.features.read(0, 1), asked.features.read(0, 1)
    similarity = float(nearest.exact_similarity(rows[1][0], rows[0], distance)[0])
    print(f'similarity {similarity:.3f} ({distance} distance)')
    if calibration is None:
        print('no verdict: --calibration FILE, report.calibration.json of the network, says what that means')
        return
    others = calibration_file.false_accept_rate(calibration, similarity)
    alike = calibration_file.true_accept_rate(calibration, similarity)
    share = calibration_file.words(calibration, others)
    print(f'{results.of_pair(others, alike)}: {share} of other people are as similar, {alike:.1%} of the same person')


def _write(path, text):
    try:
        atomic.write(pathlib.Path(path), text)
    except OSError as e:
        raise OSError(
            f'cannot write {path}: {e.__cause__}; make space, or choose a place that can be written to'
        ) from e


def add(options: argparse.Namespace) -> None:
    """Appends to a gallery."""
    network = sources.network_loader(options.checkpoint)
    folder = pathlib.Path(options.gallery).expanduser()
    new = [
        sources.open_any(path, 'gallery', network, frames_root=options.frames_root, each=options.each)
        for path in options.new
    ]
    gallery.check(folder, new)  # all of them before anything is extracted or written
    for path in options.new:
        done = gallery.append(folder, new.pop(0))
        there = f'{done.there:,} were there already, ' if done.there else ''
        print(f'{options.gallery}: {done.added:,} tracklets of {path} added, {there}{done.total:,} in all')


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    adding, two, watching = (argv[:1] == [sub] for sub in ('add', 'same', 'watch'))
    parser = commands.parser('search', __doc__, sub='add' * adding + 'same' * two + 'watch' * watching)
    parser.set_defaults(act=add if adding else same if two else watch.watch if watching else search)
    if watching:
        watch.arguments_of(parser)
        return parser.parse_args(argv[1:])
    what = 'folder of the gallery' if adding else 'one tracklet' if two else 'where to search'
    parser.add_argument('gallery', metavar='A' if two else 'GALLERY', help=what)
    how = 'what a tracklet is in a folder of images: the folder, or each file in it'
    parser.add_argument('--each', choices=sources.EACH, default='', help=how)
    parser.add_argument('--checkpoint', default='', help='workdir or checkpoint of the network, for images')
    parser.add_argument('--frames-root', default='', help="folder that a manifest's paths start from (its own)")
    if adding:
        parser.add_argument('new', metavar='NEW', nargs='+', help='what to add')
        return parser.parse_args(argv[1:])
    parser.add_argument('query', metavar='B' if two else 'QUERY', help='the other' if two else 'what to search for')
    parser.add_argument('--calibration', default='', help='report.calibration.json of the same network')
    parser.add_argument('--distance', choices=nearest.DISTANCES, help='default: that of the features, else cosine')
    if two:
        return parser.parse_args(argv[1:])
    parser.add_argument('--top', type=int, help=f'answers per query ({_TOP})')
    parser.add_argument('--threshold', default='', help='least similarity, or with --calibration a rate such as 0.1%%')
    parser.add_argument(
        '--rates', action='store_true', help='with --calibration: how often other people are as similar'
    )
    results.Filters.add_arguments(parser)
    parser.add_argument('--html', default='', help='writes a page with film strips')
    parser.add_argument('--json', default='', help='writes everything as JSON')
    parser.add_argument('--budget-mb', type=float, default=12.0, help='MiB of pictures in the page (12)')
    return parser.parse_args(argv)


def run(argv: Sequence[str]) -> int:
    """Parses, acts; expected errors become one message and an exit status."""
    options = parse(argv)

    def act() -> int:
        command_line.set_up('float32')
        options.act(options)
        return 0

    return exit_status.run(act)


if __name__ == '__main__':
    sys.exit(run(sys.argv[1:]))
