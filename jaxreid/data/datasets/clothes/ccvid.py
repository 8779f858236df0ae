"""Reader of CCVID (Gu et al., CVPR 2022) as downloaded: lists of tracklets with their outfits, and folders of crops.

    root/                              or root/CCVID/
      train.txt query.txt gallery.txt  a tracklet a line: session1/001_01 <tab> 001 <tab> u0_l0_s0_c0_a0
      session1/001_01/00001.jpg ...    also session2 and session3

A line is folder, person, outfit. As in the authors' code (guxinqian/Simple-CCReID, data/datasets/ccvid.py) the camera
is the second number of the folder's name, 1 to 12, and 12 more in session 3. The outfit counts what this person wears
(tops, bottoms, shoes, what is carried, accessories): two people with one label wear different clothes.
"""

import itertools
import os
import re

from jaxreid.data.datasets import contents, facts, listing
from jaxreid.data.tracklets import tracklet

LAYOUT = (
    'A CCVID folder holds train.txt, query.txt and gallery.txt, whose lines are folder, person and outfit '
    '(session1/001_01 001 u0_l0_s0_c0_a0), and these folders with *.jpg.'
)
_WHAT = 'CCVID'
_LISTS = ('train.txt', 'query.txt', 'gallery.txt')
_FOLDER = re.compile(r'session([123])/(\d+)_(\d+)', re.ASCII)
_NAME = re.compile(r'.*?(\d+)\.jpg', re.ASCII)
_CAMERAS = 12  # of sessions 1 and 2; those of session 3 are others, numbered on


def read(root: str | os.PathLike) -> tracklet.Dataset:
    """Reads and checks the data set in folder `root`; opens no image. Test tracklets are the queries, then the gallery.

    Raises:
      FileNotFoundError: a list or a tracklet's folder is missing.
      ValueError: a line or a frame's name is malformed, a tracklet is empty or listed twice.
    """
    root = listing.open_root(root, what=_WHAT, layout=LAYOUT)
    lists = [listing.need_file(root, (name, f'{_WHAT}/{name}'), layout=LAYOUT) for name in _LISTS]
    train, query, gallery = ([_tracklet(root, where, *line) for line in _lines(root, where)] for where in lists)
    everyone = [*train, *query, *gallery]
    if len({one.name for one in everyone}) < len(everyone):
        names = sorted(one.name for one in everyone)
        twice = next(name for name, following in itertools.pairwise(names) if name == following)
        raise ValueError(f'{root}: the lists name the tracklet {twice} twice; in the data set each has one place.')
    return tracklet.queries_first(root, train, query, gallery)


def _lines(root: str, where: str) -> list[list[str]]:
    """Folder, session, camera in its session, person and outfit of each line."""
    made = []
    with open(os.path.join(root, where), encoding='utf-8', errors='replace') as file:
        for number, line in enumerate(file, start=1):
            cells = line.split()
            match = _FOLDER.fullmatch(cells[0]) if len(cells) == 3 else None
            if cells and (match is None or not cells[1].isdecimal()):
                raise ValueError(
                    f'{os.path.join(root, where)} line {number} is {line.strip()[:60]!r}; expected folder, person and '
                    'outfit, as in session1/001_01 001 u0_l0_s0_c0_a0.'
                )
            if match:
                made.append([cells[0], match.group(1), match.group(3), *cells[1:]])
    return made


def _tracklet(
    root: str, listed: str, name: str, session: str, camera: str, person: str, outfit: str
) -> tracklet.Tracklet:
    where = listed[: -len(listed.rpartition('/')[2])] + name
    folder = os.path.join(root, where)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f'{os.path.join(root, listed)} names {name}, and there is no folder {folder}. {LAYOUT}')
    matches = listing.frames(listing.files(folder), _NAME, where=folder, example='00001.jpg')
    return tracklet.Tracklet(
        name=name,
        pid=int(person),
        camera=int(camera) + (_CAMERAS if session == '3' else 0),
        frames=tuple([f'{where}/{frame}' for frame in listing.in_order(matches, group=1, where=folder)]),
        attributes={'outfit': outfit},
    )


FACTS = facts.Facts(
    name='ccvid',
    about='CCVID (Gu et al., CVPR 2022), whose people change clothes.',
    layout=LAYOUT,
    read=lambda data: read(data.root),
    protocol='general',
    more_protocols=('same-clothes', 'clothes-changing'),
    num_ids=75,
    # Ids, tracklets and boxes: the paper. Frames of the parts, and outfits as pairs of person and label: counted from
    # the release by others (notes of two public repositories, 2026).
    published={
        'ids': 226,
        'tracklets': 2856,
        'frames': 347833,
        'outfits': 480,
        'train ids': 75,
        'train tracklets': 948,
        'train frames': 118613,
        'train outfits': 159,
        'query ids': 151,
        'query tracklets': 834,
        'query frames': 116799,
        'gallery ids': 151,
        'gallery tracklets': 1074,
        'gallery frames': 112421,
        'test outfits': 321,
    },
    whole=lambda data: contents.with_totals(read(data.root)),
)
