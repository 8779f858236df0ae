"""The page of a report: everything that a person reads, in HTML that needs no network and no other file.

Names come from data sets: Jinja escapes them in HTML, and in the embedded JSON `<`, `>`, `&` and `'` become escapes of
JSON. The script puts text into the page as text only.
"""

import base64
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

import jinja2
import markupsafe
import numpy as np

from jaxreid.evaluation import feature_file, protocols, uncertainty
from jaxreid.evaluation.report import analysis as report_analysis
from jaxreid.evaluation.report import pictures as report_pictures
from jaxreid.evaluation.report import ranked_lists
from jaxreid.visualize import panels as panels_lib
from jaxreid.visualize import sheet


@dataclasses.dataclass(frozen=True)
class Jpeg:
    """A picture in the page."""

    data: str  # JPEG, base64
    width: int
    height: int
    caption: str
    alt: str
    mark: str
    bar: float | None  # drawn below, 1 the longest of the row


@dataclasses.dataclass(frozen=True)
class Strip:
    """Pictures under a heading."""

    heading: str
    pictures: Sequence[Jpeg]


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of the network."""

    name: str
    title: str
    text: str
    blocks: Sequence[Sequence[Strip]]  # rows that belong together


def panels_of(drawn: Sequence[panels_lib.Panel], *, height: int) -> list[Figure]:
    """The figures with their pictures as JPEG, no higher than `height` pixels."""
    made = []
    for panel in drawn:
        blocks: list[list[Strip]] = []
        for row in panel.rows:
            longest = max(row.bars, default=0) or 1
            bars: list[float | None] = [b / longest for b in row.bars]
            bars = bars or [None] * len(row.pictures)
            if not row.follows:
                blocks.append([])
            headings = (blocks[-1][0].heading, row.heading) if blocks[-1] else (row.heading,)
            pictures = [_picture(p, b, headings, height) for p, b in zip(row.pictures, bars, strict=True)]
            blocks[-1].append(Strip(row.heading, pictures))
        made.append(Figure(panel.name, panel.title, panel.text, blocks))
    return made


def size(panels: Sequence[Figure]) -> int:
    """Characters of the pictures in the page."""
    return sum(len(p.data) for panel in panels for block in panel.blocks for row in block for p in row.pictures)


def _picture(picture, bar, headings, height):
    image = sheet.fitted(picture.image, height=height)
    data = base64.b64encode(sheet.jpeg(image)).decode()
    alt = ', '.join(part for part in (*headings, picture.caption) if part)
    return Jpeg(data, image.shape[1], image.shape[0], picture.caption, alt, picture.mark.replace(' ', '-'), bar)


def render(
    *,
    title: str,
    name: str,
    analysis: report_analysis.Analysis,
    features: feature_file.Features,
    distance: str,
    made: Mapping[str, str],
    training: Mapping[str, str],
    settings: str,
    panels: Sequence[Figure],
    album: report_pictures.Album | None,
    data: Mapping[str, object],
    with_pictures: int,
    confused: int,
    notes: Sequence[str],
    when: str,
) -> str:
    """The page.

    Args:
      title: of the evaluation.
      name: of the run.
      analysis: `report_analysis.Analysis`.
      features: of the evaluation.
      distance: 'cosine' or 'euclidean'.
      made: charts by name, trusted SVG.
      training: charts of the training by name, trusted SVG.
      settings: of the run, '' where they are not known.
      panels: figures of the network.
      album: `report_pictures.Album`, or None without pictures.
      data: from `page_data`.
      with_pictures: number of queries whose lists have pictures.
      confused: pairs of identities shown.
      notes: what is missing and why.
      when: time.
    """
    page, asset = template('page.html', 'jaxreid.evaluation.report')
    return page.render(
        title=title,
        name=name,
        when=when,
        notes=notes,
        style=asset('page.css'),
        script=asset('page.js'),
        tiles=_tiles(analysis),
        few=uncertainty.sentence(analysis.score),
        facts=facts(analysis.score['protocol'], features, distance),
        charts={k: markupsafe.Markup(v) for k, v in made.items()},
        training={k.replace('_', ' '): markupsafe.Markup(v) for k, v in training.items()},
        settings=settings,
        cameras=camera_table(analysis),
        strata=analysis.strata,
        outfits=analysis.outfits,
        by_matches=analysis.by_matches,
        camera_names=[int(c) for c in analysis.cameras],
        confusions=_confusions(analysis, features, album, confused),
        all_confusions=len(analysis.confusions),
        verification=analysis.calibration['verification'],
        search=analysis.calibration['search'],
        panels=panels,
        marks=ranked_lists.MARKS,
        data=data,
        queries=len(analysis.queries),
        with_pictures=with_pictures,
    )


def template(name: str, *packages: str) -> tuple[jinja2.Template, Callable[[str], markupsafe.Markup]]:
    """A page in the folders `template` of packages, and what gives their files as they are: ours, not others' data."""
    loader = jinja2.ChoiceLoader([jinja2.PackageLoader(package, 'template') for package in packages])
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies['json.dumps_kwargs'] = {'separators': (',', ':'), 'sort_keys': False}
    return environment.get_template(name), lambda file: markupsafe.Markup(loader.get_source(environment, file)[0])


def page_data(
    features: feature_file.Features, analysis: report_analysis.Analysis, album: report_pictures.Album | None
) -> dict[str, object]:
    """What the page's script draws the ranked lists from: columns of plain values, names for those rows that occur."""
    lists = analysis.lists
    shown = lists.item != ranked_lists.NOTHING
    items = np.where(shown, analysis.gallery[lists.item], -1)
    used = np.unique(np.concatenate([analysis.queries, items[shown]]))
    place = np.full(len(features.pid), -1)
    place[used] = np.arange(len(used))
    counts = shown.sum(1)
    middles, films = (album.middles, album.films) if album else ({}, {})
    return {
        'name': features.name[used].tolist(),
        'pid': features.pid[used].tolist(),
        'camera': features.camera[used].tolist(),
        'frames': features.frames[used].tolist(),
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


def _tiles(analysis):
    """(name, value, 95 % interval or '', meaning)."""
    score = analysis.score
    values = [
        ('mAP', score['mAP'], 'mean average precision, %'),
        ('mINP', score['mINP'], 'how early the last match comes, %'),
        *(
            (f'Rank-{k}', v, f'match in the first {k}, %' if k != '1' else 'match first, %')
            for k, v in score['cmc'].items()
        ),
    ]
    tiles = [
        (label, f'{value:.1f}', 'no interval' if np.isnan(low) else f'{low:.1f} to {high:.1f}', text)
        for (label, value, text), (low, high) in zip(values, analysis.intervals, strict=True)
    ]
    rate = analysis.calibration['verification']['equal_error_rate']
    return tiles if rate is None else [*tiles, ('EER', f'{100 * rate:.1f}', '', 'equal error rate of pairs, %')]


def facts(protocol: protocols.Description, features: feature_file.Features, distance: str) -> list[tuple[str, str]]:
    """What the numbers depend on, in words; 'unknown' for what the feature file does not say."""
    meta = features.meta
    clips, seen = meta.get('clips', 'unknown'), meta.get('frames_seen')
    per_clip = f' of {meta["frames_per_clip"]} frames' if 'frames_per_clip' in meta else ''
    unanswered = protocol['unanswered_queries']
    return [
        ('Protocol', protocol['name']),
        ('Average precision', f'{protocol["ap"]} rule'),
        ('Queries', f'{protocol["answered_queries"]:,} answered, {unanswered:,} without a match'
         + (f' ({"left out" if protocol["unanswerable"] == "skip" else "counted as missed"})' if unanswered else '')),
        ('Gallery', f'{protocol["gallery_size"]:,} tracklets, {protocol["queries_in_gallery"]:,} of them queries'),
        ('Same person, same camera', 'taken out'),
        *([] if protocol['outfits'] == 'any' else [
            (f'Same person, {"another" if protocol["outfits"] == "same" else "the same"} outfit', 'taken out'),
        ]),
        ('Junk', 'taken out' if protocol['junk'] == 'drop' else 'ranked as other people'),
        ('Distractors', 'ranked as other people' if protocol['distractors'] == 'keep' else 'taken out'),
        ('Distance', f'{distance}, after the neck'),
        ('Re-ranking', 'none'),
        ('Clips', f'{clips}{per_clip}' + (', with mirror images' if meta.get('flip') else '')),
        ('Frames seen', f'{seen:,}' if isinstance(seen, int) else 'unknown'),
        ('Training step', str(meta.get('step', 'unknown'))),
    ]  # fmt: skip


class CameraCell(TypedDict):
    """Queries of one camera with a match in another, in percent."""

    camera: int
    queries: int
    rank1: float
    map: float


class CameraRow(TypedDict):
    """A row of the table of camera pairs; None where no query has a match there."""

    camera: int
    cells: list[CameraCell | None]


def camera_table(analysis: report_analysis.Analysis) -> list[CameraRow]:
    """The table of camera pairs, for cameras that have queries."""
    pairs = analysis.pairs
    table: list[CameraRow] = []
    for i, camera in enumerate(analysis.cameras):
        cells: list[CameraCell | None] = []
        for j, other in enumerate(analysis.cameras):
            n = int(pairs.answered[i, j])
            rank1, mean_ap = (100 * sums[i, j] / max(n, 1) for sums in (pairs.first, pairs.ap))
            cells.append({'camera': int(other), 'queries': n, 'rank1': rank1, 'map': mean_ap} if n else None)
        if any(cells):
            table.append({'camera': int(camera), 'cells': cells})
    return table


def confused_rows(analysis: report_analysis.Analysis, entry: ranked_lists.Confusion) -> list[int]:
    """For both identities of a pair the row of a tracklet: a query that is answered by the other one or, where there is
    none, what took the first place of the other one's query."""
    rows = []
    for example, other in zip(entry['examples'], entry['examples'][::-1]):
        if example is not None:
            rows.append(int(analysis.queries[example]))
        else:
            place = np.argmax(analysis.lists.rank[other] == 1)
            rows.append(int(analysis.gallery[analysis.lists.item[other, place]]))
    return rows


def _confusions(analysis, features, album, count):
    shown = []
    for entry in analysis.confusions[:count]:
        sides = []
        for identity, other, times, of, row in zip(
            entry['ids'], entry['ids'][::-1], entry['times'], entry['queries'], confused_rows(analysis, entry)
        ):
            sides.append({
                'id': identity, 'other': other, 'times': times, 'queries': of,
                'name': str(features.name[row]), 'picture': album.middles.get(row) if album else None,
            })  # fmt: skip
        shown.append({'sides': sides, 'times': sum(entry['times'])})
    return shown
