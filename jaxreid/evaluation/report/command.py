"""One page that shows an evaluation: numbers with their protocol, rankings with their pictures, and what a network
sees.

  python -m jaxreid.evaluation.report runs/strf_synthetic                  a workdir: its features.npz and checkpoint
  python -m jaxreid.evaluation.report features.npz --root /path/to/MARS    features from anywhere; frames from there
  python -m jaxreid.evaluation.report runs/stmn --compare runs/stmn_mlp    two networks side by side

Writes report.html, which needs nothing else, and beside it report.calibration.json (thresholds for chosen error rates)
and report_files/ (the figures as SVG and PNG).
"""

import argparse
import datetime
import functools
import pathlib
from collections.abc import Sequence

import numpy as np

from jaxreid import command_line, config
from jaxreid.evaluation import feature_file, network, protocols, sanity
from jaxreid.evaluation.ordering import ranking
from jaxreid.evaluation.report import analysis as report_analysis
from jaxreid.evaluation.report import charts as report_charts
from jaxreid.evaluation.report import network_figures as report_network
from jaxreid.evaluation.report import page as report_page
from jaxreid.evaluation.report import pictures as report_pictures
from jaxreid.evaluation.report import ranked_lists
from jaxreid.process import atomic, commands, digest, exit_status, metrics_log
from jaxreid.visualize import panels, sheet, svg, training_curves

CONFUSED = 12  # pairs of identities shown
SHEET_QUERIES = 12  # rows of a sheet of ranked lists


def write(options: argparse.Namespace) -> pathlib.Path:
    """Makes the report that the command line asks for; returns where it is."""
    file, workdir = _inputs(pathlib.Path(options.path))
    features = feature_file.load(file)
    metrics_log.say(f'{file}: {len(features.pid):,} tracklets, {int(features.query.sum()):,} queries')
    said = functools.partial(feature_file.setting, features.meta)
    compute_dtype = said('train', 'compute_dtype', ('float32', 'bfloat16', 'float64'), 'auto')
    protocol = protocols.named(options.protocol or said('test', 'protocols', config.PROTOCOLS, 'mars-paper'))
    if protocol.gap_frames is not None:
        raise ValueError(
            f'A report shows tracklets, and {protocol.name} ranks single crops: use jaxreid.evaluation.score.'
        )
    distance = options.distance or said('test', 'distance', ranking.DISTANCES, 'cosine')
    out = pathlib.Path(options.out or file.parent / 'report.html')
    files = out.with_name(out.stem + '_files')
    analysis = report_analysis.analyse(features, protocol, distance=distance, top=options.top)
    doubts = sanity.warnings(features, distances=[distance])
    for warning in doubts:
        metrics_log.say(exit_status.printable(f'warning: {warning}'))
    notes = [f'Look at the features first: {warning}' for warning in doubts]

    networks = _networks(options, workdir, compute_dtype, notes) if options.pictures else []
    footage, album = None, None
    if options.pictures:
        try:
            footage = report_pictures.open_footage(
                features, options.root, flow=networks[0][1].experiment.data.flow if networks else 'off'
            )
        except (ValueError, OSError) as e:
            if options.root or networks:
                raise
            notes.append(f'Without pictures: {str(e).rstrip(".")}.')
    made = report_charts.charts(analysis, distance=distance)
    training, settings = _training(workdir, notes) if workdir else ({}, '')
    drawn: list[panels.Panel] = []
    if footage is not None and networks:
        chosen = [int(analysis.queries[q]) for q in _chosen(analysis, options.tracklets)]
        drawn = report_network.figures(networks, footage, features, protocol, distance=distance, chosen=chosen)
    pages = report_page.panels_of(drawn, height=options.picture_height)
    with_pictures = 0
    if footage is not None:
        space = int(options.budget_mb * 2**20) - report_page.size(pages)
        album = report_pictures.Album(footage, height=options.picture_height, budget=space)
        for entry in analysis.confusions[:CONFUSED]:
            for row in report_page.confused_rows(analysis, entry):
                album.middle(row)
        with_pictures = report_pictures.fill(album, analysis)

    text = report_page.render(
        title=str(features.meta.get('dataset', file.name)),
        name=workdir.name if workdir else file.name,
        analysis=analysis,
        features=features,
        distance=distance,
        made=made,
        training=training,
        settings=settings,
        panels=pages,
        album=album,
        data=report_page.page_data(features, analysis, album),
        with_pictures=with_pictures,
        confused=CONFUSED,
        notes=notes,
        when=datetime.datetime.now(datetime.UTC).strftime('%Y-%m-%d %H:%M UTC'),
    )
    about = {
        'features': file.name,
        'protocol': analysis.score['protocol'],
        'similarity': 'cosine' if distance == 'cosine' else 'minus the Euclidean distance',
        'accept': 'where the similarity is at least the threshold',
        'distance': distance,
        'network': features.meta.get('network'),
        'warnings': doubts,
    }
    for name, chart in made.items():
        atomic.write(files / f'{name}.svg', svg.document(chart))
    if footage is not None:
        _write_sheets(files, features, analysis, footage, drawn)
    atomic.write_json(out.with_name(out.stem + '.calibration.json'), digest.signed(about | analysis.calibration))
    atomic.write(out, text)
    return out


def _training(workdir: pathlib.Path, notes: list[str]) -> tuple[dict[str, str], str]:
    """Curves of the training as SVG by name, and its settings as text, as far as the workdir has them."""
    curves: dict[str, str] = {}
    try:
        if (workdir / 'metrics.jsonl').exists():
            curves = training_curves.charts(metrics_log.read(workdir))
    except ValueError as e:
        notes.append(f'Without the curves of the training: {e}.')
    file = workdir / 'settings.toml'
    return curves, file.read_text(encoding='utf-8', errors='replace') if file.exists() else ''


def _write_sheets(files, features, analysis, footage, drawn):
    answered = np.flatnonzero(analysis.ranked.answered)
    by_ap = answered[np.argsort(analysis.ranked.ap[answered], kind='stable')]
    for name, title, queries in (
        ('worst', 'Queries with the lowest average precision', by_ap[:SHEET_QUERIES]),
        ('best', 'Queries with the highest average precision', by_ap[::-1][:SHEET_QUERIES]),
    ):
        rows = report_pictures.list_rows(features, analysis, footage, queries)
        atomic.write(files / f'ranked_lists_{name}.png', sheet.png(sheet.sheet(rows, title=title, height=96)))
    rows = report_pictures.first_place_rows(features, analysis, footage)
    title = 'First places, from the lowest to the highest average precision'
    atomic.write(files / 'first_places.png', sheet.png(sheet.sheet(rows, title=title, height=96)))
    for panel in drawn:
        rows = [(row.heading, row.pictures) for row in panel.rows]
        atomic.write(files / f'{panel.name}.png', sheet.png(sheet.sheet(rows, title=panel.title)))


def _inputs(path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path | None]:
    """The feature file, and the workdir where that was named."""
    if not path.is_dir():
        return path, None
    if not (path / 'features.npz').exists():
        raise ValueError(
            f'{path} holds no features.npz; make it with python -m jaxreid.main --mode extract --workdir {path} and '
            'the config of the run, or name the feature file itself'
        )
    return path / 'features.npz', path


def _networks(options, workdir, compute_dtype, notes) -> list[tuple[str, network.Network]]:
    """The checkpoint asked for, or the workdir's own, and those to compare with."""
    if not options.network:
        return []
    paths = [pathlib.Path(p) for p in options.compare or ()]
    if options.checkpoint:
        paths.insert(0, pathlib.Path(options.checkpoint))
    elif workdir is not None and (workdir / 'checkpoints').is_dir():
        paths.insert(0, workdir)
    elif paths:
        raise ValueError('--compare needs a network to compare with: add --checkpoint DIR')
    else:
        notes.append('Without figures of the network: no checkpoint was named (--checkpoint DIR).')
        return []
    command_line.set_up(compute_dtype)
    loaded = [network.Network.load(path) for path in paths]
    names = [path.resolve().name for path in paths]
    return [(name if names.count(name) == 1 else str(path), n) for name, path, n in zip(names, paths, loaded)]


def _chosen(analysis, count):
    """Positions of the queries whose clips the network is shown: from the worst to the best."""
    order = ranked_lists.showcase(np.where(analysis.ranked.answered, analysis.ranked.ap, 2))
    order = order[analysis.ranked.answered[order]][:count]
    return order[np.argsort(analysis.ranked.ap[order], kind='stable')]


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = commands.parser('report', __doc__)
    parser.add_argument('path', help='workdir with features.npz, or a feature file')
    parser.add_argument('--out', help='the page; default report.html beside the features')
    parser.add_argument('--checkpoint', help='network of the figures; default the checkpoint of the workdir')
    parser.add_argument('--compare', action='append', help='another checkpoint beside it (STMN); may be repeated')
    parser.add_argument('--root', default='', help='folder of the data set, where it has moved')
    parser.add_argument('--protocol', choices=config.PROTOCOLS, help='default: the first of the run')
    parser.add_argument('--distance', choices=ranking.DISTANCES, help='default: that of the run')
    parser.add_argument('--top', type=commands.positive, default=10, help='ranked items in a list (10)')
    parser.add_argument(
        '--tracklets', type=commands.positive, default=6, help='tracklets that the network is shown (6)'
    )
    parser.add_argument('--budget-mb', type=float, default=12.0, help='MiB of pictures in the page (12)')
    parser.add_argument('--picture-height', type=commands.positive, default=128, help='pixels, at most (128)')
    parser.add_argument('--no-pictures', dest='pictures', action='store_false', help='numbers and charts alone')
    parser.add_argument('--no-network', dest='network', action='store_false', help='leave out what needs the network')
    return parser.parse_args(argv)


def run(argv: Sequence[str]) -> int:
    """Parses, writes, says where; expected errors become one message and an exit status."""
    options = parse(argv)

    def act() -> int:
        out = write(options)
        size = out.stat().st_size / 2**20
        print(f'report       {out} ({size:.1f} MiB)')
        print(f'calibration  {out.with_name(out.stem + ".calibration.json")}')
        print(f'figures      {out.with_name(out.stem + "_files")}')
        return 0

    return exit_status.run(act)
