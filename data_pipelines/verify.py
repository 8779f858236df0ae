"""Checks a data set's folder: counts against the published ones, and every image.

  python -m data_pipelines.verify mars /path/to/MARS --json mars.json

Problems, which make the exit status 1: a count that is not the published one, a file that cannot be decoded, the same
file in training and test, a size that is not the rendered benchmark's. The rest of the report is for the eye, since
nobody published it: sizes, other duplicates, jumps in frame numbers, short tracklets, images that no tracklet uses.
Exit status 0: as published; 2: the command is wrong or the folder is not such a data set; 130: stopped.
"""

import itertools
import os
import pathlib
import statistics
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jaxreid import config
from jaxreid.data.datasets import catalogue, contents
from jaxreid.data.tracklets import tracklet
from jaxreid.process import atomic, commands, exit_status

from . import image_check

SHORT = 4  # frames; the clips of most systems have as many [choice]
_LISTED = 1000  # of many findings of a kind, how many the JSON report names
_SHOWN = 5  # and the text
_IMAGES = ('.jpg', '.jpeg', '.png')


def verify(
    dataset: str, root: str | os.PathLike, *, workers: int, frames_root: str = '', progress: bool = True
) -> dict[str, Any]:
    """Checks a data set; returns the report as the JSON file has it, whose `problems` are empty where all is as
    published.

    Raises:
      OSError, ValueError: as the data set's reader.
    """
    asked = config.Data(dataset=dataset, root=os.fspath(root), frames_root=frames_root)
    held = catalogue.find(dataset).count(asked)
    tracklets = [one for part in held.parts.values() for one in part]
    images = image_check.check(held.root, tracklets, workers=workers, progress=progress)
    place = _Places(held, tracklets)
    duplicates = _duplicates(images, place)
    unused, other_files = _files_without_tracklet(held, tracklets)
    sizes = _sizes(images)
    report: dict[str, Any] = {
        'dataset': dataset,
        'root': held.root,
        'problems': [],
        'counts': {
            name: {'found': _plain(count), 'published': _plain(held.published.get(name))}
            for name, count in held.counts.items()
        },
        'images': len(images.size),
        'unreadable': _some([f'{place.path(row)}: {problem}' for row, problem in sorted(images.problems.items())]),
        'sizes': {f'{height}x{width}': count for (height, width), count in sizes[:_LISTED]},
        'unexpected_size': _of_other_size(images, place, sizes, held.size),
        'duplicates': duplicates,
        'unused_images': unused,
        'other_files': other_files,
        **_about_tracklets(held, tracklets),
    }
    if held.copies:
        report['query_copies_that_differ'] = _copies_that_differ(images, place)
    report['problems'] = _problems(report, expected_size=held.size)
    return report


def _problems(report: dict[str, Any], *, expected_size: tuple[int, int] | None) -> list[str]:
    different = [name for name, count in report['counts'].items() if not _as_published(**count)]
    problems = []
    if different:
        problems.append(f'counts that are not the published ones: {len(different)} of {len(report["counts"])}')
    if count := report['unreadable']['count']:
        problems.append(f'missing or damaged images: {count} of {report["images"]}')
    if count := report['duplicates']['between train and test']['count']:
        problems.append(f'identical images in train and test: {count}')
    if expected_size and (count := report['unexpected_size']['count']):
        problems.append(f'images of another size than {expected_size[0]}x{expected_size[1]} pixels: {count}')
    return problems


def _as_published(*, found: Any, published: Any) -> bool:
    return published is None or found == published


def _plain(count: contents.Count | None) -> Any:
    return list(count) if isinstance(count, tuple) else count


def _some(findings: Sequence[Any]) -> dict[str, Any]:
    return {'count': len(findings), 'first': list(findings[:_LISTED])}


class _Places:
    """From the number of an image to its file, tracklet and part."""

    def __init__(self, held: contents.Contents, tracklets: Sequence[tracklet.Tracklet]):
        self._tracklets = tracklets
        self.ends = np.cumsum([len(one.frames) for one in tracklets])
        self._parts = list(itertools.chain.from_iterable([name] * len(part) for name, part in held.parts.items()))

    def row(self, image: int) -> int:
        return int(np.searchsorted(self.ends, image, side='right'))

    def whose(self, image: int) -> tracklet.Tracklet:
        return self._tracklets[self.row(image)]

    def part(self, image: int) -> str:
        return self._parts[self.row(image)]

    def path(self, image: int) -> str:
        row = self.row(image)
        return self._tracklets[row].frames[image - int(self.ends[row])]  # counted from the tracklet's end

    def rows(self, part: str) -> Iterator[tuple[tracklet.Tracklet, slice]]:
        """Tracklets of a part, with the numbers of their images."""
        for one, name, end in zip(self._tracklets, self._parts, self.ends.tolist()):
            if name == part:
                yield one, slice(end - len(one.frames), end)


def _sizes(images: image_check.Images) -> list[tuple[tuple[int, int], int]]:
    """Heights and widths of the readable images with their number, the most frequent first."""
    distinct, counts = np.unique(images.size[images.readable()], axis=0, return_counts=True)
    sizes = [((height, width), count) for (height, width), count in zip(distinct.tolist(), counts.tolist())]
    return sorted(sizes, key=lambda item: (-item[1], item[0]))


def _of_other_size(
    images: image_check.Images,
    place: _Places,
    sizes: list[tuple[tuple[int, int], int]],
    expected: tuple[int, int] | None,
) -> dict[str, Any]:
    """Images whose size is not the data set's, or, where that is not known, not the one of almost all images."""
    if not expected:
        if not sizes or sizes[0][1] < 0.9 * sum(count for _, count in sizes):  # crops of Duke have a size each
            return _some([])
        expected = sizes[0][0]
    different = np.flatnonzero((images.size != np.array(expected, np.uint32)).any(1) & images.readable()).tolist()
    return _some([f'{place.path(row)}: {images.size[row, 0]}x{images.size[row, 1]}' for row in different])


def _duplicates(images: image_check.Images, place: _Places) -> dict[str, dict[str, Any]]:
    """Images that are, byte for byte, an image before them. The gallery's copies of Duke's queries are left out."""
    wanted = images.readable()
    for _, span in place.rows('query'):
        wanted[span] = False
    rows = np.flatnonzero(wanted)
    rows = rows[np.lexsort((rows, images.digest[rows, 1], images.digest[rows, 0]))]
    same = (images.digest[rows[1:]] == images.digest[rows[:-1]]).all(1)
    pairs_of: dict[str, list[tuple[int, int]]] = {
        'within a tracklet': [],
        'between tracklets of a person': [],
        'between persons': [],
        'between train and test': [],
    }
    first = 0
    for at in np.flatnonzero(same).tolist():  # rows[at + 1] repeats rows[at]
        if at == 0 or not same[at - 1]:
            first = int(rows[at])
        again = int(rows[at + 1])
        if place.path(again) == place.path(first):  # tracklets of a manifest may share files
            continue
        pairs_of[_kind(first, again, place)].append((again, first))
    return {
        kind: {
            'count': len(pairs),
            'first': [f'{place.path(again)} = {place.path(first)}' for again, first in sorted(pairs)[:_LISTED]],
        }
        for kind, pairs in pairs_of.items()
    }


def _kind(first: int, again: int, place: _Places) -> str:
    if place.row(first) == place.row(again):
        return 'within a tracklet'
    parts = {place.part(first), place.part(again)}
    if 'train' in parts and len(parts) > 1:
        return 'between train and test'
    if place.whose(first).pid == place.whose(again).pid:
        return 'between tracklets of a person'
    return 'between persons'


def _copies_that_differ(images: image_check.Images, place: _Places) -> dict[str, Any]:
    gallery = {one.name.removeprefix('gallery/'): rows for one, rows in place.rows('gallery')}
    different = []
    for one, rows in place.rows('query'):
        copy = gallery.get(one.name.removeprefix('query/'))
        if copy is not None and not np.array_equal(images.digest[rows], images.digest[copy]):
            different.append(one.name)
    return _some(different)


def _about_tracklets(held: contents.Contents, tracklets: Sequence[tracklet.Tracklet]) -> dict[str, Any]:
    """Jumps in the numbers of frames, tracklets that start late, and short ones."""
    jumps, late = [], []
    for one in tracklets:
        numbers = held.frame_numbers(one.frames)
        if not numbers:
            continue
        if held.counted_from is not None and numbers[0] != held.counted_from:
            late.append(f'{one.name}: at {numbers[0]}')
        steps = [after - before for before, after in itertools.pairwise(numbers)]
        usual = statistics.median_low(steps) if steps else 1
        wide = [row for row, step in enumerate(steps) if step > usual]
        if wide:
            row = max(wide, key=lambda row: (steps[row], -row))
            jumps.append((-steps[row], f'{one.name}: {len(wide)}, the widest {numbers[row]} to {numbers[row + 1]}'))
    return {
        'jumps_in_frame_numbers': _some([text for _, text in sorted(jumps)]),
        'late_starts': _some(late),
        'short_tracklets': _some([f'{t.name}: {len(t.frames)}' for t in tracklets if len(t.frames) < SHORT]),
    }


def _files_without_tracklet(
    held: contents.Contents, tracklets: Sequence[tracklet.Tracklet]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Images that no tracklet uses, and other files."""
    used = {frame for one in tracklets for frame in one.frames}
    images: list[str] = []
    others: list[str] = []
    for start in held.folders:
        for folder, below, names in os.walk(os.path.join(held.root, start)):
            if not held.deep:
                below.clear()
            for name in names:
                path = os.path.relpath(os.path.join(folder, name), held.root).replace(os.sep, '/')
                if path not in used:
                    (images if name.lower().endswith(_IMAGES) else others).append(path)
    return _some(sorted(images)), _some(sorted(others))


def as_text(report: dict[str, Any]) -> str:
    """The report for people: the verdict, the counts, then a few examples of every finding."""
    problems = report['problems']
    compared = any(count['published'] is not None for count in report['counts'].values())
    verdict = 'NOT as published' if compared else 'has problems'
    if not problems:
        verdict = 'as published' if compared else 'in order'
    lines = [f'{report["dataset"]} in {report["root"]}: {verdict}']
    lines += [f'  - {problem}' for problem in problems]
    lines += ['', f'{"":46}{"found":>12}{"published":>12}']
    for name, count in report['counts'].items():
        mark = '' if _as_published(**count) else '  <-'
        if isinstance(count['found'], list):
            lines.append(f'  {name:44}{" ".join(map(str, count["found"]))}')
            if mark:
                lines.append(f'  {"":32}published{"":3}{" ".join(map(str, count["published"]))}{mark}')
        else:
            published = '' if count['published'] is None else f'{count["published"]:,}'
            lines.append(f'  {name:44}{count["found"]:>12,}{published:>12}{mark}')
    sizes = [f'{size}: {count:,}' for size, count in report['sizes'].items()]
    more = f' and {len(sizes) - _SHOWN} more' if len(sizes) > _SHOWN else ''
    lines += ['', f'images {report["images"]:,}; height x width {", ".join(sizes[:_SHOWN])}{more}']
    none: list[str] = []
    copies = report.get('query_copies_that_differ')
    for title, findings in (
        ('missing or damaged images', report['unreadable']),
        ('images of another size', report['unexpected_size']),
        *((f'identical images {kind}', findings) for kind, findings in report['duplicates'].items()),
        *([('queries whose copy in the gallery differs', copies)] if copies else ()),
        ('tracklets with jumps in the numbers of frames', report['jumps_in_frame_numbers']),
        ('tracklets that start late', report['late_starts']),
        (f'tracklets of fewer than {SHORT} frames', report['short_tracklets']),
        ('images that no tracklet uses', report['unused_images']),
        ('other files', report['other_files']),
    ):
        if not findings['count']:
            none.append(title)
            continue
        lines.append(f'{title}: {findings["count"]:,}')
        lines += [f'  {example}' for example in findings['first'][:_SHOWN]]
        if findings['count'] > _SHOWN:
            lines.append(f'  and {findings["count"] - _SHOWN:,} more')
    lines.append(f'looked for and not found: {"; ".join(none)}')
    return '\n'.join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Parses, checks, prints; returns the exit status, or raises KeyboardInterrupt."""
    parser = commands.parser('verify', __doc__)
    parser.add_argument('dataset', choices=config.DATASETS)
    parser.add_argument('root', help="the data set's folder, as data.root names it; synthetic: the rendered folder")
    parser.add_argument('--frames-root', default='', help='manifest: folder that its paths start from')
    parser.add_argument('--json', type=pathlib.Path, help='also write the report to this file')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, help='threads (default: all cores)')
    options = parser.parse_args(argv)
    if options.workers < 1:
        parser.error(f'--workers {options.workers}: at least one thread is needed')
    if options.json and options.json.is_dir():
        parser.error(f'--json {options.json} is a folder; name a file')
    status = 2
    try:
        try:
            report = verify(options.dataset, options.root, workers=options.workers, frames_root=options.frames_root)
        except (OSError, ValueError) as error:
            report = {'dataset': options.dataset, 'root': options.root, 'problems': [f'cannot be read: {error}']}
            print(f'{parser.prog}: {error}', file=sys.stderr)
        else:
            print(as_text(report))
            status = 1 if report['problems'] else 0
        if options.json:
            atomic.write_json(options.json, report)
    except OSError as error:  # of the report's file
        print(f'{parser.prog}: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt('stopped; no report was written') from error
    return status


if __name__ == '__main__':
    sys.exit(exit_status.run(main))
