"""The page of a search: film strips of queries and answers, in HTML that needs no network, no script and no other file.

Names come from anywhere: Jinja escapes them.
"""

import base64
import pathlib

import tqdm

from jaxreid.data.tracklets import frame_decode
from jaxreid.evaluation.report import page as report_page
from jaxreid.process import paths
from jaxreid.search import results, tracklets
from jaxreid.visualize import sheet

_MARK = '<p class="kicker">jaxreid</p>\n<h1>Search</h1>'  # what template/search.html begins with
_HEIGHT = 128  # pixels of a picture, at most


class Album:
    """Pictures as base64 text, each made once, until the space is used up."""

    def __init__(self, budget: int):
        self.left = budget
        self.unreadable = 0
        self._made: dict[str, str] = {}

    def film(self, of: tracklets.Tracklets, row: int, count: int) -> list[str]:
        """Frames of a tracklet, evenly spread, those that can be read."""
        if self.left <= 0:
            return []
        files = of.film(row)
        wanted = (
            files if len(files) <= count else [files[(2 * i + 1) * len(files) // (2 * count)] for i in range(count)]
        )
        return [text for text in map(self._picture, wanted) if text]

    def _picture(self, file):
        if file not in self._made:
            try:
                image = frame_decode.decode_as_stored(paths.content(file))
                text = base64.b64encode(sheet.jpeg(sheet.fitted(image, height=_HEIGHT))).decode()
            except (OSError, ValueError):  # the answer stands without its picture
                self.unreadable += 1
                text = ''
            self.left -= len(text)
            self._made[file] = text
        return self._made[file]


def render(
    gallery: tracklets.Tracklets, queries: tracklets.Tracklets, answers: results.Answers, *, budget_mb: float, when: str
) -> str:
    """The page of what `results.search` found; queries have pictures while `budget_mb` MiB last."""
    album = Album(int(budget_mb * 2**20))
    entries, without = [], 0
    for row, hits in enumerate(tqdm.tqdm(answers.hits, desc='pictures', unit='query', leave=False)):
        without += album.left <= 0
        entries.append(
            {
                'name': queries.name[row],
                'facts': _facts(queries, row),
                'verdict': results.conclusion(answers, hits),
                'film': album.film(queries, row, tracklets.FILM),
                'hits': [
                    {
                        'name': gallery.name[hit.row],
                        'facts': _facts(gallery, hit.row),
                        'film': album.film(gallery, hit.row, 3),
                        'similarity': f'{hit.similarity:.3f}',
                        'verdict': results.verdict(answers, hit),
                        'rates': results.error_rates(answers, hit),
                        'mark': _mark(tracklets.who(queries, row), tracklets.who(gallery, hit.row)),
                    }
                    for hit in hits
                ],
            }
        )
    template, asset = report_page.template('search.html', 'jaxreid.search', 'jaxreid.evaluation.report')
    notes = [f'Doubtful: {warning}.' for warning in answers.warnings]
    if without:
        notes.append(f'Pictures of the first {len(entries) - without} queries are kept; the others are listed without.')
    if album.unreadable:
        notes.append(f'{album.unreadable} pictures could not be read; their files have moved or are damaged.')
    return template.render(
        gallery=gallery.where,
        queries=queries.where,
        answers=answers,
        entries=entries,
        meaning=results.meaning(answers),
        notes=notes,
        when=when,
        style=asset('page.css') + asset('search.css'),
    )


def is_page(path: pathlib.Path) -> bool:
    """Whether a file is such a page."""
    return _MARK in path.read_text(encoding='utf-8', errors='replace')


def _facts(of, row):
    """What is known, in short lines: a date that does not fit breaks before its time of day."""
    person, camera, time, frames = results.describe(of, row)
    return [text for text in (person, camera, time.replace('T', ' ', 1), frames) if text]


def _mark(wanted, person):
    """Where both persons are known, and can be compared."""
    return '' if not (wanted and person) or wanted[0] != person[0] else 'right' if wanted == person else 'wrong'
