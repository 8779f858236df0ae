"""The pictures of a report: frames of tracklets, for the page and for sheets of ranked lists."""

import base64

import numpy as np
import tqdm

from jaxreid import command_line, config
from jaxreid.data import source
from jaxreid.data.batches import clip_sampling
from jaxreid.evaluation import feature_file
from jaxreid.evaluation.report import analysis as report_analysis
from jaxreid.evaluation.report import network_figures as report_network
from jaxreid.evaluation.report import ranked_lists
from jaxreid.visualize import sheet

FILM = 5  # frames of a query's film strip
RANK1_QUERIES = 60  # queries of the sheet of first places


def open_footage(features: feature_file.Features, root: str, *, flow: config.Flow = 'off') -> report_network.Footage:
    """The frames of the tracklets of a feature file, through the data set that its settings name.

    Raises:
      ValueError: the file does not say which data set, or names tracklets that it does not hold.
    """
    settings = features.meta.get('config')
    if not isinstance(settings, dict) or 'data' not in settings:
        raise ValueError('the feature file does not say how it was made, so its frames cannot be found')
    if root and isinstance(settings['data'], dict):
        settings = settings | {'data': settings['data'] | {'root': root}}
    experiment = source.of_settings(settings)
    experiment.data.flow = flow
    experiment.data.on_corrupt_eval = 'skip_frame'
    command_line.check_root(experiment)
    dataset = source.read(experiment.data)
    rows = {tracklet.name: row for row, tracklet in enumerate(dataset.test)}
    missing = [str(name) for name in features.name if str(name) not in rows]
    if missing:
        raise ValueError(
            f'{len(missing)} of the {len(features.name)} tracklets are not in the test split under {dataset.root}, the '
            f'first is {missing[0]!r}; give the folder that they were extracted from with --root'
        )
    store_row = np.array([rows[str(name)] for name in features.name])
    length = np.array([len(dataset.test[row].frames) for row in store_row])
    return report_network.Footage(
        source.store(experiment.data, dataset, split='test'), store_row, length, features.name
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


def fill(album: Album, analysis: report_analysis.Analysis) -> int:
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


def first_place_rows(
    features: feature_file.Features, analysis: report_analysis.Analysis, footage: report_network.Footage
):
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
                sheet.Picture(report_network.middle(footage, row), f'query {features.pid[row]}', 'query'),
                sheet.Picture(report_network.middle(footage, item), f'{mark} {features.pid[item]}', mark),
            ]
        )
    return [('', [p for cell in cells[i : i + 6] for p in cell]) for i in range(0, len(cells), 6)]


def list_rows(
    features: feature_file.Features,
    analysis: report_analysis.Analysis,
    footage: report_network.Footage,
    queries: np.ndarray,
):
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
            caption = f'{f"#{rank} " if rank else ""}{kind}, id {features.pid[other]} c{features.camera[other]}'
            shown.append(sheet.Picture(report_network.middle(footage, other), caption, kind))
        ap = 100 * analysis.ranked.ap[query]
        rows.append(
            (f'{features.name[row]} · id {features.pid[row]} · camera {features.camera[row]} · AP {ap:.1f}', shown)
        )
    return rows
