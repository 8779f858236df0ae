"""What is in a data set's folder, all of its parts: tracklets, and counts that stand beside the published ones."""

import collections
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxreid.data.tracklets import tracklet

Count = int | float | tuple[int, ...]  # numbers per camera stand in the order of the cameras

AFTER_F = re.compile(r'F(\d+)')
AT_THE_END = re.compile(r'(\d+)\.\w+$')


class Contents(NamedTuple):
    """A data set as its reader finds it."""

    root: str  # folder that the frames' paths start from
    parts: Mapping[str, Sequence[tracklet.Tracklet]]  # train, test and the like
    counts: dict[str, Count]
    folders: tuple[str, ...]  # below root; each image in them should belong to a tracklet
    published: Mapping[str, Count] = {}  # the same names; empty where nothing is published
    deep: bool = True  # folders, and those below them
    size: tuple[int, int] | None = None  # height and width of all frames, where it is known
    counted_from: int | None = None  # number of a tracklet's first frame, where it is always the same
    numbered: re.Pattern[str] = AT_THE_END  # finds the number in a frame's name
    copies: bool = False  # the gallery has a copy of every query: query/NAME is gallery/NAME there

    def frame_numbers(self, paths: Iterable[str]) -> list[int]:
        """Numbers in the names of a tracklet's frames; [] where a name has none."""
        matches = [self.numbered.search(path.rpartition('/')[2]) for path in paths]
        return [int(match.group(1)) for match in matches if match] if all(matches) else []


def of(dataset: tracklet.Dataset) -> Contents:
    """Counts of the tracklets of a split, for data sets that nobody has published counts of in other terms."""
    query, gallery = marked(dataset.test, dataset.query), marked(dataset.test, dataset.gallery)
    everyone = (*dataset.train, *dataset.test)
    counts: dict[str, Count] = {'cameras': len({one.camera for one in everyone})}
    counts |= tally('train', dataset.train) | tally('query', query) | tally('gallery', gallery)
    parts = {'train': dataset.train, 'test': dataset.test}
    return Contents(dataset.root, parts, counts, folders(everyone, below=1), deep=False)


def with_totals(dataset: tracklet.Dataset) -> Contents:
    """As `of`, and of the test split, of all together, and of outfits where they are known."""
    held = of(dataset)
    everyone = (*dataset.train, *dataset.test)
    counts = held.counts | tally('test', dataset.test)
    counts |= {'ids': len(ids(everyone)), 'tracklets': len(everyone), 'frames': frames(everyone)}
    if any('outfit' in one.attributes for one in everyone):
        for name, some in (('outfits', everyone), ('train outfits', dataset.train), ('test outfits', dataset.test)):
            counts[name] = len({(one.pid, one.attributes['outfit']) for one in some})
    return held._replace(counts=counts)


def tally(part: str, tracklets: Sequence[tracklet.Tracklet], called: str = '', *, cameras: int = 0) -> dict[str, Count]:
    """Numbers of ids, tracklets and frames of a part, and of tracklets of each of the cameras 1 to `cameras`."""
    called = called or f'{part} tracklets'
    seen = collections.Counter(one.camera for one in tracklets)
    per_camera = {f'{called} per camera': tuple([seen[number] for number in range(1, cameras + 1)])} if cameras else {}
    return {
        f'{part} ids': len(ids(tracklets)),
        called: len(tracklets),
        **per_camera,
        f'{part} frames': frames(tracklets),
    }


def ids(tracklets: Iterable[tracklet.Tracklet]) -> set[int]:
    """The persons."""
    return {one.pid for one in tracklets}


def frames(tracklets: Iterable[tracklet.Tracklet]) -> int:
    """How many there are."""
    return sum(len(one.frames) for one in tracklets)


def folders(tracklets: Iterable[tracklet.Tracklet], *, below: int) -> tuple[str, ...]:
    """The folders that are `below` levels above the frames."""
    return tuple(sorted({'/'.join(one.frames[0].split('/')[:-below]) for one in tracklets}))


def marked(tracklets: Sequence[tracklet.Tracklet], marks: np.ndarray) -> list[tracklet.Tracklet]:
    """Those that a mask names."""
    return [tracklets[row] for row in np.flatnonzero(marks).tolist()]
