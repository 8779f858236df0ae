"""One page that shows an evaluation: numbers with their protocol, rankings with their pictures, and what a network
sees.

  python -m jaxreid.evaluation.report runs/strf_synthetic                  a workdir: its features.npz and checkpoint
  python -m jaxreid.evaluation.report features.npz --root /path/to/MARS    features from anywhere; frames from there
  python -m jaxreid.evaluation.report runs/stmn --compare runs/stmn_mlp    two networks side by side

Writes report.html, which needs nothing else, and beside it report.calibration.json (thresholds for chosen error rates)
and report_files/ (the figures as SVG and PNG).
"""

import argparse
import base64
import dataclasses
import datetime
import functools
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import tqdm

from jaxreid import atomic_file, command_line, config
from jaxreid.data import clip_sampling, source
from jaxreid.evaluation import (
    bootstrap,
    calibration,
    feature_file,
    network_maps,
    protocols,
    ranking,
    report_network,
    report_page,
    sanity,
)
from jaxreid.visualize import panels, ranked_lists, sheet, svg

FILM = 5  # frames of a query's film strip
CONFUSED = 12  # pairs of identities shown
SHEET_QUERIES = 12  # rows of a sheet of ranked lists
RANK1_QUERIES = 60  # queries of the sheet of first places
CURVE = 50  # ranks of the CMC curve
CAMERAS = 24  # of the table of pairs, those with most tracklets
PAIRS_AT_ONCE = 1 << 22  # query-gallery pairs whose distances are held at once


@dataclasses.dataclass(frozen=True)
class Analysis:
    """All that a report says about features under one protocol; positions of queries and columns of the gallery."""

    score: dict[str, Any]  # from `protocols.summarize`
    intervals: np.ndarray  # [2 + ranks of CMC, 2] ends of the 95 % intervals of mAP, mINP and CMC, percent
    queries: np.ndarray  # [Q] rows of the features
    gallery: np.ndarray  # [G] rows of the features, junk included where it is taken out of the rankings
    ranked: protocols.Results
    lists: ranked_lists.Lists
    cameras: np.ndarray  # [C], of the table of pairs
    pairs: ranked_lists.CameraPairs
    similarities: calibration.Similarities
    calibration: dict[str, Any]
    confusions: list[dict[str, Any]]


def analyse(found: feature_file.Features, protocol: protocols.Protocol, *, distance: str, top: int = 10) -> Analysis:
    """Ranks the gallery for every query, a block at a time.

    Raises:
      ValueError: as `protocols.score`.
    """
    roles = found.pid, found.camera, found.query, found.gallery, protocol
    ranked = protocols.rank_queries(found.embedding, *roles, distance=distance)
    score = protocols.summarize(ranked, found.pid, found.query, found.gallery, protocol, distance=distance)
    queries = np.flatnonzero(found.query)
    with_junk = dataclasses.replace(protocol, junk='negatives')
    gallery = np.flatnonzero(protocols.ranked_gallery(found.pid, found.query, found.gallery, with_junk))
    junk = (found.pid[gallery] == protocols.JUNK_ID) & (protocol.junk == 'drop')
    numbers, tracklets = np.unique(found.camera[np.concatenate([queries, gallery])], return_counts=True)
    cameras = np.sort(numbers[np.argsort(-tracklets, kind='stable')[:CAMERAS]])
    low, high = calibration.bounds(found.embedding[np.concatenate([queries, gallery])], distance)
    lists, pairs, similarities = [], [], []
    block = max(1, min(ranking.BLOCK, PAIRS_AT_ONCE // len(gallery)))
    for rows, distances in tqdm.tqdm(
        ranking.distance_blocks(found.embedding[queries], found.embedding[gallery], distance=distance, block=block),
        total=-(-len(queries) // block),
        desc='rankings',
        unit='block',
        leave=False,
    ):
        of = distances, found.pid[queries[rows]], found.camera[queries[rows]], found.pid[gallery], found.camera[gallery]
        rule: dict[str, Any] = {'drop_same_camera': protocol.same_camera == 'drop', 'ignored': junk}
        lists.append(ranked_lists.nearest(*of, top=top, distractor=protocols.DISTRACTOR_ID, **rule))
        pairs.append(ranked_lists.camera_pairs(*of, cameras=cameras, ap=protocol.ap, **rule))
        similarities.append(calibration.collect(*of, low=low, high=high, **rule))
    joined = ranked_lists.join(lists)
    collected = calibration.join(similarities)
    first = np.argmax(joined.rank == 1, axis=1)[:, None]
    first_item = np.take_along_axis(joined.item, first, 1)[:, 0]
    return Analysis(
        score=score,
        intervals=100 * bootstrap.intervals([protocols.per_query(ranked, protocol)], seed=0),
        queries=queries,
        gallery=gallery,
        ranked=ranked,
        lists=joined,
        cameras=cameras,
        pairs=ranked_lists.add_pairs(pairs),
        similarities=collected,
        calibration=calibration.calibrate(collected),
        confusions=ranked_lists.confusions(
            found.pid[queries], found.pid[gallery[first_item]], np.take_along_axis(joined.mark, first, 1)[:, 0]
        ),
    )


class Album:
    """JPEG pictures of tracklets as base64 text, made when asked for, until the space for them is used up."""

    def __init__(self, footage: report_network.Footage, *, height: int, budget: int):
        """Pictures no higher than `height` pixels, at most `budget` bytes of them."""
        self._footage = footage
        self._height = height
        self.left = budget
        self.middles: dict[int, str] = {}
        self.films: dict[int, list[str]] = {}

    def middle(self, row: int) -> None:
        """Keeps the frame in the middle of a tracklet."""
        if row not in self.middles:
            self.middles[row] = self._encoded(report_network.middle(self._footage, row))

    def film(self, row: int) -> None:
        """Keeps frames from the start to the end of a tracklet."""
        if row not in self.films:
            length = int(self._footage.length[row])
            positions = np.unique(clip_sampling.even(length, frames=FILM))
            frames = self._footage.store.read(int(self._footage.store_row[row]), positions)
            self.films[row] = [self._encoded(frame) for frame in frames]

    def _encoded(self, image):
        text = base64.b64encode(sheet.jpeg(sheet.fitted(image, height=self._height))).decode()
        self.left -= len(text)
        return text


def fill(album: Album, analysis: Analysis) -> int:
    """Pictures of the queries most worth showing and of their lists; returns for how many queries there was space."""
    order = ranked_lists.showcase(
        np.where(analysis.ranked.answered, analysis.ranked.ap, 2)
    )  # unanswered: not the worst
    order = order[analysis.ranked.answered[order]]
    for done, query in enumerate(tqdm.tqdm(order, desc='pictures', unit='query', leave=False)):
        if album.left <= 0:
            return done
        album.film(int(analysis.queries[query]))
        for item in analysis.lists.item[query]:
            if item != ranked_lists.NOTHING:
                album.middle(int(analysis.gallery[item]))
    return len(order)


def page_data(found: feature_file.Features, analysis: Analysis, album: Album | None) -> dict[str, Any]:
    """What the page's script draws the ranked lists from: columns of plain values, names for those rows that occur."""
    lists = analysis.lists
    shown = lists.item != ranked_lists.NOTHING
    items = np.where(shown, analysis.gallery[lists.item], -1)
    used = np.unique(np.concatenate([analysis.queries, items[shown]]))
    place = np.full(len(found.pid), -1)
    place[used] = np.arange(len(used))
    counts = shown.sum(1)
    middles, films = (album.middles, album.films) if album else ({}, {})
    return {
        'name': found.name[used].tolist(),
        'pid': found.pid[used].tolist(),
        'camera': found.camera[used].tolist(),
        'frames': found.frames[used].tolist(),
        'query': place[analysis.queries].tolist(),
        'ap': [round(float(a), 4) if ok else -1 for a, ok in zip(analysis.ranked.ap, analysis.ranked.answered)],
        'hit': analysis.ranked.first_hit.tolist(),
        'items': [place[row[:n]].tolist() for row, n in zip(items, counts)],
        'marks': [''.join(str(m) for m in row[:n]) for row, n in zip(lists.mark, counts)],
        'similarity': [[round(-float(d), 3) for d in row[:n]] for row, n in zip(lists.distance, counts)],
        'leftOff': lists.left_off.tolist(),
        'middle': {int(place[row]): text for row, text in middles.items()},
        'film': {int(place[row]): text for row, text in films.items()},
    }


def charts(analysis: Analysis, *, distance: str) -> dict[str, str]:
    """SVG by name."""
    counted = len(analysis.ranked.ap)
    answered = int(analysis.ranked.answered.sum())
    counted = answered if analysis.score['protocol']['unanswerable'] == 'skip' else counted
    ranks = min(CURVE, max(len(analysis.gallery), 2))
    curve = ranked_lists.cmc_curve(analysis.ranked.first_hit, counted, ranks=ranks)
    heights = ranked_lists.ap_histogram(analysis.ranked.ap[analysis.ranked.answered], bins=20)
    edges = [round(k / 20, 2) for k in range(21)]
    shares = calibration.histogram(analysis.similarities, bins=80)
    middle = ((shares['edges'][1:] + shares['edges'][:-1]) / 2).tolist()
    name = 'cosine' if distance == 'cosine' else 'minus the Euclidean distance'
    verification = analysis.calibration['verification']
    at = verification['equal_error_threshold']
    lowest = 10 * (min(curve[0], 90) // 10)
    made = {
        'cmc': svg.lines(
            [svg.Line('CMC', list(range(1, ranks + 1)), curve.tolist())],
            title=f'CMC curve: {curve[0]:.1f} percent at rank 1, {curve[-1]:.1f} percent at rank {ranks}',
            x_label='rank',
            y_label='queries with a match, %',
            y_range=(lowest, 100),
        ),
        'average_precision': svg.bars(
            heights.tolist(),
            edges=edges,
            title=f'Histogram of the average precision of {answered} queries',
            x_label='average precision',
            y_label='queries',
            tips=[f'{a:g} to {b:g}: {n} queries' for a, b, n in zip(edges, edges[1:], heights)],
        ),
        'similarity': svg.lines(
            [
                svg.Line('same person', middle, (100 * shares['genuine']).tolist(), 'c2'),
                svg.Line('other people', middle, (100 * shares['impostor']).tolist(), 'c1'),
            ],
            title='Histograms of the similarity of pairs of the same person and of other people',
            x_label=f'similarity ({name})',
            y_label='pairs of the kind, %',
            x_marks=() if at is None else [(at, 'equal error')],
            fill=True,
        ),
    }
    false, true = calibration.rates(analysis.similarities)
    reached = np.flatnonzero(np.diff(false, prepend=2) != 0)  # the ends of the steps of the curve
    reached = reached[false[reached] > 0][::-1]
    if verification['thresholds'] and len(reached) > 1:
        kept = np.unique(
            np.searchsorted(false[reached], np.geomspace(false[reached[0]], 1, 200)).clip(max=len(reached) - 1)
        )
        made['verification'] = svg.lines(
            [svg.Line('ROC', false[reached[kept]].tolist(), (100 * true[reached[kept]]).tolist())],
            title='Share of pairs of the same person accepted over the share of other pairs accepted',
            x_label='false accepts (share of pairs of other people)',
            y_label='true accepts, %',
            y_range=(0, 100),
            log_x=True,
        )
    return made


def first_place_rows(found: feature_file.Features, analysis: Analysis, footage: report_network.Footage):
    """STRF supplement F: queries, evenly spread over the AP, each beside its first place; worst first."""
    answered = np.flatnonzero(analysis.ranked.answered)
    by_ap = answered[np.argsort(analysis.ranked.ap[answered], kind='stable')]
    chosen = by_ap[np.unique(np.linspace(0, len(by_ap) - 1, min(RANK1_QUERIES, len(by_ap))).round().astype(int))]
    cells = []
    for query in chosen:
        row = int(analysis.queries[query])
        place = int(np.argmax(analysis.lists.rank[query] == 1))
        mark = ranked_lists.MARKS[analysis.lists.mark[query, place]]
        item = int(analysis.gallery[analysis.lists.item[query, place]])
        cells.append(
            [
                sheet.Picture(report_network.middle(footage, row), f'query {found.pid[row]}', 'query'),
                sheet.Picture(report_network.middle(footage, item), f'{mark} {found.pid[item]}', mark),
            ]
        )
    return [('', [p for cell in cells[i : i + 6] for p in cell]) for i in range(0, len(cells), 6)]


def list_rows(found: feature_file.Features, analysis: Analysis, footage: report_network.Footage, queries: np.ndarray):
    """Ranked lists of some queries for a sheet: the film strip, then the list."""
    rows = []
    for query in queries:
        row = int(analysis.queries[query])
        length = int(footage.length[row])
        film = footage.store.read(int(footage.store_row[row]), np.unique(clip_sampling.even(length, frames=FILM)))
        shown = [sheet.Picture(sheet.strip(film), f'query: {length} frames', 'query')]
        for item, mark, rank in zip(analysis.lists.item[query], analysis.lists.mark[query], analysis.lists.rank[query]):
            if item == ranked_lists.NOTHING:
                break
            other, kind = int(analysis.gallery[item]), ranked_lists.MARKS[mark]
            caption = f'{f"#{rank} " if rank else ""}{kind}, id {found.pid[other]} c{found.camera[other]}'
            shown.append(sheet.Picture(report_network.middle(footage, other), caption, kind))
        ap = 100 * analysis.ranked.ap[query]
        rows.append((f'{found.name[row]} · id {found.pid[row]} · camera {found.camera[row]} · AP {ap:.1f}', shown))
    return rows


def open_footage(found: feature_file.Features, root: str, *, flow: str = 'off') -> report_network.Footage:
    """The frames of the tracklets of a feature file, through the data set that its settings name.

    Raises:
      ValueError: the file does not say which data set, or names tracklets that it does not hold.
    """
    settings = found.meta.get('config')
    if not isinstance(settings, dict) or 'data' not in settings:
        raise ValueError('the feature file does not say how it was made, so its frames cannot be found')
    experiment = config.from_dict(settings)
    experiment.data.root = root or experiment.data.root
    experiment.data.flow = flow
    experiment.data.on_corrupt_eval = 'skip_frame'
    command_line.check_root(experiment)
    dataset = source.read(experiment.data)
    rows = {tracklet.name: row for row, tracklet in enumerate(dataset.test)}
    missing = [str(name) for name in found.name if str(name) not in rows]
    if missing:
        raise ValueError(
            f'{len(missing)} of the {len(found.name)} tracklets are not in the test split under {dataset.root}, the '
            f'first is {missing[0]!r}; give the folder that they were extracted from with --root'
        )
    store_row = np.array([rows[str(name)] for name in found.name])
    length = np.array([len(dataset.test[row].frames) for row in store_row])
    return report_network.Footage(source.store(experiment.data, dataset, split='test'), store_row, length, found.name)


def write(options: argparse.Namespace) -> pathlib.Path:
    """Makes the report that the command line asks for; returns where it is."""
    features, workdir = _inputs(pathlib.Path(options.path))
    found = feature_file.load(features)
    said = functools.partial(feature_file.setting, found.meta)
    compute_dtype = said('train', 'compute_dtype', ('float32', 'bfloat16', 'float64'), 'auto')
    protocol = protocols.named(options.protocol or said('test', 'protocols', config.PROTOCOLS, 'mars-paper'))
    distance = options.distance or said('test', 'distance', ranking.DISTANCES, 'cosine')
    out = pathlib.Path(options.out or features.parent / 'report.html')
    files = out.with_name(out.stem + '_files')
    analysis = analyse(found, protocol, distance=distance, top=options.top)
    notes = [f'Look at the features first: {warning}' for warning in sanity.warnings(found, distances=[distance])]

    networks = _networks(options, workdir, compute_dtype, notes) if options.pictures else []
    footage, album = None, None
    if options.pictures:
        try:
            footage = open_footage(found, options.root, flow=networks[0][1].experiment.data.flow if networks else 'off')
        except (ValueError, OSError) as e:
            if options.root or networks:
                raise
            notes.append(f'Without pictures: {str(e).rstrip(".")}.')
    made = charts(analysis, distance=distance)
    drawn: list[panels.Panel] = []
    if footage is not None and networks:
        chosen = [int(analysis.queries[q]) for q in _chosen(analysis, options.tracklets)]
        drawn = report_network.figures(networks, footage, found, protocol, distance=distance, chosen=chosen)
    pages = report_page.panels_of(drawn, height=options.picture_height)
    with_pictures = 0
    if footage is not None:
        space = int(options.budget_mb * 2**20) - report_page.size(pages)
        album = Album(footage, height=options.picture_height, budget=space)
        for entry in analysis.confusions[:CONFUSED]:
            for example in entry['examples']:
                if example is not None:
                    album.middle(int(analysis.queries[example]))
        with_pictures = fill(album, analysis)

    text = report_page.render(
        title=str(found.meta.get('dataset', features.name)),
        name=workdir.name if workdir else features.name,
        analysis=analysis,
        found=found,
        distance=distance,
        made=made,
        panels=pages,
        album=album,
        data=page_data(found, analysis, album),
        with_pictures=with_pictures,
        confused=CONFUSED,
        notes=notes,
        when=datetime.datetime.now(datetime.UTC).strftime('%Y-%m-%d %H:%M UTC'),
    )
    about = {
        'features': features.name,
        'protocol': analysis.score['protocol'],
        'similarity': 'cosine' if distance == 'cosine' else 'minus the Euclidean distance',
        'accept': 'where the similarity is at least the threshold',
        'distance': distance,
        'network': found.meta.get('network'),
    }
    for name, chart in made.items():
        _write(files / f'{name}.svg', svg.document(chart).encode())
    if footage is not None:
        _write_sheets(files, found, analysis, footage, drawn)
    _write(out.with_name(out.stem + '.calibration.json'), json.dumps(about | analysis.calibration, indent=1).encode())
    _write(out, text.encode())
    return out


def _write_sheets(files, found, analysis, footage, drawn):
    answered = np.flatnonzero(analysis.ranked.answered)
    by_ap = answered[np.argsort(analysis.ranked.ap[answered], kind='stable')]
    for name, title, queries in (
        ('worst', 'Queries with the lowest average precision', by_ap[:SHEET_QUERIES]),
        ('best', 'Queries with the highest average precision', by_ap[::-1][:SHEET_QUERIES]),
    ):
        rows = list_rows(found, analysis, footage, queries)
        _write(files / f'ranked_lists_{name}.png', sheet.png(sheet.sheet(rows, title=title, height=96)))
    rows = first_place_rows(found, analysis, footage)
    title = 'First places, from the lowest to the highest average precision'
    _write(files / 'first_places.png', sheet.png(sheet.sheet(rows, title=title, height=96)))
    for panel in drawn:
        rows = [(row.heading, row.pictures) for row in panel.rows]
        _write(files / f'{panel.name}.png', sheet.png(sheet.sheet(rows, title=panel.title)))


def _write(path, content):
    with atomic_file.writing(path) as file:
        file.write(content)


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


def _networks(options, workdir, compute_dtype, notes) -> list[tuple[str, network_maps.Network]]:
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
    loaded = [network_maps.load(path) for path in paths]
    names = [path.resolve().name for path in paths]
    return [(name if names.count(name) == 1 else str(path), n) for name, path, n in zip(names, paths, loaded)]


def _chosen(analysis, count):
    """Positions of the queries whose clips the network is shown: from the worst to the best."""
    order = ranked_lists.showcase(np.where(analysis.ranked.answered, analysis.ranked.ap, 2))
    order = order[analysis.ranked.answered[order]][:count]
    return order[np.argsort(analysis.ranked.ap[order], kind='stable')]


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog='python -m jaxreid.evaluation.report',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('path', help='workdir with features.npz, or a feature file')
    parser.add_argument('--out', help='the page; default report.html beside the features')
    parser.add_argument('--checkpoint', help='network of the figures; default the checkpoint of the workdir')
    parser.add_argument('--compare', action='append', help='another checkpoint beside it (STMN); may be repeated')
    parser.add_argument('--root', default='', help='folder of the data set, where it has moved')
    parser.add_argument('--protocol', choices=config.PROTOCOLS, help='default: the first of the run')
    parser.add_argument('--distance', choices=ranking.DISTANCES, help='default: that of the run')
    parser.add_argument('--top', type=_positive, default=10, help='ranked items in a list (10)')
    parser.add_argument('--tracklets', type=_positive, default=6, help='tracklets that the network is shown (6)')
    parser.add_argument('--budget-mb', type=float, default=12.0, help='MiB of pictures in the page (12)')
    parser.add_argument('--picture-height', type=_positive, default=128, help='pixels, at most (128)')
    parser.add_argument('--no-pictures', dest='pictures', action='store_false', help='numbers and charts alone')
    parser.add_argument('--no-network', dest='network', action='store_false', help='leave out what needs the network')
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text} is below 1')
    return value


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

    return command_line.run(act)


def main() -> None:
    """Entry point of `python -m jaxreid.evaluation.report`."""
    sys.exit(run(sys.argv[1:]))


if __name__ == '__main__':
    main()
