"""Reader of MEVID (Davila et al., WACV 2023) as downloaded: MARS' lists and tables as text, with outfits.

    root/                                              or root/mevid/
      bbox_train/0201/0201O003C330T004F00192.jpg ...   id, outfit, camera, tracklet, frame; also bbox_test
      train_name.txt test_name.txt                     a frame name a line
      track_train_info.txt track_test_info.txt         a tracklet a line: first, last, id, outfit, camera
      query_IDX.txt                                    lines of track_test_info.txt

The five lists may stay in their archive's folder, mevid-v1-annotation-data. Unlike those of MARS, tables count lines
from 0, and name lists are in an order of their own: line 0 is the first frame of the first tracklet, and the last frame
of a tracklet belongs to it. Queries are no part of the gallery. So the README and the loaders of Kitware/MEVID say; as
in its AP3D, outfit and camera are those of the table, and rows without frames are left out.
"""

import os
import re
from collections.abc import Sequence

import numpy as np

from jaxreid.data.datasets import contents, facts, listing, mars, matlab
from jaxreid.data.tracklets import tracklet

_INFO = ('train_name.txt', 'test_name.txt', 'track_train_info.txt', 'track_test_info.txt', 'query_IDX.txt')
_ARCHIVE = 'mevid-v1-annotation-data'
_NAME = re.compile(r'\d{4}O\d+C\w+T\d+F\d+\.jpg', re.ASCII)
LAYOUT = f'A MEVID folder holds bbox_train/<id>/*.jpg, bbox_test/<id>/*.jpg and {", ".join(_INFO)}.'


def read(root: str | os.PathLike) -> tracklet.Dataset:
    """Reads and checks the data set in folder `root`; opens no image, lists each id's folder once.

    Raises:
      FileNotFoundError: a folder, a list or listed frames are missing.
      ValueError: a list or table is malformed, or they do not belong together.
    """
    root = listing.open_root(root, what='MEVID', layout=LAYOUT)
    prefix = listing.below(root, 'mevid', holds=('bbox_train', 'bbox_test'), what='MEVID', layout=LAYOUT)
    found = [listing.need_file(root, (prefix + name, f'{prefix}{_ARCHIVE}/{name}'), layout=LAYOUT) for name in _INFO]
    paths = [os.path.join(root, name) for name in found]
    train, test = (
        _tracklets(mars.name_list(paths[i]), paths[i + 2], f'{prefix}bbox_{("train", "test")[i]}') for i in (0, 1)
    )
    rows = _numbers(paths[4], 1).reshape(-1)
    kept = np.array([number for number, _ in test], int)
    query = matlab.marks(rows + 1, len(mars.name_list(paths[3])), what=paths[4], row='row', table=paths[3])[kept]
    for tracklets in ([one for _, one in train], [one for _, one in test]):
        mars.check_frames_exist(root, tracklets)
    return tracklet.Dataset(
        root=root,
        train=tuple([one for _, one in train]),
        test=tuple([one for _, one in test]),
        query=query,
        gallery=~query,
    )


def _tracklets(names: Sequence[str], path: str, folder: str) -> list[tuple[int, tracklet.Tracklet]]:
    """Row of the table, and what it holds; rows without frames are left out."""
    made = []
    for row, (first, last, pid, outfit, camera) in enumerate(_numbers(path, 5).tolist()):
        if last < first:
            continue
        if not 0 <= first <= last < len(names):
            raise ValueError(
                f'{path} line {row + 1} covers names {first} to {last}, counted from 0; the name list has {len(names)}.'
            )
        own = names[first : last + 1]
        prefixes = {name.rpartition('F')[0] for name in own}
        named = all(_NAME.fullmatch(name) for name in own)
        if len(prefixes) > 1 or not named or int(own[0][:4]) != pid:
            raise ValueError(
                f'{path} line {row + 1} is id {pid}, names {first} to {last}, but the list has {own[0]} to {own[-1]} '
                'there: list and table are not of one data set, or are counted from 1.'
            )
        frames = tuple([f'{folder}/{name[:4]}/{name}' for name in own])
        one = tracklet.Tracklet(own[0][: -len('.jpg')], pid, camera, frames, attributes={'outfit': str(outfit)})
        made.append((row, one))
    return made


def _numbers(path: str, columns: int) -> np.ndarray:
    """[N, columns] int64 of a text table; whole numbers are written as 9.0e+00 there."""
    try:
        table = np.loadtxt(path, ndmin=2)
    except ValueError as error:
        raise ValueError(f'{path} is no table of numbers ({error}).') from error
    if columns > 1 and table.shape[1] != columns:
        raise ValueError(f'{path} has {table.shape[1]} columns; expected {columns}: first, last, id, outfit, camera.')
    return matlab.integers(table, path)


FACTS = facts.Facts(
    name='mevid',
    about='MEVID (Davila et al., WACV 2023), whose people change clothes.',
    layout=LAYOUT,
    read=lambda data: read(data.root),
    protocol='general',
    more_protocols=('same-clothes', 'clothes-changing'),
    num_ids=104,
    # The README of the repository Kitware/MEVID.
    published={
        'ids': 158,
        'tracklets': 8092,
        'outfits': 598,
        'cameras': 33,
        'train ids': 104,
        'train tracklets': 6338,
        'train outfits': 485,
        'test ids': 54,
        'test tracklets': 1754,
        'test outfits': 113,
    },
    whole=lambda data: contents.with_totals(read(data.root))._replace(numbered=contents.AFTER_F),
)
